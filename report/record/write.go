// Package record keeps a run on disk while it goes on, so that whatever ends the program leaves a record
// from which every report can be made for what had happened.
//
// A record is a folder. Its record.jsonl has a JSON object a line: first the start, then samples and events as
// they come, and last the end. Each line is written whole; a last one that is cut is ignored.
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
	Type    string         `json:"type"` // start, sample, event, end
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

// Event adds something that happened.
func (w *Writer) Event(e report.Event) { w.write(line{Type: "event", Event: &e}) }

// End adds the run's last word and closes the record. It returns the first error of all writing.
func (w *Writer) End(run *report.Run) error {
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
	if w.err != nil {
		return
	}
	if err == nil {
		_, err = w.file.Write(append(b, '\n'))
	}
	if err != nil {
		w.err = fmt.Errorf("writing the record: %w", err)
	}
}
