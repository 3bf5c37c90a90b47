package view

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/terminal/paint"
	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report/human"
)

// detail is all that is known of the picked row.
func (v view) detail() []string {
	section := v.section(v.ui.focus)
	if len(section.Rows) == 0 {
		return []string{" there is nothing to show any more"}
	}
	key := section.Rows[v.ui.index(section)].Key
	switch section.Name {
	case thresholds:
		return v.ofThreshold(key)
	case agents:
		return v.ofAgent(key)
	case rollouts:
		return v.ofRollout(key)
	case groups:
		return v.ofGroup(key)
	case operations:
		return v.ofOperation(key)
	case failures:
		return v.ofFailure(key)
	default:
		return v.ofEvent(key)
	}
}

// title is the head of a detail.
func (v view) title(text string) []string {
	return []string{"", " " + v.Paint(paint.Bold, paint.Cut(paint.Clean(text), v.width-2)), ""}
}

// fact is a line of a detail: a name and what it is.
func (v view) fact(name, text string) []string {
	const width = 14
	lines := wrap(text, v.width-2-width, "")
	for i := range lines {
		head := ""
		if i == 0 {
			head = name
		}
		lines[i] = " " + v.Paint(paint.Faint, paint.Fit(head, width)) + lines[i]
	}
	return lines
}

func (v view) ofThreshold(key string) []string {
	lines := v.title("threshold " + key)
	for i := range v.Standing().Thresholds {
		t := &v.Standing().Thresholds[i]
		if t.Threshold != key {
			continue
		}
		sign, code, _ := standing(t)
		word := map[string]string{"✓": "it holds", "✗": "it is missed", "?": "nothing can be said of it", "…": "it is not to be judged yet"}[sign]
		if t.Over {
			word += "; what it is about has ended"
		}
		lines = append(lines, " "+v.Paint(code, sign+" "+word))
		lines = append(lines, v.fact("observed", t.Observed)...)
		if !t.Since.IsZero() {
			at := v.RunTime(t.Since)
			lines = append(lines, v.fact("missed since", fmt.Sprintf("%s of the run, for %s now", human.Duration(at), human.Duration((v.At-at).Round(time.Second))))...)
		}
		if t.Why != "" {
			lines = append(lines, v.fact("why", t.Why)...)
		}
		return lines
	}
	return lines
}

func (v view) ofRollout(key string) []string {
	lines := v.title("rollout " + key)
	for _, w := range v.Standing().Rollouts {
		if waveName(w) != key {
			continue
		}
		state := "it is over"
		switch {
		case w.Stopped:
			state = "the rollout stopped here: too many devices had failed"
		case w.Running:
			state = "it goes on"
		}
		for _, x := range [][2]string{
			{"state", state},
			{"group", w.Group},
			{"devices", human.Count(w.Devices)},
			{"twins written", human.Count(w.Patched)},
			{"told", human.Count(w.Told)},
			{"answered", human.Count(w.Answered)},
			{"failed", human.Count(w.Failed)},
			{"for", human.Duration(w.Took)},
		} {
			lines = append(lines, v.fact(x[0], x[1])...)
		}
	}
	return lines
}

// ofGroup is where a group's devices are, what they do, and what of it goes wrong.
func (v view) ofGroup(key string) []string {
	lines := v.title("group " + key)
	var states []string
	for _, state := range []string{"waiting", "connecting", "connected", "backoff", "offline"} {
		if n := v.Devices(key, state); n > 0 {
			states = append(states, human.Count(n)+" "+state)
		}
	}
	lines = append(lines, v.fact("devices", cmp.Or(strings.Join(states, ", "), "none is known"))...)
	var all []named
	for _, op := range metrics.Operations() {
		if lately, inAll := v.Group(op, key); op != metrics.OpQuery && inAll != nil && inAll.Scheduled()+inAll.Ended() > 0 {
			all = append(all, named{string(op), lately, inAll})
		}
	}
	slices.SortStableFunc(all, func(a, b named) int { return cmp.Compare(trouble(b.inAll), trouble(a.inAll)) })
	lines = append(append(lines, ""), v.table("operation", all)...)
	return append(lines, v.causes(func(r runstate.Reason) uint64 {
		var n uint64
		for _, g := range r.Groups {
			if metrics.InGroup(g.Group, key) && r.Operation != metrics.OpQuery {
				n += g.Count
			}
		}
		return n
	})...)
}

// ofOperation is an operation by group, how it ended, its latency, and why it went wrong.
func (v view) ofOperation(key string) []string {
	lines := v.title(key)
	at := slices.IndexFunc(v.lines(), func(l line) bool { return l.Name == key })
	if at < 0 {
		return lines
	}
	one := v.lines()[at]
	x := one.Series
	var parts []named
	for i := range v.Figures().Series {
		part := &v.Figures().Series[i]
		if part.Operation != x.Operation || x.Operation == metrics.OpQuery && part.Group != x.Group || part.Scheduled()+part.Ended() == 0 {
			continue
		}
		lately, inAll := v.Group(part.Operation, part.Group)
		parts = append(parts, named{cmp.Or(part.Group, "–"), lately, inAll})
	}
	slices.SortStableFunc(parts, func(a, b named) int { return cmp.Compare(trouble(b.inAll), trouble(a.inAll)) })
	lines = append(lines, v.table("group", parts)...)
	lines = append(lines, "")
	due := fmt.Sprintf("%s due: %s started on time, %s late", human.Count(x.Scheduled()), human.Count(x.OnTime), human.Count(x.Late))
	if x.LateOwn > 0 {
		due += fmt.Sprintf(" (%s by the generator's doing)", human.Count(x.LateOwn))
	}
	for _, reason := range slices.Sorted(maps.Keys(x.Dropped)) {
		due += fmt.Sprintf(", %s dropped: %s", human.Count(x.Dropped[reason]), reason)
	}
	ended := human.Count(x.Count(metrics.OK)) + " ok"
	for _, o := range []metrics.Outcome{metrics.Throttled, metrics.Timeout, metrics.Refused, metrics.Failed, metrics.Unanswered} {
		if n := x.Count(o); n > 0 {
			ended += ", " + human.Count(n) + " " + o.String()
		}
	}
	if n := x.InFlight(); n > 0 {
		ended += ", " + human.Count(n) + " under way"
	}
	lines = append(append(lines, v.fact("schedule", due)...), v.fact("ended", ended)...)
	lines = append(append(lines, v.fact("latency", latency(x, false))...), v.fact("from sending", latency(x, true))...)
	if history, most := v.Latencies(key, v.width-16); most > 0 {
		lines = append(append(lines, v.fact("p99 by second", paint.Spark(history))...), v.fact("", "at most "+human.Duration(most))...)
	}
	return append(lines, v.causes(func(r runstate.Reason) uint64 {
		if r.Operation != x.Operation {
			return 0
		}
		if x.Operation != metrics.OpQuery {
			return r.Count
		}
		for _, g := range r.Groups {
			if g.Group == x.Group {
				return g.Count
			}
		}
		return 0
	})...)
}

// latency is the distribution of times of the whole run.
func latency(x *metrics.SeriesSnapshot, fromSend bool) string {
	h := x.Latency(fromSend)
	if h.Count == 0 {
		return "– nothing to measure"
	}
	text := "min " + human.Duration(h.Minimum()) + "  mean " + human.Duration(h.Mean())
	for _, q := range []struct {
		name  string
		share float64
	}{{"p50", 0.5}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}, {"p99.9", 0.999}} {
		text += "  " + q.name + " " + human.Duration(h.Quantile(q.share))
	}
	return text + "  max " + human.Duration(h.Maximum())
}

// trouble is how many operations went wrong.
func trouble(x *metrics.SeriesSnapshot) uint64 { return x.Errors() + x.Count(metrics.Throttled) }

// named is figures of one kind.
type named struct {
	name          string
	lately, inAll *metrics.SeriesSnapshot
}

// table is figures of several kinds, a row each.
func (v view) table(title string, all []named) []string {
	names := make([]string, len(all))
	for i, x := range all {
		names[i] = x.name
	}
	name := columnWidth(names, 11, max(16, v.width/4))
	columns := fitting(figureColumns(), v.width-2-name)
	lines := []string{v.Paint(paint.Faint, paint.Cut(" "+paint.Fit(title, name)+titles(columns), v.width))}
	for _, x := range all {
		lines = append(lines, paint.Cut(" "+paint.Fit(paint.Clean(x.name), name)+v.figures(columns, x.lately, x.inAll), v.width))
	}
	return lines
}

// causes are the reasons that count for something.
func (v view) causes(count func(runstate.Reason) uint64) (lines []string) {
	for _, r := range v.Reasons() {
		n := count(r)
		if n == 0 {
			continue
		}
		if len(lines) == 0 {
			lines = append(lines, "", " "+v.Paint(paint.Faint, "why operations ended badly"))
		}
		text := paint.Right(human.Count(n), countWidth) + "  " + reasonText(r)
		if where := v.where(r, 3); where != "" {
			text += " · " + where
		}
		code := paint.Red
		if r.Outcome == metrics.Throttled.String() {
			code = paint.Yellow
		}
		lines = append(lines, " "+v.Paint(code, paint.Fit(text, v.width-12))+paint.Right(ago(v.Figures().At.Sub(r.Last)), 10))
	}
	return lines
}

// ofFailure is one reason with all that is known of it.
func (v view) ofFailure(key string) []string {
	for _, r := range v.Reasons() {
		if string(r.Operation)+r.Outcome+r.Reason != key {
			continue
		}
		lines := v.title(reasonText(r))
		lines = append(lines, v.fact("operation", string(r.Operation))...)
		lines = append(lines, v.fact("outcome", r.Outcome)...)
		lines = append(lines, v.fact("reason", r.Reason)...)
		lines = append(lines, v.fact("count", human.Count(r.Count)+", of them "+human.Count(r.Lately)+fmt.Sprintf(" in the last %d s", runstate.WindowLength))...)
		lines = append(lines, v.fact("last", human.Duration(v.RunTime(r.Last))+" of the run, "+ago(v.Figures().At.Sub(r.Last)))...)
		for i, g := range r.Groups {
			head := ""
			if i == 0 {
				head = "where"
			}
			lines = append(lines, v.fact(head, human.Count(g.Count)+"  "+g.Group)...)
		}
		return lines
	}
	return v.title("it is not counted any more")
}

func (v view) ofEvent(key string) []string {
	for _, e := range v.Events() {
		if fmt.Sprint(e.At, e.Text, e.Detail) != key {
			continue
		}
		text, _ := eventText(e)
		lines := append(v.title(e.Text), v.fact("at", human.Duration(e.At)+" of the run")...)
		if e.Stage != "" {
			lines = append(lines, v.fact("stage", e.Stage)...)
		}
		return append(lines, v.fact("what", text)...)
	}
	return v.title("it is too long ago")
}

// help is the keys, the signs and the addresses.
func (v view) help() []string {
	lines := v.title("help")
	rows := [][2]string{
		{"q", "stop the run, after a question; once more: at once"},
		{"p", "pause what devices do on their schedules, after a question; or go on"},
		{"↑ ↓ k j", "pick a row; PgUp PgDn Home End go further"},
		{"Tab", "the next section; Shift-Tab the one before"},
		{"Enter", "open the picked row: its groups, outcomes, percentiles"},
		{"Esc", "back"},
		{"? h", "this help"},
		{"Ctrl-C", "stop politely; twice at once"},
		{"Ctrl-Z", "stand still; fg goes on"},
		{"", ""},
		{"✓ HOLDING", "no threshold is missed, and all that was tried worked"},
		{"✗ MISSING", "a threshold is missed"},
		{"✗ FAILING", "something that was tried never worked"},
		{"? CANNOT SAY", "the load is not the one asked for: of the target nothing can be said"},
		{"… STARTING", "no stage has begun"},
		{"✓ ✗ ? …", "of a threshold: met, missed, nothing can be said, not yet"},
		{"✗ !", "of an operation or group: errors, throttled or lost devices in the last 10 s"},
		{"–", "nothing was measured"},
		{"+3", "rows that are left out; +3! when something is wrong with any"},
		{"in all", "operations that ended since the run began, with those throttled or in error"},
	}
	for _, l := range v.Links {
		rows = append(rows, [2]string{l.Name, l.Address})
	}
	for _, r := range rows {
		lines = append(lines, v.fact(r[0], r[1])...)
	}
	return lines
}
