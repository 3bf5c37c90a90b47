//go:build integration

package swarm

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/test/rig"
)

// hubConnection starts a hub that is nobody's child but the test's, and gives its connection string.
func (w *world) hubConnection() string {
	w.t.Helper()
	hub := rig.Start(w.t, w.dir, nil, rig.Build(w.t), "hub", "--listen", "127.0.0.1:0", "--json", "--page=false", "--cert-dir", w.dir)
	var known struct {
		Connection string `json:"connectionString"`
		Address    string `json:"address"`
	}
	if err := json.Unmarshal([]byte(hub.Line(w.t, "connectionString", within)), &known); err != nil || known.Connection == "" {
		w.t.Fatalf("the hub said %q, %v", hub.Output(), err)
	}
	w.hub = known.Address
	return known.Connection
}

// left waits until no device is connected to the hub any more.
func left(t *testing.T, w *world) {
	t.Helper()
	_, text, err := net.SplitHostPort(w.hub)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(within); ; {
		table, err := os.ReadFile("/proc/net/tcp")
		if err != nil {
			t.Fatal(err)
		}
		connected := 0
		for line := range strings.Lines(string(table)) { // proc(5): local address, remote address, and 01 for an established connection
			if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) && f[3] == "01" {
				connected++
			}
		}
		if connected == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%d devices are connected still", connected)
		}
	}
}

// The coordinator is killed at any time, and nobody takes the run over: agents finish the scenario by its plan, or stop, as was chosen, and end. What
// their devices did is in their raw output, to the end.
func TestCoordinatorIsKilled(t *testing.T) {
	t.Parallel()
	const hold = 40 * time.Second // of the run that is to stop: longer than agents wait for a coordinator
	for i := range uint64(*swarmRounds) {
		for _, choice := range []string{"finish", "stop"} {
			seed := *swarmSeed + i
			t.Run(fmt.Sprintf("seed %d, %s", seed, choice), func(t *testing.T) {
				t.Parallel()
				chance := rand.New(rand.NewPCG(seed, uint64(len(choice))))
				after := 200*time.Millisecond + time.Duration(chance.Int64N(int64(6*time.Second)))
				t.Logf("seed %d: the coordinator is killed %s after the start", seed, after)
				long := lossyHold * time.Second
				if choice == "stop" {
					long = hold
				}
				w := newWorld(t)
				w.startNATS()
				w.startAgents(lossyAgents)
				text := strings.Replace(fmt.Sprintf(lossy, seed, int(long.Seconds())), "fleet:", fmt.Sprintf("target: {hub: %q, plain: true}\nfleet:", w.hubConnection()), 1)
				p := w.run(text, "--agents", strconv.Itoa(lossyAgents), "--nats", "nats://"+w.nats, "--on-coordinator-loss", choice)
				p.Line(t, "stage 1 of 2", within)
				began := time.Now()
				timer := time.NewTimer(after)
				defer timer.Stop()
				<-timer.C
				p.Kill()
				left(t, w)
				for name, agent := range w.agents {
					agent.Signal(t, syscall.SIGINT) // it keeps what it knows for somebody who takes the run over
					if code := agent.Wait(t, within); code != 0 {
						t.Errorf("%s ended with exit code %d", name, code)
					}
					var last time.Time
					stages := make(map[string]int)
					for _, o := range w.rows(w.raw(name), false) {
						stages[o.stage]++
						if o.done.After(last) {
							last = o.done
						}
						if o.outcome == "unanswered" {
							t.Errorf("%s: %+v", name, o)
						}
					}
					t.Logf("%s did its last thing %s after the start, %v", name, last.Sub(began), stages)
					if ran := last.Sub(began); choice == "finish" && (ran < 2*time.Second+long-1500*time.Millisecond || stages["hold"] == 0) || choice == "stop" && ran > hold-5*time.Second {
						t.Errorf("%s did its last thing %s after the start", name, ran)
					}
				}
			})
		}
	}
}

// The coordinator is killed at any time, and another one takes the run over a bit later: nothing that agents measured is lost, whenever that was.
func TestRunIsTakenOver(t *testing.T) {
	t.Parallel()
	for i := range uint64(*swarmRounds) {
		seed := *swarmSeed + i
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			chance := rand.New(rand.NewPCG(seed, 2))
			after := 1500*time.Millisecond + time.Duration(chance.Int64N(int64(6*time.Second)))
			away := time.Duration(chance.Int64N(int64(6 * time.Second)))
			t.Logf("seed %d: the coordinator is killed %s after the start, and taken over from after %s", seed, after, away)
			w := newWorld(t)
			w.startNATS()
			w.startAgents(lossyAgents)
			text := strings.Replace(fmt.Sprintf(lossy, seed, lossyHold), "fleet:", fmt.Sprintf("target: {hub: %q, plain: true}\nfleet:", w.hubConnection()), 1)
			flags := []string{"--agents", strconv.Itoa(lossyAgents), "--nats", "nats://" + w.nats}
			p := w.run(text, flags...)
			id := strings.Fields(p.Line(t, "if this process is lost", within))[1]
			p.Line(t, "stage 1 of 2", within)
			timer := time.NewTimer(after)
			defer timer.Stop()
			<-timer.C
			p.Kill()
			timer.Reset(away)
			<-timer.C
			p = w.run(text, append(flags, "--resume", strings.TrimSuffix(id, ";"), "--out", "taken")...)
			code := p.Wait(t, within)
			r := w.recordIn("taken")
			defer func() {
				if t.Failed() {
					t.Log(said(r))
				}
			}()
			addsUp(t, r)
			if (r.Outcome != report.Passed || code != 0) && (r.Outcome != report.Saturated || code != 98) {
				t.Errorf("%s, exit code %d", r.Outcome, code)
			}
			for j := range r.Agents {
				a := &r.Agents[j]
				if rows := w.rows(w.raw(a.Name), false); a.Lost != nil || a.Totals == nil || int(a.Totals.Scheduled) != len(rows) || a.Devices != 40 {
					t.Errorf("%s has %d rows; its account is %+v, lost %+v", a.Name, len(rows), a.Totals, a.Lost)
				}
			}
			if len(r.Agents) != lossyAgents || len(r.Stages) != 2 {
				t.Errorf("%d agents, %d stages", len(r.Agents), len(r.Stages))
			}
		})
	}
}
