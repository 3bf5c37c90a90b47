package terminal

import (
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/summary"
)

// JSON tells programs of a run, one object a line. Every object has a type: start, event, progress or summary.
// docs/terminal.md describes them. It is safe for concurrent use.
type JSON struct {
	spectator

	mu   sync.Mutex // orders lines, and protects the following fields
	enc  *json.Encoder
	err  error     // of the first line that could not be written
	last time.Time // of the last line about a count that goes up
}

// jsonStart is the first line.
type jsonStart struct {
	Type        string `json:"type"`
	Schema      int    `json:"schema_version"` // of all lines: that of the summary
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Links       []Link `json:"links"`
}

type jsonEvent struct {
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

type jsonProgress struct {
	Type string  `json:"type"`
	At   float64 `json:"at_seconds"`
	// After the last stage: answers that are waited for, and for how long at most if that is known.
	Waiting int     `json:"waiting,omitempty"`
	Left    float64 `json:"waiting_at_most_seconds,omitempty"`
	summary.Interval
}

type jsonSummary struct {
	Type    string          `json:"type"`
	Summary summary.Summary `json:"summary"`
	Report  string          `json:"report_folder,omitempty"`
}

// NewJSON writes to w, beginning with what is planned.
func NewJSON(w io.Writer, plan Plan) *JSON {
	j := &JSON{enc: json.NewEncoder(w)}
	links := plan.Links
	if links == nil {
		links = []Link{}
	}
	j.line(jsonStart{"start", summary.SchemaVersion, plan.Name, plan.Description, links})
	return j
}

func (j *JSON) line(v any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.write(v)
}

// write writes a line; j.mu is held.
func (j *JSON) write(v any) {
	if j.err == nil {
		j.err = j.enc.Encode(v)
	}
}

// Event tells what happened.
func (j *JSON) Event(e report.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e.Kind == report.KindProvision || e.Kind == report.KindTagging {
		if e.Done < e.Total && time.Since(j.last) < countEvery {
			return
		}
		j.last = time.Now()
	}
	j.write(jsonEvent{"event", e.At.Seconds(), e.Kind, e.Stage, e.Text, e.Detail, e.OK, e.Done, e.Total})
}

// Sample tells the figures of another second.
func (j *JSON) Sample(p report.Sample) {
	j.line(jsonProgress{"progress", p.At.Seconds(), p.Waiting, p.Left.Seconds(), summary.OfInterval(p.Window.Stage, p.Window)})
}

// Summary writes the last line: the whole run, and the folder of its reports when there is one.
func (j *JSON) Summary(r *report.Run, folder string) error {
	j.line(jsonSummary{"summary", summary.Of(r), folder})
	return j.Close()
}

// WriteSummary writes the last line alone.
func WriteSummary(w io.Writer, r *report.Run, folder string) error {
	return json.NewEncoder(w).Encode(jsonSummary{"summary", summary.Of(r), folder})
}

// Close returns why a line could not be written.
func (j *JSON) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}
