package agent

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/report"
)

// status says some times a second how this agent stands.
func (w *work) status(ctx context.Context) {
	subject := protocol.StatusSubject(w.session.id, w.agent.o.Name)
	for wait.For(ctx, w.ask.Every) == nil {
		var err error
		w.agent.control.spend(func() {
			var b []byte
			if b, err = json.Marshal(w.standing()); err == nil {
				err = w.agent.o.Bus.Publish(subject, b)
			}
		})
		if err != nil {
			w.agent.log.Debug("how this agent stands is not told", "error", err)
		}
	}
}

func (w *work) standing() *protocol.Status {
	f := w.runner.Fleet()
	s := &protocol.Status{
		At: w.told(time.Now()), Counts: f.Counts(), Lost: f.Lost(), Losses: f.Losses(), Returns: f.Returns(), Left: f.Left(),
		Stage: w.runner.Place().Stage, Clock: w.clock(),
	}
	s.Reporters, s.Last = w.events.reporters()
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
		}
	}
}

// publish keeps what has changed of this agent's numbers.
func (w *work) publish(ctx context.Context, final bool) error {
	w.publishing.Lock()
	defer w.publishing.Unlock()
	if w.store == nil {
		store, err := w.agent.o.Bus.Store(ctx, protocol.StoreName(w.session.id), false)
		if err != nil {
			return err
		}
		w.store = store
	}
	c := w.rec.Contribution()
	at := w.told(c.At)
	for i := range c.Stages {
		x := &c.Stages[i]
		if slices.Equal(w.sent[x.Number], x.Series) && len(x.Open) == 0 {
			continue
		}
		if err := w.put(ctx, w.store, protocol.FiguresKey(w.agent.o.Name, x.Number), &protocol.Numbers{At: at, Stage: *x}); err != nil {
			return err
		}
		w.sent[x.Number] = x.Series
	}
	f := w.runner.Fleet()
	now := &protocol.Now{
		At: at, Open: c.Open, Devices: c.Devices, Health: w.watch.Health(), Doubts: w.doubts(), Deliveries: f.Deliveries(), Provisioned: f.Provisioned(),
		Clock: w.clock(), Own: int(w.devices.Load()), Final: final,
	}
	now.Control = w.agent.control.taken()
	now.CPU, now.Lag = lately(w.rec.Figures())
	return w.put(ctx, w.store, protocol.NowKey(w.agent.o.Name), now)
}

// put keeps something in the run's store.
func (w *work) put(ctx context.Context, store bus.Store, key string, what any) error {
	b, err := w.agent.pack.Pack(what)
	if err == nil {
		_, err = store.Put(ctx, key, b)
	}
	return err
}

// doubts are why stages were not delivered as asked here, by name.
func (w *work) doubts() map[string]string {
	out := make(map[string]string)
	for i := range w.sc.Stages[:min(len(w.sc.Stages), w.runner.Place().Stage+1)] {
		name := w.sc.Stages[i].Name
		if why := w.watch.Doubt(name); why != "" {
			out[name] = why
		}
	}
	return out
}
