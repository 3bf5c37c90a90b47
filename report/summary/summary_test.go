package summary_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"reflect"
	"testing"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/reporttest"
	"github.com/twinfleet/twinfleet/report/summary"
)

var _ = flag.Bool("update", false, "rewrite the golden files")

func TestGolden(t *testing.T) {
	run := reporttest.Example(10).Run
	reporttest.Golden(t, "testdata/summary.json.golden", func(w io.Writer) error { return summary.Write(w, run) })
}

// Programs read back what was written for them.
func TestMachineReadable(t *testing.T) {
	run := reporttest.Example(5).Run
	var text bytes.Buffer
	if err := summary.Write(&text, run); err != nil {
		t.Fatal(err)
	}
	var back summary.Summary
	dec := json.NewDecoder(&text)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&back); err != nil {
		t.Fatal(err)
	}
	if want := summary.Of(run); !reflect.DeepEqual(back, want) {
		t.Errorf("%+v; want %+v", back, want)
	}
}

// The agents of a run on many machines are all there, in seconds.
func TestAgents(t *testing.T) {
	run := reporttest.Well(10)
	if len(summary.Of(run).Agents) != 0 {
		t.Error("a run in one process has agents")
	}
	run.Agents = reporttest.Agents(100)
	s := summary.Of(run)
	if len(s.Agents) != 100 {
		t.Fatalf("%d agents", len(s.Agents))
	}
	lost, slow, unsure := s.Agents[1], s.Agents[2], s.Agents[3]
	if l := lost.Lost; l == nil || l.Stage != "hold" || l.Devices != 1000 || l.Choice != "continue" || l.Why == "" || l.At.IsZero() {
		t.Errorf("%+v", lost.Lost)
	}
	if slow.Generator.Verdict != "saturated" || len(slow.Generator.Reasons) != 1 || slow.Lost != nil {
		t.Errorf("%+v", slow.Generator)
	}
	if unsure.ClockOffset != -1.2 || unsure.ClockUncertainty != 0.08 || unsure.ControlSent != 400_000 || unsure.ControlCPU != 0.2 || unsure.ControlOver != 60 {
		t.Errorf("%+v", unsure)
	}
	if o := unsure.Operations; o == nil || o.Scheduled != 5000 {
		t.Errorf("%+v", o)
	}
}

// Sessions that a run left at the broker are told to programs, too.
func TestSessionsLeft(t *testing.T) {
	run := reporttest.Well(10)
	run.SessionsLeft = 3
	var text bytes.Buffer
	if err := summary.Write(&text, run); err != nil || !bytes.Contains(text.Bytes(), []byte(`"sessions_left": 3`)) {
		t.Errorf("%v: %s", err, text.Bytes())
	}
}

// How many devices ever connected is told to programs; of an old record nobody knows.
func TestConnected(t *testing.T) {
	run := reporttest.Well(10)
	if s := summary.Of(run); s.Connected != nil || s.Reach != nil {
		t.Errorf("%v, %+v", s.Connected, s.Reach)
	}
	run.Reach = []report.Reach{{Group: "a", Devices: 7, Tried: 7, Connected: 6, Inherited: 2}, {Group: "b", Devices: 3, Tried: 3, Connected: 3}}
	var text bytes.Buffer
	if err := summary.Write(&text, run); err != nil || !bytes.Contains(text.Bytes(), []byte(`"connected": 9,`)) || !bytes.Contains(text.Bytes(), []byte(`"inherited": 2`)) {
		t.Errorf("%v: %s", err, text.Bytes())
	}
}
