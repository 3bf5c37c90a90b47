package agent

import (
	"context"
	"encoding/json"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/report"
)

// statusEvery is how often an agent says how it stands while that does not change: that it is there. Who leads holds one for lost of which it has
// heard nothing for 3 s.
const statusEvery = time.Second

// status says how this agent stands: some times a second while that changes, else once.
func (w *work) status(ctx context.Context) {
	subject := protocol.StatusSubject(w.session.id, w.agent.o.Name)
	var last protocol.Status
	var told time.Time
	for wait.For(ctx, w.ask.Every) == nil {
		var err error
		w.agent.control.spend(func() {
			now := w.standing()
			if ctx.Err() != nil { // its devices leave because this process ends: what they were is what counts of them
				return
			}
			if time.Since(told) < statusEvery && now.Same(&last) {
				return
			}
			var b []byte
			if b, err = json.Marshal(now); err == nil {
				err = w.agent.o.Bus.Publish(subject, b)
			}
			last, told = *now, time.Now()
		})
		if err != nil {
			w.agent.log.Debug("how this agent stands is not told", "error", err)
		}
	}
}

func (w *work) standing() *protocol.Status {
	f := w.runner.Fleet()
	reasons := f.LossReasons() // before Losses, as it says
	s := &protocol.Status{
		At: w.told(time.Now()), Reasons: reasons, Counts: f.Counts(), Lost: f.Lost(), Losses: f.Losses(), Returns: f.Returns(), Left: f.Left(),
		Stage: w.runner.Place().Stage, Clock: w.clock(), Adopted: w.adopted.status(),
	}
	s.Reporters, s.Last = w.events.reporters()
	s.Undelivered, s.Talking, s.Over = f.Undelivered(), f.Talking(), w.others.over()
	return s
}

// clock is how this agent's clock differs from the run's.
func (w *work) clock() report.Clock {
	e := w.pinger.Estimate()
	return report.Clock{Offset: -e.Offset, Uncertainty: e.Uncertainty, Steps: e.Steps}
}

// figuresEvery is how often an agent's numbers are kept for the coordinator.
const figuresEvery = time.Second

// figures keeps this agent's numbers in the run's store.
func (w *work) figures(ctx context.Context) {
	for wait.For(ctx, figuresEvery) == nil {
		var err error
		w.agent.control.spend(func() { err = w.publish(ctx, false) })
		if err != nil && ctx.Err() == nil {
			w.agent.log.Debug("this agent's numbers are not kept yet", "error", err)
			w.heed(err)
		}
	}
}

// publish keeps what has changed of this agent's numbers.
func (w *work) publish(ctx context.Context, final bool) error {
	c, f := w.rec.Contribution(), w.runner.Fleet()
	cpu, lag := lately(w.rec.Figures())
	return w.keeper.Keep(ctx, c, &protocol.Now{
		At: w.told(c.At), Health: w.watch.Health(), Doubts: w.doubts(), Deliveries: f.Deliveries(), Reach: f.Reach(), Adopted: w.adopted.reach(),
		Clock: w.clock(), Own: int(w.devices.Load()), Kept: f.Kept(), Stopped: w.stopped.Load(), Final: final,
		Control: w.agent.control.taken(), CPU: cpu, Lag: lag,
	})
}

// doubts are why stages were not delivered as asked here, by name.
func (w *work) doubts() map[string]string {
	out := make(map[string]string)
	for i := range w.sc.Stages[:min(len(w.sc.Stages), w.runner.Place().Stage+1)] {
		name := w.sc.Stages[i].Name
		if why := w.watch.Doubt(name); why != "" {
			out[name] = why
		}
		if why := w.others.doubt(name); why != "" && out[name] == "" {
			out[name] = why
		}
	}
	return out
}
