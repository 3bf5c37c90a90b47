package trial_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/report"
)

// health is a process of which one stage was not delivered for want of processors.
func health(bad string) *report.Health {
	h := &report.Health{Cores: 2, MaxDescriptors: 1000}
	for _, name := range []string{"connect", "settle", "hold"} {
		s := report.StageHealth{Name: name, AsAsked: name != bad, Asked: 480, Started: 400, Measured: 4 * time.Second, CPU: 1.5, Machine: 1.8}
		if name == bad {
			s.Causes = []report.Cause{{Kind: report.CauseProcess, Text: "this process used 2.0 of 2 processors"}}
		}
		h.Stages = append(h.Stages, s)
	}
	return h
}

// A load was made when the process of the run and all its agents made it, in the stages that are about it, and no agent was lost.
func TestUndelivered(t *testing.T) {
	lost := &report.AgentLoss{Stage: "connect", Devices: 30, Why: "its process ended"}
	for _, x := range []struct {
		name string
		run  report.Run
		want string
	}{
		{"one process", report.Run{Generator: health("")}, ""},
		{"one process that was short", report.Run{Generator: health("hold")}, "stage hold: this process used 2.0 of 2 processors"},
		{"a stage that only prepares", report.Run{Generator: health("connect"), Agents: []report.Agent{{Name: "a", Generator: health("connect")}}}, ""},
		{"an agent that was short", report.Run{Generator: health(""), Agents: []report.Agent{{Name: "a", Generator: health("")}, {Name: "b", Generator: health("settle")}}}, "agent b: stage settle: this"},
		{"an agent that was lost", report.Run{Generator: health(""), Agents: []report.Agent{{Name: "a", Generator: health("")}, {Name: "b", Lost: lost}}}, "agent b was lost with 30 devices: its process ended"},
	} {
		got := trial.Undelivered(&x.run, "settle", "hold")
		if (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: %q; want %q", x.name, got, x.want)
		}
	}
}

// What those took that ran devices is that of the last stage that was measured; a process with agents has no devices.
func TestUses(t *testing.T) {
	run := report.Run{Devices: 100, Generator: health("hold")}
	use := trial.Use{Devices: 100, Operations: 100, Due: 120, Processors: 1.5, Machine: 1.8, Cores: 2, Descriptors: 1000, Short: []report.CauseKind{report.CauseProcess}}
	if got := trial.Uses(&run, "settle", "hold"); !reflect.DeepEqual(got, []trial.Use{use}) {
		t.Errorf("%+v; want %+v", got, use)
	}
	if got := trial.Uses(&run, "storm"); got != nil {
		t.Errorf("%+v of a stage that there was not", got)
	}
	run.Agents = []report.Agent{{Name: "b", Devices: 40, Generator: health("")}, {Name: "a", Devices: 60, Generator: health("")}, {Name: "c"}}
	use.Short = nil
	want := []trial.Use{use, use}
	want[0].Agent, want[0].Devices, want[1].Agent, want[1].Devices = "a", 60, "b", 40
	if got := trial.Uses(&run, "settle", "hold"); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v; want %+v", got, want)
	}
}
