package record_test

import (
	"bytes"
	"errors"
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

// write keeps a run as the program does; without its end when it is killed first.
func write(t *testing.T, root string, h *report.History, killed bool) string {
	t.Helper()
	w, err := record.Create(root, &report.Run{Name: h.Run.Name, Started: h.Run.Started, Seed: h.Run.Seed, Rules: h.Run.Rules}, []byte("name: example\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range h.Events {
		w.Event(e)
	}
	for _, s := range h.Samples {
		w.Sample(s)
	}
	if !killed {
		if err := w.End(h.Run); err != nil {
			t.Fatal(err)
		}
	}
	return w.Dir()
}

func TestRecord(t *testing.T) {
	h := reporttest.Example(10)
	root := t.TempDir()
	dir := write(t, root, h, false)
	if want := filepath.Join(root, "20261125-120000-example"); dir != want {
		t.Errorf("the folder is %s; want %s", dir, want)
	}
	if second := write(t, root, h, false); second != dir+"-2" {
		t.Errorf("a second run in the same second went to %s", second)
	}
	got, err := record.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Whole || got.Run.Outcome != report.Missed || len(got.Samples) != 10 || len(got.Events) != 1 {
		t.Errorf("%v, %s, %d samples, %d events", got.Whole, got.Run.Outcome, len(got.Samples), len(got.Events))
	}
	for i := range h.Run.Totals.Series {
		want := &h.Run.Totals.Series[i]
		x := got.Run.Totals.Find(want.Operation, want.Group)
		if x == nil || x.Ended() != want.Ended() || x.Latency(false).Quantile(0.99) != want.Latency(false).Quantile(0.99) {
			t.Errorf("%s: %+v", want.Operation, x)
		}
	}
}

// A record of a program that was killed tells of what had happened, and its thresholds are judged on that.
func TestKilled(t *testing.T) {
	h := reporttest.Example(10)
	got, err := record.Read(write(t, t.TempDir(), h, true))
	if err != nil {
		t.Fatal(err)
	}
	r := got.Run
	if got.Whole || r.Outcome != report.Interrupted || r.Duration() != 10*time.Second || len(r.Stages) != 2 || r.Stages[1].Name != "hold" {
		t.Errorf("%+v", r)
	}
	if len(r.Thresholds) != 2 || !r.Thresholds[0].Pass || !r.Thresholds[1].Pass {
		t.Errorf("thresholds %+v", r.Thresholds)
	}
	if x, want := r.Totals.Select(metrics.OpTwinReport, ""), h.Run.Totals.Select(metrics.OpTwinReport, ""); x.Ended() != want.Ended() ||
		x.Scheduled() != want.Scheduled() {
		t.Errorf("%d reports of %d", x.Ended(), x.Scheduled())
	}
}

// A record's beginning is written before the target is opened; what it tells of that later is not lost with its end.
func TestTargetOfKilled(t *testing.T) {
	h := reporttest.Example(3)
	h.Events = append(h.Events, report.Event{Kind: "target", Text: "target", Detail: "embedded hub", OK: true})
	dir := write(t, t.TempDir(), h, true)
	got, err := record.Read(dir)
	if err != nil || got.Run.Target != "embedded hub" {
		t.Errorf("%v: the target is %q", err, got.Run.Target)
	}
	if text, err := record.Scenario(dir); err != nil || text != "name: example\n" {
		t.Errorf("%v: %q", err, text)
	}
	if text, err := record.Scenario(t.TempDir()); err != nil || text != "" {
		t.Errorf("a folder without a scenario: %q, %v", text, err)
	}
}

// Wherever a record is cut, what was whole before the cut is read.
func TestCutAnywhere(t *testing.T) {
	dir := write(t, t.TempDir(), reporttest.Example(5), false)
	path := filepath.Join(dir, record.File)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.IndexByte(whole, '\n')
	for cut := 0; cut < len(whole); cut += 37 {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := record.Read(dir)
		switch {
		case cut < first && !errors.Is(err, record.ErrNoRecord):
			t.Fatalf("cut at %d, within the first line: %v", cut, err)
		case cut <= first:
		case err != nil:
			t.Fatalf("cut at %d: %v", cut, err)
		case len(h.Samples) < bytes.Count(whole[:cut], []byte(`{"type":"sample"`))-1:
			t.Fatalf("cut at %d: %d samples", cut, len(h.Samples))
		}
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := record.Read(dir); !errors.Is(err, record.ErrNoRecord) || !strings.Contains(err.Error(), dir) {
		t.Errorf("an empty folder: %v", err)
	}
	for name, tt := range map[string]struct {
		text string
		want error
	}{
		"another file":    {`{"hello": "world"}` + "\n", record.ErrNoRecord},
		"a newer version": {`{"type": "start", "version": 99, "run": {}}` + "\n", record.ErrVersion},
	} {
		if err := os.WriteFile(filepath.Join(dir, record.File), []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := record.Read(dir); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := record.Create(filepath.Join(file, "runs"), &report.Run{}, nil); err == nil {
		t.Error("a record was made where there is no folder")
	}
}
