//go:build integration

package swarm

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/test/rig"
)

var (
	benchDevices = flag.Int("swarm.bench", 0, "how many devices TestCost runs on four agents; none, and no test, when 0")
	benchHold    = flag.Duration("swarm.bench.hold", time.Minute, "how long they report, and how long they are quiet after that")
)

// costly has a stage with nothing to do but to keep connections, so that what an agent takes then is coordination, and little else.
const costly = `
name: cost
seed: 3
fleet:
  client: lean
  groups:
    - {name: robots, count: %d, reported: {connectivity: {type: {wifi: 1, cellular: 2}}, every: 60s}}
stages:
  - {name: ramp, duration: %s, devices: 100%%}
  - {name: hold, duration: %s}
  - {name: quiet, duration: %s, paused: true}
thresholds: {twin_report: ["p(99) < 1s", "error_rate < 0.1%%"]}
`

const benchAgents = 4

// spent is what processes have taken so far.
type spent struct {
	at       time.Time
	cpu      map[string]time.Duration
	up, down [benchAgents]int64
}

// What one run on four agents costs beside its load, for docs/performance.md: the agents' own share of the CPU, bytes that go between each agent and
// NATS, the coordinator and NATS. It wants a machine of its own.
func TestCost(t *testing.T) {
	if *benchDevices == 0 {
		t.Skip("SKIPPED: make bench-agents runs this, on a machine of its own")
	}
	w := newWorld(t)
	w.startNATS()
	var relays [benchAgents]*relay
	for i := range relays {
		relays[i] = newRelay(t, "127.0.0.1:0", w.nats, func(string) ways { return ways{} })
		name := agentName(i)
		w.agents[name] = rig.Start(t, w.dir, w.environ(), rig.Build(t), "agent", "--nats", "nats://"+relays[i].addr(), "--name", name, "--beside", strconv.Itoa(benchAgents), "--once")
	}
	for _, p := range w.agents {
		p.Line(t, "waits for runs", within)
	}
	ramp := max(2*time.Second, time.Duration(*benchDevices)*time.Second/500)
	text := fmt.Sprintf(costly, *benchDevices, ramp, *benchHold, *benchHold)
	p := rig.Start(t, w.dir, w.environ(), rig.Build(t), "run", scenarioIn(t, w, text), "--metrics-addr", "", "--no-ui", "--plain", "--allow-saturated=false",
		"--agents", strconv.Itoa(benchAgents), "--hubs", "4", "--nats", "nats://"+w.nats)
	take := func(line string) spent {
		p.Line(t, line, ramp+*benchHold+within)
		s := spent{at: time.Now(), cpu: map[string]time.Duration{"coordinator": cpuOf(t, p), "NATS": cpuOf(t, w.server)}}
		for name, agent := range w.agents {
			s.cpu[name] = cpuOf(t, agent)
		}
		for i, r := range relays {
			s.up[i], s.down[i] = r.up.Load(), r.down.Load()
		}
		return s
	}
	began, held, quiet := take("stage 1 of 3"), take("stage 2 of 3"), take("stage 3 of 3")
	timer := time.NewTimer(*benchHold - time.Second)
	defer timer.Stop()
	<-timer.C
	over := take("") // the next line
	p.Wait(t, within)
	r := w.record()
	addsUp(t, r)
	if r.Outcome != report.Passed {
		t.Error(said(r))
	}
	t.Logf("%d devices, %s", *benchDevices, strings.TrimSpace(p.Stdout()[:min(300, len(p.Stdout()))]))
	t.Log("ramp:\n" + costs(began, held))
	t.Log("hold:\n" + costs(held, quiet))
	t.Log("quiet, which is coordination and keeping connections:\n" + costs(quiet, over))
	size, took := packed(t, r)
	t.Logf("numbers of a stage that changed: %d bytes and %s of one processor, once a second: at most %.2f %% of an agent's beside what the quiet stage shows", size, took,
		100*took.Seconds())
}

// scenarioIn writes a scenario.
func scenarioIn(t *testing.T, w *world, text string) string {
	t.Helper()
	file := w.dir + "/scenario.yaml"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// costs is what was taken between two times, each second.
func costs(from, to spent) (text string) {
	s := to.at.Sub(from.at).Seconds()
	share := func(name string) float64 { return 100 * (to.cpu[name] - from.cpu[name]).Seconds() / s }
	for i := range benchAgents {
		name := agentName(i)
		text += fmt.Sprintf("  %s: %.2f %% of a processor; %.0f B/s sent, %.0f B/s received\n", name, share(name), float64(to.up[i]-from.up[i])/s, float64(to.down[i]-from.down[i])/s)
	}
	return text + fmt.Sprintf("  coordinator: %.2f %%, NATS: %.2f %% of a processor; in %.0f s", share("coordinator"), share("NATS"), s)
}

// cpuOf is the CPU time that a process has taken, to a hundredth of a second (proc(5): utime and stime).
func cpuOf(t *testing.T, p *rig.Process) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// packed is how large an agent's numbers of a stage are, and how long it takes to write them, with the distributions of the whole fleet in them: those
// of an agent are smaller.
func packed(t *testing.T, r *report.Run) (size int, took time.Duration) {
	t.Helper()
	pack, err := protocol.NewPacker()
	if err != nil {
		t.Fatal(err)
	}
	x := &protocol.Numbers{At: r.Ended, Stage: metrics.StagePart{Number: 1}}
	for i := range r.Totals.Series {
		x.Stage.Series = append(x.Stage.Series, &r.Totals.Series[i])
	}
	const times = 100
	start := time.Now()
	for range times {
		b, err := pack.Pack(x)
		if err != nil {
			t.Fatal(err)
		}
		size = len(b)
	}
	took = time.Since(start) / times
	if plain, err := json.Marshal(x); err == nil {
		t.Logf("as JSON: %d bytes", len(plain))
	}
	return size, took
}
