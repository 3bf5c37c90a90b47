// Package loads has the service side do what goes at a rate: direct methods, twin reads.
package loads

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/backend/side"
	"github.com/twinfleet/twinfleet/internal/worker/failure"
	"github.com/twinfleet/twinfleet/internal/worker/method"
	"github.com/twinfleet/twinfleet/internal/worker/pace"
	"github.com/twinfleet/twinfleet/internal/worker/twinread"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
)

// Run makes direct methods and twin reads at their rates, until ctx ends.
func Run(ctx context.Context, b *side.Side) {
	var all sync.WaitGroup
	defer all.Wait()
	run := func(op metrics.Operation, name string, r *scenario.Range, stages []string, do func(context.Context, int64) error) {
		load := &pace.Load{
			Series: b.Recorder.Series(op, name), From: r.From, To: r.To, Do: do,
			Windows: b.Gate.Windows(stages, planned(b.Scenario)), Codes: new(failure.Codes),
		}
		all.Go(func() {
			load.Run(ctx)
			b.AddErrors(string(op)+" "+name, load.Codes)
		})
	}
	for i := range b.Scenario.Service.Methods {
		m := &b.Scenario.Service.Methods[i]
		g := b.Scenario.Group(m.Group)
		order := pace.Order(b.Scenario.Seed, "method "+m.Name, g.Count)
		do := method.Call(b.Target.Paced, b.Identities.Of(g), order, m.Method, m.Payload, m.Timeout)
		run(metrics.OpMethod, m.Name, m.Rate, m.Stages, do)
	}
	for i := range b.Scenario.Service.TwinReads {
		t := &b.Scenario.Service.TwinReads[i]
		g := b.Scenario.Group(t.Group)
		order := pace.Order(b.Scenario.Seed, fmt.Sprintf("twin_reads %d", i), g.Count)
		run(metrics.OpTwinRead, t.Group, t.Rate, t.Stages, twinread.Read(b.Target.Paced, b.Identities.Of(g), order))
	}
}

// planned is how long the stages last together; 0 when one of them has no length of its own.
func planned(sc *scenario.Scenario) time.Duration {
	var sum time.Duration
	for i := range sc.Stages {
		if sc.Stages[i].Duration == 0 {
			return 0
		}
		sum += sc.Stages[i].Duration
	}
	return sum
}
