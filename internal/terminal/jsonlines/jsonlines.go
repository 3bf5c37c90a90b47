// Package jsonlines tells programs of a run in JSON, one object a line.
package jsonlines

import (
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/summary"
)

// Writer writes the lines. Every object has a type: start, event, progress or summary.
// docs/terminal.md describes them. It is safe for concurrent use.
type Writer struct {
	runstate.Spectator

	mu   sync.Mutex // orders lines, and protects the following fields
	enc  *json.Encoder
	err  error     // of the first line that could not be written
	last time.Time // of the last line about a count that goes up
}

// startLine is the first line.
type startLine struct {
	Type        string          `json:"type"`
	Schema      int             `json:"schema_version"` // of all lines: that of the summary
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Links       []runstate.Link `json:"links"`
}

type eventLine struct {
	Type   string      `json:"type"`
	At     float64     `json:"at_seconds"`
	Kind   report.Kind `json:"kind"`
	Stage  string      `json:"stage,omitempty"`
	Text   string      `json:"text"`
	Detail string      `json:"detail,omitempty"`
	OK     bool        `json:"ok"`
	Done   int         `json:"done,omitempty"`
	Total  int         `json:"total,omitempty"`
}

type progressLine struct {
	Type string  `json:"type"`
	At   float64 `json:"at_seconds"`
	// After the last stage: answers that are waited for, and for how long at most if that is known.
	Waiting int     `json:"waiting,omitempty"`
	Left    float64 `json:"waiting_at_most_seconds,omitempty"`
	summary.Interval
}

type summaryLine struct {
	Type    string          `json:"type"`
	Summary summary.Summary `json:"summary"`
	Report  string          `json:"report_folder,omitempty"`
}

// New writes to w, beginning with what is planned.
func New(w io.Writer, plan runstate.Plan) *Writer {
	j := &Writer{enc: json.NewEncoder(w)}
	links := plan.Links
	if links == nil {
		links = []runstate.Link{}
	}
	j.line(startLine{"start", summary.SchemaVersion, plan.Name, plan.Description, links})
	return j
}

func (j *Writer) line(v any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.write(v)
}

// write writes a line; j.mu is held.
func (j *Writer) write(v any) {
	if j.err == nil {
		j.err = j.enc.Encode(v)
	}
}

// Event tells what happened.
func (j *Writer) Event(e report.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e.Kind == report.KindProvision || e.Kind == report.KindTagging {
		if e.Done < e.Total && time.Since(j.last) < runstate.CountEvery {
			return
		}
		j.last = time.Now()
	}
	j.write(eventLine{"event", e.At.Seconds(), e.Kind, e.Stage, e.Text, e.Detail, e.OK, e.Done, e.Total})
}

// Sample tells the figures of another second.
func (j *Writer) Sample(p report.Sample) {
	j.line(progressLine{"progress", p.At.Seconds(), p.Waiting, p.Left.Seconds(), summary.OfInterval(p.Window.Stage, p.Window)})
}

// Summary writes the last line: the whole run, and the folder of its reports when there is one.
func (j *Writer) Summary(r *report.Run, folder string) error {
	j.line(summaryLine{"summary", summary.Of(r), folder})
	return j.Close()
}

// WriteSummary writes the last line alone.
func WriteSummary(w io.Writer, r *report.Run, folder string) error {
	return json.NewEncoder(w).Encode(summaryLine{"summary", summary.Of(r), folder})
}

// Close returns why a line could not be written.
func (j *Writer) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}
