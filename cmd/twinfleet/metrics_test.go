package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/twinfleet/twinfleet/internal/capacity/answer"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/prom"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/agents"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// everything is a short run in which every room has metrics to show.
const everything = `
name: everything
target: {hub: embedded, tier: S1}
fleet: {groups: [{name: robots, count: 3, reported: {connectivity: {type: wifi}, every: 200ms}, telemetry: {every: 300ms, deliveries: 1}}]}
stages: [{name: hold, duration: 1s, devices: 3}]
service:
  queries: [{name: all, every: 200ms, expect: 3, sql: "SELECT * FROM devices"}]
  freshness: {probe: 200ms}
  rollouts: [{name: firmware, group: robots, properties: {firmware: "2"}, rate: 50/s, timeout: 5s}]
thresholds: {connect: ["count >= 1"]}
`

// searched is a capacity search that shows what it found.
func searched() []metrics.Figure {
	a := answer.Answer{Scenario: "everything", Vary: trial.Devices, Answer: search.Answer{End: search.Found, Held: 100, Missed: 110}, Trials: []trial.Record{{Number: 1, Load: 100, Verdict: search.Held}}}
	return a.Figures()
}

// swarmed are the agents of a run on many machines.
func swarmed() []metrics.Figure {
	return agents.Expose([]report.Agent{{
		Name: "agent-1", Devices: 1, States: map[string]int{"connected": 1}, Clock: report.Clock{Uncertainty: 1}, Generator: &report.Health{Cores: 1}, Totals: &report.Account{},
	}})
}

// families are all metrics of such a run, while it goes on and when it is over, those of a search, and those of agents.
func families(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	sc, err := scenario.Decode("everything.yaml", []byte(everything), scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rec := metrics.NewRecorder(metrics.Options{})
	var all []*dto.MetricFamily
	record := engine.New(engine.Options{
		Scenario: sc, Recorder: rec, Version: "1.0.0", AllowSaturated: true,
		Observers: []report.Observer{report.Funcs{OnSample: func(report.Sample) { // while the hub is there
			gathered, err := prom.Registry(rec).Gather()
			if err != nil {
				t.Error(err)
			}
			if len(gathered) >= len(all) {
				all = gathered
			}
		}}},
	}).Run(t.Context())
	if exitCodeOf(record.Outcome) != codeOK {
		t.Fatalf("the run ended with %v: %s", record.Outcome, record.Reason)
	}
	rec.Register(searched)
	rec.Register(swarmed)
	ended, err := prom.Registry(rec).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range ended {
		if !slices.ContainsFunc(all, func(o *dto.MetricFamily) bool { return o.GetName() == f.GetName() }) {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return all
}

// testdata/metrics.golden is every metric that a run shows, with its labels: what dashboards and rules may use
// (test in package grafana) and what docs/prometheus-grafana.md lists.
func TestMetricsOfARun(t *testing.T) {
	all := families(t)
	var catalogue strings.Builder
	var text bytes.Buffer
	for _, f := range all {
		ours := strings.HasPrefix(f.GetName(), "twinfleet_")
		if !ours && f.GetName() != "go_goroutines" && f.GetName() != "process_start_time_seconds" {
			continue
		}
		var labels []string
		for _, l := range f.Metric[0].Label {
			labels = append(labels, l.GetName())
		}
		slices.Sort(labels)
		fmt.Fprintln(&catalogue, strings.TrimSpace(f.GetName()+" "+strings.ToLower(f.GetType().String())+" "+strings.Join(labels, " ")))
		if !ours {
			continue
		}
		if help := f.GetHelp(); len(help) < 20 || !strings.HasSuffix(help, ".") {
			t.Errorf("%s: the help %q explains nothing, or is no sentence", f.GetName(), help)
		}
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			t.Fatal(err)
		}
	}
	const golden = "testdata/metrics.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(catalogue.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if catalogue.String() != string(want) {
		t.Errorf("%s is not what a run shows (-update rewrites it):\n%s", golden, catalogue.String())
	}
	lint(t, text.Bytes())
}

// lint holds an exposition to what promtool check metrics asks for.
func lint(t *testing.T, text []byte) {
	t.Helper()
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		return // the integration suites need it and say so
	}
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = bytes.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
