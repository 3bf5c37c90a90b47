package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/schedule"
)

// walk goes through the stages. It returns nil when ctx ended because the run was asked to.
func (c *conductor) walk(ctx context.Context) error {
	for i := range c.sc.Stages {
		if ctx.Err() != nil || c.stopped() != nil { // the first follows the second an instant later
			return nil
		}
		t := &c.sc.Stages[i]
		from := c.ledger.Enter(t.Name, c.rec.SetStage(t.Name))
		c.beginStage(t.Name)
		stage, over := c.controls.stage(ctx, t.Name, t.Paused) // before it is told of: who hears of a stage can end it
		c.ledger.Tell(report.Event{Kind: report.KindStage, OK: true, Text: t.Name, Done: i + 1, Total: len(c.sc.Stages), Detail: describe(t)})
		leave := c.gate.Enter(i, t.Name, t.Duration)
		err := c.runStage(stage, i, t)
		leave()
		c.ran = c.fleet.Ran()
		over()
		if errors.Is(context.Cause(stage), errNext) {
			c.controls.act(report.Intervention{At: c.ledger.Since(), Stage: t.Name, Act: report.ActEnded})
			c.ledger.Tell(report.Event{Kind: report.KindChanged, OK: true, Stage: t.Name, Text: "stage " + t.Name + " was ended early by hand"})
			c.ledger.Note("stage %s was ended early by hand", t.Name)
		}
		row := report.Stage{Name: t.Name, From: from, To: c.ledger.Since()}
		ran := c.ran
		c.ledger.Write(func(r *report.Run) { r.Stages, r.Ran = append(r.Stages, row), &ran })
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("stage %s: %w", t.Name, err)
		}
	}
	return nil
}

// beginStage tells those who judge that a stage begins. With an empty name the last stage is over.
func (c *conductor) beginStage(name string) {
	now := c.rec.Snapshot()
	c.bounds.Stage(name, now)
	c.measured(c.generator.Stage(name, now, c.connections()))
}

// describe says what a stage does, for people.
func describe(t *scenario.Stage) string {
	text := ""
	add := func(format string, a ...any) {
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf(format, a...)
	}
	if t.Duration > 0 {
		add("%s", human.Duration(t.Duration))
	}
	switch {
	case t.ByGroup != nil:
		add("to %s (%s)", devices(t.Devices), t.Goals())
	case t.Course != nil:
		add("devices: %s", t.CourseWords())
	case t.Devices >= 0:
		add("to %s", devices(t.Devices))
	}
	if t.ConnectRate != nil {
		add("at %s", t.ConnectRate.Words(human.Rate))
	}
	if t.Paused {
		add("paused")
	}
	if t.ReportRate != nil {
		add("reports at %s", t.ReportRate.Words(human.Rate))
	}
	if t.TelemetryRate != nil {
		add("telemetry at %s", t.TelemetryRate.Words(human.Rate))
	}
	if t.Storm != nil {
		add("storm of %.0f %%%s", t.Storm.Drop*100, t.Storm.Whose())
	}
	switch n := len(t.Steps); {
	case n == 1:
		add("1 step")
	case n > 1:
		add("%d steps", n)
	}
	return text
}

// describeDPS says what a provisioning service does wrong, for people.
func describeDPS(m *scenario.DPSFault) string {
	var parts []string
	if m.Registrations > 0 {
		parts = append(parts, human.Number(m.Registrations, "registration")+" a minute")
	}
	if m.Polls > 0 {
		parts = append(parts, human.Number(m.Polls, "poll")+" a minute")
	}
	if m.Delay > 0 {
		parts = append(parts, human.Duration(m.Delay)+" longer")
	}
	if m.Fail > 0 {
		parts = append(parts, fmt.Sprintf("%.3g %% fail", m.Fail*100))
	}
	return strings.Join(parts, ", ")
}

// runStage runs one stage: its faults, its load and its steps side by side. A stage without a duration
// ends with its last step.
func (c *conductor) runStage(ctx context.Context, number int, t *scenario.Stage) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer c.target.Stage(t.Name)()
	defer c.fault(number, t)()
	if t.Storm != nil {
		n := c.fleet.Storm(t.Storm.Drop, t.Storm.Within, number, t.Storm.Groups...)
		detail := fmt.Sprintf("%s%s cut within %s", human.Number(n, "connection"), t.Storm.Whose(), human.Duration(t.Storm.Within))
		c.ledger.Tell(report.Event{Kind: report.KindOutage, Text: "storm", Detail: detail})
	}
	var parts sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	run := func(part func() error) {
		parts.Go(func() {
			// That the stage was ended by hand is no failure of a part, and hides none of another.
			if err := part(); err != nil && !errors.Is(err, errNext) && !errors.Is(err, errLeft) {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
				cancel(err)
			}
		})
	}
	defer c.disturb(ctx, t, run)()
	l := c.newLoad(ctx, number)
	run(func() error {
		return l.devices.run(func(ctx context.Context) error { return c.scale(ctx, t) }, t.Duration)
	})
	if t.ReportRate != nil {
		run(func() error {
			return l.reports.run(func(ctx context.Context) error {
				return c.fleet.LoadAt(ctx, begin, metrics.OpTwinReport, c.sc.Reports(number), t.Duration)
			}, t.Duration)
		})
	}
	if t.TelemetryRate != nil {
		run(func() error {
			return l.telemetry.run(func(ctx context.Context) error {
				return c.fleet.LoadAt(ctx, begin, metrics.OpTelemetry, c.sc.Messages(number), t.Duration)
			}, t.Duration)
		})
	}
	c.controls.change(func(x *controls) { x.load = l })
	run(func() error { return c.runSteps(ctx, t) })
	parts.Wait()
	c.controls.change(func(x *controls) { x.load = nil })
	l.end()
	return errors.Join(errs...)
}

// scale brings the fleet to the stage's number of devices, and lasts as long as the stage.
func (c *conductor) scale(ctx context.Context, t *scenario.Stage) error {
	if t.ByGroup != nil {
		return c.fleet.ScaleGroups(ctx, t.ByGroup, t.Duration)
	}
	began, active := time.Now(), c.fleet.Active()
	if course := t.DeviceCurve(active); course != nil {
		return c.fleet.Scale(ctx, course)
	}
	goal := active
	if t.Devices >= 0 {
		goal = t.Devices
	}
	from := active
	if rate := t.ConnectCurve(active); rate != nil {
		if err := c.fleet.Arrive(ctx, goal, rate); err != nil {
			return err
		}
		from = goal
	}
	left := max(0, t.Duration-time.Since(began))
	return c.fleet.Scale(ctx, schedule.Curve{{Duration: left, From: float64(from), To: float64(goal)}})
}

// fault switches the embedded hub's faults on and returns what switches off those that last with the stage.
func (c *conductor) fault(number int, t *scenario.Stage) func() {
	f := c.target.Faults
	if t.Hub == nil || f == nil {
		return func() {}
	}
	for _, x := range []struct {
		name string
		d    time.Duration
		do   func(time.Duration)
	}{{"refuses connections", t.Hub.Refuse, f.Refuse}, {"stalls", t.Hub.Stall, f.Stall}, {"restarts", t.Hub.Restart, f.Restart}} {
		if x.d > 0 {
			x.do(x.d)
			c.ledger.Tell(report.Event{Kind: report.KindOutage, Text: "the hub " + x.name, Detail: "for " + human.Duration(x.d)})
		}
	}
	f.DropAcks(t.Hub.DropAcks)
	goesOn := func(a, b int) bool { // the model of one stage is that of another: what waits in its queue goes on to
		return a >= 0 && b < len(c.sc.Stages) && c.sc.Stages[a].Hub != nil && c.sc.Stages[b].Hub != nil && c.sc.Stages[a].Hub.Service != nil &&
			c.sc.Stages[b].Hub.Service != nil && *c.sc.Stages[a].Hub.Service == *c.sc.Stages[b].Hub.Service
	}
	if m := t.Hub.Service; m != nil && !goesOn(number-1, number) {
		f.Serve(m, c.sc.Seed+uint64(number))
		detail := fmt.Sprintf("%s servers, %s a twin operation, %s", human.Count(m.Servers), human.Duration(m.Time), m.Distribution)
		c.ledger.Tell(report.Event{Kind: report.KindOutage, Text: "the hub takes its time", Detail: detail})
	}
	if m := t.Hub.DPS; m != nil {
		f.Provision(m)
		c.ledger.Tell(report.Event{Kind: report.KindOutage, Text: "the provisioning service misbehaves", Detail: describeDPS(m)})
	}
	return func() {
		f.Provision(nil)
		f.DropAcks(0)
		if !goesOn(number, number+1) {
			f.Serve(nil, 0)
		}
	}
}
