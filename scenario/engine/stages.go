package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
)

// walk goes through the stages. It returns nil when ctx ended because the run was asked to.
func (c *conductor) walk(ctx context.Context) error {
	tell := &herald{agents: c.opts.Agents}
	for i := c.past(tell); i < len(c.sc.Stages); i++ {
		if ctx.Err() != nil || c.stopped() != nil { // the first follows the second an instant later
			return nil
		}
		t := &c.sc.Stages[i]
		begin, err := tell.stage(ctx, i)
		if err != nil {
			return nil // it was asked to end
		}
		begin = c.rec.SetStageAt(t.Name, begin)
		from := c.ledger.Enter(t.Name, begin)
		c.beginStage(t.Name)
		stage, over := c.controls.stage(ctx, t.Name, t.Paused) // before it is told of: who hears of a stage can end it
		c.ledger.Tell(report.Event{Kind: report.KindStage, OK: true, Text: t.Name, Done: i + 1, Total: len(c.sc.Stages), Detail: describe(t)})
		leave := c.gate.Enter(i, t.Name, t.Duration)
		c.walking.Store(true)
		c.heedLoss()
		err = c.runStage(stage, i, begin, t, tell)
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
func (c *conductor) runStage(ctx context.Context, number int, begin time.Time, t *scenario.Stage, tell *herald) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer c.target.Stage(t.Name)()
	defer c.fault(number, t)()
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
	l := c.crew.Begin(ctx, number, begin, run)
	defer l.End()
	if t.Storm != nil {
		detail := fmt.Sprintf("%s%s cut within %s", human.Number(l.Storm(), "connection"), t.Storm.Whose(), human.Duration(t.Storm.Within))
		c.ledger.Tell(report.Event{Kind: report.KindOutage, Text: "storm", Detail: detail})
	}
	if t.Network != nil {
		c.ledger.Tell(report.Event{Kind: report.KindOutage, Text: "the network is bad", Detail: describeNetwork(t.Network)})
	}
	c.controls.change(func(x *controls) { x.load = l })
	end := begin.Add(t.Duration)
	over := t.Duration > 0 && time.Now().After(end) // in a run that was taken over: the devices have gone on
	var stepped atomic.Bool
	stepped.Store(over || len(t.Steps) == 0)
	run(func() error {
		if over {
			return nil
		}
		defer stepped.Store(true)
		return c.runSteps(ctx, t)
	})
	if t.Duration > 0 {
		run(func() error {
			if wait.For(ctx, time.Until(end)-tell.lead()) == nil && stepped.Load() {
				tell.announce(number, len(c.sc.Stages), end, c.fleet)
			}
			return nil
		})
	}
	parts.Wait()
	c.controls.change(func(x *controls) { x.load = nil })
	return errors.Join(errs...)
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
