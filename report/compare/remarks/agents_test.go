package remarks_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/compare/remarks"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// A stage that an agent did not deliver, or in which one was missing, is not compared as the target's.
func TestAgentsNotAsAsked(t *testing.T) {
	start := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	run := func(agents ...report.Agent) *report.Run {
		return &report.Run{Started: start, Agents: agents, Stages: []report.Stage{
			{Name: "ramp", To: 10 * time.Second}, {Name: "storm", From: 10 * time.Second, To: 20 * time.Second}, {Name: "hold", From: 20 * time.Second, To: 30 * time.Second},
		}}
	}
	lost := func(stage string, at int, choice string) report.Agent {
		return report.Agent{Name: "a", Lost: &report.AgentLoss{Stage: stage, At: start.Add(time.Duration(at) * time.Second), Devices: 40, Choice: choice}}
	}
	slow := report.Agent{Name: "b", Generator: &report.Health{Stages: []report.StageHealth{{Name: "ramp", AsAsked: true}, {Name: "storm", What: "late"}}}}
	for _, tt := range []struct {
		name string
		run  *report.Run
		bad  string // stages
	}{
		{"an old record", run(), ""},
		{"all well", run(report.Agent{Name: "a"}), ""},
		{"the bottleneck", run(slow), "storm"},
		{"lost", run(lost("storm", 15, "continue")), "storm hold"},
		{"lost and taken over", run(lost("storm", 15, "redistribute")), "storm"},
		{"lost before the first stage", run(lost("", 0, "continue")), "ramp storm hold"},
		{"lost after the last", run(lost("", 31, "continue")), ""},
	} {
		for i, pair := range [][2]*report.Run{{tt.run, run()}, {run(), tt.run}} {
			var bad []string
			for _, stage := range []string{"ramp", "storm", "hold"} {
				if why := remarks.NotAsAsked(pair[0], pair[1], stage); why != "" {
					bad = append(bad, stage)
					if !strings.Contains(why, "the "+remarks.Which(i)+" run") || !strings.Contains(why, "agent") {
						t.Errorf("%s: %s", tt.name, why)
					}
				}
			}
			if got := strings.Join(bad, " "); got != tt.bad {
				t.Errorf("%s: %q, want %q", tt.name, got, tt.bad)
			}
		}
	}
}

// That one run had agents and the other had none is a note; clocks that are not well known make freshness uncertain.
func TestAgentsDiffer(t *testing.T) {
	before, after := reporttest.Example(4), reporttest.Example(4)
	after.Run.Agents = reporttest.Agents(4)
	got := remarks.Of(before, after, [2]string{})
	if !slices.Contains(got.Notes, "the devices ran in one process and on 4 agents") {
		t.Errorf("notes %q", got.Notes)
	}
	if !slices.Contains(got.Doubts, "in the second run the clock of agent agent-4 is known to ±80.0ms: freshness is uncertain by as much") {
		t.Errorf("doubts %q", got.Doubts)
	}
	after.Run.Freshness, after.Run.Deliveries = nil, new(report.Deliveries)
	if got := remarks.Of(before, after, [2]string{}); !slices.Contains(got.Doubts, "in the second run the clock of agent agent-4 is known to ±80.0ms: deliveries are uncertain by as much") {
		t.Errorf("doubts %q", got.Doubts)
	}
	before.Run.Agents = reporttest.Agents(4)
	if got := remarks.Of(before, after, [2]string{}); len(got.Notes) != 0 {
		t.Errorf("notes %q", got.Notes)
	}
}
