package record_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/record"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// beginning is what a record begins with: nothing that opening the target tells.
func beginning() *report.Run {
	run := reporttest.Example(4).Run
	return &report.Run{Name: run.Name, Started: run.Started, Devices: run.Devices, Rules: run.Rules}
}

// provisioned is what came before the stages of a run.
func provisioned(began time.Time) *metrics.Snapshot {
	rec := metrics.NewRecorder(metrics.Options{})
	rec.Series(metrics.OpProvision, "").Start(began, began).End(began.Add(time.Second), metrics.OK)
	s := rec.Snapshot()
	s.At, s.Elapsed = began.Add(2*time.Second), 2*time.Second
	return s
}

// A record that is cut at any moment says what was known then: what was told of last, and what came before the first sample.
func TestKnownOfKilled(t *testing.T) {
	w, err := record.Create(t.TempDir(), beginning(), nil)
	if err != nil {
		t.Fatal(err)
	}
	read := func() *report.Run {
		t.Helper()
		h, err := record.Read(w.Dir())
		if err != nil || h.Whole {
			t.Fatal(h, err)
		}
		return h.Run
	}
	if r := read(); r.Target != "" || r.Outcome != report.Interrupted || r.Duration() != 0 || r.Totals == nil || *r.Ran != 0 {
		t.Errorf("nothing but the beginning: %+v", r)
	}
	known := beginning()
	known.Target = "embedded hub"
	w.Known(known)
	known.Totals = provisioned(known.Started)
	w.Known(known)
	if r := read(); r.Target != "embedded hub" || r.Totals.Find(metrics.OpProvision, "").Ended() != 1 || r.Duration() != 2*time.Second {
		t.Errorf("cut before the stages: %+v", r)
	}
	w.Event(report.Event{Kind: report.KindStage, Text: "ramp", At: 2 * time.Second})
	if r := read(); len(r.Stages) != 1 || r.Stages[0].Name != "ramp" || r.Stages[0].From != 2*time.Second {
		t.Errorf("cut in the first second of the first stage: %+v", r.Stages)
	}
	for _, s := range reporttest.Example(4).Samples[:3] {
		s.At += 2 * time.Second
		w.Sample(s)
	}
	ran := 7
	known.Ran, known.Generator, known.Outages = &ran, &report.Health{Cores: 2}, []report.Outage{{From: time.Second}}
	known.Stages = []report.Stage{{Name: "ramp", From: 2 * time.Second, To: 3900 * time.Millisecond}}
	w.Known(known)
	r := read()
	if x := r.Totals.Find(metrics.OpTwinReport, "robots"); x == nil || x.Ended() != 60 || r.Totals.Find(metrics.OpProvision, "").Ended() != 1 {
		t.Errorf("%+v: what came before and the samples are not the sum", x)
	}
	if *r.Ran != 7 || r.Generator == nil || len(r.Outages) != 1 || r.Duration() != 5*time.Second || r.Totals.Elapsed != 5*time.Second {
		t.Errorf("%+v", r)
	}
	if len(r.Stages) != 2 || r.Stages[0].To != 3900*time.Millisecond || r.Stages[1].Name != "hold" || r.Stages[1].To != 5*time.Second {
		t.Errorf("stages %+v", r.Stages)
	}
	if err := w.End(reporttest.Example(4).Run); err != nil {
		t.Fatal(err)
	}
	if h, err := record.Read(w.Dir()); err != nil || !h.Whole || h.Run.Outcome != report.Missed {
		t.Errorf("the end says more than what was known before: %v, %v", h, err)
	}
}

// What is known is never most of a record: one line of it that is large waits until as much else was written.
func TestKnownIsBounded(t *testing.T) {
	w, err := record.Create(t.TempDir(), beginning(), nil)
	if err != nil {
		t.Fatal(err)
	}
	large := beginning()
	for range 500 {
		large.Outages = append(large.Outages, report.Outage{Returns: make([]int, 100)})
	}
	sample := reporttest.Example(2).Samples[0]
	for range 40 {
		w.Known(large)
		w.Sample(sample)
	}
	b, err := os.ReadFile(filepath.Join(w.Dir(), record.File))
	if err != nil {
		t.Fatal(err)
	}
	known, others := 0, 0
	for line := range bytes.Lines(b) {
		if strings.HasPrefix(string(line), `{"type":"known"`) {
			known += len(line)
		} else {
			others += len(line)
		}
	}
	if known == 0 || known > others+1<<18 {
		t.Errorf("%d bytes of what is known and %d of all else", known, others)
	}
}
