package report

import (
	"cmp"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
)

// SchemaVersion is of Summary. It changes when a member changes its meaning or goes away.
const SchemaVersion = 1

// Summary is a run for programs: summary.json. docs/reports.md describes every member. Times are in seconds.
type Summary struct {
	SchemaVersion int                  `json:"schema_version"`
	Name          string               `json:"name"`
	Description   string               `json:"description,omitempty"`
	Outcome       Outcome              `json:"outcome"`
	Reason        string               `json:"reason,omitempty"`
	Started       time.Time            `json:"started"`
	Duration      float64              `json:"duration_seconds"`
	Target        string               `json:"target"`
	Devices       int                  `json:"devices"`
	Seed          uint64               `json:"seed"`
	Version       string               `json:"version"`
	Machine       Machine              `json:"machine"`
	Thresholds    []metrics.Verdict    `json:"thresholds"`
	Stages        []StageSummary       `json:"stages"`
	Operations    []OpSummary          `json:"operations"`
	Queries       []metrics.QueryCount `json:"queries"`
	Errors        []metrics.ErrorCount `json:"errors"` // why operations ended badly, by operation, outcome and reason
	Outages       []OutageSummary      `json:"outages"`
	Notes         []string             `json:"notes"`
	Generator     *GeneratorSummary    `json:"generator,omitempty"` // absent when the fleet never ran
	ServiceSummary
}

// StageSummary is a stage. Times are since the run's start.
type StageSummary struct {
	Name string  `json:"name"`
	From float64 `json:"from_seconds"`
	To   float64 `json:"to_seconds"`
}

// OutageSummary is a time in which devices had lost their connections unasked.
type OutageSummary struct {
	From      float64 `json:"from_seconds"`
	To        float64 `json:"to_seconds"`
	Devices   int     `json:"devices"`     // the most that were gone at once
	Lost      int     `json:"connections"` // that were lost
	Recovered bool    `json:"recovered"`
	AllBack   float64 `json:"all_back_seconds,omitempty"` // since From, until nobody was gone any more
	Returns   []int   `json:"returns,omitempty"`          // the reconnect curve: devices that came back in each interval since From
	Every     float64 `json:"returns_every_seconds,omitempty"`
}

// OpSummary is one operation of one group; of a query, the group is its name.
type OpSummary struct {
	Operation metrics.Operation `json:"operation"`
	Group     string            `json:"group,omitempty"`
	Count     uint64            `json:"count"` // that ended
	Rate      float64           `json:"rate_per_second"`
	Outcomes  map[string]uint64 `json:"outcomes"`
	Scheduled uint64            `json:"scheduled"` // on time + late + dropped, which is all outcomes + dropped + open
	OnTime    uint64            `json:"on_time"`
	Late      uint64            `json:"late"`
	Dropped   map[string]uint64 `json:"dropped"`
	Open      uint64            `json:"open"` // under way; 0 at the end of a run, where they are unanswered
	Response  Percentiles       `json:"response_seconds"`
	Service   Percentiles       `json:"service_seconds"`
	Lag       Percentiles       `json:"lag_seconds"`
}

// Percentiles are of a distribution of times, in seconds.
type Percentiles struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P95  float64 `json:"p95"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99.9"`
	Max  float64 `json:"max"`
}

func percentiles(h metrics.Histogram) Percentiles {
	q := func(x float64) float64 { return h.Quantile(x).Seconds() }
	return Percentiles{h.Mean().Seconds(), q(0.5), q(0.9), q(0.95), q(0.99), q(0.999), h.Maximum().Seconds()}
}

// Summarize makes the summary of a run.
func Summarize(r *Run) Summary {
	s := Summary{
		SchemaVersion: SchemaVersion, Name: r.Name, Description: r.Description, Outcome: r.Outcome, Reason: r.Reason, Started: r.Started,
		Duration: r.Duration().Seconds(), Target: r.Target, Devices: r.Devices, Seed: r.Seed, Version: r.Version, Machine: r.Machine,
		Thresholds: orEmpty(r.Thresholds), Stages: []StageSummary{}, Operations: []OpSummary{}, Queries: orEmpty(r.Totals.Queries),
		Outages: []OutageSummary{}, Notes: orEmpty(r.Notes), Generator: generatorSummary(r.Generator), ServiceSummary: summarizeService(r),
	}
	s.Errors = orEmpty(r.Totals.Errors)
	for _, t := range r.Stages {
		s.Stages = append(s.Stages, StageSummary{t.Name, t.From.Seconds(), t.To.Seconds()})
	}
	for _, o := range r.Outages {
		s.Outages = append(s.Outages, OutageSummary{o.From.Seconds(), o.To.Seconds(), o.Lost, o.Total, o.Recovered, o.AllBack.Seconds(), o.Returns, o.Every.Seconds()})
	}
	for i := range r.Totals.Series {
		s.Operations = append(s.Operations, summarizeOp(&r.Totals.Series[i], s.Duration))
	}
	return s
}

// summarizeOp is one operation of one group over so many seconds.
func summarizeOp(x *metrics.SeriesSnapshot, seconds float64) OpSummary {
	op := OpSummary{
		Operation: x.Operation, Group: x.Group, Count: x.Ended(), Rate: float64(x.Ended()) / max(seconds, 1e-9), Outcomes: make(map[string]uint64),
		Scheduled: x.Scheduled(), OnTime: x.OnTime, Late: x.Late, Dropped: make(map[string]uint64), Open: x.InFlight(),
		Response: percentiles(x.Latency(false)), Service: percentiles(x.Latency(true)), Lag: percentiles(x.Lag),
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

// WriteJSON writes the summary for programs.
func WriteJSON(w io.Writer, r *Run) error {
	b, err := json.MarshalIndent(Summarize(r), "", "  ")
	if err != nil {
		return fmt.Errorf("writing the summary: %w", err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Time     string      `xml:"time,attr"`
	Stamp    string      `xml:"timestamp,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitProblem `xml:"failure,omitempty"`
	Error   *junitProblem `xml:"error,omitempty"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitProblem struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the run as a JUnit test suite: a case for the run itself, one a step, one a threshold.
func WriteJUnit(w io.Writer, r *Run) error {
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
	suite := junitSuite{Name: "twinfleet." + r.Name, Time: seconds(r.Duration()), Stamp: r.Started.Format("2006-01-02T15:04:05")}
	run := junitCase{Class: r.Name, Name: "the run", Time: seconds(r.Duration())}
	if r.Outcome != Passed && r.Outcome != Missed {
		run.Error = &junitProblem{Message: string(r.Outcome) + ": " + r.Reason}
		suite.Errors++
	}
	suite.Cases = append(suite.Cases, run)
	for _, s := range r.Steps {
		c := junitCase{Class: r.Name + "." + s.Stage, Name: s.Text, Time: seconds(s.Took), Out: s.Detail}
		if !s.OK {
			c.Failure = &junitProblem{Message: s.Detail}
			suite.Failures++
		}
		suite.Cases = append(suite.Cases, c)
	}
	for _, v := range r.Thresholds {
		c := junitCase{Class: r.Name + ".thresholds", Name: v.Threshold, Time: seconds(r.Duration()), Out: v.Observed}
		switch {
		case v.CannotSay:
			c.Error = &junitProblem{Message: "cannot say: " + v.Why, Text: v.Threshold + ": " + v.Observed}
			suite.Errors++
		case !v.Pass:
			c.Failure = &junitProblem{Message: v.Threshold + ": " + v.Observed}
			suite.Failures++
		}
		suite.Cases = append(suite.Cases, c)
	}
	suite.Tests = len(suite.Cases)
	b, err := xml.MarshalIndent(suite, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the JUnit report: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, b)
	return err
}

// WriteMarkdown writes the run for a comment on a pull request.
func WriteMarkdown(w io.Writer, r *Run) error {
	b := &strings.Builder{}
	mark := map[bool]string{true: "✅", false: "❌"}
	fmt.Fprintf(b, "### %s %s: %s\n\n%s devices, %s, %s, seed %d\n", mark[r.Outcome == Passed], cell(r.Name), r.Outcome, Count(int64(r.Devices)), cell(r.Target), Duration(r.Duration()), r.Seed)
	if r.Reason != "" {
		fmt.Fprintf(b, "\n%s\n", cell(r.Reason))
	}
	if len(r.Thresholds) > 0 {
		b.WriteString("\n| | threshold | observed |\n|---|---|---|\n")
		for _, v := range r.Thresholds {
			sign, observed := mark[v.Pass], v.Observed
			if v.CannotSay {
				sign, observed = "❔", observed+": cannot say, the load was not the one asked for"
			}
			fmt.Fprintf(b, "| %s | `%s` | %s |\n", sign, strings.NewReplacer("|", "\\|", "`", "'").Replace(v.Threshold), cell(observed))
		}
	}
	b.WriteString("\n| operation | count | rate | throttled | errors | p50 | p95 | p99 | max |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, l := range Lines(r.Totals) {
		fmt.Fprintf(b, "| %s |\n", strings.Join(l.cells(r), " | "))
	}
	for _, o := range r.Outages {
		fmt.Fprintf(b, "\n%s\n", o)
		if back := o.Return(); back != "" {
			fmt.Fprintf(b, "%s\n", back)
		}
	}
	if r.Generator != nil {
		for _, line := range r.GeneratorLines() {
			fmt.Fprintf(b, "\nGenerator: %s\n", cell(line))
		}
	}
	for _, f := range Findings(r) {
		fmt.Fprintf(b, "\n%s %s\n", map[Mark]string{MarkGood: "✅", MarkBad: "❌", MarkWarn: "⚠️", MarkNone: "▫️"}[f.Mark], cell(f.Text))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(b, "\n⚠️ %s\n", cell(n))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// cell is text that cannot break out of a table or a line, and is text alone: no link, no picture, nobody's name.
func cell(s string) string {
	const nothing = "<!-- -->" // keeps apart what would be read as one
	return strings.NewReplacer("|", "\\|", "\n", " ", "<", "&lt;", "`", "'", "\\", "\\\\", "[", "\\[", "]", "\\]", "*", "\\*", "~", "\\~",
		"@", "@"+nothing, "#", "#"+nothing, "http://", "http:"+nothing+"//", "https://", "https:"+nothing+"//", "www.", "www"+nothing+".").Replace(cmp.Or(s, "–"))
}
