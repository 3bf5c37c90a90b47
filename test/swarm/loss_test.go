//go:build integration

package swarm

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/test/rig"
)

// lossy runs long enough that what is lost is noticed, and others can take it over.
const lossy = `
name: lossy
seed: %d
fleet:
  client: lean
  groups:
    - {name: robots, count: 120, reported: {connectivity: {type: {wifi: 1, cellular: 2}}, every: 1s}, telemetry: {every: 2s}}
stages:
  - {name: ramp, duration: 2s, devices: 100%%}
  - {name: hold, duration: %ds, report_rate: 20/s}
service:
  queries: [{name: all, every: 2s, sql: SELECT * FROM devices}]
  freshness: {probe: 1s}
`

// round is one try of a loss: all about it follows from its seed.
type round struct {
	seed   uint64
	choice string
	here   bool          // agents are processes that the run has started
	victim string        // agent
	after  time.Duration // since the first stage began
}

const (
	lossyAgents = 3
	lossyHold   = 9 // seconds
)

func newRound(seed uint64, choice string) *round {
	chance := rand.New(rand.NewPCG(seed, uint64(len(choice))))
	return &round{
		seed: seed, choice: choice, here: chance.IntN(2) == 0, victim: agentName(chance.IntN(lossyAgents)),
		after: 200*time.Millisecond + time.Duration(chance.Int64N(int64((2+lossyHold-5)*time.Second))),
	}
}

// An agent is killed at any time. What it had measured stays, its devices are lost with it or taken over, and the verdict says so: whatever was
// chosen, no operation is without an end, and the accounts add up.
func TestAgentIsKilled(t *testing.T) {
	t.Parallel()
	for i := range uint64(*swarmRounds) {
		for _, choice := range []string{"continue", "redistribute", "fail"} {
			x := newRound(*swarmSeed+i, choice)
			t.Run(fmt.Sprintf("seed %d, %s", x.seed, choice), func(t *testing.T) {
				t.Parallel()
				t.Logf("seed %d: %s is killed %s after the start; local agents: %t", x.seed, x.victim, x.after, x.here)
				x.try(t)
			})
		}
	}
}

func (x *round) try(t *testing.T) {
	w := newWorld(t)
	args := []string{"--on-agent-loss", x.choice, "--agents", strconv.Itoa(lossyAgents)}
	if !x.here {
		w.startNATS()
		w.startAgents(lossyAgents)
		args = append(args, "--nats", "nats://"+w.nats)
	}
	p := w.run(fmt.Sprintf(lossy, x.seed, lossyHold), args...)
	p.Line(t, "stage 1 of 2", within)
	timer := time.NewTimer(x.after)
	defer timer.Stop()
	<-timer.C
	killed := time.Now()
	if x.here {
		if err := syscall.Kill(childOf(t, p, x.victim), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	} else {
		w.agents[x.victim].Kill()
	}
	code := p.Wait(t, within)
	r := w.record()
	defer func() {
		if t.Failed() {
			t.Log(said(r))
		}
	}()
	addsUp(t, r)
	x.verdict(t, r, code)
	lost, others, before := x.measured(t, w, r, killed)
	if lost == nil {
		t.Fatal("no agent is lost")
	}
	if lost.Lost.Choice != x.choice || lost.Lost.At.Before(killed.Add(-3*time.Second)) || lost.Lost.At.After(killed.Add(time.Second)) {
		t.Errorf("killed at %s; it says %+v", killed, lost.Lost)
	}
	if lost.Totals != nil && lost.Totals.Scheduled-lost.Totals.Dropped < uint64(before) {
		t.Errorf("%d operations had ended that are not in its account: %+v", before, lost.Totals)
	}
	want := 120 - lost.Devices
	if x.choice == "redistribute" {
		want = 120
	}
	if others != want {
		t.Errorf("the others had %d devices; want %d", others, want)
	}
}

// verdict checks that the run says what happened, and that it does not pass as if nothing had.
func (x *round) verdict(t *testing.T, r *report.Run, code int) {
	t.Helper()
	outcome, exit := report.Saturated, 98
	if x.choice == "fail" {
		outcome, exit = report.Failed, 1
	}
	if r.Outcome != outcome || code != exit {
		t.Errorf("%s, exit code %d; want %s, %d", r.Outcome, code, outcome, exit)
	}
	text := r.Reason + strings.Join(r.Notes, "\n")
	if r.Generator != nil {
		text += fmt.Sprintf("%+v", r.Generator)
	}
	if !strings.Contains(text, x.victim+" was lost") {
		t.Errorf("neither reason nor notes tell of %s", x.victim)
	}
}

// measured holds the accounts of agents against their raw output. It gives the one that was lost, the devices of the others, and how many operations
// of the lost one are in its raw output that were over some time before.
func (x *round) measured(t *testing.T, w *world, r *report.Run, killed time.Time) (lost *report.Agent, others, before int) {
	t.Helper()
	for i := range r.Agents {
		a := &r.Agents[i]
		rows := w.rows(w.raw(a.Name), a.Name == x.victim)
		if a.Name != x.victim {
			others += a.Devices
			if a.Lost != nil || a.Totals == nil || int(a.Totals.Scheduled) != len(rows) {
				t.Errorf("%s has %d rows; its account is %+v, lost %+v", a.Name, len(rows), a.Totals, a.Lost)
			}
			continue
		}
		lost = a
		if a.Lost == nil {
			return nil, others, 0
		}
		for _, o := range rows {
			if o.outcome != "dropped" && o.done.Before(killed.Add(-known)) {
				before++
			}
		}
	}
	return lost, others, before
}

// known is after what time an agent's numbers are known to the coordinator, also on a busy machine.
const known = 3 * time.Second

// childOf is the process of a local agent of a run.
func childOf(t *testing.T, run *rig.Process, name string) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), "\x00--name\x00"+name+"\x00") {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(file), "stat"))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && len(fields) > 1 && fields[1] == strconv.Itoa(run.PID()) {
			return pid
		}
	}
	t.Fatalf("no process of %s", name)
	return 0
}

// NATS' process is killed at any time, and comes back ten seconds later with what it had kept: the run goes on meanwhile as if nothing were, loses
// nothing that was measured, and tells of it.
func TestNATSIsKilled(t *testing.T) {
	t.Parallel()
	for i := range uint64(*swarmRounds) {
		seed := *swarmSeed + i
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			chance := rand.New(rand.NewPCG(seed, 0))
			// Now and then it is away when a stage ends, and when the last one does.
			after := 100*time.Millisecond + time.Duration(chance.Int64N(int64(8*time.Second)))
			t.Logf("seed %d: NATS is killed %s after the start", seed, after)
			w := newWorld(t)
			w.startNATS()
			w.startAgents(lossyAgents)
			p := w.run(fmt.Sprintf(lossy, seed, 14), "--agents", strconv.Itoa(lossyAgents), "--nats", "nats://"+w.nats)
			p.Line(t, "stage 1 of 2", within)
			timer := time.NewTimer(after)
			defer timer.Stop()
			<-timer.C
			w.server.Kill()
			timer.Reset(10 * time.Second)
			<-timer.C
			w.startNATS()
			code := p.Wait(t, within)
			r := w.record()
			defer func() {
				if t.Failed() {
					t.Log(said(r))
				}
			}()
			addsUp(t, r)
			if (r.Outcome != report.Passed || code != 0) && (r.Outcome != report.Saturated || code != 98) {
				t.Errorf("%s, exit code %d", r.Outcome, code)
			}
			devices := 0
			for j := range r.Agents {
				a := &r.Agents[j]
				devices += a.Devices
				if rows := w.rows(w.raw(a.Name), false); a.Lost != nil || a.Totals == nil || int(a.Totals.Scheduled) != len(rows) {
					t.Errorf("%s has %d rows; its account is %+v, lost %+v", a.Name, len(rows), a.Totals, a.Lost)
				}
			}
			if devices != 120 {
				t.Errorf("%d devices; want 120", devices)
			}
			if !strings.Contains(strings.Join(r.Notes, "\n"), "no connection to the agents for ") {
				t.Error("no note tells that NATS was away")
			}
		})
	}
}
