//go:build integration

package run

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/test/loopback"
	"github.com/twinfleet/twinfleet/test/rig"
)

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

// The rules are sound, and fire and keep silent when they should; the file that ships is one that Prometheus takes.
func TestRules(t *testing.T) {
	for _, args := range [][]string{
		{"check", "rules", "prometheus-rules.yml"},
		{"test", "rules", "prometheus-rules.test.yml"},
		{"check", "config", "--syntax-only", "prometheus.yml"},
	} {
		p := rig.Start(t, configFile(""), nil, rig.Prometheus(t, "promtool"), args...)
		if code := p.Wait(t, time.Minute); code != 0 {
			t.Errorf("promtool %v:\n%s", args, p.Output())
		}
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
		if err := rig.AskPrometheus(t.Context(), addr, "/api/v1/query?query="+url.QueryEscape(expr), &data); err != nil {
			t.Fatal(err)
		}
		if len(data.Result) == 1 {
			got = fmt.Sprint(data.Result[0].Value[1])
		}
	}
	return got
}
