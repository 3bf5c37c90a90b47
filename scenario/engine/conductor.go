package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/backend"
	"github.com/twinfleet/twinfleet/internal/backend/side"
	"github.com/twinfleet/twinfleet/internal/crew"
	"github.com/twinfleet/twinfleet/internal/outage"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/internal/worker/call"
	"github.com/twinfleet/twinfleet/internal/worker/gate"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// conductor leads a run from its first stage to the last answer: fleet, worker and monitor play, it gives the time.
type conductor struct {
	*Engine
	*outcome

	target         *target.Target
	ids            *target.Identities
	crew           *crew.Crew
	fleet          *fleet.Fleet // the crew's: of devices that run elsewhere it knows the schedules alone
	crowd          Crowd        // what has become of the devices
	backend        *backend.Backend
	gate           *gate.Gate
	outages        *outage.Watch
	contradictions contradictions
	redirects      redirects
	reading        reading
	walking        atomic.Bool // a stage has been entered
}

func newConductor(ctx context.Context, e *Engine, t *target.Target, ids *target.Identities, came *outcome) (*conductor, error) {
	c := &conductor{Engine: e, outcome: came, target: t, ids: ids, gate: gate.New()}
	var err error
	if c.backend, err = c.newBackend(); err != nil {
		return nil, err
	}
	if c.opts.Resume != nil {
		c.backend.Missed() // what devices did before is told to nobody else
	}
	if c.crew, err = c.newCrew(ctx); err != nil {
		return nil, err
	}
	c.fleet = c.crew.Fleet
	c.crowd = here{c.fleet}
	if c.opts.Agents != nil {
		c.crowd = c.opts.Agents
	}
	c.outages = &outage.Watch{Ledger: &c.ledger, Recorder: c.rec, Fleet: c.connected}
	return c, nil
}

// connected is how the devices are connected now.
func (c *conductor) connected() outage.Fleet {
	f := c.crowd
	reasons := f.LossReasons() // before Losses: one that comes in between has its reason the next time
	return outage.Fleet{Reasons: reasons, Connected: f.Counts()[fleet.StateConnected], Lost: f.Lost(), Losses: f.Losses(), Returns: f.Returns(), Left: f.Left(), Active: c.fleet.Active()}
}

func (c *conductor) newBackend() (*backend.Backend, error) {
	return backend.New(side.Side{
		Scenario: c.sc, Target: c.target, Identities: c.ids, Recorder: c.rec, Ledger: &c.ledger, Gate: c.gate,
		Late: c.opts.Agents != nil, Before: c.opts.Resume.before(), Contradicted: c.contradicted, Fail: func(err error) { c.stop(err) },
	})
}

// newCrew makes the devices: here, or, when they run elsewhere, what is known of their schedules.
func (c *conductor) newCrew(ctx context.Context) (*crew.Crew, error) {
	o := crew.Options{
		Scenario: c.sc, Target: c.target, Identities: c.ids, Recorder: c.rec, Logger: c.log, Driver: c.opts.driver,
		Run:       strings.ToLower(rand.Text()[:5]),
		OnDesired: c.backend.OnDesired, OnReporting: c.backend.OnReporting, OnReported: c.backend.OnReported,
		OnContradiction: c.contradiction,
	}
	if c.opts.Agents != nil {
		ctx, cancel := c.either(ctx)
		defer cancel()
		work := Work{
			Scenario: c.sc, Recorder: c.rec, Run: o.Run, Started: c.ledger.Began(), Made: c.ids.Made, Follows: c.backend.Follows,
			OnDesired: o.OnDesired, OnReporting: o.OnReporting, OnReported: o.OnReported, OnContradiction: o.OnContradiction, OnKnown: c.backend.Known, OnLoss: c.lost, OnAway: c.away, OnFail: c.failed, OnRaw: c.raw.note,
			Prove: func(indexes []int) ([]byte, error) {
				x, err := c.ids.Export(indexes)
				return x.Reveal(), err
			},
		}
		places, err := target.Places(c.sc)
		if err != nil {
			return nil, err
		}
		for _, p := range places {
			work.Places = append(work.Places, p.Reveal())
		}
		start, err := c.opts.Agents.Prepare(ctx, work)
		if err != nil {
			return nil, err
		}
		c.noteAgents()
		o.Start, o.Mine = start, func(int) bool { return false }
	}
	return crew.New(o)
}

// lost tells of an agent that was lost.
func (c *conductor) lost(agent, why string, devices int, _ time.Time) {
	c.backend.Missed()
	text := "agent " + agent + " was lost"
	c.noteAgents() // a report says it
	c.ledger.Tell(report.Event{Kind: report.KindOutage, Text: text, Detail: why + "; " + human.Number(devices, "device") + " went with it"})
	c.heedLoss()
}

// failed tells why the run cannot go on, and ends it.
func (c *conductor) failed(why error) {
	c.ledger.Tell(report.Event{Kind: report.KindOutage, Text: why.Error()})
	c.heedLoss()
}

// heedLoss ends a run that cannot go on without an agent that was lost. One that is taken over first enters the stages that have begun: what was
// measured in them is told.
func (c *conductor) heedLoss() {
	if c.opts.Agents == nil || !c.walking.Load() {
		return
	}
	if err := c.opts.Agents.Loss(); err != nil {
		c.stop(err)
	}
}

// away tells of a time without a connection to the agents. A blink is none: their numbers come once a second.
func (c *conductor) away(from time.Time, lasted time.Duration) {
	if lasted < time.Second {
		return
	}
	long := human.Duration(lasted.Round(100 * time.Millisecond))
	c.ledger.Tell(report.Event{Kind: report.KindOutage, Text: "the agents can be heard once more", Detail: "there was no connection to them for " + long})
	c.ledger.Note("there was no connection to the agents for %s, from %s on: they went on, and what they measured meanwhile was told later", long,
		human.Duration(from.Sub(c.ledger.Began()).Round(100*time.Millisecond)))
}

// either ends when ctx does or the run winds down.
func (e *Engine) either(ctx context.Context) (context.Context, context.CancelFunc) {
	both, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(e.soft, func() { cancel(context.Cause(e.soft)) })
	if e.soft.Err() != nil { // AfterFunc calls from a goroutine of its own: what is begun meanwhile would go on
		cancel(context.Cause(e.soft))
	}
	return both, func() {
		stop()
		cancel(nil)
	}
}

// noteConnecting tells of devices that the last stage left connecting: that they succeed once others are gone says nothing of the target.
func (c *conductor) noteConnecting(err error) {
	const long = time.Second
	if x := c.rec.Snapshot().Select(metrics.OpConnect, ""); err == nil && x != nil && x.OpenFor(long) > 0 {
		c.ledger.Note("%s had been connecting for %s or longer when the last stage ended", human.Number(int(x.OpenFor(long)), "device"), human.Duration(long))
	}
}

// noteReach writes down how far devices came on their way to the target.
func (c *conductor) noteReach() {
	all := c.crowd.Reach()
	c.ledger.Write(func(r *report.Run) {
		r.Reach, r.Provisioned = nil, nil
		for _, x := range all {
			r.Reach = append(r.Reach, report.Reach{Group: x.Group, Devices: x.Devices, Tried: x.Tried, Connected: x.Connected, Inherited: x.Inherited})
			if x.Provisions {
				r.Provisioned = append(r.Provisioned, report.Provisioned{
					Group: x.Group, Devices: x.Devices, Assigned: x.Assigned, Connected: x.Connected, Repeated: x.Repeated,
				})
			}
		}
	})
}

// noteSessions writes down how many sessions are left at a broker, as far as is known.
func (c *conductor) noteSessions() {
	if n := c.crowd.Kept(); n > 0 {
		c.ledger.Write(func(r *report.Run) { r.SessionsLeft = n })
	}
}

// load starts worker, fleet and monitor, walks the stages and stops them in the reverse order.
func (c *conductor) load(ctx context.Context) error {
	c.controls.change(func(x *controls) { x.fleet = c.fleet })
	hard, cancelHard := context.WithCancel(ctx)
	defer cancelHard()
	soft, cancelSoft := c.either(ctx)
	defer cancelSoft()
	soft = call.Patient(soft, hard)
	var err error
	if c.reading, err = c.read(soft); err != nil {
		return err
	}
	watching, stopWatching := context.WithCancel(context.Background())
	waitForMeter := c.generator.Begin(watching)
	var monitoring, service sync.WaitGroup
	last := c.rec.Snapshot()
	c.ledger.Write(func(r *report.Run) { r.Totals = last })
	m := &monitor{conductor: c}
	monitoring.Go(func() { last = m.run(watching, last) })
	var serviceErr error
	service.Go(func() { serviceErr = c.backend.Run(soft) })

	err = c.walk(soft)
	c.controls.change(func(x *controls) { x.over = true })
	c.noteConnecting(err)
	c.rec.SetStage("")
	c.beginStage("")
	c.ledger.Tell(report.Event{Kind: report.KindStopping, OK: true, Text: "stopping"})
	c.outages.End() // before devices that are gone stop for that reason, which looks as if they were back
	c.drain.begin(cancelHard, c.rec.Snapshot)
	c.fleet.Finish()
	cancelSoft()
	service.Wait()
	if c.opts.Agents != nil {
		c.opts.Agents.End(time.Now())
		c.opts.Agents.Stop(hard)
		c.heedLoss() // of what was missed while they left, perhaps nobody has told yet
	}
	c.fleet.Stop(hard)
	c.judgeDeliveries(hard)
	c.reading.stop()
	c.noteReach()
	c.noteDeliveries()
	c.noteSessions()
	c.noteRedirects()
	stopWatching()
	monitoring.Wait()
	waitForMeter()
	c.drain.end()
	auditErr := c.backend.EndAudit(ctx, devicesOf{c.crowd, c.fleet.Len()}, c.stopped() == nil)
	m.sample(last)
	if c.stopped() != nil || ctx.Err() != nil {
		return c.contradictions.err()
	}
	return errors.Join(err, serviceErr, c.contradictions.err(), auditErr)
}
