package crew

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/schedule"
)

// swift is how long a fleet takes to get to a number of devices that was given by hand, in a stage without a rate of connections.
const swift = 10 * time.Second

// endless is longer than any run: a load by hand ends with its stage.
const endless = 1000 * time.Hour

// Stage is what a stage asks of the devices, which somebody may change. All of it follows from when it begins, and from when it is changed or
// cut: crews that are parts of a run are told the same times, and make the same of them.
type Stage struct {
	crew     *Crew
	spec     *scenario.Stage
	number   int
	began    time.Time
	storm    int
	movement atomic.Pointer[fleet.Movement] // that holds
	arrives  bool                           // devices come, or go, at a rate

	devices, reports, telemetry knob
	cancel                      context.CancelFunc
	changing                    sync.WaitGroup // changes whose time has not come
	good                        []func()       // make the network good
}

// Begin begins the stage of a number, counted from 0, at a time: its storm, what is wrong with the network, its load. run is called with each
// part of it that takes time, and runs it beside the others; ctx ends them. End must be called.
func (c *Crew) Begin(ctx context.Context, number int, at time.Time, run func(part func() error)) *Stage {
	parts := ctx
	ctx, cancel := context.WithCancel(ctx)
	t := &c.sc.Stages[number]
	s := &Stage{
		crew: c, spec: t, number: number, began: at, devices: knob{ctx: ctx}, reports: knob{ctx: ctx}, telemetry: knob{ctx: ctx}, cancel: cancel,
	}
	if x := t.Storm; x != nil {
		s.storm = c.Fleet.StormAt(at, x.Drop, x.Within, number, x.Groups...)
	}
	s.disturb(parts, run)
	s.movement.Store(s.plan()) // before the rates, which go by who is there
	run(func() error { return s.devices.run(s.scale, t.Duration) })
	rate := func(k *knob, op metrics.Operation, times func(int) iter.Seq[time.Duration]) {
		run(func() error {
			return k.run(func(ctx context.Context) error { return c.Fleet.LoadAt(ctx, at, op, times(number), t.Duration) }, t.Duration)
		})
	}
	if t.ReportRate != nil {
		rate(&s.reports, metrics.OpTwinReport, c.sc.Reports)
	}
	if t.TelemetryRate != nil {
		rate(&s.telemetry, metrics.OpTelemetry, c.sc.Messages)
	}
	return s
}

// Past takes up a stage that is over, or was: it began at a time and the next one did at another. Nothing of it is done but what follows for
// the next.
func (c *Crew) Past(number int, at, until time.Time) {
	s := &Stage{crew: c, spec: &c.sc.Stages[number], number: number, began: at}
	m := s.plan()
	if s.arrives && m.End().Before(until) {
		s.stay(m)
	}
}

// Storm is how many connections the stage cuts as it begins, of the whole fleet.
func (s *Stage) Storm() int { return s.storm }

// Cut says that the stage ends at a time before its own: what it planned for then, or for later, is not done, though ctx ends a bit later.
func (s *Stage) Cut(at time.Time) { s.movement.Load().Cut(at) }

// End ends what goes on of the stage, and waits for it.
func (s *Stage) End() {
	s.cancel()
	s.changing.Wait()
	for _, k := range []*knob{&s.devices, &s.reports, &s.telemetry} {
		k.hand.Wait()
	}
	for _, good := range s.good {
		good()
	}
}

// plan is the movement that the stage begins with.
func (s *Stage) plan() *fleet.Movement {
	f, t := s.crew.Fleet, s.spec
	if t.ByGroup != nil {
		return f.PlanGroups(s.began, t.ByGroup, t.Duration)
	}
	f.CatchUp(s.began)
	active := f.Active()
	if course := t.DeviceCurve(active); course != nil {
		return f.PlanScale(s.began, course)
	}
	goal := s.goal(active)
	if rate := t.ConnectCurve(active); rate != nil {
		s.arrives = true
		return f.PlanArrive(s.began, goal, rate)
	}
	return f.PlanScale(s.began, schedule.Curve{{Duration: t.Duration, From: float64(active), To: float64(goal)}})
}

// goal is to how many devices the stage goes that begins with so many.
func (s *Stage) goal(active int) int {
	if s.spec.Devices >= 0 {
		return s.spec.Devices
	}
	return active
}

// scale brings the fleet to the stage's number of devices, and lasts as long as the stage.
func (s *Stage) scale(ctx context.Context) error {
	m := s.movement.Load()
	if err := m.Run(ctx); err != nil {
		return err
	}
	if !s.arrives {
		return nil
	}
	m = s.stay(m)
	s.movement.Store(m)
	return m.Run(ctx)
}

// stay is what follows when devices have come at a rate: their number stays.
func (s *Stage) stay(m *fleet.Movement) *fleet.Movement {
	goal, left := float64(s.goal(s.crew.Fleet.Active())), max(0, s.spec.Duration-m.End().Sub(s.began))
	return s.crew.Fleet.PlanScale(m.End(), schedule.Curve{{Duration: left, From: goal, To: goal}})
}

// Change changes the load at a time: the devices that are active, at the stage's rate of connections or else within 10 s; the rates of reports
// and of messages, in place of the stage's own, evenly apart.
func (s *Stage) Change(change report.LoadChange, at time.Time) {
	if change.Devices != nil {
		s.movement.Load().Cut(at)
		s.turn(&s.devices, at, func(ctx context.Context) error { return s.scaleTo(ctx, *change.Devices, at) })
	}
	if change.ReportRate != nil {
		s.rate(&s.reports, metrics.OpTwinReport, *change.ReportRate, at)
	}
	if change.TelemetryRate != nil {
		s.rate(&s.telemetry, metrics.OpTelemetry, *change.TelemetryRate, at)
	}
}

// turn turns a knob at a time.
func (s *Stage) turn(k *knob, at time.Time, part func(context.Context) error) {
	d := time.Until(at)
	if d <= 0 {
		k.turn(part)
		return
	}
	s.changing.Go(func() {
		if wait.For(k.ctx, d) == nil {
			k.turn(part)
		}
	})
}

// scaleTo has the fleet go to a number of devices from a time on.
func (s *Stage) scaleTo(ctx context.Context, goal int, at time.Time) error {
	f, t := s.crew.Fleet, s.spec
	f.CatchUp(at)
	var m *fleet.Movement
	if r := t.ConnectRate; r != nil {
		rate := max(r.From, r.To)
		m = f.PlanArrive(at, goal, schedule.Curve{{Duration: endless, From: rate, To: rate}})
	} else {
		over := swift
		if t.Duration > 0 {
			over = min(over, max(0, t.Duration-at.Sub(s.began)))
		}
		m = f.PlanScale(at, schedule.Curve{{Duration: over, From: float64(f.Active()), To: float64(goal)}})
	}
	s.movement.Store(m)
	return m.Run(ctx)
}

// rate has the fleet do an operation at a rate, evenly, from a time on.
func (s *Stage) rate(k *knob, op metrics.Operation, rate float64, at time.Time) {
	s.turn(k, at, func(ctx context.Context) error {
		return s.crew.Fleet.LoadAt(ctx, at, op, schedule.Curve{{Duration: endless, From: rate, To: rate}}.Even(), endless)
	})
}
