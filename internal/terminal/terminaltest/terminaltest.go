// Package terminaltest is a run that goes on, for tests of those who show it.
package terminaltest

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// epoch is when the runs of the tests began.
func epoch() time.Time { return time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC) }

// Plan is the plan of the run.
func Plan() runstate.Plan {
	return runstate.Plan{
		Name: "connectivity", Description: "3,000 devices for a minute",
		Stages: []runstate.Stage{{Name: "ramp", Duration: 30 * time.Second}, {Name: "hold", Duration: 30 * time.Second}},
		Groups: []runstate.Group{{Name: "robots", Count: 3000}, {Name: "vehicles", Count: 300}},
		Links:  []runstate.Link{{Name: "metrics", Address: "http://127.0.0.1:9464/metrics"}},
	}
}

// Play is a run up to a second of it: what a recorder and an engine tell, without either's clock.
func Play(p runstate.Plan, seconds int, event func(report.Event), sample func(report.Sample)) {
	rec := metrics.NewRecorder(metrics.Options{})
	tell := func(at time.Duration, kind report.Kind, text, detail string, done, total int, ok bool) {
		event(report.Event{At: at, Kind: kind, Text: text, Detail: detail, OK: ok, Done: done, Total: total})
	}
	tell(100*time.Millisecond, report.KindTarget, "target", "embedded hub", 0, 0, true)
	tell(200*time.Millisecond, report.KindProvision, "identities made", "", 1200, 3300, true)
	tell(400*time.Millisecond, report.KindProvision, "identities made", "310ms", 3300, 3300, true)
	last := rec.Snapshot()
	last.At, last.Elapsed = epoch(), 0
	for second := range seconds {
		at := epoch().Add(time.Duration(second) * time.Second)
		stage := p.Stages[second*len(p.Stages)/60]
		if second%(60/len(p.Stages)) == 0 {
			n := second*len(p.Stages)/60 + 1
			tell(time.Duration(second)*time.Second+500*time.Millisecond, report.KindStage, stage.Name, human.Duration(stage.Duration), n, len(p.Stages), true)
		}
		if second == 33 {
			tell(33*time.Second, "outage", "devices lost their connections", "212 of 3,300 are gone", 0, 0, false)
		}
		fill(rec, p, at, second)
		now := rec.Snapshot()
		now.At, now.Elapsed = at.Add(time.Second), time.Duration(second+1)*time.Second
		window := now.Sub(last)
		window.Stage = stage.Name
		sample(report.Sample{At: now.Elapsed, Total: now, Window: window, Standing: standing(p, now)})
		last = now
	}
}

// fill is one second of a fleet.
func fill(rec *metrics.Recorder, p runstate.Plan, at time.Time, second int) {
	for g, group := range p.Groups {
		up := min(group.Count, group.Count*(second+1)/30)
		lost := 0
		if second >= 33 {
			lost = group.Count / 15
		}
		rec.DeviceGauge(group.Name, "connected").Store(int64(up - lost))
		rec.DeviceGauge(group.Name, "backoff").Store(int64(lost))
		rec.DeviceGauge(group.Name, "waiting").Store(int64(group.Count - up))
		for i, op := range []metrics.Operation{metrics.OpConnect, metrics.OpTwinReport, metrics.OpTelemetry} {
			if op == metrics.OpConnect && second > 30 {
				continue
			}
			s := rec.Series(op, group.Name)
			for n := range 10 {
				took := time.Duration(2+i+(second*7+n*n*13+g)%(40+second)) * time.Millisecond
				outcome, reason := metrics.OK, ""
				switch {
				case n == 9 && second%7 == 3:
					outcome, reason = metrics.Throttled, "status 429"
				case n == 8 && second == 33:
					outcome, reason = metrics.Failed, "the connection was lost"
				}
				s.Start(at, at).EndBecause(at.Add(took), outcome, reason)
			}
		}
	}
	if second%5 == 0 {
		q := rec.Series(metrics.OpQuery, "redmond")
		q.Start(at, at).End(at.Add(time.Duration(30+second)*time.Millisecond), metrics.OK)
	}
}

// StateAt is the state after some seconds.
func StateAt(p runstate.Plan, seconds int) *runstate.State {
	s := &runstate.State{Plan: p}
	Play(p, seconds, s.Event, s.Sample)
	return s
}

// Large is a scenario with more of everything than a screen has room for.
func Large() runstate.Plan {
	p := Plan()
	p.Name, p.Stages, p.Groups = "a-scenario-whose-name-is-as-long-as-names-may-become-and-no-longer", nil, nil
	for i := range 20 {
		p.Stages = append(p.Stages, runstate.Stage{Name: fmt.Sprintf("stage-%d", i+1), Duration: 3 * time.Second})
		p.Groups = append(p.Groups, runstate.Group{Name: fmt.Sprintf("a-group-with-quite-a-long-name-%d", i+1), Count: 1_000_000})
	}
	return p
}
