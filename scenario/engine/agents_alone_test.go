package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// dueIn is how many operations of devices were due in a stage of a run.
func dueIn(r *report.Run, stage string) (n uint64) {
	for _, s := range r.Stages {
		if s.Name != stage || s.Totals == nil {
			continue
		}
		for i := range s.Totals.Series {
			if x := &s.Totals.Series[i]; x.Operation.OfDevices() && x.Operation != metrics.OpFreshness {
				n += x.Scheduled()
			}
		}
	}
	return n
}

// Agents whose coordinator is gone go on by the plan, at the planned times, whatever they are to do once it has been gone for long: what they
// measure is of the planned stages. Those that are to stop then do, and the run says so.
func TestAgentsGoOnAlone(t *testing.T) {
	var undisturbed *report.Run
	synctest.Test(t, func(t *testing.T) { undisturbed = (&swarmed{text: calmly(), agents: 4}).run(t) })
	for _, tt := range []struct {
		alone, onLoss string
		outcome       report.Outcome
		reason        string
	}{
		{"finish", lead.Fail, report.Saturated, "nobody led it for "},
		{"stop", lead.Continue, report.Saturated, "its devices left: nothing was heard of the coordinator for 15"},
		{"stop", lead.Fail, report.Failed, "its devices left: nothing was heard of the coordinator for 15"},
	} {
		t.Run(tt.alone+" "+tt.onLoss, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := handed{text: calmly(), agents: 4, lead: lead.Options{Alone: tt.alone, OnLoss: tt.onLoss}, gone: []time.Duration{5 * time.Second}, back: []time.Duration{90 * time.Second}}
				r := x.run(t)
				if r.Outcome != tt.outcome || !strings.Contains(r.Reason, tt.reason) {
					t.Errorf("want %s, %s: %s", tt.outcome, tt.reason, figures(r))
				}
				if want := dueIn(undisturbed, "ramp"); dueIn(r, "ramp") != want {
					t.Errorf("in stage ramp %d operations were due; undisturbed %d", dueIn(r, "ramp"), want)
				}
				if tt.alone == "finish" {
					for _, stage := range []string{"storm", "hold"} {
						if got, want := dueIn(r, stage), dueIn(undisturbed, stage); got != want {
							t.Errorf("in stage %s %d operations were due; undisturbed %d", stage, got, want)
						}
					}
					return
				}
				// They lost it after 5 s and decided 15 s later, in the middle of the second stage.
				if got, all := dueIn(r, "storm"), dueIn(undisturbed, "storm"); got < all*35/100 || got > all*65/100 || dueIn(r, "hold") != 0 {
					t.Errorf("in stage storm %d operations were due, undisturbed %d; in hold %d", got, all, dueIn(r, "hold"))
				}
				for _, a := range r.Agents {
					if a.Lost == nil || a.Lost.Stage != "storm" || a.Totals.Scheduled == 0 || a.Totals.InFlight != 0 {
						t.Errorf("%s: %+v, %+v", a.Name, a.Lost, a.Totals)
						continue
					}
					if at := a.Lost.At.Sub(r.Started); at < 19*time.Second || at > 22*time.Second {
						t.Errorf("%s stopped after %s", a.Name, at)
					}
				}
			})
		})
	}
}

// A run that was taken over says when nobody led it, and for how long; of the stages of that time nothing can be said, also of one that began then,
// and after it was taken over once more.
func TestTakeoverIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := calmly() + "thresholds: {query: [{threshold: count > 0, stage: ramp}, {threshold: count > 0, stage: storm}, {threshold: count > 0, stage: hold}]}\n"
		x := handed{text: text, agents: 3, gone: []time.Duration{4 * time.Second, 25 * time.Second}, back: []time.Duration{8 * time.Second, 35 * time.Second}}
		r := x.run(t)
		var said []string
		for _, n := range r.Notes {
			if strings.HasPrefix(n, "the run was taken over: nobody led it for ") {
				said = append(said, n)
			}
		}
		if len(said) != 2 || r.Outcome != report.Saturated {
			t.Errorf("%q; %s", said, figures(r))
		}
		for i, v := range r.Thresholds {
			if !v.CannotSay {
				t.Errorf("threshold %d: %+v", i, v)
			}
		}
	})
}

// An agent that was lost before the run was taken over stays in it with all that it had measured, as if nobody had taken it over.
func TestLostBeforeTakeover(t *testing.T) {
	for _, choice := range []string{lead.Continue, lead.Redistribute} {
		t.Run(choice, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := handed{
					text: calmly(), agents: 4, lead: lead.Options{OnLoss: choice}, gone: []time.Duration{25 * time.Second}, back: []time.Duration{28 * time.Second},
					during: func(s *swarm) {
						time.Sleep(15 * time.Second)
						s.stops["agent-2"]()
					},
				}
				r := x.run(t)
				a := r.Agents[1]
				if a.Lost == nil || a.Lost.Stage != "storm" || a.Lost.Choice != choice || a.Totals.Scheduled < 50 || a.Totals.OK < 50 || a.Totals.InFlight != 0 {
					t.Fatalf("agent-2: %+v, %+v", a.Lost, a.Totals)
				}
				var sum, whole, took uint64
				for _, a := range r.Agents {
					sum, took = sum+a.Totals.OK, took+uint64(a.TookOver)
				}
				for i := range r.Totals.Series {
					if x := &r.Totals.Series[i]; x.Operation.OfDevices() && x.Operation != metrics.OpFreshness {
						whole += x.Count(metrics.OK)
					}
				}
				if sum != whole {
					t.Errorf("agents %d, whole %d; %s", sum, whole, figures(r))
				}
				if want := map[string]uint64{lead.Continue: 0, lead.Redistribute: uint64(a.Lost.Devices)}[choice]; took != want {
					t.Errorf("%d devices were taken over; want %d", took, want)
				}
				if !strings.Contains(r.Reason, "agent agent-2 was lost") || !strings.Contains(r.Reason, "nobody led it") {
					t.Error(figures(r))
				}
			})
		})
	}
}

// The bus is gone for good before the end: the run ends all the same, in a bounded time, with what is known, and says whose last figures are missing.
func TestBusIsGoneForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &swarmed{text: calmly(), agents: 4, lead: lead.Options{OnLoss: lead.Continue}}
		x.during = func(s *swarm, _ *lead.Lead) {
			time.Sleep(45 * time.Second)
			s.server.Stop(fmt.Errorf("gone"))
		}
		r := x.run(t)
		if took := r.Ended.Sub(r.Started); took > 3*time.Minute {
			t.Errorf("it took %s", took)
		}
		if r.Outcome != report.Failed || !strings.Contains(r.Reason, "the last figures of agents are missing: agent-1, agent-2, agent-3, agent-4") {
			t.Error(figures(r))
		}
		if dueIn(r, "hold") == 0 || dueIn(r, "storm") == 0 || slices.ContainsFunc(r.Agents, func(a report.Agent) bool { return a.Lost == nil || a.Totals.InFlight != 0 }) {
			t.Errorf("%+v; %s", r.Agents, figures(r))
		}
	})
}

// A run that is ended at once has what its agents know: they hand it on before they are free, and nobody waits for long.
func TestAgentsEndAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &swarmed{text: swarming, agents: 4, hard: 17 * time.Second}
		r := x.run(t)
		if took := r.Ended.Sub(r.Started); took > 20*time.Second || r.Outcome != report.Interrupted {
			t.Errorf("it took %s: %s", took, figures(r))
		}
		for _, a := range r.Agents {
			if a.Lost != nil || a.Totals.InFlight != 0 || a.Totals.Scheduled == 0 {
				t.Errorf("%s: lost %+v, %+v", a.Name, a.Lost, a.Totals)
			}
		}
	})
}
