// Package jsonlines tells programs of a run in JSON, one object a line.
package jsonlines

import (
	"encoding/json"
	"io"
	"math"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/metrics/judge"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/agents"
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
	Standing *standing `json:"standing,omitempty"`
}

// standing is how the run stands; see report.Standing.
type standing struct {
	Outlook    report.Outlook `json:"outlook"`
	Reason     string         `json:"reason,omitempty"`
	Thresholds []rule         `json:"thresholds"`
	Failing    []string       `json:"failing,omitempty"`
	Doubt      string         `json:"doubt,omitempty"`
	Connected  int            `json:"connected"`
	Wanted     int            `json:"wanted"`
	Fleet      int            `json:"fleet"`
	Rollouts   []wave         `json:"rollouts,omitempty"`
	Left       float64        `json:"left_seconds,omitempty"`
	Agents     []agent        `json:"agents,omitempty"`
}

// rule is how a threshold stands; see judge.State.
type rule struct {
	Threshold string   `json:"threshold"`
	Observed  string   `json:"observed"`
	Value     *float64 `json:"value,omitempty"` // what is compared, as a number in the threshold's unit
	State     string   `json:"state"`           // holds, missed, cannot_say or pending
	Why       string   `json:"why,omitempty"`
	Since     *float64 `json:"missed_since_seconds,omitempty"` // since the run began
	Over      bool     `json:"over,omitempty"`
}

// agent is one of those that run the devices of a run on many machines; see report.Agent.
type agent struct {
	Name        string       `json:"name"`
	State       agents.State `json:"state"` // lost, slow, unsure or well
	Wrong       string       `json:"wrong,omitempty"`
	Devices     int          `json:"devices"`
	Connected   int          `json:"connected"`
	CPU         float64      `json:"processors_used"`
	Lag         float64      `json:"schedule_lag_seconds"`
	Offset      float64      `json:"clock_offset_seconds"`
	Uncertainty float64      `json:"clock_uncertainty_seconds"`
}

// wave is a wave of a rollout; see report.Wave.
type wave struct {
	summary.Wave
	Running bool `json:"running"`
}

// standingOf is how the run stands with a sample; nil when that is not told.
func standingOf(p report.Sample) *standing {
	s := p.Standing
	if s == nil {
		return nil
	}
	out := &standing{
		s.Outlook, s.Reason, make([]rule, 0, len(s.Thresholds)), s.Failing, s.Doubt, s.Connected, s.Wanted, s.Fleet, nil, s.Left.Seconds(), nil,
	}
	for i := range s.Thresholds {
		t := &s.Thresholds[i]
		r := rule{Threshold: t.Threshold, Observed: t.Observed, Value: t.Value, State: stateOf(t), Why: t.Why, Over: t.Over}
		if r.Value != nil && (math.IsInf(*r.Value, 0) || math.IsNaN(*r.Value)) {
			r.Value = nil // there is no end to it
		}
		if !t.Since.IsZero() {
			since := runstate.RunTime(p, t.Since).Seconds()
			r.Since = &since
		}
		out.Thresholds = append(out.Thresholds, r)
	}
	for i := range s.Agents {
		a := &s.Agents[i]
		out.Agents = append(out.Agents, agent{
			a.Name, agents.StateOf(a), agents.Wrong(a), a.Devices, a.Connected, a.CPU, a.Lag.Seconds(), a.Clock.Offset.Seconds(), a.Clock.Uncertainty.Seconds(),
		})
	}
	for _, w := range s.Rollouts {
		out.Rollouts = append(out.Rollouts, wave{summary.WaveOf(w), w.Running})
	}
	return out
}

// stateOf is how a threshold stands, in a word.
func stateOf(t *judge.State) string {
	switch {
	case t.Pending:
		return "pending"
	case t.CannotSay:
		return "cannot_say"
	case t.Pass:
		return "holds"
	default:
		return "missed"
	}
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
	j.line(progressLine{"progress", p.At.Seconds(), p.Waiting, p.Left.Seconds(), summary.OfInterval(p.Window.Stage, p.Window), standingOf(p)})
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
