package crew

import (
	"context"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link/fault"
	"github.com/twinfleet/twinfleet/internal/wait"
)

// disturb makes the network bad as the stage wants it, for as long as it wants it; the end of the stage makes it good too.
func (s *Stage) disturb(ctx context.Context, run func(func() error)) {
	w := s.spec.Network
	if w == nil {
		return
	}
	begin := func(f fault.Fault, d time.Duration) {
		f.Covers = s.crew.covers(w.Groups)
		end := s.crew.target.Network.Begin(f)
		s.good = append(s.good, end)
		if d > 0 {
			run(func() error {
				defer end()
				_ = wait.For(ctx, d)
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
}

// covers tells whether the device of an index is of one of some groups; it is nil for all of them.
func (c *Crew) covers(groups []string) func(index int) bool {
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
