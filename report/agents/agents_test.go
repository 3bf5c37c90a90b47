package agents_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/agents"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// Those in trouble come first, the gravest before the others; then come the busiest, then names in the order of their numbers.
func TestRows(t *testing.T) {
	all := reporttest.Agents(12)
	all[10].Generator.CPUPeak = 1.4
	var names []string
	for _, r := range agents.Rows(all) {
		names = append(names, strings.TrimPrefix(r.Name, "agent-"))
	}
	if got, want := strings.Join(names, " "), "2 3 4 11 1 5 6 7 8 9 10 12"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for i, want := range []agents.State{agents.Lost, agents.Slow, agents.Unsure, agents.Well} {
		if got := agents.Rows(all)[i].State; got != want {
			t.Errorf("row %d is %s, want %s", i, got, want)
		}
	}
}

func TestClock(t *testing.T) {
	for _, tt := range []struct {
		in   report.Clock
		want string
	}{
		{report.Clock{}, "–"},
		{report.Clock{Offset: 1200 * time.Microsecond, Uncertainty: 300 * time.Microsecond}, "+1.20ms ± 300µs"},
		{report.Clock{Offset: -2 * time.Second, Uncertainty: 80 * time.Millisecond}, "-2.00s ± 80.0ms"},
	} {
		if got := agents.Clock(tt.in); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestWrong(t *testing.T) {
	saturated := &report.Health{Saturated: true, Reasons: []string{"one", "two", "three"}}
	for _, tt := range []struct {
		in   report.Agent
		want string
	}{
		{report.Agent{}, ""},
		{report.Agent{Lost: &report.AgentLoss{Stage: "hold", Why: "gone"}}, "lost in stage hold: gone"},
		{report.Agent{Lost: &report.AgentLoss{Why: "gone"}, Generator: saturated}, "lost: gone; it was the bottleneck: one; 2 more"},
		{report.Agent{Clock: report.Clock{Uncertainty: report.UnsureClock}}, ""},
		{report.Agent{Clock: report.Clock{Uncertainty: report.UnsureClock + 1}}, "clock uncertain"},
		{report.Agent{Clock: report.Clock{Steps: 1}}, "a clock was set meanwhile"},
	} {
		if got := agents.Wrong(&tt.in); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

// Of a hundred agents a few are shown, those in trouble among them, and the line for the others says whether any of those is.
func TestWorst(t *testing.T) {
	for _, tt := range []struct {
		n, most int
		shown   int
		more    string
	}{
		{4, 6, 4, ""},
		{100, 6, 6, "94 more agents, all well"},
		{100, 1, 1, "99 more agents, 2 of them in trouble"},
		{3, 1, 1, "2 more agents, 1 of them in trouble"},
		{2, 0, 0, "2 more agents, 1 of them in trouble"},
		{0, 6, 0, ""},
	} {
		rows, more := agents.Worst(reporttest.Agents(tt.n), tt.most)
		if len(rows) != tt.shown || more != tt.more {
			t.Errorf("%d of %d: %d rows and %q; want %d and %q", tt.most, tt.n, len(rows), more, tt.shown, tt.more)
		}
	}
}

// Every agent has one row, with a cell for every column, whatever is known of it.
func TestEveryAgentHasARow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := make([]report.Agent, rapid.IntRange(0, 30).Draw(t, "agents"))
		for i := range all {
			a := &all[i]
			a.Name = fmt.Sprint(rapid.SampledFrom([]string{"a", "b-", ""}).Draw(t, "name"), i)
			if rapid.Bool().Draw(t, "lost") {
				a.Lost = &report.AgentLoss{Devices: 3}
			}
			if rapid.Bool().Draw(t, "heard") {
				a.Generator = &report.Health{Saturated: rapid.Bool().Draw(t, "slow"), Cores: rapid.IntRange(0, 2).Draw(t, "cores")}
			}
			a.Clock.Uncertainty = time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "clock"))
		}
		rows := agents.Rows(all)
		var got, want []string
		for _, r := range rows {
			got = append(got, r.Name)
			if len(r.Cells) != len(agents.Columns()) {
				t.Fatalf("%+v", r)
			}
			if (r.State == agents.Well) != (r.Cells[len(r.Cells)-1] == "") {
				t.Fatalf("%s: what is wrong is %q", r.State, r.Cells[len(r.Cells)-1])
			}
		}
		for _, a := range all {
			want = append(want, a.Name)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
		if (agents.Headline(all) == "") != (len(all) == 0) {
			t.Fatal(agents.Headline(all))
		}
	})
}

// Devices that an agent had taken over, and that were lost with it once more, are counted once.
func TestHeadlineCountsDevicesOnce(t *testing.T) {
	lost := func(devices, took int) report.Agent {
		return report.Agent{Devices: devices, TookOver: took, Lost: &report.AgentLoss{Devices: devices}}
	}
	if got, want := agents.Headline([]report.Agent{lost(20, 0), lost(30, 10), lost(60, 40)}), "3 with 0 devices; 3 lost, with 60 devices"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
}

func ExampleHeadline() {
	fmt.Println(agents.Headline(reporttest.Agents(100)))
	// Output:
	// 100 with 99,000 devices; 1 lost, with 1,000 devices; 1 was the bottleneck; 1 with an uncertain clock; cpu at most 2.0 of 2 (agent-3); lag at most 812ms (agent-3); clocks at most 1.20s ± 80.0ms apart (agent-4)
}

// Of a lost agent the counters stay, so that rates do not jump, and what it used is absent. Labels are bounded: each agent has one value of each
// figure, and one for each state of devices.
func TestExpose(t *testing.T) {
	all := reporttest.Agents(4)
	all[0].States = map[string]int{"connected": 990, "offline": 10}
	values := make(map[string]float64)
	for _, f := range agents.Expose(all) {
		for _, s := range f.Samples {
			if len(s.Labels) != len(f.Labels) {
				t.Errorf("%s: labels %v of %v", f.Name, s.Labels, f.Labels)
			}
			values[strings.TrimPrefix(f.Name, "twinfleet_agent_")+" "+strings.Join(s.Labels, " ")] = s.Value
		}
	}
	for name, want := range map[string]float64{
		"up agent-1": 1, "up agent-2": 0, "devices agent-1 connected": 990, "devices agent-1 offline": 10, "operations_started_total agent-2": 4990,
		"operations_ended_total agent-1": 4990, "operations_dropped_total agent-1": 10, "clock_offset_seconds agent-4": -1.2, "clock_uncertainty_seconds agent-4": 0.08,
		"cpu_ratio agent-1": 0.2, "schedule_lag_seconds agent-1": 0.001, "control_sent_bytes_total agent-1": 400_000, "control_received_bytes_total agent-2": 20_000,
		"control_cpu_seconds_total agent-1": 0.2,
	} {
		if got, ok := values[name]; !ok || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{"cpu_ratio agent-2", "clock_offset_seconds agent-2"} {
		if got, ok := values[name]; ok {
			t.Errorf("%s of a lost agent is %v", name, got)
		}
	}
}
