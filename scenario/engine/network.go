package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link/fault"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
)

// disturb makes the network bad as a stage wants it, for as long as it wants it, and returns what makes
// it good when the stage ends. run runs a part of the stage.
func (c *conductor) disturb(ctx context.Context, t *scenario.Stage, run func(func() error)) (good func()) {
	w := t.Network
	if w == nil {
		return func() {}
	}
	var ends []func()
	begin := func(f fault.Fault, d time.Duration) {
		f.Covers = c.covers(w.Groups)
		end := c.target.Network.Begin(f)
		ends = append(ends, end)
		if d > 0 {
			run(func() error {
				defer end()
				_ = wait.For(ctx, d) // the end of the stage makes the network good too
				return nil
			})
		}
	}
	rest := fault.Fault{Latency: w.Latency, Jitter: w.Jitter, Loss: w.Loss, Bandwidth: w.Bandwidth, HalfOpen: w.HalfOpen}
	begin(rest, w.For)
	if p := w.Partition; p != nil {
		d := p.For
		if d == 0 {
			d = w.For
		}
		begin(fault.Fault{Partition: p.Share}, d)
	}
	c.ledger.Tell(report.Event{Kind: report.KindOutage, Text: "the network is bad", Detail: describeNetwork(w)})
	return func() {
		for _, end := range ends {
			end()
		}
	}
}

// covers tells whether the device of an index is of one of some groups; it is nil for all of them.
func (c *conductor) covers(groups []string) func(index int) bool {
	if len(groups) == 0 {
		return nil
	}
	type span struct{ first, end int }
	var spans []span
	for _, name := range groups {
		g := c.sc.Group(name)
		first := c.ids.First(g)
		spans = append(spans, span{first, first + g.Count})
	}
	return func(index int) bool {
		for _, s := range spans {
			if index >= s.first && index < s.end {
				return true
			}
		}
		return false
	}
}

// describeNetwork says what is wrong with a network, for people.
func describeNetwork(w *scenario.Network) string {
	var parts []string
	add := func(is bool, format string, a ...any) {
		if is {
			parts = append(parts, fmt.Sprintf(format, a...))
		}
	}
	add(w.Latency > 0, "latency %s", human.Duration(w.Latency))
	add(w.Jitter > 0, "jitter %s", human.Duration(w.Jitter))
	add(w.Loss > 0, "loss %.3g %%", w.Loss*100)
	add(w.Bandwidth > 0, "bandwidth %s bytes/s", human.Count(int64(w.Bandwidth)))
	add(w.HalfOpen > 0, "%.3g %% half open", w.HalfOpen*100)
	if p := w.Partition; p != nil {
		add(true, "%.3g %% cut off", p.Share*100)
		add(p.For > 0, "for %s", human.Duration(p.For))
	}
	add(w.For > 0, "in all for %s", human.Duration(w.For))
	return strings.Join(parts, ", ")
}
