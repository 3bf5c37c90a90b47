package main

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/files"
	"github.com/twinfleet/twinfleet/report/record"
)

// keeper keeps the record of a run on disk. Without a folder of records it keeps nothing.
type keeper struct {
	root     string
	scenario []byte
	log      *slog.Logger
	shows    files.Options // what the reports show
	writer   *record.Writer
	told     sync.Once // that it cannot be written
	lost     error     // why the record is not whole, once the run has ended
}

var _ report.Follower = (*keeper)(nil)

// Begin makes the record. A folder that cannot be made fails the run before anything was started.
func (k *keeper) Begin(run *report.Run) error {
	if k.root == "" {
		return nil
	}
	w, err := record.Create(k.root, run, k.scenario)
	if err != nil {
		k.lost = fmt.Errorf("%w; give another folder with --out, or none with --out=", err)
		return k.lost
	}
	k.writer = w
	return nil
}

// Event keeps what happened, but for counts that go up.
func (k *keeper) Event(e report.Event) {
	if k.writer != nil && !e.Counting() {
		k.writer.Event(e)
		k.check()
	}
}

// Known keeps what has become known of the run, for reports of one that is killed.
func (k *keeper) Known(run *report.Run) {
	if k.writer != nil {
		k.writer.Known(run)
		k.check()
	}
}

// check says, once, that the record cannot be written any more. The run goes on; it will not pass.
func (k *keeper) check() {
	if err := k.writer.Err(); err != nil {
		k.told.Do(func() { k.log.Error("the run goes on without its record", "error", err) })
	}
}

// Sample keeps the figures of another second.
func (k *keeper) Sample(x report.Sample) {
	if k.writer != nil {
		k.writer.Sample(x)
		k.check()
	}
}

// End completes the record and makes the reports. A run whose record was asked for and is not there has not passed.
func (k *keeper) End(run *report.Run) error {
	if k.writer == nil {
		return nil
	}
	err := k.writer.End(run)
	if err == nil {
		_, err = files.WriteWith(k.writer.Dir(), k.shows)
	}
	if err != nil {
		k.lost = fmt.Errorf("the record of the run is not whole: %w", err)
	}
	return k.lost
}

// folder is the record's folder, or "" when no report is in it.
func (k *keeper) folder() string {
	if k.writer == nil || len(files.Existing(k.writer.Dir())) == 0 {
		return ""
	}
	return k.writer.Dir()
}
