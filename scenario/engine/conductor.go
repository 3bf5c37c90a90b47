package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/drivers"
	"github.com/twinfleet/twinfleet/internal/backend"
	"github.com/twinfleet/twinfleet/internal/backend/side"
	"github.com/twinfleet/twinfleet/internal/outage"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/internal/worker/call"
	"github.com/twinfleet/twinfleet/internal/worker/gate"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// conductor leads a run from its first stage to the last answer: fleet, worker and monitor play, it gives the time.
type conductor struct {
	*Engine
	*outcome

	target         *target.Target
	ids            *target.Identities
	fleet          *fleet.Fleet
	backend        *backend.Backend
	gate           *gate.Gate
	outages        *outage.Watch
	contradictions contradictions
	reading        reading
}

func newConductor(e *Engine, t *target.Target, ids *target.Identities, came *outcome) (*conductor, error) {
	c := &conductor{Engine: e, outcome: came, target: t, ids: ids, gate: gate.New()}
	var err error
	if c.backend, err = c.newBackend(); err != nil {
		return nil, err
	}
	if c.fleet, err = c.newFleet(); err != nil {
		return nil, err
	}
	c.outages = &outage.Watch{Ledger: &c.ledger, Recorder: c.rec, Fleet: c.connected}
	return c, nil
}

// connected is how the devices are connected now.
func (c *conductor) connected() outage.Fleet {
	f := c.fleet
	return outage.Fleet{Connected: f.Counts()[fleet.StateConnected], Lost: f.Lost(), Losses: f.Losses(), Returns: f.Returns(), Left: f.Left(), Active: f.Active()}
}

func (c *conductor) newBackend() (*backend.Backend, error) {
	return backend.New(side.Side{
		Scenario: c.sc, Target: c.target, Identities: c.ids, Recorder: c.rec, Ledger: &c.ledger, Gate: c.gate,
		Contradicted: c.contradicted, Fail: func(err error) { c.stop(err) },
	})
}

func (c *conductor) newFleet() (*fleet.Fleet, error) {
	speak := voices{client: c.sc.Fleet.Client, test: c.opts.driver, made: make(map[spec.DeviceTransport]link.Driver)}
	driver, err := speak.over(spec.MQTT)
	if err != nil {
		return nil, err
	}
	cfg := fleet.Config{
		Run:  strings.ToLower(rand.Text()[:5]),
		Seed: c.sc.Seed, Target: c.target, Driver: driver, Recorder: c.rec, Logger: c.log,
		OnDesired: c.backend.OnDesired, OnReporting: c.backend.OnReporting, OnReported: c.backend.OnReported,
		OnContradiction: func(x fleet.Contradiction) { c.contradicted(string(x.Kind), x.Device+": "+x.Detail) },
	}
	for i := range c.sc.Fleet.Groups {
		g := &c.sc.Fleet.Groups[i]
		profile, err := groupProfile(g)
		if err != nil {
			return nil, fmt.Errorf("group %s: %w", g.Name, err)
		}
		if profile.Driver, err = speak.over(g.Over()); err != nil {
			return nil, fmt.Errorf("group %s: %w", g.Name, err)
		}
		profile.Protocol = c.target.ProtocolOver(g.Over())
		profile.First, profile.IDs = c.ids.First(g), c.ids.Of(g)
		profile.Telemetry.Rated = slices.Contains(c.sc.Rated(false), g.Name)
		profile.Provision = c.target.Provisioning(g)
		profile.Listens = len(g.Subscribe.Topics) > 0
		cfg.Groups = append(cfg.Groups, profile)
	}
	return fleet.New(cfg)
}

// voices are the drivers of a run: one for all groups that speak the same.
type voices struct {
	client string // that drives those who speak MQTT
	test   func(spec.DeviceTransport) link.Driver
	made   map[spec.DeviceTransport]link.Driver
}

// over is the driver of a transport, which WebSocket below it does not change.
func (v *voices) over(x spec.DeviceTransport) (d link.Driver, err error) {
	switch {
	case x.IsMQTT():
		x = spec.MQTT
	case x.IsAMQP():
		x = spec.AMQP
	}
	if v.made[x] != nil {
		return v.made[x], nil
	}
	switch {
	case v.test != nil:
		d = v.test(x)
	case x == spec.MQTT:
		if d, err = drivers.New(v.client); err != nil {
			err = fmt.Errorf("fleet.client: %w", err)
		}
	default:
		d, err = drivers.Over(string(x))
	}
	if err != nil {
		return nil, err
	}
	v.made[x] = d
	return d, nil
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

// noteProvisioned writes down what became of the devices that a provisioning service assigns.
func (c *conductor) noteProvisioned() {
	all := c.fleet.Provisioned()
	c.ledger.Write(func(r *report.Run) {
		r.Provisioned = nil
		for _, p := range all {
			r.Provisioned = append(r.Provisioned, report.Provisioned(p))
		}
	})
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
	c.drain.begin(cancelHard)
	c.fleet.Finish()
	cancelSoft()
	service.Wait()
	c.fleet.Stop(hard)
	c.judgeDeliveries(hard)
	c.reading.stop()
	c.noteProvisioned()
	c.noteDeliveries()
	stopWatching()
	monitoring.Wait()
	waitForMeter()
	if c.drain.end() {
		c.ledger.Note("the wait for the last answers was cut short by hand")
	}
	auditErr := c.backend.EndAudit(ctx, c.fleet, c.stopped() == nil)
	m.sample(last)
	if c.stopped() != nil || ctx.Err() != nil {
		return c.contradictions.err()
	}
	return errors.Join(err, serviceErr, c.contradictions.err(), auditErr)
}
