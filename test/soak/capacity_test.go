//go:build integration && soak

package soak

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/test/rig"
)

var kills = flag.Int("soak.kills", 20, "how often a capacity search is interrupted")

// found is what is read of a search's answer.
type found struct {
	End    string  `json:"end"`
	Held   float64 `json:"held"`
	Missed float64 `json:"missed"`
	Trials []struct {
		Number  int     `json:"number"`
		Load    float64 `json:"load"`
		Verdict string  `json:"verdict"`
	} `json:"trials"`
}

// search searches to the end, and says how the program ended.
func search(t *testing.T, dir string, command ...string) (a found, code int) {
	t.Helper()
	p := rig.Start(t, dir, nil, command[0], command[1:]...)
	code = p.Wait(t, 20*time.Minute)
	if err := json.Unmarshal([]byte(p.Stdout()), &a); err != nil {
		t.Fatalf("%v in\n%s", err, p.Output())
	}
	for _, x := range a.Trials {
		t.Logf("%2d %10.4g %s", x.Number, x.Load, x.Verdict)
	}
	t.Logf("%s: %g hold, %g do not, exit code %d", a.End, a.Held, a.Missed, code)
	return a, code
}

const servedFixed = `
name: served
seed: 5
fleet: {groups: [{name: robots, count: 20, in_flight: 1000, reported: {connectivity: {type: cellular}}}]}
stages:
  - {name: up, duration: 1s, devices: 100%}
  - {name: hold, duration: 1m, report_rate: 20/s, hub: {service: {servers: 1, time: 20ms, distribution: fixed}}}
thresholds: {twin_report: ["p(90) < 250ms"]}
`

// A search that Ctrl-C and kill -9 end at random moments, and that goes on each time, comes to the answer of one that was left alone, and makes no
// finished trial twice.
func TestCapacityIsKilled(t *testing.T) {
	binary, dir := rig.Build(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "served.yaml"), []byte(servedFixed), 0o600); err != nil {
		t.Fatal(err)
	}
	command := func(out string) []string {
		return []string{
			binary, "capacity", "served.yaml", "--vary", "report_rate", "--hold", "3s", "--settle", "3s", "--precision", "10%", "--no-ui", "--metrics-addr=", "--json", "--out", out,
		}
	}
	whole, code := search(t, dir, command("whole")...)
	if code != 0 || whole.End != "found" || whole.Held < 40 || whole.Held > 50.5 {
		t.Fatalf("left alone: %+v", whole)
	}
	r := rand.New(rand.NewPCG(20, 9))
	for n := range *kills {
		p := rig.Start(t, dir, nil, binary, command("runs")[1:]...)
		time.Sleep(time.Duration(1+r.IntN(12_000)) * time.Millisecond) // the moment is the subject
		if n%2 == 0 {
			p.Signal(t, syscall.SIGKILL)
		} else {
			p.Signal(t, syscall.SIGINT)
		}
		p.Wait(t, time.Minute)
	}
	a, _ := search(t, dir, command("runs")...)
	if a.End != whole.End || a.Held != whole.Held || a.Missed != whole.Missed || len(a.Trials) != len(whole.Trials) {
		t.Errorf("%+v; left alone it was %+v", a, whole)
	}
	journals, err := filepath.Glob(filepath.Join(dir, "runs", "*", "search.jsonl"))
	if err != nil || len(journals) == 0 {
		t.Fatal(journals, err)
	}
	made := make(map[string]int)
	for _, file := range journals {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			var x struct {
				Trial *struct{ Number int } `json:"trial"`
			}
			if json.Unmarshal([]byte(line), &x) == nil && x.Trial != nil {
				made[fmt.Sprintf("%s %d", filepath.Dir(file), x.Trial.Number)]++
			}
		}
	}
	for which, n := range made {
		if n != 1 {
			t.Errorf("trial %s was made %d times", which, n)
		}
	}
	t.Logf("interrupted %d times; %d journals, %d trials", *kills, len(journals), len(made))
}

const published = `
name: published
seed: 3
target: {hub: "mqtt://%s"}
fleet: {groups: [{name: pub, count: 100, telemetry: {topic: "plant/{device}", payload: {t: 21}}}]}
stages:
  - {name: up, duration: 1s, devices: 100%%}
  - {name: hold, duration: 30s, telemetry_rate: 1000/s}
thresholds: {telemetry: ["p(95) < 250ms", "error_rate < 0.1%%"]}
`

// busy keeps a processor busy until the test ends.
func busy(t *testing.T, processor string, loops int) {
	for range loops {
		rig.Start(t, t.TempDir(), nil, "taskset", "-c", processor, "sh", "-c", "while :; do :; done")
	}
}

// A Mosquitto that has a quarter of a processor has a knee, or the generator says that it did not deliver; two searches agree.
func TestCapacityOfMosquitto(t *testing.T) {
	binary, dir := rig.Build(t), t.TempDir()
	addr := rig.Mosquitto(t, "max_queued_messages 0", "max_inflight_messages 0", "set_tcp_nodelay true")
	pin(t, "1")
	busy(t, "1", 3)
	if err := os.WriteFile(filepath.Join(dir, "published.yaml"), []byte(fmt.Sprintf(published, addr)), 0o600); err != nil {
		t.Fatal(err)
	}
	var answers []found
	for n := range 2 {
		a, code := search(t, dir, "taskset", "-c", "0", binary, "capacity", "published.yaml", "--vary", "telemetry_rate", "--from", "4000/s", "--hold", "10s", "--no-ui", "--metrics-addr=", "--json", "--set", fmt.Sprintf("seed=%d", 100*n+3), "--out=")
		if a.End == "found" && code == 0 || a.End == "generator" && code == 98 || code == 97 {
			answers = append(answers, a)
			continue
		}
		t.Fatalf("%+v, exit code %d", a, code)
	}
	if answers[0].End == "found" && answers[1].End == "found" && math.Abs(answers[0].Held/answers[1].Held-1) > 0.10 {
		t.Errorf("%g and %g; want them within 10 %%", answers[0].Held, answers[1].Held)
	}
}

// pin keeps the Mosquitto that was started last on a processor.
func pin(t *testing.T, processor string) {
	t.Helper()
	p := rig.Start(t, t.TempDir(), nil, "sh", "-c", "taskset -acp "+processor+" $(pgrep -n mosquitto)")
	if code := p.Wait(t, 10*time.Second); code != 0 {
		t.Fatalf("pinning Mosquitto: %s", p.Output())
	}
}

// A generator that has half a processor says that it did not deliver; it gives no limit of the broker.
func TestCapacityWithHalfAProcessor(t *testing.T) {
	binary, dir := rig.Build(t), t.TempDir()
	addr := rig.Mosquitto(t, "max_queued_messages 0", "max_inflight_messages 0", "set_tcp_nodelay true")
	pin(t, "1")
	busy(t, "0", 1)
	if err := os.WriteFile(filepath.Join(dir, "published.yaml"), []byte(fmt.Sprintf(published, addr)), 0o600); err != nil {
		t.Fatal(err)
	}
	a, code := search(t, dir, "taskset", "-c", "0", binary, "capacity", "published.yaml", "--vary", "telemetry_rate", "--from", "4000/s", "--hold", "3s", "--no-ui", "--metrics-addr=", "--json", "--out=")
	if a.End != "generator" || code != 98 || a.Missed != 0 {
		t.Errorf("%+v, exit code %d; want the generator to say that it did not deliver", a, code)
	}
}
