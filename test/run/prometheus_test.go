//go:build integration

package run

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/twinfleet/twinfleet/test/loopback"
	"github.com/twinfleet/twinfleet/test/rig"
)

// all is a run in which everything happens that a board shows: a tier with its limits, queries with an expected
// size, a freshness audit, methods, twin reads, a rollout that devices answer.
const all = `
name: all
seed: 42
target: {hub: embedded, tier: S1, units: 20, burst: 1s}
fleet:
  groups:
    - {name: robots, count: 30, reported: {connectivity: {type: {cellular: 1, wifi: 1}}, every: 3s}, telemetry: {every: 2s}, methods: {delay: 1ms..5ms}}
    - {name: meters, count: 30, reported: {connectivity: {type: cellular}, every: 2s}}
    - {name: newcomers, count: 40, identity: {dps: {}}, reported: {connectivity: {type: wifi}, every: 5s}}
stages:
  - {name: ramp, duration: 3s, devices: {robots: 30, meters: 30, newcomers: 0}}
  - {name: hold, duration: 25s, devices: {robots: 30, meters: 30, newcomers: 40}}
service:
  tags: {robots: {plant: A}}
  queries:
    - {name: robots, every: 2s, expect: 30, sql: "SELECT * FROM devices WHERE tags.plant = 'A'"}
    - {name: count, every: 3s, sql: "SELECT COUNT() AS n FROM devices"}
  methods: [{name: ping, group: robots, method: ping, rate: 5/s, timeout: 5s}]
  twin_reads: [{group: robots, rate: 5/s}]
  rollouts: [{name: firmware, group: robots, properties: {firmware: "2"}, rate: 5/s, timeout: 5s}]
  freshness: {probe: 500ms, sample: 60, verify: false}
`

// prometheus starts a real Prometheus with a configuration for scraping and returns its address.
func prometheus(t *testing.T, dir, scrapes string, more ...string) string {
	t.Helper()
	addr, config := loopback.Free(t), filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte("global: {scrape_interval: 1s, evaluation_interval: 1s}\n"+scrapes), 0o600); err != nil {
		t.Fatal(err)
	}
	rig.Start(t, dir, nil, rig.Program(t, "prometheus"), append([]string{
		"--config.file", config, "--storage.tsdb.path", filepath.Join(dir, "tsdb"),
		"--web.listen-address", addr,
	}, more...)...)
	rig.Listening(t, addr, 30*time.Second)
	return addr
}

func configFile(name string) string { return filepath.Join(rig.Root(), "configs", name) }

// The rules are sound, and fire and keep silent when they should.
func TestRules(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "prometheus-rules.yml"}, {"test", "rules", "prometheus-rules.test.yml"}} {
		p := rig.Start(t, configFile(""), nil, rig.Program(t, "promtool"), args...)
		if code := p.Wait(t, time.Minute); code != 0 {
			t.Errorf("promtool %v:\n%s", args, p.Output())
		}
	}
	p := rig.Start(t, configFile(""), nil, rig.Program(t, "promtool"), "check", "config", "--syntax-only", "prometheus.yml")
	if code := p.Wait(t, time.Minute); code != 0 {
		t.Errorf("promtool check config:\n%s", p.Output())
	}
}

// A real Prometheus scrapes a run, and the query of every panel, variable and annotation of every board
// returns data, and so does every rule; of an alert, what it compares.
func TestPrometheusAndGrafana(t *testing.T) {
	t.Parallel()
	binary, dir := rig.Build(t), t.TempDir()
	scenario := filepath.Join(dir, "all.yaml")
	if err := os.WriteFile(scenario, []byte(all), 0o600); err != nil {
		t.Fatal(err)
	}
	metricsAddr := loopback.Free(t)
	addr := prometheus(t, dir, fmt.Sprintf("rule_files: [%q]\nscrape_configs:\n  - job_name: twinfleet\n    static_configs: [{targets: [%q]}]\n",
		configFile("prometheus-rules.yml"), metricsAddr))
	run := rig.Start(t, dir, nil, binary, "run", scenario, "--metrics-addr", metricsAddr, "--allow-saturated", "--out", "", "--linger", "1m")
	run.Line(t, "stage 2 of 2", time.Minute)
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	var asks sync.WaitGroup
	questions := append(boardQuestions(t, began), ruleQuestions(t, addr)...)
	free := make(chan struct{}, 8) // a hundred at once would starve the run on a small machine
	for _, q := range questions {
		asks.Go(func() {
			for !q.answered(ctx, t, addr, free) {
				select {
				case <-time.After(500 * time.Millisecond):
				case <-ctx.Done():
					t.Errorf("%s: no data for %s", q.where, q.path)
					return
				}
			}
		})
	}
	asks.Wait()
	t.Logf("%d queries of boards and rules returned data", len(questions))
	for _, r := range rules(t, addr) {
		if r.Health != "ok" || r.LastError != "" {
			t.Errorf("rule %s is %s: %s", r.Name, r.Health, r.LastError)
		}
	}
	run.Signal(t, syscall.SIGINT)
	run.Wait(t, 40*time.Second)
}

// question is one request to Prometheus that must return something.
type question struct{ where, path string }

func ask(where, expr string) question {
	return question{where, "/api/v1/query?query=" + url.QueryEscape(expr)}
}

func (q question) answered(ctx context.Context, t *testing.T, addr string, free chan struct{}) bool {
	free <- struct{}{}
	defer func() { <-free }()
	var data json.RawMessage
	if err := get(ctx, addr, q.path, &data); err != nil {
		if ctx.Err() == nil {
			t.Logf("%s: %v", q.where, err)
		}
		return false
	}
	var vector struct{ Result []json.RawMessage }
	var values []string
	return (json.Unmarshal(data, &vector) == nil && len(vector.Result) > 0) || (json.Unmarshal(data, &values) == nil && len(values) > 0)
}

// get asks Prometheus and decodes the data of its answer.
func get(ctx context.Context, addr, path string, data any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.Unmarshal(b, &answer); err != nil {
		return fmt.Errorf("%s: %w", b, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return nil
}

type panel struct {
	Title   string
	Type    string
	Targets []struct{ Expr string }
	Panels  []panel
}

func (p panel) questions(board string, fill func(string) string) (all []question) {
	for _, t := range p.Targets {
		all = append(all, ask(board+": "+p.Title, fill(t.Expr)))
	}
	for _, inner := range p.Panels { // of a folded row
		all = append(all, inner.questions(board, fill)...)
	}
	return all
}

// boardQuestions are the queries of all panels, variables and annotations, with Grafana's variables filled in.
func boardQuestions(t *testing.T, began time.Time) (all []question) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(rig.Root(), "grafana", "dashboards", "*.json"))
	if err != nil || len(files) != 6 {
		t.Fatalf("%d dashboards: %v", len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var board struct {
			Panels     []panel
			Templating struct {
				List []struct {
					Name, Type, AllValue string
					Query                json.RawMessage
					Current              struct{ Value string }
				}
			}
			Annotations struct{ List []struct{ Expr string } }
		}
		if err := json.Unmarshal(b, &board); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		name := filepath.Base(f)
		pairs := []string{"$__rate_interval", "5s", "$__interval", "1s"}
		for _, v := range board.Templating.List {
			value := v.AllValue
			if v.Type == "custom" {
				value = v.Current.Value
			}
			pairs = append(pairs, "$"+v.Name, value)
		}
		fill := strings.NewReplacer(pairs...).Replace
		for _, v := range board.Templating.List {
			if v.Type != "query" {
				continue
			}
			var q struct{ Query string }
			if err := json.Unmarshal(v.Query, &q); err != nil {
				t.Fatal(err)
			}
			m := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(fill(q.Query))
			if m == nil {
				t.Fatalf("%s: variable %s: %s", name, v.Name, q.Query)
			}
			all = append(all, question{name + ": variable " + v.Name, "/api/v1/label/" + m[2] + "/values?match[]=" + url.QueryEscape(m[1])})
		}
		for _, a := range board.Annotations.List {
			all = append(all, question{name + ": annotation", fmt.Sprintf("/api/v1/query_range?query=%s&step=1&start=%d&end=%d",
				url.QueryEscape(fill(a.Expr)), began.Add(-10*time.Second).Unix(), began.Add(5*time.Second).Unix())})
		}
		for _, p := range board.Panels {
			all = append(all, p.questions(name, fill)...)
		}
	}
	return all
}

type rule struct{ Name, Type, Query, Health, LastError string }

// rules are the rules as Prometheus has loaded and evaluated them.
func rules(t *testing.T, addr string) (all []rule) {
	t.Helper()
	var data struct{ Groups []struct{ Rules []rule } }
	if err := get(t.Context(), addr, "/api/v1/rules", &data); err != nil {
		t.Fatal(err)
	}
	for _, g := range data.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("no rules")
	}
	return all
}

func ruleQuestions(t *testing.T, addr string) (all []question) {
	t.Helper()
	for _, r := range rules(t, addr) {
		all = append(all, ask("rule "+r.Name, compared(t, r.Query)))
		if r.Type == "recording" {
			all = append(all, ask("recorded "+r.Name, r.Name))
		}
	}
	return all
}

// compared is what an alert compares: in a run without trouble an alert itself returns nothing.
func compared(t *testing.T, expr string) string {
	t.Helper()
	e, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Fatal(err)
	}
	for {
		b, ok := e.(*parser.BinaryExpr)
		if !ok || !(b.Op.IsComparisonOperator() || b.Op == parser.LAND) {
			return e.String()
		}
		e = b.LHS
	}
}

// What is pushed to a real Pushgateway and written to a real Prometheus is what the report counts; the secret is
// in no list of processes; and after the run Prometheus knows that it has ended.
func TestPushes(t *testing.T) {
	t.Parallel()
	binary, dir := rig.Build(t), t.TempDir()
	gateway := loopback.Free(t)
	rig.Start(t, dir, nil, rig.Program(t, "prometheus-pushgateway"), "--web.listen-address", gateway)
	rig.Listening(t, gateway, 30*time.Second)
	addr := prometheus(t, dir, fmt.Sprintf("scrape_configs:\n  - job_name: pushgateway\n    honor_labels: true\n    static_configs: [{targets: [%q]}]\n", gateway), "--web.enable-remote-write-receiver")
	run := rig.Start(t, dir, []string{"TWINFLEET_PUSHGATEWAY_AUTH=me:open-sesame"}, binary, "run", scenarioFile("smoke"), "--metrics-addr", "",
		"--out", "runs", "--allow-saturated",
		"--set", "stages.ramp.duration=2s", "--set", "stages.hold.duration=5s", "--set", "thresholds={}",
		"--pushgateway", "http://"+gateway, "--prometheus-remote-write", "http://"+addr, "--push-every", "1s")
	run.Line(t, "stage 2 of 2", time.Minute)
	if lists, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", run.PID())); err != nil || strings.Contains(string(lists), "open-sesame") {
		t.Errorf("the command line holds the secret (%v): %q", err, lists)
	}
	if code := run.Wait(t, time.Minute); code != 0 || strings.Contains(run.Output(), "pushed") || strings.Contains(run.Output(), "open-sesame") {
		t.Errorf("exit code %d\n%s", code, run.Output())
	}
	want := reported(t, dir)
	for what, selector := range map[string]string{"the Pushgateway": `scenario="smoke"`, "remote write": `scenario=""`} {
		expr := `sum(max_over_time(twinfleet_operations_total{job="twinfleet",operation="twin_report",` + selector + `}[5m]))`
		if got := eventually(t, addr, expr, want); got != want {
			t.Errorf("by %s came %s reports; the run counted %s", what, got, want)
		}
	}
	// What was written by remote write is marked as ended; what was pushed stays in the Pushgateway.
	for expr, want := range map[string]string{
		`count(twinfleet_operations_total{job="twinfleet",scenario=""}) or vector(0)`:  "0",
		`count(twinfleet_operations_total{job="twinfleet",scenario="smoke"}) > bool 0`: "1",
		`max(last_over_time(twinfleet_run_info{job="twinfleet",stage="ramp"}[5m]))`:    "1",
	} {
		if got := eventually(t, addr, expr, want); got != want {
			t.Errorf("after the end %s is %s; want %s", expr, got, want)
		}
	}
}

// reported is how many reports the run's own summary counts.
func reported(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "runs", "*", "summary.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("summaries %v: %v", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var summary struct {
		Operations []struct {
			Operation string
			Count     int
		}
	}
	if err := json.Unmarshal(b, &summary); err != nil {
		t.Fatal(err)
	}
	for _, o := range summary.Operations {
		if o.Operation == "twin_report" {
			return strconv.Itoa(o.Count)
		}
	}
	t.Fatalf("the summary counts no reports:\n%s", b)
	return ""
}

// eventually asks until a query has a value, for half a minute, and returns its last value.
func eventually(t *testing.T, addr, expr, want string) (got string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); got != want && time.Now().Before(deadline); time.Sleep(300 * time.Millisecond) {
		var data struct {
			Result []struct{ Value [2]any }
		}
		if err := get(t.Context(), addr, "/api/v1/query?query="+url.QueryEscape(expr), &data); err != nil {
			t.Fatal(err)
		}
		if len(data.Result) == 1 {
			got = fmt.Sprint(data.Result[0].Value[1])
		}
	}
	return got
}
