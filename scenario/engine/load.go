package engine

import (
	"context"
	"errors"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/schedule"
)

// Errors of Change.
var (
	ErrNoStage = errors.New("no stage runs")                                    // before the first, between two, after the last
	ErrNobody  = errors.New("no group of the scenario sends what is asked for") // a rate of reports or messages that nobody sends
)

// swift is how long a fleet takes to get to a number of devices that was given by hand, in a stage without a rate of connections.
const swift = 10 * time.Second

// endless is longer than any run: a load by hand ends with its stage.
const endless = 1000 * time.Hour

// load is what a stage asks of the fleet, which somebody may change.
type load struct {
	conductor                   *conductor
	number                      int // of the stage
	began                       time.Time
	devices, reports, telemetry knob
	end                         func() // ends what goes on by hand, and waits for it
}

// newLoad is the load of a stage that begins; ctx ends with it.
func (c *conductor) newLoad(ctx context.Context, number int) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{conductor: c, number: number, began: time.Now(), devices: knob{ctx: ctx}, reports: knob{ctx: ctx}, telemetry: knob{ctx: ctx}}
	l.end = func() {
		cancel()
		for _, k := range []*knob{&l.devices, &l.reports, &l.telemetry} {
			k.hand.Wait()
		}
	}
	return l
}

// stage is the stage whose load it is.
func (l *load) stage() *scenario.Stage { return &l.conductor.sc.Stages[l.number] }

// scale has the fleet go to a number of devices.
func (l *load) scale(goal int) {
	c, t := l.conductor, l.stage()
	l.devices.turn(func(ctx context.Context) error {
		if r := t.ConnectRate; r != nil {
			rate := max(r.From, r.To)
			return c.fleet.Arrive(ctx, goal, schedule.Curve{{Duration: endless, From: rate, To: rate}})
		}
		over := swift
		if t.Duration > 0 {
			over = min(over, max(0, t.Duration-time.Since(l.began)))
		}
		return c.fleet.Scale(ctx, schedule.Curve{{Duration: over, From: float64(c.fleet.Active()), To: float64(goal)}})
	})
}

// rate has the fleet do an operation at a rate, evenly.
func (l *load) rate(k *knob, op metrics.Operation, rate float64) {
	fleet := l.conductor.fleet
	k.turn(func(ctx context.Context) error {
		return fleet.LoadAt(ctx, op, schedule.Curve{{Duration: endless, From: rate, To: rate}}.Even(), endless)
	})
}

// Change changes the load of the stage that runs until that ends: the devices that are active, at the stage's rate of connections or else
// within 10 s; the rates of reports and of messages, in place of the stage's own, evenly apart. What devices do on their own schedules goes
// on. The stages to come are as the scenario has them; one that says nothing of devices keeps those that there are. A run whose load was
// changed is never Passed, and of its thresholds nothing can be said from then on. It may be called at any time; its error says
// what is wrong with the change, ErrNoStage or ErrNobody.
func (e *Engine) Change(change report.LoadChange) error {
	if err := change.Check(e.sc.Devices()); err != nil {
		return err
	}
	if change.ReportRate != nil && (!e.sc.Target.Can().Twins || len(e.sc.Rated(true)) == 0) || change.TelemetryRate != nil && len(e.sc.Rated(false)) == 0 {
		return ErrNobody
	}
	at, err := e.ledger.Since(), ErrNoStage
	e.controls.change(func(c *controls) {
		l := c.load
		if l == nil {
			return
		}
		err = nil
		c.did = append(c.did, report.Intervention{At: at, Stage: c.name, Act: report.ActChanged, Detail: change.String()})
		if change.Devices != nil {
			l.scale(*change.Devices)
		}
		if change.ReportRate != nil {
			l.rate(&l.reports, metrics.OpTwinReport, *change.ReportRate)
		}
		if change.TelemetryRate != nil {
			l.rate(&l.telemetry, metrics.OpTelemetry, *change.TelemetryRate)
		}
	})
	if err == nil {
		e.ledger.Tell(report.Event{Kind: report.KindChanged, OK: true, Text: "the load was changed by hand", Detail: change.String()})
	}
	return err
}
