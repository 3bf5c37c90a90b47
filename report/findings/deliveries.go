package findings

import (
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// deliveries adds what makes figures of deliveries other than they seem.
func deliveries(d *report.Deliveries, add func(m Mark, format string, a ...any)) {
	for _, g := range d.Groups {
		if g.Duplicates > 0 {
			add(Warn, "%s: %s of messages came twice; a target that promises at least once may do so, and its readers must expect it", g.Group,
				human.Number(int(g.Duplicates), "further copy"))
		}
		if g.Late > 0 {
			add(Warn, "%s: %s after its time was up, and counted with the time-outs of delivery", g.Group, came(int(g.Late)))
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
		add(Warn, "%s no messages that can be read", were(int(r.Unreadable), "entry of the hub's log"))
	}
}

// came is a number of messages that came.
func came(n int) string {
	if n == 1 {
		return "1 message came"
	}
	return human.Number(n, "message") + " came, each"
}

// times is how often something happened.
func times(n int) string {
	if n == 1 {
		return "once"
	}
	return human.Number(n, "time")
}
