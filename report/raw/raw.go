// Package raw writes every operation of a run into a file, a row each: for those who want to look further than the record of a run does. Its
// rows are as many as the record counts; docs/measuring.md says what the columns mean.
//
// Whoever measures does not wait for the file: rows wait in a bounded buffer, and what does not fit is counted and said.
package raw

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// Forms are the ends of the names of files that can be written.
func Forms() []string { return []string{".csv.gz", ".parquet"} }

const (
	room  = 1 << 16                // operations that wait to be written, at most
	pause = 100 * time.Millisecond // at most, before those that wait are written
	keep  = time.Second            // how much of a run is lost when the process is killed, of a form that can be cut off
)

// File is a file that takes the operations of one run: its Tap is that of the run's Recorder, and the File an Observer of the run.
// It is begun by Create and ended by End, or by Close when there was no run.
type File struct {
	name string
	made os.FileInfo // the file as it was made; nil when it is none of the system
	file io.Closer
	rows rows
	wake chan struct{}     // that many wait; holds one
	asks chan chan<- state // by Whole
	done chan struct{}     // closed when the writer has ended

	mu      sync.Mutex // protects the following fields
	waiting []metrics.Ended
	spare   []metrics.Ended
	lost    uint64 // operations that found no room
	closed  bool

	// Of the writer, and of everybody once done is closed.
	written uint64 // operations that are in the file
	broken  error  // why nothing more can be written
	ended   bool   // Close was called
}

var _ report.Observer = (*File)(nil)

// rows is a form of file.
type rows interface {
	write(e *metrics.Ended) error
	// flush brings what was written to the file, as far as the form can be cut off anywhere.
	flush() error
	// close ends the form; not the file.
	close() error
}

// Create begins a file, whose name says its form: one of Forms. A file that is there is not overwritten.
func Create(name string) (*File, error) {
	form, err := formOf(name)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s is there already; give the raw output another name", name)
	}
	if err != nil {
		return nil, fmt.Errorf("making the raw output: %w", err)
	}
	made, err := file.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making the raw output: %w", err), file.Close())
	}
	f := begin(name, file, form(file), room)
	f.made = made
	return f, nil
}

// Check says why a name cannot be that of a raw output; nil when it can.
func Check(name string) error {
	_, err := formOf(name)
	return err
}

func formOf(name string) (func(io.Writer) rows, error) {
	switch {
	case strings.HasSuffix(name, ".csv.gz"):
		return newCSV, nil
	case strings.HasSuffix(name, ".parquet"):
		return newParquet, nil
	}
	return nil, fmt.Errorf("the name of the raw output says its form: %q ends in neither of %s", name, strings.Join(Forms(), ", "))
}

func begin(name string, file io.Closer, form rows, room int) *File {
	f := &File{
		name: name, file: file, rows: form, wake: make(chan struct{}, 1), asks: make(chan chan<- state), done: make(chan struct{}),
		waiting: make([]metrics.Ended, 0, room), spare: make([]metrics.Ended, 0, room),
	}
	go f.writeAll()
	return f
}

// Tap takes an operation that has ended, or was dropped. It never waits for the file, and may be called by several at once.
func (f *File) Tap(e metrics.Ended) {
	f.mu.Lock()
	n := len(f.waiting)
	if n == cap(f.waiting) || f.closed {
		f.lost += max(1, e.Dropped)
		f.mu.Unlock()
		return
	}
	f.waiting = append(f.waiting, e)
	many := n == cap(f.waiting)/4
	f.mu.Unlock()
	if many {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// writeAll writes what waits until the file is closed.
func (f *File) writeAll() {
	defer close(f.done)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	flushed := time.Now()
	for {
		var asked chan<- state
		select {
		case <-f.wake:
		case <-tick.C:
		case asked = <-f.asks:
		}
		f.mu.Lock()
		batch, last := f.waiting, f.closed
		f.waiting, f.spare = f.spare[:0], batch
		f.mu.Unlock()
		for i := range batch {
			f.write(&batch[i])
		}
		clear(batch) // names and reasons are not held
		if now := time.Now(); asked != nil || now.Sub(flushed) >= keep {
			flushed = now
			f.breaks(f.rows.flush())
		}
		if asked != nil {
			asked <- state{f.written, f.broken}
		}
		if last {
			return
		}
	}
}

// write writes the rows of one entry.
func (f *File) write(e *metrics.Ended) {
	for range max(1, e.Dropped) {
		if f.broken != nil {
			return
		}
		if f.breaks(f.rows.write(e)); f.broken == nil {
			f.written++
		}
	}
}

// breaks notes the first error.
func (f *File) breaks(err error) {
	if f.broken == nil && err != nil {
		f.broken = err
	}
}

// Close writes what waits and ends the file. The error is the first that writing had.
func (f *File) Close() error {
	if f.ended {
		return f.broken
	}
	f.ended = true
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
	<-f.done
	f.breaks(f.rows.close())
	f.breaks(f.file.Close())
	return f.broken
}

// state is how far a file is.
type state struct {
	written uint64
	broken  error
}

// Whole writes what waits and says whether the file has all that Tap was told so far. The error is that it has not, because it could not be written or
// is no more where it was made. The note, empty for none, is that operations found no room. It is not called while Close or End are.
func (f *File) Whole() (note string, err error) {
	now, answer := state{}, make(chan state, 1)
	select {
	case f.asks <- answer:
		now = <-answer
	case <-f.done:
		now = state{f.written, f.broken}
	}
	if now.broken != nil {
		return "", fmt.Errorf("the raw output is not whole: after %s: %w", human.Number(int(now.written), "operation"), now.broken)
	}
	if f.made != nil {
		if there, err := os.Stat(f.name); err != nil || !os.SameFile(there, f.made) {
			return "", fmt.Errorf("the raw output %s was removed, or another file is in its place", f.name)
		}
	}
	if n := f.Lost(); n > 0 {
		note = fmt.Sprintf("the raw output is not whole: %s came faster than they could be written, and are not in it; the record has them", human.Number(int(n), "operation"))
	}
	return note, nil
}

// Written is how many operations the file has, once it is closed.
func (f *File) Written() uint64 { return f.written }

// Lost is how many operations found no room, so far: they came faster than they could be written.
func (f *File) Lost() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lost
}

// Beside is the name of another file of the same form beside one: raw.csv.gz and agent-1 make raw-agent-1.csv.gz.
func Beside(name, part string) string {
	for _, form := range Forms() {
		if stem, ok := strings.CutSuffix(name, form); ok {
			return stem + "-" + part + form
		}
	}
	return name + "-" + part
}

// Begin does nothing: the file was made before the run.
func (f *File) Begin(*report.Run) error { return nil }

// Event does nothing.
func (f *File) Event(report.Event) {}

// Sample does nothing.
func (f *File) Sample(report.Sample) {}

// End ends the file and says in the record of the run what is not in it. The error is that it could not be written: what was asked for is
// not there. That operations found no room says nothing of the run, and is a note.
func (f *File) End(r *report.Run) error {
	_ = f.Close() // Whole says it
	note, err := f.Whole()
	if err != nil {
		return err
	}
	if note != "" {
		r.Notes = append(r.Notes, note)
	}
	if r.Totals == nil {
		return nil
	}
	var counted, open uint64
	for i := range r.Totals.Series {
		x := &r.Totals.Series[i]
		counted += x.Ended() + x.DroppedTotal()
		open += x.InFlight()
	}
	for i := range r.Agents { // what they measured is in files of their own
		if x := r.Agents[i].Totals; x != nil {
			counted, open = counted-(x.Scheduled-x.InFlight), open-x.InFlight
		}
	}
	if open > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("the raw output is without %s that had not ended when the run did", human.Number(int(open), "operation")))
	}
	if counted != f.written+f.lost {
		r.Notes = append(r.Notes, fmt.Sprintf("the raw output does not agree with the record: it has %s of %s",
			human.Count(int(f.written)), human.Number(int(counted), "operation")))
	}
	return nil
}

// outcome is how an operation ended, as the files have it.
func outcome(e *metrics.Ended) string {
	if e.Dropped > 0 {
		return "dropped"
	}
	return e.Outcome.String()
}
