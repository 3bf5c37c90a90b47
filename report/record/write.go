// Package record keeps a run on disk while it goes on, so that whatever ends the program leaves a record
// from which every report can be made for what had happened.
//
// A record is a folder. Its record.jsonl has a JSON object a line: first the start, then samples and events as
// they come and between them what has become known of the run, and last the end. Each line is written whole; a last one that is cut is ignored.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/twinfleet/twinfleet/report"
)

// The files of a record.
const (
	File         = "record.jsonl"  // the record, a line for each thing that was told
	ScenarioFile = "scenario.yaml" // as it was run, without secrets
)

// Version is of the format of record.jsonl. It changes when an older reader would misread a newer record.
const Version = 1

// line is one line of a record.
type line struct {
	Type    string         `json:"type"` // start, known, sample, event, end
	Version int            `json:"version,omitempty"`
	Run     *report.Run    `json:"run,omitempty"`
	Sample  *report.Sample `json:"sample,omitempty"`
	Event   *report.Event  `json:"event,omitempty"`
}

// Writer writes one record. It is safe for concurrent use.
type Writer struct {
	dir string

	mu   sync.Mutex // protects the following fields
	file io.WriteCloser
	made os.FileInfo // the file as it was made
	err  error       // the first; after it nothing is written

	known []byte // a line that waits until it is no large part of the record; nil when none does
	since int    // bytes written since the last one
}

// ErrGone is returned when the file of a record was removed or replaced: what is written then is in no folder.
var ErrGone = errors.New("the record's file was removed")

// Create makes the folder of a run below root, named for its start and its scenario, and keeps the scenario
// as it is run. Nothing in the arguments may be a secret; all the same only the owner may read what is kept.
func Create(root string, run *report.Run, scenario []byte) (*Writer, error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of records: %w", err)
	}
	dir, err := fresh(filepath.Join(root, run.Started.Format("20060102-150405")+"-"+run.Name))
	if err != nil {
		return nil, fmt.Errorf("making the folder of the record: %w", err)
	}
	w := &Writer{dir: dir}
	if err := os.WriteFile(filepath.Join(dir, ScenarioFile), scenario, 0o600); err != nil {
		return nil, fmt.Errorf("keeping the scenario: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, File), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making the record: %w", err)
	}
	if w.made, err = file.Stat(); err != nil {
		return nil, fmt.Errorf("making the record: %w", errors.Join(err, file.Close()))
	}
	w.file = file
	w.write(line{Type: "start", Version: Version, Run: run})
	return w, w.Err()
}

// fresh makes a folder that was not there: two runs may start in one second.
func fresh(path string) (string, error) {
	for n := 1; ; n++ {
		dir := path
		if n > 1 {
			dir = fmt.Sprintf("%s-%d", path, n)
		}
		if err := os.Mkdir(dir, 0o700); !errors.Is(err, os.ErrExist) {
			return dir, err
		}
	}
}

// Dir is the folder of the record.
func (w *Writer) Dir() string { return w.dir }

// Sample adds what came in a second. It finds also that the record was removed.
func (w *Writer) Sample(s report.Sample) {
	w.write(line{Type: "sample", Sample: &s})
	w.check()
}

// knownAlways is how large a line of what is known may be that is written at once, in bytes.
const knownAlways = 64 << 10

// Known adds what has become known of the run: the record is read with it when it has no end. The last one counts. One that is large
// waits until as much else was written, so that a record is never mostly these.
func (w *Writer) Known(run *report.Run) {
	b, err := json.Marshal(line{Type: "known", Run: run})
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.fail(err)
		return
	}
	w.known = append(b, '\n')
	w.writeKnown()
}

// writeKnown writes what waits, when it may. The caller holds the lock.
func (w *Writer) writeKnown() {
	if w.known == nil || len(w.known) > w.since+knownAlways {
		return
	}
	w.put(w.known)
	w.known, w.since = nil, 0
}

// Event adds something that happened.
func (w *Writer) Event(e report.Event) { w.write(line{Type: "event", Event: &e}) }

// End adds the run's last word and closes the record. It returns the first error of all writing.
func (w *Writer) End(run *report.Run) error {
	w.mu.Lock()
	w.known = nil // the end says more
	w.mu.Unlock()
	w.write(line{Type: "end", Run: run})
	w.check()
	w.mu.Lock()
	defer w.mu.Unlock()
	err := errors.Join(w.err, w.file.Close())
	if w.err == nil {
		w.err = os.ErrClosed
	}
	return err
}

// Err is the first error of writing, such as a full disk; the run goes on without its record.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// check holds the file to its place: writing to one that was removed succeeds.
func (w *Writer) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	path := filepath.Join(w.dir, File)
	switch now, err := os.Stat(path); {
	case errors.Is(err, os.ErrNotExist):
		w.err = fmt.Errorf("%s: %w", path, ErrGone)
	case err != nil:
		w.err = fmt.Errorf("looking at the record: %w", err)
	case !os.SameFile(now, w.made):
		w.err = fmt.Errorf("%s: %w, and another is in its place", path, ErrGone)
	}
}

func (w *Writer) write(l line) {
	b, err := json.Marshal(l)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.fail(err)
		return
	}
	w.put(append(b, '\n'))
	w.since += len(b)
	w.writeKnown()
}

// put writes a whole line. The caller holds the lock.
func (w *Writer) put(b []byte) {
	if w.err != nil {
		return
	}
	if _, err := w.file.Write(b); err != nil {
		w.fail(err)
	}
}

// fail keeps the first error. The caller holds the lock.
func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = fmt.Errorf("writing the record: %w", err)
	}
}
