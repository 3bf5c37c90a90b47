package findings_test

import (
	"slices"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/findings"
)

// What agents did to a run is said, of many in as many lines as of a few.
func TestAgents(t *testing.T) {
	start := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	lost := func(name, choice string) report.Agent {
		return report.Agent{Name: name, Lost: &report.AgentLoss{At: start.Add(7 * time.Second), Stage: "hold", Devices: 40, Why: "nothing was heard of it for 3s", Choice: choice}}
	}
	heir := func(name string, took int) report.Agent {
		return report.Agent{Name: name, Devices: 20 + took, TookOver: took}
	}
	after := func(a report.Agent, d time.Duration, devices, took int) report.Agent {
		a.Lost.At, a.Lost.Devices, a.Devices, a.TookOver = start.Add(d), devices, devices, took
		return a
	}
	slow := report.Agent{Name: "c", Generator: &report.Health{Saturated: true, Reasons: []string{"one", "two"}}}
	clock := func(name string, off time.Duration, steps int) report.Agent {
		return report.Agent{Name: name, Clock: report.Clock{Uncertainty: off, Steps: steps}}
	}
	fresh := &report.Freshness{Sampled: 1, Devices: 1}
	for _, tt := range []struct {
		name string
		in   report.Run
		want []string
	}{
		{"in one process", report.Run{}, nil},
		{"all well", report.Run{Agents: []report.Agent{{Name: "a"}, clock("b", 50*time.Millisecond, 0)}}, nil},
		{"lost", report.Run{Agents: []report.Agent{lost("a", "continue"), lost("b", "redistribute"), lost("c", "fail"), heir("d", 40)}}, []string{
			"bad agent a was lost at 7.00s in stage hold with 40 devices: nothing was heard of it for 3s; the run went on without them",
			"bad agent b was lost at 7.00s in stage hold with 40 devices: nothing was heard of it for 3s; other agents took them over",
			"bad agent c was lost at 7.00s in stage hold with 40 devices: nothing was heard of it for 3s; the run ended",
		}},
		{"one after another, all of them", report.Run{Agents: []report.Agent{
			after(lost("a", "redistribute"), 9*time.Second, 60, 40), after(lost("b", "redistribute"), 5*time.Second, 20, 0), after(lost("c", "redistribute"), 7*time.Second, 30, 10),
		}}, []string{
			"bad agent a was lost at 9.00s in stage hold with 60 devices: nothing was heard of it for 3s; nobody was left to take them over",
			"bad agent b was lost at 5.00s in stage hold with 20 devices: nothing was heard of it for 3s; other agents took them over",
			"bad agent c was lost at 7.00s in stage hold with 30 devices: nothing was heard of it for 3s; other agents took them over",
		}},
		{"others have no room", report.Run{Agents: []report.Agent{lost("b", "redistribute"), heir("d", 0)}}, []string{
			"bad agent b was lost at 7.00s in stage hold with 40 devices: nothing was heard of it for 3s; no other agent has taken them over",
		}},
		{"the bottleneck", report.Run{Agents: []report.Agent{slow}}, []string{
			"bad agent c was the bottleneck, its figures speak of it and not of the target: one; two",
		}},
		{"a clock", report.Run{Agents: []report.Agent{{Name: "a"}, clock("b", 80*time.Millisecond, 0)}}, []string{
			"warn the clock of 1 of 2 agents is not well known: that of b to ±80.0ms; times of what their devices did are uncertain by as much, latencies are not",
		}},
		{"clocks and freshness", report.Run{Freshness: fresh, Agents: []report.Agent{clock("a", 60*time.Millisecond, 0), clock("b", 80*time.Millisecond, 2)}}, []string{
			"warn the clocks of 2 of 2 agents are not well known: that of b to ±80.0ms, and one was set 2 times while the run went on; " +
				"freshness of what their devices reported is uncertain by as much",
		}},
		{"a clock and deliveries", report.Run{Deliveries: &report.Deliveries{}, Agents: []report.Agent{{Name: "a"}, clock("b", 80*time.Millisecond, 0)}}, []string{
			"warn the clock of 1 of 2 agents is not well known: that of b to ±80.0ms; how long messages took from their devices, and to them, is uncertain by as much",
		}},
		{"many", report.Run{Agents: slices.Repeat([]report.Agent{lost("a", "")}, 5)}, []string{
			"bad agent a was lost at 7.00s in stage hold with 40 devices: nothing was heard of it for 3s",
			"bad agent a was lost at 7.00s in stage hold with 40 devices: nothing was heard of it for 3s",
			"bad agent a was lost at 7.00s in stage hold with 40 devices: nothing was heard of it for 3s",
			"bad 2 more agents were lost; summary.json has all",
		}},
	} {
		tt.in.Started, tt.in.Totals = start, &metrics.Snapshot{}
		var got []string
		for _, f := range findings.Agents(&tt.in) {
			got = append(got, string(f.Mark)+" "+f.Text)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		if len(got) > 0 && findings.Of(&tt.in)[0].Text != findings.Agents(&tt.in)[0].Text {
			t.Errorf("%s: it is not the first that is said", tt.name)
		}
	}
}
