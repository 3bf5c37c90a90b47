package findings

import (
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// deliveries adds what makes figures of deliveries other than they seem.
func deliveries(d *report.Deliveries, add func(m Mark, format string, a ...any)) {
	for _, g := range d.Groups {
		if g.Missing > 0 {
			add(Warn, "%s: %s acknowledged, and never arrived", g.Group, were(int(g.Missing), "message"))
		}
		if g.Duplicates > 0 {
			add(Warn, "%s: %s of messages came; a target that promises at least once may send one twice, and its readers must expect it", g.Group,
				furtherCopies(g.Duplicates))
		}
		if g.OutOfOrder > 0 {
			add(Warn, "%s: %s came after a later one of the same device", g.Group, human.Number(int(g.OutOfOrder), "message"))
		}
		switch {
		case g.Late == 1:
			add(Warn, "%s: 1 message came after its time was up, and is among the time-outs of delivery", g.Group)
		case g.Late > 1:
			add(Warn, "%s: %s came after their time was up, and are among the time-outs of delivery", g.Group, human.Number(int(g.Late), "message"))
		}
		switch {
		case g.Retained == 1:
			add(None, "%s: 1 retained copy came to who subscribed: it is no delivery", g.Group)
		case g.Retained > 1:
			add(None, "%s: %s came to who subscribed: they are no deliveries", g.Group, human.Count(int(g.Retained))+" retained copies")
		}
	}
	r := d.Reader
	if r == nil {
		return
	}
	if r.Losses > 0 {
		add(Warn, "the reader of messages lost its connection %s and was away for %s: what came meanwhile was read late, and may have timed out; %s",
			times(r.Losses), human.Duration(r.Away), r.Error)
	}
	if r.Restarts > 0 {
		add(Warn, "the hub's log of messages began anew %s: what was in it and not read is lost", times(r.Restarts))
	}
	if r.Missing > 0 {
		add(Warn, "%s missing in the hub's log", were(int(r.Missing), "message"))
	}
	if r.Unreadable > 0 {
		add(Warn, "%s of the hub's log could not be read", human.Number(int(r.Unreadable), "message"))
	}
}

// furtherCopies is a number of them.
func furtherCopies(n uint64) string {
	if n == 1 {
		return "1 further copy"
	}
	return human.Count(int(n)) + " further copies"
}

// times is how often something happened.
func times(n int) string {
	if n == 1 {
		return "once"
	}
	return human.Number(n, "time")
}
