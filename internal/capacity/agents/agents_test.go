package agents_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/capacity/agents"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// short is a process of two processors that used some of them and was short of something.
func short(used float64, of ...report.CauseKind) trial.Use {
	return trial.Use{Processors: used, Cores: 2, Short: of}
}

// descriptors is the room of one of several processes, each of which may open so many files.
func descriptors(each int) func(int) fit.Room {
	return func(int) fit.Room {
		return fit.Room{Devices: each, By: fmt.Sprintf("%s descriptors", human.Count(each))}
	}
}

// memory is the room of one of several processes of a machine that holds so many devices.
func memory(all int) func(int) fit.Room {
	return func(n int) fit.Room {
		return fit.Room{Devices: all / n, By: fmt.Sprintf("%d MB of memory", 24_000/n)}
	}
}

// questions are what happens, in the order in which it is told: an operation of 100 µs, of which 20,000 a second were not delivered.
var questions = []struct {
	name     string
	ask      func(q *agents.Question)
	machines int
	local    int
	unknown  string
	noLocal  string
}{
	{"one process that needed all processors, the target elsewhere", func(*agents.Question) {}, 2, 0, "", "its 2 processors are the limit"},
	{"the hub in the process had 60 % of it: a machine without the hub is enough", func(q *agents.Question) {
		q.Hub, q.Cost.HubShare = true, 0.6
	}, 1, 0, "", "its 2 processors are the limit"},
	{"five times the load", func(q *agents.Question) { q.Operations, q.Load = 80_000, 80_000 }, 5, 0, "", "its 2 processors"},
	{"two agents here", func(q *agents.Question) {
		q.Tried, q.Uses = 2, []trial.Use{short(0.9, report.CauseMachine), short(0.9)}
	}, 2, 0, "", "its 2 processors"},
	{"two agents elsewhere", func(q *agents.Question) {
		q.Tried, q.Here, q.Uses = 2, false, []trial.Use{short(1.9, report.CauseProcess), short(1.2)}
	}, 3, 0, "", ""},
	{"two agents elsewhere that were given half a processor each", func(q *agents.Question) {
		q.Tried, q.Here, q.Uses = 2, false, []trial.Use{short(0.5, report.CauseLimit), short(0.5, report.CauseLimit)}
	}, 4, 0, "", ""},
	{"descriptors of one process, before anything began", func(q *agents.Question) {
		q.Uses, q.Devices, q.Alone, q.Room, q.Operations = nil, 60_000, descriptors(20_000)(1), descriptors(20_000), 2000
	}, 3, 3, "", ""},
	{"descriptors ran out in the trial", func(q *agents.Question) {
		q.Uses = []trial.Use{short(0.2, report.CauseDescriptors)}
		q.Devices, q.Alone, q.Room, q.Operations = 60_000, descriptors(20_000)(1), descriptors(20_000), 2000
	}, 3, 3, "", ""},
	{"descriptors, and more agents would have too few processors here", func(q *agents.Question) {
		q.Uses, q.Devices, q.Alone, q.Room, q.Operations = nil, 60_000, descriptors(20_000)(1), descriptors(20_000), 18_000
	}, 3, 0, "", "it would take 1.8 of them"},
	{"memory, before anything began", func(q *agents.Question) {
		q.Uses, q.Devices, q.Alone, q.Room, q.Operations = nil, 60_000, memory(50_000)(1), memory(50_000), 2000
	}, 2, 0, "", "together would hold 50,000 devices, each with 24000 MB of memory"},
	{"nothing was measured, and descriptors are known", func(q *agents.Question) {
		q.Uses, q.Devices, q.Alone, q.Room, q.Operations, q.Cost = nil, 60_000, descriptors(20_000)(1), descriptors(20_000), 0, agents.Cost{}
	}, 3, 3, "", ""},
	{"nothing was measured, and processors were short", func(q *agents.Question) { q.Cost, q.Operations = agents.Cost{}, 0 }, 0, 0, "was not measured", ""},
	{"timers fired late although processors were free", func(q *agents.Question) {
		q.Uses = []trial.Use{short(0.4, report.CauseTimers)}
	}, 0, 0, "nothing that more agents have more of", ""},
	{"nobody was short of anything", func(q *agents.Question) { q.Uses = []trial.Use{short(0.4)} }, 0, 0, "no process that ran devices was seen to be short", ""},
	{"not one device has room", func(q *agents.Question) { q.Uses, q.Alone = nil, fit.Room{By: "10 descriptors"} }, 0, 0, "holds no device: it has 10 descriptors", ""},
}

// question is one process on two processors that was short of them.
func question() agents.Question {
	return agents.Question{
		Load: 20_000, Devices: 1000, Operations: 20_000, Cores: 2, Here: true, Uses: []trial.Use{short(1.95, report.CauseProcess)},
		Cost:  agents.Cost{Load: 10_000, Delivered: true, Operations: 10_000, Processors: 1},
		Alone: fit.Room{Devices: fit.Unbounded}, Room: func(int) fit.Room { return fit.Room{Devices: fit.Unbounded} },
	}
}

// How many agents there must be follows from what is short. What it says, and what it rests on, is in testdata.
func TestHowManyAgents(t *testing.T) {
	var said strings.Builder
	for _, x := range questions {
		q := question()
		x.ask(&q)
		n := agents.Of(q)
		if n.Machines != x.machines || n.Local != x.local || !strings.Contains(n.Unknown, x.unknown) || (n.Unknown == "") != (x.unknown == "") ||
			!strings.Contains(n.NoLocal, x.noLocal) || (n.NoLocal == "") != (x.noLocal == "") {
			t.Errorf("%s: %+v; want %d machines, %d here, %q, %q", x.name, n, x.machines, x.local, x.unknown, x.noLocal)
		}
		fmt.Fprintf(&said, "# %s\n%s\n\n", x.name, strings.Join(n.Lines(trial.ReportRate.Number), "\n"))
	}
	const file = "testdata/said.txt"
	if *update {
		if err := os.WriteFile(file, []byte(said.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(file); err != nil || string(want) != said.String() {
		t.Errorf("%v; not as kept (-update rewrites it):\n%s", err, said.String())
	}
}

// However much is asked for: what is said suffices by the same arithmetic, one agent fewer does not or has been tried, and more load never takes
// fewer agents.
func TestEnoughAndNoMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := question()
		q.Here = false
		q.Tried = rapid.IntRange(0, 20).Draw(t, "tried")
		q.Cores = rapid.IntRange(1, 64).Draw(t, "cores")
		q.Operations = rapid.Float64Range(1, 1e6).Draw(t, "operations")
		q.Devices = rapid.IntRange(1, 1_000_000).Draw(t, "devices")
		q.Alone = descriptors(rapid.IntRange(1, 100_000).Draw(t, "holds"))(1)
		q.Uses = []trial.Use{short(rapid.Float64Range(0.1, 64).Draw(t, "used"), report.CauseProcess)}
		n := agents.Of(q)
		enough := func(m int) bool {
			return float64(m)*n.Usable >= n.Processors && m*q.Alone.Devices >= q.Devices && m > q.Tried
		}
		if !enough(n.Machines) || n.Machines > 1 && enough(n.Machines-1) {
			t.Fatalf("%+v", n)
		}
		q.Operations *= 1.5
		if more := agents.Of(q); more.Machines < n.Machines {
			t.Fatalf("%d agents for half as much again, of %d", more.Machines, n.Machines)
		}
	})
}

// The cost of an operation is that of all who ran devices together; what other programs of the machine took is counted once.
func TestCost(t *testing.T) {
	c := agents.CostOf(&trial.Record{Load: 40, Uses: []trial.Use{
		{Operations: 300, Processors: 0.3, Machine: 1.2}, {Operations: 100, Processors: 0.3, Machine: 1.1},
	}}, 0.5)
	if c.Operations != 400 || c.Processors != 0.6 || c.OfMachine != 1.2 || c.Each() != 0.6*0.5/400 {
		t.Errorf("%+v, %g", c, c.Each())
	}
	if none := agents.CostOf(&trial.Record{}, 0); none.Each() != 0 {
		t.Errorf("%g of nothing", none.Each())
	}
}
