// Package summary is a run as programs read it: summary.json, and the figures of an interval. Its members are stable:
// docs/reports.md describes each.
package summary

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/histogram"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
)

// SchemaVersion is of Summary. It changes when a member changes its meaning or goes away.
const SchemaVersion = 1

// Summary is a run for programs: summary.json. docs/reports.md describes every member. Times are in seconds.
type Summary struct {
	SchemaVersion int                  `json:"schema_version"`          // the constant, as it was when this was written
	Name          string               `json:"name"`                    // the scenario's
	Description   string               `json:"description,omitempty"`   // the scenario's
	Outcome       report.Outcome       `json:"outcome"`                 // the verdict
	Reason        string               `json:"reason,omitempty"`        // one line that says why the outcome is not passed
	Started       time.Time            `json:"started"`                 // UTC
	Duration      float64              `json:"duration_seconds"`        // of the whole run
	Board         string               `json:"board,omitempty"`         // address of the run's board in Grafana, at its times; absent when none was named
	Target        string               `json:"target"`                  // what was loaded, without credentials
	Client        string               `json:"client,omitempty"`        // the MQTT client that drove the devices; absent in old records
	Devices       int                  `json:"devices"`                 // the scenario's whole fleet
	Ran           *int                 `json:"ran,omitempty"`           // devices that were started; absent in old records
	Connected     *int                 `json:"connected,omitempty"`     // devices that connected at least once; absent in old records
	Seed          uint64               `json:"seed"`                    // every random choice followed from it
	Version       string               `json:"version"`                 // of the program
	Machine       report.Machine       `json:"machine"`                 // what the generator ran on
	Thresholds    []threshold.Verdict  `json:"thresholds"`              // their verdicts, in the order of the scenario
	Stages        []Stage              `json:"stages"`                  // that began, in their order
	Operations    []Operation          `json:"operations"`              // every operation and group, over the whole run
	Queries       []metrics.QueryCount `json:"queries"`                 // every query, over the whole run
	Errors        []metrics.ErrorCount `json:"errors"`                  // why operations ended badly, by operation, outcome and reason
	Outages       []Outage             `json:"outages"`                 // in their order
	Provisioned   []report.Provisioned `json:"provisioned,omitempty"`   // by group of devices that a provisioning service assigns
	Reach         []report.Reach       `json:"reach,omitempty"`         // by group: how far devices came on their way to the target; absent in old records
	Deliveries    *report.Deliveries   `json:"deliveries,omitempty"`    // copies of messages, and how they were read, times in nanoseconds; absent when none were measured
	SessionsLeft  int                  `json:"sessions_left,omitempty"` // that the broker keeps of devices after the run, which could not end them
	Notes         []string             `json:"notes"`                   // what a reader must know to trust the figures
	Generator     *Generator           `json:"generator,omitempty"`     // absent when the fleet never ran
	Agents        []Agent              `json:"agents,omitempty"`        // that ran the devices of a run on many machines, by name
	Purchase      *report.Purchase     `json:"purchase,omitempty"`      // what must be bought for the scenario, by arithmetic
	Service
}

// Stage is a stage. Times are since the run's start.
type Stage struct {
	Name       string      `json:"name"`                 // the scenario's
	From       float64     `json:"from_seconds"`         // when it began
	To         float64     `json:"to_seconds"`           // when it ended
	Operations []Operation `json:"operations,omitempty"` // those that were intended in it, whenever they ended; absent in old records
}

// Outage is a time in which devices had lost their connections unasked.
type Outage struct {
	From      float64 `json:"from_seconds"`                    // since the run began
	To        float64 `json:"to_seconds"`                      // when 99 % of the devices were back, or nobody was left to come back
	Devices   int     `json:"devices"`                         // the most that were gone at once
	Lost      int     `json:"connections"`                     // that were lost
	Recovered bool    `json:"recovered"`                       // whether 99 % came back
	Left      int     `json:"left,omitempty"`                  // devices that a stage stopped before they were back
	AllBack   float64 `json:"all_back_seconds,omitempty"`      // since From, until nobody was gone any more
	Returns   []int   `json:"returns,omitempty"`               // the reconnect curve: devices that came back in each interval since From
	Every     float64 `json:"returns_every_seconds,omitempty"` // the length of an interval of returns
	Why       string  `json:"why,omitempty"`                   // for which most of the connections were lost; absent where nothing is known
}

// Operation is one operation of one group; of a query, the group is its name.
type Operation struct {
	Operation metrics.Operation `json:"operation"`                 // which
	Group     string            `json:"group,omitempty"`           // of devices, or the name of a query
	Count     uint64            `json:"count"`                     // that ended
	Rate      *float64          `json:"rate_per_second,omitempty"` // absent where the time is too short for one
	Outcomes  map[string]uint64 `json:"outcomes"`                  // that ended, by how
	Scheduled uint64            `json:"scheduled"`                 // on time + late + dropped, which is all outcomes + dropped + open
	OnTime    uint64            `json:"on_time"`                   // that started on time
	Late      uint64            `json:"late"`                      // that started late
	LateOwn   uint64            `json:"late_own"`                  // of late: by the generator's own doing
	Dropped   map[string]uint64 `json:"dropped"`                   // that never started, by reason
	Open      uint64            `json:"open"`                      // under way; 0 at the end of a run, where they are unanswered
	Response  Percentiles       `json:"response_seconds"`          // from the intended time
	Service   Percentiles       `json:"service_seconds"`           // from the send
	Lag       Percentiles       `json:"lag_seconds"`               // from the intended time to the send

	Errors []Error `json:"errors,omitempty"` // why they ended badly
}

// Error is how often an operation ended badly for one reason.
type Error struct {
	Outcome string    `json:"outcome"` // how it ended
	Reason  string    `json:"reason"`  // of a bounded set
	Count   uint64    `json:"count"`   // how often
	Last    time.Time `json:"last"`    // when it was met last
}

// Percentiles are of a distribution of times, in seconds.
type Percentiles struct {
	Min  float64 `json:"min"`   // the shortest
	Mean float64 `json:"mean"`  // the average
	P50  float64 `json:"p50"`   // half of all take so long at most
	P90  float64 `json:"p90"`   // 90 of 100
	P95  float64 `json:"p95"`   // 95 of 100
	P99  float64 `json:"p99"`   // 99 of 100
	P999 float64 `json:"p99.9"` // 999 of 1,000
	Max  float64 `json:"max"`   // the longest
}

func percentiles(h histogram.Histogram) Percentiles {
	q := func(x float64) float64 { return h.Quantile(x).Seconds() }
	return Percentiles{h.Minimum().Seconds(), h.Mean().Seconds(), q(0.5), q(0.9), q(0.95), q(0.99), q(0.999), h.Maximum().Seconds()}
}

// Of makes the summary of a run.
func Of(r *report.Run) Summary {
	s := Summary{
		SchemaVersion: SchemaVersion, Name: r.Name, Description: r.Description, Outcome: r.Outcome, Reason: r.Reason, Started: r.Started,
		Duration: r.Duration().Seconds(), Board: r.Board(), Target: r.Target, Client: r.Client, Devices: r.Devices, Ran: r.Ran, Connected: r.Connected(), Seed: r.Seed, Version: r.Version, Machine: r.Machine,
		Thresholds: orEmpty(r.Thresholds), Stages: []Stage{}, Operations: []Operation{}, Queries: orEmpty(r.Totals.Queries),
		Outages: []Outage{}, Provisioned: r.Provisioned, Reach: r.Reach, Deliveries: r.Deliveries, SessionsLeft: r.SessionsLeft, Notes: orEmpty(r.Notes), Generator: generatorSummary(r.Generator), Agents: agentsSummary(r.Agents), Purchase: r.Purchase, Service: summarizeService(r),
	}
	s.Errors = orEmpty(r.Totals.Errors)
	for _, t := range r.Stages {
		stage := Stage{t.Name, t.From.Seconds(), t.To.Seconds(), nil}
		if t.Totals != nil {
			stage.Operations = summarizeOps(t.Totals, (t.To - t.From).Seconds())
		}
		s.Stages = append(s.Stages, stage)
	}
	for _, o := range r.Outages {
		s.Outages = append(s.Outages, Outage{
			o.From.Seconds(), o.To.Seconds(), o.Lost, o.Total, o.Recovered, o.Left, o.AllBack.Seconds(), o.Returns,
			o.Every.Seconds(), o.Why,
		})
	}
	s.Operations = summarizeOps(r.Totals, r.Loaded().Seconds())
	return s
}

// summarizeOps is every operation and group of a snapshot.
func summarizeOps(s *metrics.Snapshot, seconds float64) []Operation {
	all := make([]Operation, 0, len(s.Series))
	for i := range s.Series {
		all = append(all, summarizeOp(&s.Series[i], seconds))
	}
	return all
}

// summarizeOp is one operation of one group over so many seconds.
func summarizeOp(x *metrics.SeriesSnapshot, seconds float64) Operation {
	op := Operation{
		Operation: x.Operation, Group: x.Group, Count: x.Ended(), Outcomes: make(map[string]uint64),
		Scheduled: x.Scheduled(), OnTime: x.OnTime, Late: x.Late, LateOwn: x.LateOwn, Dropped: make(map[string]uint64), Open: x.InFlight(),
		Response: percentiles(x.Latency(false)), Service: percentiles(x.Latency(true)), Lag: percentiles(x.Lag),
	}
	for _, e := range x.Reasons {
		op.Errors = append(op.Errors, Error{e.Outcome, e.Reason, e.Count, e.Last})
	}
	if seconds >= report.TooShort.Seconds() {
		rate := float64(x.Ended()) / seconds
		op.Rate = &rate
	}
	for _, o := range metrics.Outcomes() {
		op.Outcomes[o.String()] = x.Count(o)
	}
	for reason, n := range x.Dropped {
		op.Dropped[reason] = n
	}
	return op
}

// orEmpty is a list that JSON writes as [] and not as null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// Write writes the summary for programs.
func Write(w io.Writer, r *report.Run) error {
	b, err := json.MarshalIndent(Of(r), "", "  ")
	if err != nil {
		return fmt.Errorf("writing the summary: %w", err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
