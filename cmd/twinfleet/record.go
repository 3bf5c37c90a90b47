package main

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/files"
	"github.com/twinfleet/twinfleet/report/record"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// keeper keeps the record of a run on disk. Without a folder of records it keeps nothing.
type keeper struct {
	root     string
	scenario []byte
	log      *slog.Logger
	writer   *record.Writer
	told     sync.Once // that it cannot be written
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
		k.check()
	}
}

// check says, once, that the record cannot be written any more. The run goes on; it will not pass.
func (k *keeper) check() {
	if err := k.writer.Err(); err != nil {
		k.told.Do(func() { k.log.Error("the run goes on without its record", "error", err) })
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

// recorded is an event of the engine as records, reports and those who watch have it: some of it is the target's words.
func recorded(e engine.Event) report.Event {
	return report.Event{At: e.At, Kind: string(e.Kind), Stage: e.Stage, Text: report.Clean(e.Text), Detail: report.Clean(e.Detail), OK: e.OK}
}

func (k *keeper) progress(p engine.Progress) {
	if k.writer != nil {
		k.writer.Sample(report.Sample{At: p.At, Window: p.Interval})
		k.check()
	}
}

// end completes the record and makes the reports; it returns the record's folder, or "" when no report is in it. A run
// whose record was asked for and is not there has not passed.
func (k *keeper) end(run *report.Run) string {
	if k.writer == nil {
		return ""
	}
	dir := k.writer.Dir()
	err := k.writer.End(run)
	if err == nil {
		_, err = files.Write(dir)
	}
	if err != nil {
		reason := "the record of the run is not whole: " + strings.ReplaceAll(err.Error(), "\n", "; ")
		if run.Outcome == report.Passed {
			run.Outcome, run.Reason = report.Failed, reason
		} else {
			run.Notes = append(run.Notes, reason)
		}
	}
	if len(files.Existing(dir)) == 0 {
		return ""
	}
	return dir
}
