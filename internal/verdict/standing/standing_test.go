package standing_test

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/verdict/standing"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/judge"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

func state(name, observed string, change func(*judge.State)) judge.State {
	s := judge.State{Verdict: threshold.Verdict{Threshold: name, Observed: observed, Pass: true}}
	if change != nil {
		change(&s)
	}
	return s
}

// What is known of a run says how it stands: what is missed goes before what cannot be said, and that before what fails.
func TestOutlook(t *testing.T) {
	met := state("connect: p(95) < 1s", "p(95) = 90ms", nil)
	missed := state("twin_report: p(95) < 250ms", "p(95) = 300ms", func(s *judge.State) { s.Pass = false })
	pending := state("query: count > 3", "count = 1", func(s *judge.State) { s.Pass, s.Pending = false, true })
	unsure := state("twin_report: p(95) < 250ms", "p(95) = 300ms", func(s *judge.State) { s.Pass, s.CannotSay = false, true })
	const unled = "stage a: the run was taken over: nobody led it for 4s"
	for name, tt := range map[string]struct {
		thresholds []judge.State
		doubt      string
		allow      bool
		before     bool // the first stage
		fails      bool // no connection succeeds
		lost       int  // agents
		unled      string
		likely     string
		outlook    report.Outlook
		reason     string
	}{
		"before the first stage":  {thresholds: []judge.State{pending}, before: true, outlook: report.Starting},
		"nothing to judge":        {outlook: report.Holding, reason: "no thresholds were set: all that was tried works"},
		"all hold":                {thresholds: []judge.State{met}, outlook: report.Holding, reason: "the threshold is met so far"},
		"some cannot be judged":   {thresholds: []judge.State{met, pending}, outlook: report.Holding, reason: "1 of 2 thresholds met so far, 1 not yet to be judged"},
		"one is missed":           {thresholds: []judge.State{met, missed}, outlook: report.Missing, reason: "twin_report: p(95) < 250ms: p(95) = 300ms"},
		"missed for sure":         {thresholds: []judge.State{unsure, missed}, doubt: "stage a: late", outlook: report.Missing, reason: "twin_report: p(95) < 250ms: p(95) = 300ms"},
		"several are missed":      {thresholds: []judge.State{missed, met, missed}, outlook: report.Missing, reason: "2 of 3 thresholds are missed, the first is twin_report: p(95) < 250ms: p(95) = 300ms"},
		"the load is not asked":   {thresholds: []judge.State{unsure}, doubt: "stage a: late", outlook: report.CannotSay, reason: "the generator is the bottleneck; of 1 of 1 thresholds nothing can be said"},
		"no thresholds, doubtful": {doubt: "stage a: late", outlook: report.CannotSay, reason: "the generator is the bottleneck"},
		"allowed":                 {thresholds: []judge.State{met}, doubt: "stage a: late", allow: true, outlook: report.Holding, reason: "the threshold is met so far"},
		"an agent is lost":        {thresholds: []judge.State{unsure}, doubt: "agent 1 was lost", lost: 1, outlook: report.CannotSay, reason: "agent 1 was lost; of 1 of 1 thresholds nothing can be said"},
		"lost is never allowed":   {thresholds: []judge.State{met}, doubt: "agent 1 was lost", allow: true, lost: 2, outlook: report.CannotSay, reason: "2 agents were lost, the first is 1"},
		"nobody led it":           {thresholds: []judge.State{unsure}, doubt: unled, unled: unled, outlook: report.CannotSay, reason: unled + "; of 1 of 1 thresholds nothing can be said"},
		"nor is that allowed":     {thresholds: []judge.State{met}, doubt: unled, allow: true, unled: unled, outlook: report.CannotSay, reason: unled},
		"that, with no doubt now": {thresholds: []judge.State{met}, allow: true, unled: unled, outlook: report.CannotSay, reason: unled},
		"lost, and nobody led it": {thresholds: []judge.State{met}, doubt: unled, allow: true, lost: 1, unled: unled, outlook: report.CannotSay, reason: "agent 1 was lost; " + unled},
		"missed, and nobody led":  {thresholds: []judge.State{missed}, doubt: unled, unled: unled, outlook: report.Missing, reason: "twin_report: p(95) < 250ms: p(95) = 300ms"},
		"missed and lost":         {thresholds: []judge.State{missed}, doubt: "agent 1 was lost", lost: 1, outlook: report.Missing, reason: "twin_report: p(95) < 250ms: p(95) = 300ms"},
		"likely spoiled":          {thresholds: []judge.State{met}, likely: "another is likely there", outlook: report.CannotSay, reason: "another is likely there"},
		"missed, likely spoiled":  {thresholds: []judge.State{missed}, likely: "another is likely there", outlook: report.Missing, reason: "twin_report: p(95) < 250ms: p(95) = 300ms"},
		"nothing works":           {thresholds: []judge.State{met}, fails: true, outlook: report.Failing, reason: "no device of robots ever connected: refused (1 of 1)"},
	} {
		t.Run(name, func(t *testing.T) {
			rec, now := metrics.NewRecorder(metrics.Options{}), time.Now()
			outcome := metrics.OK
			if tt.fails {
				outcome = metrics.Refused
			}
			rec.Series(metrics.OpConnect, "robots").Start(now, now).End(now, outcome)
			e := standing.Evidence{
				Scenario: &scenario.Scenario{Stages: []scenario.Stage{{Name: "a", Duration: time.Minute}}, Thresholds: make([]threshold.Threshold, len(tt.thresholds))}, Figures: rec.Snapshot(),
				Thresholds: tt.thresholds, Doubt: tt.doubt, Unled: tt.unled, Suspicion: tt.likely, AllowSaturated: tt.allow, Began: 1, Running: true,
			}
			for i := range tt.lost {
				e.Agents = append(e.Agents, report.Agent{Name: strconv.Itoa(i + 1), Lost: &report.AgentLoss{}})
			}
			if tt.before {
				e.Began, e.Running = 0, false
			}
			if s := standing.Of(&e); s.Outlook != tt.outlook || s.Reason != tt.reason || s.Doubt != tt.doubt {
				t.Errorf("%s: %q; want %s: %q", s.Outlook, s.Reason, tt.outlook, tt.reason)
			}
		})
	}
}

// How long still is the rest of the stage that runs and all that come after it, unless one ends with its steps.
func TestLeft(t *testing.T) {
	f := func(name string, began int, running bool, into, last, want time.Duration) {
		t.Helper()
		sc := &scenario.Scenario{Stages: []scenario.Stage{{Name: "a", Duration: time.Minute}, {Name: "b", Duration: last}}}
		e := standing.Evidence{Scenario: sc, Figures: metrics.NewRecorder(metrics.Options{}).Snapshot(), Began: began, Running: running, Into: into}
		if got := standing.Of(&e).Left; got != want {
			t.Errorf("%s: %v; want %v", name, got, want)
		}
	}
	f("before the first", 0, false, 0, time.Minute, 2*time.Minute)
	f("in the first", 1, true, 10*time.Second, time.Minute, 110*time.Second)
	f("in the last", 2, true, 10*time.Second, time.Minute, 50*time.Second)
	f("in one that takes longer", 2, true, 2*time.Minute, time.Minute, 0)
	f("over", 2, false, 0, time.Minute, 0)
	f("one ends with its steps", 1, true, 10*time.Second, 0, 0)
}

// Devices that have not been started, or are offline, are not wanted.
func TestDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := metrics.NewRecorder(metrics.Options{})
		for name, n := range map[string]int64{"connected": 7, "connecting": 1, "backoff": 2, "waiting": 80, "offline": 10} {
			rec.DeviceGauge("robots", name).Add(n)
		}
		sc := &scenario.Scenario{Fleet: scenario.Fleet{Groups: []scenario.Group{{Name: "robots", Count: 100}}}}
		s := standing.Of(&standing.Evidence{Scenario: sc, Figures: rec.Snapshot()})
		if got, want := s.DevicesText(), "7 of 10 devices, 100 in all"; got != want {
			t.Errorf("%s; want %s", got, want)
		}
	})
}
