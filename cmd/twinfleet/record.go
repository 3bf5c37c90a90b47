package main

import (
	"fmt"
	"log/slog"

	"github.com/twinfleet/twinfleet/internal/report"
	"github.com/twinfleet/twinfleet/internal/report/files"
	"github.com/twinfleet/twinfleet/internal/report/record"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// keeper keeps the record of a run on disk. Without a folder of records it keeps nothing.
type keeper struct {
	root     string
	scenario []byte
	log      *slog.Logger
	writer   *record.Writer
}

// begin makes the record. A folder that cannot be made fails the run before anything was started.
func (k *keeper) begin(run *report.Run) error {
	if k.root == "" {
		return nil
	}
	w, err := record.Create(k.root, run, k.scenario)
	if err != nil {
		return fmt.Errorf("%w; give another folder with --out, or none with --out=", err)
	}
	k.writer = w
	return nil
}

func (k *keeper) event(e report.Event) {
	if k.writer != nil {
		k.writer.Event(e)
	}
}

// notable turns what the engine tells into an event of the record; ok is false for counts that go up, which are
// for those who wait.
func notable(e engine.Event) (event report.Event, ok bool) {
	if e.Total != 0 && e.Done != e.Total && e.Kind != engine.EventStage {
		return report.Event{}, false
	}
	return recorded(e), true
}

// recorded is an event of the engine as records and reports have it.
func recorded(e engine.Event) report.Event {
	return report.Event{At: e.At, Kind: string(e.Kind), Stage: e.Stage, Text: e.Text, Detail: e.Detail, OK: e.OK}
}

func (k *keeper) progress(p engine.Progress) {
	if k.writer != nil {
		k.writer.Sample(report.Sample{At: p.At, Window: p.Interval})
	}
}

// end completes the record and makes the reports; it returns the record's folder, or "" when there is none.
func (k *keeper) end(run *report.Run) string {
	if k.writer == nil {
		return ""
	}
	err := k.writer.End(run)
	if err == nil {
		_, err = files.Write(k.writer.Dir())
	}
	if err != nil {
		k.log.Error("the run's record is not whole", "folder", k.writer.Dir(), "error", err)
	}
	return k.writer.Dir()
}
