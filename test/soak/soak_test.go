//go:build integration

package soak

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/test/rig"
)

var (
	soakFor  = flag.Duration("soak.for", 25*time.Second, "how long to begin new runs")
	soakSeed = flag.Uint64("soak.seed", 1, "seed of the first run; the others follow")
	soakRuns = flag.Int("soak.side", 3, "runs side by side")
)

// summary is what the oracle reads of summary.json.
type summary struct {
	Outcome    string `json:"outcome"`
	Reason     string `json:"reason"`
	Thresholds []struct {
		Threshold string `json:"threshold"`
		Observed  string `json:"observed"`
		Pass      bool   `json:"pass"`
		NoData    bool   `json:"no_data"`
		CannotSay bool   `json:"cannot_say"`
	} `json:"thresholds"`
	Operations []struct {
		Operation string             `json:"operation"`
		Scheduled int                `json:"scheduled"`
		Outcomes  map[string]int     `json:"outcomes"`
		Dropped   map[string]int     `json:"dropped"`
		Open      int                `json:"open"`
		Response  map[string]float64 `json:"response_seconds"`
	} `json:"operations"`
	Generator struct {
		Stopped float64 `json:"stopped_seconds"`
	} `json:"generator"`
}

// tally is what a soak did.
type tally struct {
	mu                                sync.Mutex
	runs, operations, decided, cannot int
	outcomes                          map[string]int
	falsePass, falseMiss, accounts    int
}

// Random scenarios against the embedded hub and Mosquitto, both behind a proxy that stalls, swallows, cuts and refuses: no
// threshold is met that the wire says is missed, none is missed that the wire says is met, and the accounts are the wire's.
func TestVerdictsHoldAgainstTheWire(t *testing.T) {
	binary := rig.Build(t)
	broker := rig.Mosquitto(t, "log_type none")
	hub := rig.Start(t, t.TempDir(), nil, binary, "hub", "--listen", "127.0.0.1:0", "--json")
	var said struct {
		Connection string `json:"connectionString"`
	}
	if err := json.Unmarshal([]byte(hub.Line(t, "connectionString", 10*time.Second)), &said); err != nil || said.Connection == "" {
		t.Fatalf("the hub said %q, %v", hub.Output(), err)
	}
	sum := &tally{outcomes: make(map[string]int)}
	until := time.Now().Add(*soakFor)
	next := *soakSeed
	var mu sync.Mutex
	var all sync.WaitGroup
	for range *soakRuns {
		all.Go(func() {
			for time.Now().Before(until) {
				mu.Lock()
				seed := next
				next++
				mu.Unlock()
				for _, problem := range run(t, sum, binary, seed, broker, said.Connection) {
					t.Errorf("seed %d: %s", seed, problem)
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d runs (%v), %d operations, %d thresholds decided by the wire, %d where the generator could not say; %d false passes, %d false misses, %d accounts that differ",
		sum.runs, sum.outcomes, sum.operations, sum.decided, sum.cannot, sum.falsePass, sum.falseMiss, sum.accounts)
	if sum.runs == 0 || sum.decided == 0 {
		t.Error("nothing was decided")
	}
}

// run is one plan, carried out and judged.
func run(t *testing.T, sum *tally, binary string, seed uint64, broker, connection string) (problems []string) {
	address := broker
	if seed%2 == 0 {
		address = regexp.MustCompile(`HostName=([^;]+)`).FindStringSubmatch(connection)[1]
	}
	w, err := newWire(strings.Replace(address, "localhost", "127.0.0.1", 1))
	if err != nil {
		return []string{err.Error()}
	}
	defer w.close()
	target := fmt.Sprintf("hub: \"mqtt://%s\"", w.addr())
	if seed%2 == 0 {
		target = fmt.Sprintf("hub: %q, plain: true", strings.Replace(connection, address, strings.Replace(w.addr(), "127.0.0.1", "localhost", 1), 1))
	}
	p := draw(seed, target)
	p.yaml = strings.ReplaceAll(p.yaml, "name: robots", fmt.Sprintf("name: r%d", seed)) // runs side by side have devices of their own
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "s.yaml"), []byte(p.yaml), 0o600); err != nil {
		return []string{err.Error()}
	}
	process := rig.Start(t, dir, nil, binary, "run", "s.yaml", "--metrics-addr", "", "--out", "out", "--allow-saturated=false")
	over := make(chan struct{})
	var faults sync.WaitGroup
	begin := time.Now()
	for _, f := range p.faults {
		faults.Go(func() { misbehave(w, process, begin, f, over) })
	}
	if p.stop > 0 {
		faults.Go(func() {
			if !pause(time.Until(begin.Add(p.stop)), over) {
				return
			}
			process.Signal(t, syscall.SIGINT)
			if p.hard && pause(200*time.Millisecond, over) {
				process.Signal(t, syscall.SIGINT)
			}
		})
	}
	code := process.Wait(t, 2*time.Minute)
	close(over)
	faults.Wait()
	files, _ := filepath.Glob(filepath.Join(dir, "out", "*", "summary.json"))
	if len(files) != 1 {
		return []string{fmt.Sprintf("exit code %d and no record\n%s\n%s", code, p.yaml, process.Output())}
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		return []string{err.Error()}
	}
	var s summary
	if err := json.Unmarshal(data, &s); err != nil {
		return []string{err.Error()}
	}
	w.close()
	problems = sum.hold(p, code, s, w.judge(p.timeout))
	if len(problems) > 0 {
		problems = append(problems, fmt.Sprintf("%+v\n%s\n%s", p.faults, p.yaml, process.Output()))
	}
	return problems
}

// pause waits; it is false when the run was over first.
func pause(d time.Duration, over <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-over:
		return false
	}
}

// misbehave carries out a fault at its time.
func misbehave(w *wire, process *rig.Process, begin time.Time, f fault, over <-chan struct{}) {
	if !pause(time.Until(begin.Add(f.at)), over) {
		return
	}
	until := time.Now().Add(f.d)
	switch f.name {
	case "stall":
		w.set(func(w *wire) { w.stalled = until })
	case "swallow":
		w.set(func(w *wire) { w.swallow = f.size })
		pause(f.d, over)
		w.set(func(w *wire) { w.swallow = 0 })
	case "cut":
		w.cut()
	case "refuse":
		w.set(func(w *wire) { w.refuse = until })
		w.cut()
	case "deaf":
		w.set(func(w *wire) { w.deaf = until })
		w.cut()
	case "pause":
		// The generator itself stands still: whatever it measures then is not the target's.
		_ = syscall.Kill(process.PID(), syscall.SIGSTOP)
		pause(f.d, over)
		_ = syscall.Kill(process.PID(), syscall.SIGCONT)
	}
}

// hold compares a run with what the wire knows.
func (sum *tally) hold(p plan, code int, s summary, wire map[string]*truth) (problems []string) {
	sum.mu.Lock()
	defer sum.mu.Unlock()
	sum.runs++
	sum.outcomes[s.Outcome]++
	say := func(count *int, format string, a ...any) {
		*count++
		problems = append(problems, fmt.Sprintf(format, a...))
	}
	started := make(map[string]int)
	for _, o := range s.Operations {
		ended, dropped := 0, 0
		for _, n := range o.Outcomes {
			ended += n
		}
		for _, n := range o.Dropped {
			dropped += n
		}
		sum.operations += o.Scheduled
		if o.Scheduled != ended+dropped || o.Open != 0 {
			say(&sum.accounts, "%s: scheduled %d is not %d with an outcome and %d dropped, %d open", o.Operation, o.Scheduled, ended, dropped, o.Open)
		}
		t := wire[o.Operation]
		if t == nil {
			continue
		}
		started[o.Operation] = ended
		lost := o.Outcomes["error"] + o.Outcomes["unanswered"] + o.Outcomes["timeout"]
		if t.sent > ended || ended-t.sent > lost {
			say(&sum.accounts, "%s: the wire saw %d, the run %d of which %d failed", o.Operation, t.sent, ended, lost)
		}
		// After a second Ctrl-C nobody waits: what was answered then is not known.
		if ok := o.Outcomes["ok"]; ok > t.okMost || (ok < t.okLeast && !paused(p, &s) && !(p.hard && p.stop > 0)) {
			say(&sum.accounts, "%s: %d ok; the wire saw %d to %d", o.Operation, ok, t.okLeast, t.okMost)
		}
	}
	if s.Outcome == "interrupted" || s.Outcome == "failed" {
		if code == 0 {
			say(&sum.falsePass, "exit code 0 of a run that is %s", s.Outcome)
		}
		return problems
	}
	missed := 0
	for i, v := range s.Thresholds {
		b := thresholdOf(p, v.Threshold)
		t := wire[b.op]
		if !v.Pass {
			missed++
		}
		if t == nil || v.NoData {
			continue
		}
		must, mustNot := verdict(b, t, started[b.op], p.waits)
		if v.CannotSay || s.Outcome == "saturated" {
			sum.cannot++
			continue
		}
		if must || mustNot {
			sum.decided++
		}
		if mustNot && v.Pass {
			say(&sum.falsePass, "threshold %d: %s was met with %s; the wire: %+v, p%g %v", i, v.Threshold, v.Observed, *brief(t), b.q*100, t.quantile(b.q))
		}
		if must && !v.Pass {
			say(&sum.falseMiss, "threshold %d: %s was missed with %s; the wire: %+v, p%g %v", i, v.Threshold, v.Observed, *brief(t), b.q*100, t.quantile(b.q))
		}
	}
	if (code == 0) != (s.Outcome == "passed") || (code == 0 && missed > 0) || (s.Outcome == "missed") != (code == 99) {
		say(&sum.falsePass, "exit code %d, %s, %d thresholds missed", code, s.Outcome, missed)
	}
	return problems
}

func brief(t *truth) *truth {
	return &truth{sent: t.sent, okLeast: t.okLeast, okMost: t.okMost, failedLeast: t.failedLeast}
}

// paused reports whether the generator itself stood still: then it saw answers later than the wire did.
func paused(p plan, s *summary) bool {
	if s.Generator.Stopped >= closeCall.Seconds() {
		return true
	}
	for _, f := range p.faults {
		if f.name == "pause" {
			return true
		}
	}
	return false
}

// thresholdOf finds the bound that a verdict is about.
func thresholdOf(p plan, text string) bound {
	for _, b := range p.bounds {
		if strings.HasPrefix(text, b.op+": "+b.expr()) {
			return b
		}
	}
	return bound{}
}

// verdict is what the wire says of a threshold: that it must be met, must not, or neither when it is too close.
func verdict(b bound, t *truth, started int, waits bool) (must, mustNot bool) {
	if b.latency > 0 {
		unseen := truth{times: append(make([]time.Duration, started-min(started, t.sent)), t.times...), openTimes: t.openTimes}
		slow := unseen.quantile(b.q-0.03) > b.latency+b.latency/5+closeCall
		// An operation may be late by the target's doing before the wire sees it: a connection after a session that an outage
		// held up, or what waits until others are answered.
		quick := b.op != "connect" && !waits && t.quantile(min(1, b.q+0.03)) < b.latency-closeCall
		return quick, slow
	}
	least := float64(started-t.okMost-t.throttledMost) / float64(max(1, started))
	most := float64(started-t.okLeast) / float64(max(1, started))
	return most < b.share, least >= b.share+0.005
}
