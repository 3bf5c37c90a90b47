package engine_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/generator"
	"github.com/twinfleet/twinfleet/internal/generator/watch"
	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// notAsAsked are the stages that were not delivered as asked, by a figure.
func notAsAsked(rec *metrics.Recorder) (stages []string) {
	for _, f := range rec.Figures() {
		for _, s := range f.Samples {
			if f.Name == "twinfleet_generator_not_as_asked" && s.Value == 1 {
				stages = append(stages, s.Labels[0])
			}
		}
	}
	return stages
}

// checkAsked holds what a run says of its generator to the stages that were not as asked: why names the reason in each, whatever else is.
func checkAsked(t *testing.T, r *report.Run, kind report.CauseKind, why string, want ...string) {
	t.Helper()
	var got []string
	for _, s := range r.Generator.Stages {
		if !s.AsAsked {
			got = append(got, s.Name)
		}
		if bad := slices.Contains(want, s.Name); bad && (len(s.Causes) == 0 || s.Causes[0].Kind != kind || !strings.Contains(s.String(), why)) {
			t.Errorf("stage %s: %q", s.Name, s.String())
		}
	}
	if !slices.Equal(got, want) || !r.Generator.Saturated || len(r.Generator.Reasons) != len(want) || !strings.HasPrefix(r.GeneratorLine(), "not as asked: stage "+want[0]+": ") {
		t.Errorf("not as asked are %q (%t, %q), want %q", got, r.Generator.Saturated, r.GeneratorLines(), want)
	}
}

// What a verdict says of stages that lacked agents, the figures say too: while the run goes on and in the end.
func TestLossIsInFigures(t *testing.T) {
	for choice, want := range map[string][]string{lead.Continue: {"storm", "hold"}, lead.Redistribute: {"storm"}} {
		t.Run(choice, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := &keeper{}
				x := &swarmed{text: calmly(), agents: 4, lead: lead.Options{OnLoss: choice}, watch: []report.Observer{k}}
				var live, before []string
				x.during = func(s *swarm, _ *lead.Lead) {
					time.Sleep(15 * time.Second)
					before = notAsAsked(x.rec)
					s.stops["agent-2"]()
					time.Sleep(30 * time.Second)
					live = notAsAsked(x.rec)
				}
				r := x.run(t)
				if len(before) > 0 || !slices.Equal(live, want) || !slices.Equal(notAsAsked(x.rec), want) {
					t.Errorf("the figure says %q before, %q live and %q in the end; want %q", before, live, notAsAsked(x.rec), want)
				}
				checkAsked(t, r, report.CauseAgents, "agent agent-2 was lost with ", want...)
				checkAsked(t, k.known[len(k.known)-1], report.CauseAgents, "agent agent-2 was lost with ", want...)
			})
		})
	}
}

// hurried is the generator of an agent that used all it had.
type hurried struct{}

func (hurried) Sample(int, time.Duration) (generator.Sample, error) {
	return generator.Sample{Elapsed: time.Second, Cores: 2, CPU: 2, Memory: 99, MemoryLimit: 100}, nil
}

// The generator of one agent was the bottleneck: so was that of the run.
func TestSlowAgentIsInFigures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &swarmed{text: calmly(), agents: 3, sampler: func(name string) watch.Sampler {
			if name == "agent-3" {
				return hurried{}
			}
			return calm()
		}}
		r := x.run(t)
		checkAsked(t, r, report.CauseAgents, "agent agent-3: 0 of 0 MB memory were in use", "ramp", "storm", "hold")
		if len(notAsAsked(x.rec)) != 3 || r.Outcome != report.Saturated {
			t.Errorf("%q; %s", notAsAsked(x.rec), figures(r))
		}
	})
}

// Nobody led the run for a while: its load was not the one that was asked for. That is never allowed, neither in the end nor live.
func TestUnledIsInFigures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := handed{text: calmly(), agents: 3, gone: []time.Duration{15 * time.Second}, back: []time.Duration{19 * time.Second}}
		checkAsked(t, x.run(t), report.CauseUnled, "nobody led it for ", "storm")
		live := 0
		x.text += "generator: {saturated: warn}\n"
		x.sample = func(p report.Sample) {
			if s := p.Standing; p.Window.Stage != "" {
				if live++; s.Outlook != report.CannotSay || !strings.Contains(s.Reason, "nobody led it for ") {
					t.Errorf("%s: %q", s.Outlook, s.Reason)
				}
			}
		}
		if r := x.run(t); r.Outcome != report.Saturated || live < 20 {
			t.Errorf("%d samples were seen; %s: %q", live, r.Outcome, r.Reason)
		}
	})
}
