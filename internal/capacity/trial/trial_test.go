package trial_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/scenario"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const whole = `
name: whole
seed: 3
target: {tier: S1, units: 2}
fleet:
  groups:
    - {name: robots, count: 150, reported: {connectivity: {type: cellular}, every: 30s}, telemetry: {every: 20s, payload: {x: 1}}}
    - {name: gates, count: 50, reported: {connectivity: {type: wifi}}}
stages:
  - {name: up, duration: 20s, devices: 100%}
  - {name: storm, duration: 20s, storm: {drop: 50%}}
  - {name: steady, duration: 2m, network: {latency: 5ms}}
  - {name: down, duration: 10s, devices: 0}
service:
  tags: {robots: {plant: A}}
  queries:
    - {name: plant, sql: "SELECT * FROM devices WHERE tags.plant = 'A'", every: 10s, expect: 150}
    - {name: all, sql: SELECT * FROM devices, cron: "*/5 * * * *"}
  methods: [{name: poke, group: robots, method: poke, rate: 2/s, stages: [steady]}]
  twin_reads: [{group: robots, rate: 4/s}]
  rollouts: [{name: fw, group: robots, properties: {fw: 2}, waves: [{percent: 100}]}]
thresholds:
  connect: ["p(99) < 2s"]
  twin_report: ["p(95) < 250ms", {threshold: "error_rate < 0.1%", stage: steady}, {threshold: "p(99) < 5s", stage: storm}]
  devices: [{threshold: "connected_rate > 99%", stage: steady}]
  query: ["count > 10", "p(99) < 1s"]
`

func load(text string) trial.Load {
	return func(set []string) (*scenario.Scenario, error) {
		return scenario.Decode("whole.yaml", []byte(text), scenario.Options{Set: set})
	}
}

// The scenario of a trial is one that a person could write: for each kind of load, on a target that begins anew and on one that goes on.
func TestScenariosOfTrials(t *testing.T) {
	for _, vary := range trial.All() {
		b, err := trial.NewBase(load(whole), vary, trial.Options{Hold: 30 * time.Second})
		if err != nil {
			t.Fatal(vary, err)
		}
		var out bytes.Buffer
		for _, n := range b.Notes {
			fmt.Fprintf(&out, "# %s\n", n)
		}
		b.Fresh = false
		x, err := b.Make(2*b.Own, b.Own, 4)
		if err != nil {
			t.Fatal(vary, err)
		}
		fmt.Fprintf(&out, "# %s, of which the scenario's own is %s; %d devices, about %s\n", vary.Text(x.Load), vary.Number(b.Own), x.Devices, x.Expected().Round(time.Second))
		out.Write(x.Scenario.Source)
		file := filepath.Join("testdata", string(vary)+".yaml")
		if *update {
			if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%s is not as kept (-update rewrites it):\n%s", file, out.String())
		}
		if _, err := scenario.Decode(file, out.Bytes(), scenario.Options{}); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestLoads(t *testing.T) {
	for _, x := range []struct {
		vary trial.Vary
		text string
		load float64
		back string
	}{
		{trial.Devices, "1200", 1200, "1,200 devices"},
		{trial.Devices, "1", 1, "1 device"},
		{trial.ReportRate, "47.5/s", 47.5, "47.5 reports/s"},
		{trial.QueryRate, "20/min", 20.0 / 60, "20 queries/min"},
		{trial.QueryRate, "20/m", 20.0 / 60, "20 queries/min"},
		{trial.TelemetryRate, "12,000/s", 12_000, "12,000 messages/s"},
		{trial.MethodRate, "3600/h", 1, "1 direct methods/s"},
		{trial.ConnectRate, "1_000", 1000, "1,000 connects/s"},
		{trial.ReportRate, "1,234,567/s", 1234567, "1,234,567 reports/s"},
	} {
		load, err := x.vary.ParseLoad(x.text)
		if err != nil || math.Abs(load-x.load) > 1e-9 || x.vary.Text(load) != x.back {
			t.Errorf("%s %q is %g, %q, %v; want %g, %q", x.vary, x.text, load, x.vary.Text(load), err, x.load, x.back)
		}
	}
	for _, x := range []struct {
		vary trial.Vary
		text string
	}{{trial.Devices, "1.5"}, {trial.Devices, "0"}, {trial.Devices, "10/s"}, {trial.ReportRate, "0/s"}, {trial.ReportRate, "-1/s"}, {trial.ReportRate, "NaN"}, {trial.ReportRate, "1,5/s"}, {trial.ReportRate, "1e99/s"}, {trial.ReportRate, ""}} {
		if load, err := x.vary.ParseLoad(x.text); err == nil || !strings.Contains(err.Error(), "write a") {
			t.Errorf("%s %q is %g, %v", x.vary, x.text, load, err)
		}
	}
}

func TestNothingToVary(t *testing.T) {
	const bare = "fleet: {groups: [{name: robots, count: 2}]}\nstages: [{name: s, duration: 10s, devices: 2}]\nthresholds: {connect: [\"p(99) < 1s\"]}\n"
	broker := "target: {hub: \"mqtt://127.0.0.1:1\", topic: x}\n" + bare
	for _, x := range []struct {
		text string
		vary trial.Vary
		want error
		says string
	}{
		{bare, trial.ReportRate, trial.ErrNothingToVary, "give one reported"},
		{bare, trial.QueryRate, trial.ErrNothingToVary, "service.queries"},
		{bare, trial.MethodRate, trial.ErrNothingToVary, "service.methods"},
		{bare, trial.TwinReadRate, trial.ErrNothingToVary, "service.twin_reads"},
		{"target: {tier: B1}\n" + strings.Replace(bare, "count: 2", "count: 2, reported: {connectivity: {type: wifi}}", 1), trial.Devices, trial.ErrNothingToVary, "tier B1 has no twins"},
		{broker, trial.ReportRate, trial.ErrNothingToVary, "no twins"},
		{broker, trial.QueryRate, trial.ErrNothingToVary, "no service side"},
		{strings.Split(bare, "thresholds")[0], trial.Devices, trial.ErrNoThresholds, "write, for example"},
		{strings.Replace(bare, "connect: [\"p(99) < 1s\"]", "recovery: [\"p(99) < 1s\"]", 1), trial.Devices, trial.ErrNoThresholds, "none of the scenario's 1"},
	} {
		if _, err := trial.NewBase(load(x.text), x.vary, trial.Options{}); !errors.Is(err, x.want) || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s of\n%s: %v; want %q", x.vary, x.text, err, x.says)
		}
	}
}

// What asks for nothing is judged whatever the load; what asks for a number is not, and what trials do not do is said.
func TestWhatIsJudged(t *testing.T) {
	const text = `
fleet: {groups: [{name: robots, count: 20, reported: {connectivity: {type: wifi}, every: 1s}}]}
stages:
  - {name: up, duration: 5s, devices: 100%}
  - {name: hold, duration: 1m, hub: {drop_acks: 5%, stall: 1s}, steps: [{await: {connected: 20, within: 1m}}]}
  - {name: more, duration: 10s, devices: 10}
service:
  queries: [{name: all, every: 2m, sql: SELECT * FROM devices}]
thresholds: {twin_report: ["errors == 0", "dropped <= 0", "throttled < 1", "count > 5", "rate >= 1/s", "scheduled == 100"], query: ["p(95) < 2s"]}
`
	b, err := trial.NewBase(load(text), trial.ReportRate, trial.Options{})
	if err != nil {
		t.Fatal(err)
	}
	x, err := b.Make(20, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	var judged []string
	for _, th := range x.Scenario.Thresholds {
		judged = append(judged, th.Selector+" "+th.Expr)
	}
	want := []string{"query p(95) < 2s", "twin_report errors == 0", "twin_report dropped <= 0", "twin_report throttled < 1"}
	if fmt.Sprint(judged) != fmt.Sprint(want) {
		t.Errorf("judged by %q; want %q", judged, want)
	}
	for _, part := range []string{"count > 5", "rate >= 1/s", "scheduled == 100", "leave out its steps, what its hub refuses, stalls or restarts", "stages that they leave out: more"} {
		if !strings.Contains(strings.Join(b.Notes, "\n"), part) {
			t.Errorf("the notes do not tell of %q: %q", part, b.Notes)
		}
	}
	hold := x.Scenario.Stages[len(x.Scenario.Stages)-1]
	if hold.Hub == nil || hold.Hub.DropAcks != 0.05 || hold.Hub.Stall != 0 || hold.Duration < 2*time.Minute {
		t.Errorf("the load is held for %s, hub %+v; a query is due every 2m, and acknowledgements are dropped", hold.Duration, hold.Hub)
	}
}
