//go:build integration

package brokersbench

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/twinfleet/twinfleet/test/rig"
)

var (
	lasting    = flag.Duration("brokers.for", 0, "how long each program loads the broker; 0s skips the comparison")
	publishers = flag.Int("brokers.publishers", 20, "publishers of each program")
	every      = flag.Duration("brokers.every", 100*time.Millisecond, "how often each of them sends")
)

func TestMain(m *testing.M) { rig.Main(m) }

// took is what a program took and said.
type took struct {
	cpu    time.Duration
	memory int64  // the most, in KB
	says   string // of its latency
	err    error
}

// spend waits for a process that was started, and gives what it took. The kernel's own figure of the most memory holds that of the
// process that started it, too (getrusage(2)): it is read from proc(5) while the process runs.
func spend(c *exec.Cmd) (cpu time.Duration, memory int64, err error) {
	done := make(chan error, 1)
	var waiting sync.WaitGroup
	waiting.Go(func() { done <- c.Wait() })
	defer waiting.Wait()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return c.ProcessState.UserTime() + c.ProcessState.SystemTime(), memory, err
		case <-tick.C:
			if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Process.Pid)); err == nil {
				if m := peak.FindSubmatch(b); m != nil {
					memory, _ = strconv.ParseInt(string(m[1]), 10, 64)
				}
			}
		}
	}
}

var peak = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// output runs a process to its end.
func (k *took) output(c *exec.Cmd) (string, error) {
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.Start(); err != nil {
		return "", err
	}
	cpu, memory, err := spend(c)
	k.cpu, k.memory = cpu, memory
	return out.String(), err
}

// TestSideBySide prints what each program took and said of a broker, and what was true.
func TestSideBySide(t *testing.T) {
	if *lasting == 0 {
		t.Skip("only with -brokers.for: make bench-brokers")
	}
	programs := []struct {
		name string
		run  func(context.Context, *testing.T, string) took
	}{{"twinfleet", twinfleet}, {"mosquitto_pub", mosquittoPub}, {"mqtt-benchmark", mqttBenchmark}}
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "broker\tprogram\tmessages\trate\tCPU\tmemory\tit says\ttrue mean\tp50\tp99\tmax\tleft out")
	for _, frozen := range []bool{false, true} {
		for _, p := range programs {
			if p.name == "mqtt-benchmark" && os.Getenv("MQTT_BENCHMARK") == "" {
				continue
			}
			k, all, leftOut, rate := load(t, frozen, p.run)
			if k.err != nil {
				t.Errorf("%s: %v", p.name, k.err)
				continue
			}
			var sum time.Duration
			for _, d := range all {
				sum += d
			}
			at := func(q float64) string { return millis(all[min(len(all)-1, int(q*float64(len(all))))]) }
			broker := "well"
			if frozen {
				broker = "frozen 1 s"
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%.0f/s\t%.2f s\t%d MB\t%s\t%s\t%s\t%s\t%s\t%d\n", broker, p.name, len(all)-leftOut, rate, k.cpu.Seconds(), k.memory/1000, k.says,
				millis(sum/time.Duration(len(all))), at(0.5), at(0.99), at(1), leftOut)
		}
	}
	w.Flush()
	t.Logf("\n%s", text.String())
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000) }

// load has a program load a broker of its own through a proxy; in the middle the broker may be frozen for a second.
func load(t *testing.T, frozen bool, run func(context.Context, *testing.T, string) took) (k took, all []time.Duration, leftOut int, rate float64) {
	t.Helper()
	process, addr := rig.MosquittoProcess(t)
	p := newProxy(t, addr)
	ctx, cancel := context.WithTimeout(t.Context(), 4**lasting+time.Minute)
	defer cancel()
	var freezing sync.WaitGroup
	if frozen {
		freezing.Go(func() {
			select {
			case <-time.After(*lasting / 2):
			case <-ctx.Done():
				return
			}
			process.Signal(t, syscall.SIGSTOP)
			time.Sleep(time.Second)
			process.Signal(t, syscall.SIGCONT)
		})
	}
	k = run(ctx, t, p.addr())
	freezing.Wait()
	connections := p.close()
	var first, last time.Time
	n := 0
	for _, messages := range connections {
		for _, m := range messages {
			n++
			if first.IsZero() || m.sent.Before(first) {
				first = m.sent
			}
			if m.sent.After(last) {
				last = m.sent
			}
		}
	}
	all, leftOut = truth(connections)
	if len(all) == 0 {
		k.err = cmp.Or(k.err, fmt.Errorf("nothing was acknowledged"))
	}
	return k, all, leftOut, float64(n) / last.Sub(first).Seconds()
}

// line is what the summary says of telemetry: p50, p95, p99 and max come last.
var line = regexp.MustCompile(`(?m)^ +telemetry .* (\S+) +(\S+) +(\S+) +(\S+)$`)

func twinfleet(ctx context.Context, t *testing.T, broker string) (k took) {
	dir := t.TempDir()
	file := filepath.Join(dir, "side-by-side.yaml")
	text := fmt.Sprintf(`
target: {hub: "mqtt://%s"}
fleet: {groups: [{name: sensors, count: %d, telemetry: {topic: "bench/{index}", every: %v, qos: 1, payload: {temperature: "{{ normal 21 3 }}"}}}]}
stages: [{name: hold, duration: %v, devices: {points: [[0s, 100%%]]}}]
generator: {saturated: warn}
`, broker, *publishers, *every, *lasting)
	if k.err = os.WriteFile(file, []byte(text), 0o600); k.err != nil {
		return k
	}
	c := exec.CommandContext(ctx, rig.Build(t), "run", file, "--plain", "--no-ui", "--metrics-addr", "", "--out", "")
	c.Dir = dir
	out, err := k.output(c)
	said := line.FindStringSubmatch(out)
	if err != nil || said == nil {
		k.err = fmt.Errorf("%v\n%s", err, out)
		return k
	}
	k.says = "p50 " + said[1] + ", p95 " + said[2] + ", p99 " + said[3] + ", max " + said[4]
	return k
}

// mosquittoPub is a mosquitto_pub a publisher, each of which is given a line when one is due.
func mosquittoPub(ctx context.Context, t *testing.T, broker string) (k took) {
	host, port, _ := strings.Cut(broker, ":")
	var all sync.WaitGroup
	var mu sync.Mutex
	for i := range *publishers {
		c := exec.CommandContext(ctx, rig.Program(t, "mosquitto_pub"), "-h", host, "-p", port, "-q", "1", "-l", "-t", fmt.Sprint("bench/", i))
		in, err := c.StdinPipe()
		if err == nil {
			err = c.Start()
		}
		if err != nil {
			k.err = err
			break
		}
		all.Go(func() {
			all.Go(func() { feed(ctx, in, *every*time.Duration(i)/time.Duration(*publishers)) })
			cpu, memory, err := spend(c)
			mu.Lock()
			defer mu.Unlock()
			k.err = cmp.Or(k.err, err)
			k.cpu += cpu
			k.memory += memory
		})
	}
	all.Wait()
	k.says = "nothing"
	return k
}

// feed writes a line whenever one is due.
func feed(ctx context.Context, in io.WriteCloser, phase time.Duration) {
	defer in.Close()
	start := time.Now().Add(phase)
	for due := start; due.Sub(start) < *lasting; due = due.Add(*every) {
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return
		}
		if _, err := io.WriteString(in, `{"temperature":21.123456789}`+"\n"); err != nil {
			return
		}
	}
}

// mqttBenchmark is the program that MQTT_BENCHMARK names. It knows no rate: each publisher sends as soon as it has its acknowledgement.
// So a short run says first how many messages it needs.
func mqttBenchmark(ctx context.Context, _ *testing.T, broker string) (k took) {
	type figures struct {
		Totals struct {
			Mean    float64 `json:"msg_time_mean_avg"`
			Max     float64 `json:"msg_time_max"`
			RunTime float64 `json:"total_run_time"`
		}
	}
	run := func(count int) (said figures, err error) {
		out, err := k.output(exec.CommandContext(ctx, os.Getenv("MQTT_BENCHMARK"), "-broker", "tcp://"+broker, "-clients", fmt.Sprint(*publishers),
			"-count", fmt.Sprint(count), "-size", "28", "-qos", "1", "-quiet", "-format", "json"))
		if err != nil {
			return said, err
		}
		return said, json.Unmarshal([]byte(out), &said)
	}
	const few = 500
	said, err := run(few)
	if err == nil {
		said, err = run(max(few, int(few*lasting.Seconds()/said.Totals.RunTime)))
	}
	k.err = err
	k.says = fmt.Sprintf("mean %.2f ms, max %.2f ms", said.Totals.Mean, said.Totals.Max)
	return k
}
