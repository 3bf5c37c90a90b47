package target

import (
	"context"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/throttle/bucket"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// Shape is how the embedded hub's limits give way: in a trial nothing waits, so that all that is too much shows.
func Shape(s *spec.Target) bucket.Shape {
	x := bucket.Shape{Burst: s.Burst}
	if s.Trial != nil {
		x.Backlog = -1
	}
	return x
}

// onTrial has the embedded hub follow the stages of a trial.
func (t *Target) onTrial(h *hub.Hub, x *spec.Trial) {
	if x.From != "" {
		t.arm = func(context.Context) error { return nil } // with that stage
	}
	classes := func(by map[string]float64) map[tier.Class]float64 {
		out := make(map[tier.Class]float64, len(by))
		for name, v := range by {
			out[tier.Class(name)] = v
		}
		return out
	}
	t.stage = func(name string) (leave func()) {
		if name == x.From {
			h.Arm()
		}
		if name == x.Steady && name != "" {
			h.Sustain(classes(x.AtOnce), x.Share)
			return h.Resume
		}
		if skip, ok := x.Skips[name]; ok {
			return func() { h.Skip(skip.For, classes(skip.Rates), skip.Messages) }
		}
		return func() {}
	}
}

// Stage tells the target that a stage begins, and returns what tells it that the stage is over: a trial goes by the stages.
func (t *Target) Stage(name string) (leave func()) {
	if t.stage == nil {
		return func() {}
	}
	return t.stage(name)
}
