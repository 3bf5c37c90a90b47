//go:build integration

package boards

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/twinfleet/twinfleet/test/loopback"
	"github.com/twinfleet/twinfleet/test/rig"
)

// all is a run in which everything happens that a board shows: a tier with its limits, queries with an expected size, a freshness
// audit, methods, twin reads, a rollout that devices answer.
const all = `
name: all
seed: 42
target: {hub: embedded, tier: S1, units: 20, burst: 1s}
fleet:
  groups:
    - {name: robots, count: 30, reported: {connectivity: {type: {cellular: 1, wifi: 1}}, every: 3s}, telemetry: {every: 2s, deliveries: 1}, methods: {delay: 1ms..5ms}}
    - {name: meters, count: 30, reported: {connectivity: {type: cellular}, every: 2s}}
    - {name: newcomers, count: 40, identity: {dps: {}}, reported: {connectivity: {type: wifi}, every: 5s}}
stages:
  - {name: ramp, duration: 5s, devices: {robots: 30, meters: 30, newcomers: 0}}
  - {name: join, duration: 10s, devices: {robots: 30, meters: 30, newcomers: 40}}
  - {name: hold, duration: 35s, devices: {robots: 30, meters: 30, newcomers: 40}}
service:
  tags: {robots: {plant: A}}
  queries:
    - {name: robots, every: 2s, expect: 30, sql: "SELECT * FROM devices WHERE tags.plant = 'A'"}
    - {name: count, every: 3s, sql: "SELECT COUNT() AS n FROM devices"}
  methods: [{name: ping, group: robots, method: ping, rate: 5/s, timeout: 5s}]
  twin_reads: [{group: robots, rate: 5/s}]
  rollouts: [{name: firmware, group: robots, properties: {firmware: "2"}, rate: 1/s, timeout: 5s}]
  freshness: {probe: 500ms, sample: 60, verify: false}
thresholds:
  twin_report: ["p(95) < 30s", "error_rate < 50%"]
  connect: ["count >= 60"]
`

// broken is a run that ends with 99: the hub loses answers, and its tier is too small.
const broken = `
name: broken
seed: 42
target: {hub: embedded, tier: S1, units: 1, burst: 1s}
fleet:
  groups:
    - {name: robots, count: 100, timeout: 2s, reported: {connectivity: {type: wifi}, every: 1s}}
    - {name: greedy, count: 1000, reported: {connectivity: {type: wifi}, every: 10s}}
stages:
  - {name: ramp, duration: 10s, devices: {robots: 100, greedy: 1000}}
  - {name: loss, duration: 45s, hub: {drop_acks: 50%}}
thresholds:
  twin_report: ["error_rate < 1%", "p(95) < 30s"]
  connect: ["count >= 60"]
`

// limited is searched for its limit, which is where its threshold puts it: twenty devices report faster than it allows.
const limited = `
name: limited
seed: 42
fleet: {groups: [{name: robots, count: 10, reported: {connectivity: {type: wifi}, every: 500ms}}]}
stages: [{name: hold, duration: 5s, devices: 10}]
thresholds: {twin_report: ["rate < 30/s"]}
`

// process is a run, or a search, that is scraped.
type process struct {
	*rig.Process
	addr string // of its metrics
	id   string // of the run; empty for a search
}

// linger is how long a run, or a search, is scraped when it is over: twice at least.
const linger = 12 * time.Second

// inOneProcess is why panels of agents have no data.
const inOneProcess = "devices of these runs are in one process"

// empty are panels that may have no data in these runs, and why.
var empty = map[string]string{
	"Agents there":          inOneProcess,
	"Agents lost":           inOneProcess,
	"Connected by agent":    inOneProcess,
	"Operations by agent":   inOneProcess,
	"Under way by agent":    inOneProcess,
	"Dropped by agent":      inOneProcess,
	"Processors by agent":   inOneProcess,
	"Late by agent":         inOneProcess,
	"Clocks":                inOneProcess,
	"Clocks uncertain by":   inOneProcess,
	"Control traffic":       inOneProcess,
	"Processors of control": inOneProcess,
	"Dropped by stage":      "nothing is dropped, on a machine that is not too busy",
	"Desired: not well":     "all go well",
	"Holds":                 "the generator was too busy for a trial",
	"Does not hold":         "the generator was too busy for a trial",
	"Bracket":               "the generator was too busy for a trial",
	"Delayed":               "the tier has enough", "Rejected": "the tier has enough", "Waiting": "the tier has enough", "Wait": "the tier has enough",
	"Not delivered, by group": "all are delivered",
	"Calls not well":          "all go well, or methods come before a device is there",
}

// oneOfTwo is the panel of which one query gives data when the other does not.
const oneOfTwo = "Generator"

// Real runs, scraped by a Prometheus with the file that ships, and by two that keep histograms otherwise: every query of every board gives
// data, in the runs and a minute after their end; the verdicts are what the runs ended with; an alert fires in time; and the boards are drawn.
func TestBoards(t *testing.T) {
	dir := t.TempDir()
	var addrs []string
	for range 3 {
		addrs = append(addrs, loopback.Free(t))
	}
	servers := []server{startPrometheus(t, shipped, addrs), startPrometheus(t, classic, addrs), startPrometheus(t, native, addrs)}
	begin := func(n int, name, text string, args ...string) process {
		file := filepath.Join(dir, name+".yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		command := append([]string{args[0], file, "--metrics-addr", addrs[n], "--out", "", "--ui-addr", ""}, args[1:]...)
		return process{rig.Start(t, dir, nil, rig.Build(t), command...), addrs[n], ""}
	}
	good := begin(0, "all", all, "run", "--linger", linger.String())
	good.Line(t, "stage 1 of", time.Minute)
	nextSecond()
	bad := begin(1, "broken", broken, "run", "--linger", linger.String())
	nextSecond()
	search := begin(2, "limited", limited, "capacity", "--vary", "devices", "--from", "10", "--precision", "50%", "--hold", "2s", "--settle", "2s", "--for", "50s", "--linger", linger.String())
	if code := good.Wait(t, 3*time.Minute); code != 0 {
		t.Errorf("the run ended with %d:\n%s", code, good.Output())
	}
	during := time.Now().Add(-linger - 2*step)
	if code := bad.Wait(t, 3*time.Minute); code != 99 {
		t.Errorf("the broken run ended with %d:\n%s", code, bad.Output())
	}
	ended := time.Now().Add(-step)
	search.Wait(t, 2*time.Minute) // on a busy machine it ends without an answer: what it found is asked of Prometheus
	searched := time.Now()
	for _, s := range servers {
		s.eventually(t, "sum(up)", 0) // then everything is marked as ended
	}
	good.id, bad.id = runOf(t, servers[0], "all"), runOf(t, servers[0], "broken")
	later := ended.Add(time.Minute)
	for _, s := range servers {
		t.Run(string(s.kind), func(t *testing.T) {
			allAnswered(t, s, func(board string) time.Time {
				switch board {
				case "capacity-search":
					return searched
				case "runs":
					return ended
				}
				return during
			})
			for id, want := range map[string]string{good.id: "passed", bad.id: "missed"} {
				expr := fmt.Sprintf(`max(last_over_time(twinfleet_run_verdict{run=%q,verdict=%q}[5m]))`, id, want)
				if got, ok := s.number(t, expr, later); !ok || got != 1 {
					t.Errorf("%s is %v (%v)", expr, got, ok)
				}
			}
			tablesOutlive(t, s, map[bool]time.Time{false: later, true: searched.Add(time.Minute)})
			quantilesStayBelow(t, s, bad.id, ended)
			rulesWork(t, s, bad.id, ended)
		})
	}
	draw(t, servers, good, bad, later, searched.Add(2*step))
}

// nextSecond waits for it: a run is named by the second in which it begins.
func nextSecond() {
	<-time.After(time.Until(time.Now().Truncate(time.Second).Add(time.Second + 50*time.Millisecond)))
}

// runOf is the run of a scenario.
func runOf(t *testing.T, s server, scenario string) string {
	t.Helper()
	now := time.Now()
	f := s.ask(t, fmt.Sprintf(`max by (run) (last_over_time(twinfleet_run_info{scenario=%q}[5m]))`, scenario), true, now, now)
	if len(f.Result) != 1 {
		t.Fatalf("%d runs of %s", len(f.Result), scenario)
	}
	var sample struct{ Metric struct{ Run string } }
	if err := json.Unmarshal(f.Result[0], &sample); err != nil {
		t.Fatal(err)
	}
	return sample.Metric.Run
}

// allAnswered holds every query of panels, variables and annotations to give data.
func allAnswered(t *testing.T, s server, when func(board string) time.Time) {
	for _, b := range allBoards(t) {
		fill, to := b.filler(""), when(b.name)
		for _, p := range b.flat() {
			why := empty[p.Title]
			either := 0
			for _, q := range p.Targets {
				n := len(s.ask(t, fill(q.Expr), q.Instant, to.Add(-shown), to).Result)
				if either += n; n == 0 && why == "" && p.Title != oneOfTwo {
					t.Errorf("%s: %s: no data for %s", b.name, p.Title, fill(q.Expr))
				}
			}
			if either == 0 && why == "" {
				t.Errorf("%s: %s: no data", b.name, p.Title)
			}
		}
		for _, v := range b.values(t) {
			var values []string
			path := fmt.Sprintf("/api/v1/label/%s/values?match[]=%s", v[1], url.QueryEscape(v[0]))
			if err := s.get(t.Context(), path, &values); err != nil || len(values) == 0 {
				t.Errorf("%s: variable %s has no values: %v", b.name, v[1], err)
			}
		}
		for _, a := range b.Annotations.List {
			if len(s.ask(t, fill(a.Target.Expr), false, to.Add(-shown), to).Result) == 0 {
				t.Errorf("%s: no annotation: %s", b.name, a.Target.Expr)
			}
		}
	}
}

// tablesOutlive holds what is asked of the end of the time alone, tables and facts, to give data a minute after the runs.
func tablesOutlive(t *testing.T, s server, later map[bool]time.Time) {
	asked := 0
	for _, b := range allBoards(t) {
		fill, to := b.filler(""), later[b.name == "capacity-search"]
		for _, p := range b.flat() {
			for _, q := range p.Targets {
				if p.Type == "timeseries" || p.Type == "heatmap" || empty[p.Title] != "" {
					continue
				}
				asked++
				if len(s.ask(t, fill(q.Expr), q.Instant, to.Add(-shown), to).Result) == 0 && p.Title != oneOfTwo {
					t.Errorf("%s: a minute after the end %s is empty: %s", b.name, p.Title, fill(q.Expr))
				}
			}
		}
	}
	if asked < 50 {
		t.Errorf("only %d queries were asked", asked)
	}
}

// quantilesStayBelow holds the quantiles that boards draw to the run's own maximum.
func quantilesStayBelow(t *testing.T, s server, run string, ended time.Time) {
	for _, b := range allBoards(t) {
		fill := b.filler(run)
		for _, p := range b.flat() {
			if p.Title != "Time to connect" && p.Title != "Latency by operation" || b.name == "capacity-search" {
				continue
			}
			for _, q := range p.Targets {
				for _, raw := range s.ask(t, fill(q.Expr), false, ended.Add(-shown), ended).Result {
					var series struct {
						Metric struct{ Operation string }
						Values [][2]any
					}
					if err := json.Unmarshal(raw, &series); err != nil {
						t.Fatal(err)
					}
					op := series.Metric.Operation
					if op == "" {
						op = "connect"
					}
					most, ok := s.number(t, fmt.Sprintf(`max(max_over_time(twinfleet_operation_duration_max_seconds{operation=%q}[5m]) and on (job, instance) last_over_time(twinfleet_run_info{run=%q}[5m]))`, op, run), ended)
					if !ok {
						t.Errorf("no maximum of %s", op)
					}
					for _, v := range series.Values {
						var value float64
						if _, err := fmt.Sscan(fmt.Sprint(v[1]), &value); err != nil || value > most*1.0001 {
							t.Errorf("%s: %s shows %v of %s; the longest took %v (%v)", b.name, p.Title, v[1], op, most, err)
						}
					}
				}
			}
		}
	}
}

type rule struct{ Name, Type, Query, Health, LastError string }

// rulesWork holds rules to be evaluated without errors and to have had data, and the alert of errors to have fired in the broken run.
func rulesWork(t *testing.T, s server, run string, ended time.Time) {
	var data struct{ Groups []struct{ Rules []rule } }
	if err := s.get(t.Context(), "/api/v1/rules", &data); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			seen++
			if r.Health != "ok" || r.LastError != "" {
				t.Errorf("rule %s is %s: %s", r.Name, r.Health, r.LastError)
			}
			if r.Name == "TwinfleetScrapeStops" {
				continue // compares what is only there when a scrape fails; promtool tests it
			}
			if len(s.ask(t, compared(t, r.Query), false, ended.Add(-shown), ended).Result) == 0 {
				t.Errorf("rule %s never had data: %s", r.Name, compared(t, r.Query))
			}
			if r.Type == "recording" && len(s.ask(t, r.Name, false, ended.Add(-shown), ended).Result) == 0 {
				t.Errorf("nothing was recorded as %s", r.Name)
			}
		}
	}
	if seen < 15 {
		t.Errorf("%d rules", seen)
	}
	fired := fmt.Sprintf(`count(count_over_time(ALERTS{alertname="TwinfleetErrors",alertstate="firing",run=%q}[5m]))`, run)
	if n, ok := s.number(t, fired, ended); !ok || n < 1 {
		t.Errorf("TwinfleetErrors did not fire in a run of which many reports fail: %s", fired)
	}
}

// compared is what an alert compares: in a run without trouble an alert itself gives nothing.
func compared(t *testing.T, expr string) string {
	t.Helper()
	e, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Fatal(err)
	}
	for {
		if p, ok := e.(*parser.ParenExpr); ok {
			e = p.Expr
			continue
		}
		b, ok := e.(*parser.BinaryExpr)
		if !ok || !(b.Op.IsComparisonOperator() || b.Op == parser.LAND) {
			return strings.TrimSpace(e.String())
		}
		e = b.LHS
	}
}
