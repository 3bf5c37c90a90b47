//go:build integration

package swarm

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/seal"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/record"
	"github.com/twinfleet/twinfleet/test/loopback"
	"github.com/twinfleet/twinfleet/test/rig"
)

// within is how long whatever is waited for may take on a busy machine.
const within = 3 * time.Minute

// world is where a run takes place: a folder, and secrets.
type world struct {
	t           *testing.T
	dir         string
	join, token string
	nats        string // address of the NATS server; empty before it was started
	server      *rig.Process
	hub         string // address of a hub that the test has started; empty for none
	agents      map[string]*rig.Process
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{t: t, dir: t.TempDir(), join: seal.GenerateToken().Reveal(), token: seal.GenerateToken().Reveal(), agents: make(map[string]*rig.Process)}
}

// environ is what all processes of the world know.
func (w *world) environ() []string {
	return []string{joinVariable + "=" + w.join, tokenVariable + "=" + w.token}
}

// startNATS starts a NATS server in a process of its own: the first time anywhere, later where it was, with what it had.
func (w *world) startNATS() {
	w.t.Helper()
	if w.nats == "" {
		w.nats = loopback.Free(w.t)
	}
	_, port, err := net.SplitHostPort(w.nats)
	if err != nil {
		w.t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	w.server = rig.Start(w.t, w.dir, append(w.environ(), role("nats", "NATS_PORT="+port, "NATS_FOLDER="+filepath.Join(w.dir, "nats"))...), program)
	w.server.Line(w.t, "nats at", within)
}

// startAgents starts agents that a run finds at the NATS server, each with its raw output.
func (w *world) startAgents(n int) {
	w.t.Helper()
	for i := range n {
		name := agentName(i)
		w.agents[name] = rig.Start(w.t, w.dir, w.environ(), rig.Build(w.t), "agent", "--nats", "nats://"+w.nats, "--name", name, "--beside", strconv.Itoa(n),
			"--once", "--raw", w.raw(name))
	}
	for _, p := range w.agents {
		p.Line(w.t, "waits for runs", within)
	}
}

func agentName(i int) string { return fmt.Sprintf("agent-%d", i+1) }

// raw is the file with every operation of an agent; of the coordinator, without a name.
func (w *world) raw(agent string) string {
	if agent == "" {
		return filepath.Join(w.dir, "raw.csv.gz")
	}
	return filepath.Join(w.dir, "raw-"+agent+".csv.gz")
}

// run starts a run of a scenario.
func (w *world) run(text string, args ...string) *rig.Process {
	w.t.Helper()
	args = append([]string{"run", scenarioIn(w.t, w, text), "--metrics-addr", "", "--no-ui", "--plain", "--raw", w.raw(""), "--allow-saturated=false"}, args...)
	return rig.Start(w.t, w.dir, w.environ(), rig.Build(w.t), args...)
}

// record is what the world's only run has left.
func (w *world) record() *report.Run {
	w.t.Helper()
	return w.recordIn("runs")
}

// recordIn is the only record in a folder.
func (w *world) recordIn(folder string) *report.Run {
	w.t.Helper()
	dirs, err := filepath.Glob(filepath.Join(w.dir, folder, "*"))
	if err != nil || len(dirs) != 1 {
		w.t.Fatalf("records %q, %v; want one", dirs, err)
	}
	h, err := record.Read(dirs[0])
	if err != nil {
		w.t.Fatal(err)
	}
	if !h.Whole {
		w.t.Fatal("the record has no end")
	}
	return h.Run
}

// row is an operation as the raw output has it.
type row struct {
	operation, group, stage, outcome string
	done                             time.Time // zero for what was dropped
	response, service                time.Duration
}

// rows reads a raw output. That of a process that was killed may end anywhere.
func (w *world) rows(file string, killed bool) (all []row) {
	w.t.Helper()
	f, err := os.Open(file)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if killed && errors.Is(err, io.EOF) {
		return nil // before the first second was over
	}
	if err != nil {
		w.t.Fatalf("%s: %v", file, err)
	}
	r := csv.NewReader(z)
	if _, err := r.Read(); err != nil && !killed {
		w.t.Fatalf("%s: %v", file, err)
	}
	for {
		x, err := r.Read()
		var partly *csv.ParseError
		switch {
		case errors.Is(err, io.EOF), killed && (errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &partly)):
			return all
		case err != nil:
			w.t.Fatalf("%s: %v", file, err)
		}
		o := row{operation: x[0], group: x[1], stage: x[2], outcome: x[7]}
		if o.outcome != "dropped" {
			if o.done, err = time.Parse(time.RFC3339Nano, x[5]); err != nil {
				w.t.Fatalf("%s: %v", file, err)
			}
			o.response, o.service = w.duration(x[9]), w.duration(x[10])
		}
		all = append(all, o)
	}
}

func (w *world) duration(ns string) time.Duration {
	w.t.Helper()
	n, err := strconv.ParseInt(ns, 10, 64)
	if err != nil {
		w.t.Fatal(err)
	}
	return time.Duration(n)
}

// said is all that a run says of how it ended.
func said(r *report.Run) string {
	text := fmt.Sprintf("%s: %s\nnotes:\n  %s\n", r.Outcome, r.Reason, strings.Join(r.Notes, "\n  "))
	for i := range r.Totals.Series {
		x := &r.Totals.Series[i]
		text += fmt.Sprintf("  %s %s: scheduled %d, ok %d, dropped %v, unanswered %d, open %d, late %d\n",
			x.Operation, x.Group, x.Scheduled(), x.Count(metrics.OK), x.Dropped, x.Count(metrics.Unanswered), x.InFlight(), x.Late)
	}
	for i := range r.Agents {
		x := &r.Agents[i]
		text += fmt.Sprintf("  %s: %d devices, clock %+v, lost %+v, %+v\n", x.Name, x.Devices, x.Clock, x.Lost, x.Totals)
	}
	return text
}

// addsUp holds the account of the whole against those of the agents, and finds operations without an end.
func addsUp(t *testing.T, r *report.Run) {
	t.Helper()
	var sum, whole report.Account
	for i := range r.Agents {
		x := r.Agents[i].Totals
		if x == nil {
			t.Errorf("%s has no account", r.Agents[i].Name)
			continue
		}
		sum = plus(sum, *x)
	}
	for i := range r.Totals.Series {
		x := &r.Totals.Series[i]
		if x.InFlight() != 0 {
			t.Errorf("%s %s: %d have no end", x.Operation, x.Group, x.InFlight())
		}
		if x.Operation.OfDevices() && x.Operation != metrics.OpFreshness {
			whole = plus(whole, accountOf(x))
		}
	}
	if sum != whole {
		t.Errorf("agents %+v together; the whole has %+v", sum, whole)
	}
	for stage, parts := 0, len(r.Stages); stage < parts; stage++ {
		for _, x := range r.Stages[stage].Totals.Series {
			if total := r.Totals.Find(x.Operation, x.Group); total == nil || total.Scheduled() < x.Scheduled() {
				t.Errorf("stage %s has more %s %s than the run", r.Stages[stage].Name, x.Operation, x.Group)
			}
		}
	}
}

func accountOf(x *metrics.SeriesSnapshot) report.Account {
	return report.Account{
		Scheduled: x.Scheduled(), Started: x.Started(), OK: x.Count(metrics.OK), Dropped: x.DroppedTotal(), Errors: x.Ended() - x.Count(metrics.OK), InFlight: x.InFlight(),
	}
}

func plus(a, b report.Account) report.Account {
	return report.Account{
		Scheduled: a.Scheduled + b.Scheduled, Started: a.Started + b.Started, OK: a.OK + b.OK, Dropped: a.Dropped + b.Dropped, Errors: a.Errors + b.Errors,
		InFlight: a.InFlight + b.InFlight,
	}
}
