// Package report is what a rollout study found, as data, and the forms in which it is told: text, JSON, Markdown and a page.
package report

import (
	"encoding/json"
	"io"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/agents"
	"github.com/twinfleet/twinfleet/internal/capacity/answer"
	"github.com/twinfleet/twinfleet/internal/capacity/rollout/advise"
	"github.com/twinfleet/twinfleet/internal/capacity/rollout/exercise"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
)

// Schema is the version of the JSON form. It changes when an older reader would misread a newer answer.
const Schema = 1

// Answer is what a rollout study found. Rates are devices a second, times are in seconds.
type Answer struct {
	Schema   int        `json:"schema"`
	Scenario string     `json:"scenario"`         // its name
	Target   string     `json:"target"`           // what was loaded, without credentials
	Tier     string     `json:"tier,omitempty"`   // with its units, such as "S1, 1 unit"; empty when it is not known
	Devices  int        `json:"devices"`          // of the whole fleet
	Agents   int        `json:"agents,omitempty"` // that ran the devices; 0 for the process of the study
	Seed     uint64     `json:"seed"`             // of the scenario
	Version  string     `json:"version"`          // of the program
	Started  time.Time  `json:"started"`          // UTC; when the study began for the first time
	Seconds  float64    `json:"seconds"`          // that the trials took together
	End      search.End `json:"end"`              // of the study: found, generator, below, unstable, stopped, unreachable or running
	Why      string     `json:"why,omitempty"`    // what ended it early

	BringUp  BringUp        `json:"bring_up"`
	Storms   []Row          `json:"storms"`   // by size, each device with its own back-off
	Backoffs []Row          `json:"backoffs"` // at the whole fleet, as they were made
	Own      string         `json:"own_backoff,omitempty"`
	Advice   *advise.Advice `json:"advice,omitempty"` // nil until all back-offs were tried

	Thresholds []string          `json:"thresholds"` // by which trials were judged
	Notes      []string          `json:"notes,omitempty"`
	Trials     []exercise.Record `json:"trials"`
	Dir        string            `json:"dir,omitempty"` // folder of the study
}

// BringUp is how fast the fleet can be brought up.
type BringUp struct {
	search.Answer
	Own      float64      `json:"own"`                // the rate at which the scenario brings it up
	Takes    float64      `json:"takes,omitempty"`    // seconds for the whole fleet at Held, until all were answered, in the slowest trial
	Interval float64      `json:"interval,omitempty"` // seconds from one device to the next at Held
	Limit    trial.Limit  `json:"limit,omitempty"`    // what binds: why Missed was missed
	Class    string       `json:"class,omitempty"`    // of a throttle
	Bound    float64      `json:"bound,omitempty"`    // what the tier allows of that class, a second; 0 when it is not known
	Cause    string       `json:"cause,omitempty"`    // what was observed in the trial of Missed
	Need     *agents.Need `json:"need,omitempty"`     // how many agents would deliver Over; nil when the generator is not what ended the search
}

// Row is one storm.
type Row struct {
	Devices   int            `json:"devices"`             // of the fleet
	Backoff   string         `json:"backoff"`             // of all groups; "as in the scenario" when they differ
	Seed      uint64         `json:"seed"`                // of the run
	Verdict   search.Verdict `json:"verdict"`             // held when all came back without harm
	Back99    float64        `json:"back_99"`             // from the cut until 99 % were back; 0 when they were not
	BackAll   float64        `json:"back_all"`            // until all were; 0 when they were not
	Peak      float64        `json:"peak"`                // devices that came back in a second, at most
	Throttled uint64         `json:"throttled"`           // operations
	Refused   uint64         `json:"refused"`             // likewise
	Failed    uint64         `json:"failed"`              // likewise; without what went with the cut connections
	Attempts  float64        `json:"attempts"`            // connects that were begun, a device
	BurstOf   string         `json:"burst_of,omitempty"`  // the limit whose burst was used up most at the cut; empty when the tier is not known
	Burst     float64        `json:"burst,omitempty"`     // operations of it that pass at once
	LeftOver  float64        `json:"left_over,omitempty"` // of Burst at the cut
	Clean     bool           `json:"clean"`               // the fleet had come up with nothing throttled and nothing failed
	Missed    int            `json:"missed_thresholds"`   // number
	Why       string         `json:"why,omitempty"`
	noRoom    bool           // the target cannot be made large enough for the fleet
}

// Mixed is what a Row says when groups have different back-offs.
const Mixed = "as in the scenario"

// Complete fills in what follows from the trials.
func (a *Answer) Complete() {
	a.Schema = Schema
	a.Seconds = 0
	a.Storms, a.Backoffs = nil, nil
	for i := range a.Trials {
		r := &a.Trials[i]
		a.Seconds += r.Seconds
		row := rowOf(r, a.Own)
		switch {
		case r.Part == exercise.Storm:
			a.Storms = replace(a.Storms, row)
			if r.Devices == a.Devices && a.Own != "" {
				a.Backoffs = replace(a.Backoffs, row)
			}
		case r.IsStorm():
			a.Backoffs = replace(a.Backoffs, row)
		}
	}
	slices.SortStableFunc(a.Storms, func(x, y Row) int { return x.Devices - y.Devices })
	a.bind()
}

func rowOf(r *exercise.Record, own string) Row {
	row := Row{
		Devices: r.Devices, Backoff: r.Backoff, Seed: r.Seed, Verdict: r.Verdict, Back99: r.Back99, BackAll: r.BackAll, Peak: r.Peak, Throttled: r.Throttled, Refused: r.Refused,
		Failed: r.Failed, Attempts: r.Attempts, BurstOf: r.BurstOf, Burst: r.Burst, LeftOver: r.LeftOver, Clean: r.Clean, Missed: len(r.Missed), Why: r.Why,
		noRoom: r.Verdict == search.Undelivered && r.Limit == trial.ByTarget,
	}
	if row.Backoff == "" {
		row.Backoff = own
	}
	if row.Backoff == "" {
		row.Backoff = Mixed
	}
	return row
}

// replace adds a row, in place of one that the generator did not deliver.
func replace(rows []Row, row Row) []Row {
	for i := range rows {
		if x := &rows[i]; x.Verdict == search.Undelivered && x.Devices == row.Devices && x.Backoff == row.Backoff && x.Seed == row.Seed {
			rows[i] = row
			return rows
		}
	}
	return append(rows, row)
}

// bind finds how long the fleet takes to come up, and what keeps it from coming up faster.
func (a *Answer) bind() {
	b := &a.BringUp
	b.Limit, b.Class, b.Cause, b.Takes, b.Interval = "", "", "", 0, 0
	if b.Held > 0 {
		b.Interval = 1 / b.Held
	}
	for i := range a.Trials {
		r := &a.Trials[i]
		if r.Part != exercise.BringUp {
			continue
		}
		switch {
		case r.Verdict == search.Held && r.Rate == b.Held:
			b.Takes = max(b.Takes, r.Up)
		case r.Verdict == search.Missed && (r.Rate == b.Missed || b.Missed == 0 && b.Held == 0):
			b.Limit, b.Class, b.Cause = r.Limit, r.Class, r.Why
		}
	}
}

// Runs are the storms of the back-offs, as advice is made from them.
func (a *Answer) Runs() []advise.Run {
	runs := make([]advise.Run, 0, len(a.Backoffs))
	for _, r := range a.Backoffs {
		runs = append(runs, advise.Run{
			Backoff: r.Backoff, Back99: r.Back99, BackAll: r.BackAll, Harm: r.Throttled + r.Refused + r.Failed, Missed: r.Missed, Delivered: r.Verdict != search.Undelivered,
		})
	}
	return runs
}

// Well reports whether the study has its whole answer.
func (a *Answer) Well() bool { return a.End == search.Found }

// Ended reports whether there is nothing left to go on with.
func (a *Answer) Ended() bool {
	return a.End != search.Stopped && a.End != answer.Unreachable && a.End != answer.Running
}

// Write writes the answer as JSON.
func (a *Answer) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(a)
}
