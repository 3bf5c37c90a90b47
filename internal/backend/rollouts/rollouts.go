// Package rollouts has the service side roll desired properties out, and puts into the record what became of it.
package rollouts

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/backend/side"
	"github.com/twinfleet/twinfleet/internal/worker/failure"
	"github.com/twinfleet/twinfleet/internal/worker/rollout"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
)

// Rollouts are those of a scenario, in its order.
type Rollouts struct {
	side       *side.Side
	waves      []waves
	configured []configured
}

// waves is a rollout by the worker.
type waves struct {
	scenario *scenario.Rollout
	*rollout.Rollout
}

// New makes the rollouts; none has begun.
func New(b *side.Side) *Rollouts {
	out := &Rollouts{side: b}
	for i := range b.Scenario.Service.Rollouts {
		x := &b.Scenario.Service.Rollouts[i]
		g := b.Scenario.Group(x.Group)
		if x.By == scenario.ByConfiguration {
			out.configured = append(out.configured, configure(b, x, g))
			continue
		}
		r := &rollout.Rollout{
			Name: x.Name, Group: g.Name, First: b.Identities.First(g), IDs: b.Identities.Of(g), Properties: x.Properties,
			Rate: x.Rate.To, Timeout: x.Timeout, StopOver: x.StopOver, Answers: g.Answer, Seed: b.Scenario.Seed,
			Service: b.Target.Paced, Recorder: b.Recorder, Codes: new(failure.Codes),
		}
		for _, w := range x.Waves {
			r.Waves = append(r.Waves, rollout.Wave{Percent: w.Percent, For: w.For})
		}
		r.OnWave = func(w rollout.WaveResult) { waveEnded(b, x, w) }
		r.Prepare()
		out.waves = append(out.waves, waves{x, r})
	}
	return out
}

// Run carries them out, each at its time, until ctx ends.
func (r *Rollouts) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, x := range r.waves {
		all.Go(func() { run(ctx, r.side, x.scenario, x.Rollout) })
	}
	for _, x := range r.configured {
		all.Go(func() { x.run(ctx, r.side) })
	}
	all.Wait()
}

// Progress is what became of the rollouts until now: of those in waves all waves that began, of those by a configuration one row.
func (r *Rollouts) Progress() (all []report.Wave) {
	for _, x := range r.waves {
		for _, w := range x.Progress() {
			all = append(all, row(x.scenario, w))
		}
	}
	for _, x := range r.configured {
		now, ok := x.Progress()
		if !ok {
			continue
		}
		p := report.Wave{
			Rollout: x.scenario.Name, Group: x.scenario.Group, Number: 1, Of: 1, Percent: x.Shares[len(x.Shares)-1], Devices: now.Devices,
			Patched: int(max(0, now.Applied)), Told: now.Told, Answered: now.Answered, Running: now.Running, Took: now.Took,
		}
		if !now.Running {
			p.Failed = now.Devices - now.Told
			if x.Answers {
				p.Failed = now.Devices - now.Answered
			}
		}
		all = append(all, p)
	}
	return all
}

// Told notes that desired properties reached a device.
func (r *Rollouts) Told(u fleet.DesiredUpdate) {
	for _, x := range r.waves {
		x.Told(u.Index, u.Version, u.At)
	}
	for _, x := range r.configured {
		x.Told(u.Index, u.Version, u.Complete, u.JSON, u.At)
	}
}

// Answered notes that a device's answer to a version of its desired properties was acknowledged.
func (r *Rollouts) Answered(index int, version int64, at time.Time) {
	for _, x := range r.waves {
		x.Answered(index, version, at)
	}
	for _, x := range r.configured {
		x.Answered(index, version, at)
	}
}

func run(ctx context.Context, b *side.Side, x *scenario.Rollout, r *rollout.Rollout) {
	if err := b.Gate.Begin(ctx, x.Stage, x.At); err != nil {
		b.Ledger.Note("rollout %s did not begin: the run ended first", x.Name)
		return
	}
	detail := fmt.Sprintf("%d waves to %s of %s begin", len(x.Waves), human.Number(len(r.IDs), "device"), x.Group)
	b.Ledger.Tell(report.Event{Kind: report.KindRollout, OK: true, Text: "rollout " + x.Name, Detail: detail})
	if _, err := r.Run(ctx); err != nil {
		b.Ledger.Warn("rollout "+x.Name+" could not begin", err)
	}
	b.AddErrors("rollout "+x.Name, r.Codes)
}

// row is a wave as reports have it.
func row(x *scenario.Rollout, w rollout.WaveResult) report.Wave {
	return report.Wave{
		Rollout: x.Name, Group: x.Group, Number: w.Number, Of: len(x.Waves), Percent: w.Percent, Devices: w.Devices,
		Patched: w.Patched, Told: w.Told, Answered: w.Answered, Failed: w.Failed, Took: w.Took, Stopped: w.Stopped, Running: w.Running,
	}
}

func waveEnded(b *side.Side, x *scenario.Rollout, w rollout.WaveResult) {
	row := row(x, w)
	b.Ledger.Write(func(r *report.Run) { r.Waves = append(r.Waves, row) })
	b.Ledger.Tell(report.Event{Kind: report.KindRollout, OK: !w.Stopped, Text: "rollout " + x.Name, Detail: row.String()})
}
