// Package junit writes a run as a JUnit test suite, for continuous integration.
package junit

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/agents"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/report/reasons"
	"github.com/twinfleet/twinfleet/report/text"
)

type suite struct {
	XMLName  xml.Name   `xml:"testsuite"`
	Name     string     `xml:"name,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Errors   int        `xml:"errors,attr"`
	Time     string     `xml:"time,attr"`
	Stamp    string     `xml:"timestamp,attr"`
	Facts    *facts     `xml:"properties,omitempty"`
	Cases    []testCase `xml:"testcase"`
}

// facts are properties of the whole suite.
type facts struct {
	All []fact `xml:"property"`
}

type fact struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

// factsOf are what a reader must know to trust the figures, and the agents; nil for none.
func factsOf(r *report.Run) *facts {
	out := agentFacts(r)
	for _, note := range r.Notes {
		if out == nil {
			out = &facts{}
		}
		out.All = append(out.All, fact{"note", note})
	}
	return out
}

// agentFacts are the agents of a run on many machines, those in trouble first; nil for a run in one process.
func agentFacts(r *report.Run) *facts {
	if len(r.Agents) == 0 {
		return nil
	}
	out := &facts{All: []fact{{"agents", agents.Headline(r.Agents)}}}
	columns := agents.Columns()
	for _, x := range agents.Rows(r.Agents) {
		var parts []string
		for i, cell := range x.Cells[1:] {
			if cell != "" {
				parts = append(parts, columns[i+1]+": "+cell)
			}
		}
		out.All = append(out.All, fact{"agent." + x.Name, string(x.State) + "; " + strings.Join(parts, "; ")})
	}
	return out
}

type testCase struct {
	Class   string   `xml:"classname,attr"`
	Name    string   `xml:"name,attr"`
	Time    string   `xml:"time,attr"`
	Failure *problem `xml:"failure,omitempty"`
	Error   *problem `xml:"error,omitempty"`
	Out     *cdata   `xml:"system-out,omitempty"`
}

// cdata keeps the lines of a text apart.
type cdata struct {
	Text string `xml:",cdata"`
}

type problem struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",cdata"`
}

// Write writes the run as a JUnit test suite: a case for the run itself, one a step, one a threshold. Agents and notes are properties of the suite.
func Write(w io.Writer, r *report.Run) error {
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
	suite := suite{Name: "twinfleet." + r.Name, Facts: factsOf(r), Time: seconds(r.Duration()), Stamp: r.Started.Format("2006-01-02T15:04:05")}
	run := testCase{Class: r.Name, Name: "the run", Time: seconds(r.Duration()), Out: &cdata{text.Account(r)}}
	if r.Outcome != report.Passed && r.Outcome != report.Missed {
		run.Error = &problem{Message: r.Headline() + ": " + r.Reason}
		if r.Outcome == report.Saturated && !r.Guessed() {
			run.Error.Text = "\n" + strings.Join(r.GeneratorLines(), "\n")
		}
		suite.Errors++
	}
	suite.Cases = append(suite.Cases, run)
	for _, s := range r.Steps {
		c := testCase{Class: r.Name + "." + s.Stage, Name: s.Text, Time: seconds(s.Took), Out: &cdata{s.Detail}}
		if !s.OK {
			c.Failure = &problem{Message: s.Detail}
			suite.Failures++
		}
		suite.Cases = append(suite.Cases, c)
	}
	for _, v := range r.Thresholds {
		c := testCase{Class: r.Name + ".thresholds", Name: v.Threshold, Time: seconds(r.Duration()), Out: &cdata{v.Observed}}
		switch {
		case v.CannotSay:
			c.Error = &problem{Message: "cannot say: " + v.Why, Text: v.Threshold + ": " + v.Observed}
			suite.Errors++
		case !v.Pass:
			c.Failure = &problem{Message: v.Threshold + ": " + v.Observed, Text: why(r, v)}
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

// why lists the reasons of the operations that a missed threshold is about.
func why(r *report.Run, v threshold.Verdict) string {
	b := &strings.Builder{}
	for _, rule := range r.Rules {
		t, err := threshold.Parse(rule.Selector, rule.Expr)
		if err != nil {
			continue
		}
		if t.Scope = rule.Scope; t.String() != v.Threshold {
			continue
		}
		for _, e := range reasons.Parts(r) {
			if e.Operation != t.Operation || e.Group != "" && !metrics.InGroup(e.Group, t.Group) || t.Scope.Stage != "" && e.Stage != "" && e.Stage != t.Scope.Stage {
				continue
			}
			fmt.Fprintf(b, "\n%s %s", human.Count(e.Count), e.Text())
			for _, in := range []string{e.Group, e.Stage} {
				if in != "" {
					b.WriteString(", " + in)
				}
			}
		}
		break
	}
	return b.String()
}
