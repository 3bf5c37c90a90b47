package terminaltest

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/judge"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// standing is how the run of Play stands: all is well.
func standing(p runstate.Plan, now *metrics.Snapshot) *report.Standing {
	s := &report.Standing{
		Outlook: report.Holding, Reason: "2 of 3 thresholds met so far, 1 not yet to be judged",
		Thresholds: []judge.State{
			state("twin_report: p(99) < 500ms", "p(99) = 77.06ms", true),
			state("telemetry: error_rate < 1%", "error_rate = 0.25% (2 of 800)", true),
			{Verdict: threshold.Verdict{Threshold: "recovery: max < 30s", Observed: "no data: there was no outage", NoData: true}, Pending: true},
		},
	}
	s.Connected, s.Wanted = threshold.Devices(now, "")
	for _, g := range p.Groups {
		s.Fleet += g.Count
	}
	if s.Left = time.Minute - now.Elapsed; s.Left < 0 {
		s.Left = 0
	}
	return s
}

func state(text, observed string, pass bool) judge.State {
	return judge.State{Verdict: threshold.Verdict{Threshold: text, Observed: observed, Pass: pass}}
}

// tell has a state take in the same figures with another standing.
func tell(s *runstate.State, change func(now *report.Standing)) *runstate.State {
	now := *s.Standing()
	now.Thresholds = append([]judge.State(nil), now.Thresholds...)
	change(&now)
	s.Sample(report.Sample{At: s.Figures().Elapsed, Total: s.Figures(), Window: &metrics.Snapshot{Stage: s.StageName()}, Standing: &now})
	return s
}

// missed says that a threshold is missed since a second of the run.
func missed(t *judge.State, observed string, since int) {
	t.Observed, t.Pass, t.Pending, t.NoData = observed, false, false, false
	t.Since = epoch().Add(time.Duration(since) * time.Second)
}

// Worlds are runs in every condition, by name, for pictures of them.
func Worlds() map[string]func() *runstate.State {
	return map[string]func() *runstate.State{
		"opening":  func() *runstate.State { return &runstate.State{Plan: Plan()} },
		"starting": starting, "ended": ended, "groups": crowd,
		"ramp":    func() *runstate.State { return StateAt(Plan(), 12) },
		"holding": func() *runstate.State { return StateAt(Plan(), 40) },
		"missing": told(40, func(now *report.Standing) {
			missed(&now.Thresholds[0], "p(99) = 812.40ms", 28)
			missed(&now.Thresholds[1], "error_rate = 4.2% (34 of 800)", 33)
			now.Outlook, now.Reason = report.Missing, "2 of 3 thresholds are missed, the first is twin_report: p(99) < 500ms: p(99) = 812.40ms"
		}),
		"failing": told(20, func(now *report.Standing) {
			now.Failing = []string{"none of 312 twin_read worked: refused: 401 Unauthorized"}
			now.Outlook, now.Reason = report.Failing, now.Failing[0]
		}),
		"cannot-say": told(40, func(now *report.Standing) {
			now.Doubt = "stage hold: 7,887 of 8,000 twin_report started late, by 1.2 s at worst: this process used all of the 2 processors that there are for it"
			for i := range 2 {
				now.Thresholds[i].CannotSay, now.Thresholds[i].Why, now.Thresholds[i].Pass = true, now.Doubt, false
			}
			now.Outlook, now.Reason = report.CannotSay, "the generator is the bottleneck; of 2 of 3 thresholds nothing can be said"
		}),
		"agents": told(40, func(now *report.Standing) {
			now.Agents = reporttest.Agents(4)
			now.Outlook, now.Reason = report.CannotSay, "agent-2 was lost; of 2 of 3 thresholds nothing can be said"
		}),
		"swarm": told(40, func(now *report.Standing) { now.Agents = reporttest.Agents(100) }),
		"rollouts": told(40, func(now *report.Standing) {
			now.Rollouts = []report.Wave{
				{Rollout: "firmware", Group: "robots", Number: 1, Of: 3, Percent: 10, Devices: 300, Patched: 300, Told: 300, Answered: 299, Failed: 1, Took: 5 * time.Second},
				{Rollout: "firmware", Group: "robots", Number: 2, Of: 3, Percent: 50, Devices: 1200, Patched: 1200, Told: 1100, Answered: 850, Took: 9500 * time.Millisecond, Running: true},
			}
		}),
	}
}

// starting is a run whose identities are made.
func starting() *runstate.State {
	s := &runstate.State{Plan: Plan()}
	s.Event(report.Event{At: 100 * time.Millisecond, Kind: report.KindTarget, Text: "target", Detail: "embedded hub", OK: true})
	s.Event(report.Event{At: 200 * time.Millisecond, Kind: report.KindProvision, Text: "identities made", OK: true, Done: 1200, Total: 3300})
	return s
}

// ended is a run that waits for the last answers.
func ended() *runstate.State {
	s := StateAt(Plan(), 60)
	s.Event(report.Event{At: 60500 * time.Millisecond, Kind: report.KindStopping, Text: "stopping", OK: true})
	s.Sample(report.Sample{At: 62 * time.Second, Total: s.Figures(), Window: s.Latest(), Waiting: 1234, Left: 18 * time.Second, Standing: s.Standing()})
	return s
}

// told is the run after some seconds, with another standing.
func told(seconds int, change func(now *report.Standing)) func() *runstate.State {
	return func() *runstate.State { return tell(StateAt(Plan(), seconds), change) }
}

// crowd is a run of more groups and operations than fit, two of which fail.
func crowd() *runstate.State {
	p := Plan()
	p.Groups = nil
	for i := range 14 {
		p.Groups = append(p.Groups, runstate.Group{Name: fmt.Sprintf("plant-%02d", i+1), Count: 200})
	}
	s := &runstate.State{Plan: p}
	rec := metrics.NewRecorder(metrics.Options{})
	s.Event(report.Event{At: 100 * time.Millisecond, Kind: report.KindTarget, Text: "target", Detail: "hub.example.net", OK: true})
	s.Event(report.Event{At: 500 * time.Millisecond, Kind: report.KindStage, Text: "ramp", Detail: "30.0s", OK: true, Done: 1, Total: 2})
	s.Event(report.Event{At: 12 * time.Second, Kind: report.KindStage, Text: "hold", Detail: "30.0s", OK: true, Done: 2, Total: 2})
	last := rec.Snapshot()
	last.At, last.Elapsed = epoch(), 0
	for second := range 27 {
		at := epoch().Add(time.Duration(second) * time.Second)
		for g, group := range p.Groups {
			rec.DeviceGauge(group.Name, "connected").Store(int64(group.Count - g%3))
			rec.DeviceGauge(group.Name, "backoff").Store(int64(g % 3))
			ops := []metrics.Operation{metrics.OpTwinReport, metrics.OpTelemetry, metrics.OpMethod}
			if second < 12 {
				ops = []metrics.Operation{metrics.OpProvision, metrics.OpTag, metrics.OpConnect, metrics.OpSubscribe, metrics.OpTwinGet}
			}
			for _, op := range ops {
				outcome, reason := metrics.OK, ""
				switch {
				case op == metrics.OpTelemetry && g == 11:
					outcome, reason = metrics.Timeout, "no answer in time"
				case op == metrics.OpMethod && g == 12:
					outcome, reason = metrics.Throttled, "status 429"
				}
				rec.Series(op, group.Name).Start(at, at).EndBecause(at.Add(time.Duration(5+g)*time.Millisecond), outcome, reason)
			}
		}
		for q := range 4 {
			rec.Series(metrics.OpQuery, fmt.Sprintf("by-plant-%d", q+1)).Start(at, at).End(at.Add(40*time.Millisecond), metrics.OK)
		}
		now := rec.Snapshot()
		now.At, now.Elapsed = at.Add(time.Second), time.Duration(second+1)*time.Second
		window := now.Sub(last)
		s.Sample(report.Sample{At: now.Elapsed, Total: now, Window: window, Standing: standing(p, now)})
		last = now
	}
	return s
}

// Seldom is a run with a job every so many seconds, looked at when two thirds of that are over since the third.
func Seldom(every int) *runstate.State {
	s := &runstate.State{Plan: Plan()}
	rec := metrics.NewRecorder(metrics.Options{})
	last := rec.Snapshot()
	last.At, last.Elapsed = epoch(), 0
	for second := range 2*every + every*2/3 {
		at := epoch().Add(time.Duration(second) * time.Second)
		if second%every == 0 {
			rec.Series(metrics.OpJob, "").Start(at, at).End(at, metrics.OK)
		}
		now := rec.Snapshot()
		now.At, now.Elapsed = at.Add(time.Second), time.Duration(second+1)*time.Second
		s.Sample(report.Sample{At: now.Elapsed, Total: now, Window: now.Sub(last)})
		last = now
	}
	return s
}

// Line is an operation's row of the table of operations.
func Line(s *runstate.State, op metrics.Operation) account.Line {
	for _, l := range account.Lines(s.Figures()) {
		if l.Series.Operation == op {
			return l
		}
	}
	return account.Line{Series: &metrics.SeriesSnapshot{}}
}
