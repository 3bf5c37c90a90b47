package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/human"
)

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
	Out     *junitText    `xml:"system-out,omitempty"`
}

// junitText keeps the lines of a text apart.
type junitText struct {
	Text string `xml:",cdata"`
}

type junitProblem struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",cdata"`
}

// WriteJUnit writes the run as a JUnit test suite: a case for the run itself, one a step, one a threshold.
func WriteJUnit(w io.Writer, r *Run) error {
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
	suite := junitSuite{Name: "twinfleet." + r.Name, Time: seconds(r.Duration()), Stamp: r.Started.Format("2006-01-02T15:04:05")}
	run := junitCase{Class: r.Name, Name: "the run", Time: seconds(r.Duration()), Out: &junitText{accountText(r)}}
	if r.Outcome != Passed && r.Outcome != Missed {
		run.Error = &junitProblem{Message: string(r.Outcome) + ": " + r.Reason}
		if r.Outcome == Saturated {
			run.Error.Text = "\n" + strings.Join(r.GeneratorLines(), "\n")
		}
		suite.Errors++
	}
	suite.Cases = append(suite.Cases, run)
	for _, s := range r.Steps {
		c := junitCase{Class: r.Name + "." + s.Stage, Name: s.Text, Time: seconds(s.Took), Out: &junitText{s.Detail}}
		if !s.OK {
			c.Failure = &junitProblem{Message: s.Detail}
			suite.Failures++
		}
		suite.Cases = append(suite.Cases, c)
	}
	for _, v := range r.Thresholds {
		c := junitCase{Class: r.Name + ".thresholds", Name: v.Threshold, Time: seconds(r.Duration()), Out: &junitText{v.Observed}}
		switch {
		case v.CannotSay:
			c.Error = &junitProblem{Message: "cannot say: " + v.Why, Text: v.Threshold + ": " + v.Observed}
			suite.Errors++
		case !v.Pass:
			c.Failure = &junitProblem{Message: v.Threshold + ": " + v.Observed, Text: why(r, v)}
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

// accountText is what became of the operations, and why some ended badly, as text.
func accountText(r *Run) string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "\n%s\n", r.DevicesText())
	writeAccounts(b, r)
	for _, x := range Reasons(r) {
		fmt.Fprintf(b, "  %s %s · %s\n", human.Count(x.Count), x.Text, x.Where())
	}
	writeGenerator(b, r, color.Style{})
	return b.String()
}

// why lists the reasons of the operations that a missed threshold is about.
func why(r *Run, v threshold.Verdict) string {
	b := &strings.Builder{}
	for _, rule := range r.Rules {
		t, err := threshold.Parse(rule.Selector, rule.Expr)
		if err != nil {
			continue
		}
		if t.Scope = rule.Scope; t.String() != v.Threshold {
			continue
		}
		for _, e := range ErrorParts(r) {
			if e.Operation != t.Operation || t.Group != "" && e.Group != "" && e.Group != t.Group || t.Scope.Stage != "" && e.Stage != "" && e.Stage != t.Scope.Stage {
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
