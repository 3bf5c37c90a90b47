package vain_test

import (
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/verdict/vain"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// Devices that never got to their hub fail a run, whatever became of the others, unless somebody says how many may be missing.
func TestUnprovisioned(t *testing.T) {
	const missing = "3 of 10 devices of robots were not assigned to a hub before the run ended: "
	type end struct {
		op      metrics.Operation
		outcome metrics.Outcome
		reason  string
		n       int
	}
	ok := end{metrics.OpDPSRegister, metrics.OK, "", 7}
	for name, tt := range map[string]struct {
		p      report.Provisioned
		ends   []end
		rules  []string // selector: expression
		byHand bool
		want   string // beginning; empty for nothing
	}{
		"all are there": {report.Provisioned{Devices: 10, Assigned: 10, Connected: 10}, []end{ok}, nil, false, ""},
		"refused": {
			report.Provisioned{Devices: 10, Assigned: 7, Connected: 7},
			[]end{ok, {metrics.OpDPSRegister, metrics.Refused, "status 401 (401000)", 3}},
			nil, false,
			missing + "status 401 (401000) (3 of 10)",
		},
		"under way": {
			report.Provisioned{Devices: 10, Assigned: 7, Connected: 7},
			[]end{ok, {metrics.OpDPSRegister, metrics.Unanswered, "the run was stopped first", 3}},
			nil, false,
			missing + "3 registrations were under way then; a step await",
		},
		"under way, and thrown back": {
			report.Provisioned{Devices: 10, Assigned: 7, Connected: 7},
			[]end{ok, {metrics.OpDPSRegister, metrics.Unanswered, "the run was stopped first", 3}, {metrics.OpDPSPut, metrics.Throttled, "status 429", 40}},
			nil, false,
			missing + "3 registrations were under way then, of a service that threw back 40 requests with 429",
		},
		"a percentile says nothing of them": {
			report.Provisioned{Devices: 10, Assigned: 7, Connected: 7},
			[]end{ok, {metrics.OpDPSRegister, metrics.Refused, "status 401", 3}},
			[]string{"dps_register: p(99) < 1h"},
			false, missing,
		},
		"nor do those who did well": {
			report.Provisioned{Devices: 10, Assigned: 10, Connected: 9},
			[]end{ok, {metrics.OpConnect, metrics.Refused, "not authorized", 4}},
			[]string{"dps_register: success_rate >= 100%"},
			false,
			"1 of 10 devices of robots was assigned to a hub and never connected to it: not authorized (4 of 4)",
		},
		"a threshold on devices does": {
			report.Provisioned{Devices: 10, Assigned: 7, Connected: 7}, []end{ok}, []string{"devices: connected_rate >= 50%"}, false, "",
		},
		"one of the last stage does": {
			report.Provisioned{Devices: 10, Assigned: 7, Connected: 7},
			[]end{ok},
			[]string{"devices: connected_rate >= 50% @hold"},
			false, "",
		},
		"one of an earlier stage knows nothing of them": {
			report.Provisioned{Devices: 10, Assigned: 7, Connected: 7},
			[]end{ok},
			[]string{"devices: connected_rate >= 50% @boot"},
			false, missing,
		},
		"nor does one of another group": {
			report.Provisioned{Devices: 10, Assigned: 7, Connected: 7},
			[]end{ok},
			[]string{"devices{group=gates}: connected_rate >= 50%"},
			false, missing,
		},
		"they were to fail": {
			report.Provisioned{Devices: 10, Assigned: 7, Connected: 7},
			[]end{ok, {metrics.OpDPSRegister, metrics.Failed, "x", 3}},
			[]string{"dps_register: errors >= 3"},
			false, "",
		},
		"a stage was ended by hand": {report.Provisioned{Devices: 10, Assigned: 7, Connected: 7}, []end{ok}, nil, true, ""},
	} {
		rec := metrics.NewRecorder(metrics.Options{})
		now := time.Now()
		rec.Series(metrics.OpConnect, "robots")
		for _, x := range tt.ends {
			for range x.n {
				rec.Series(x.op, "robots").Start(now, now).EndBecause(now, x.outcome, x.reason)
			}
		}
		tt.p.Group = "robots"
		e := &vain.Evidence{Scenario: &scenario.Scenario{}, Run: &report.Run{Totals: rec.Snapshot(), Provisioned: []report.Provisioned{tt.p}}}
		e.Run.Stages = []report.Stage{{Name: "boot", To: time.Minute}, {Name: "hold", From: time.Minute, To: 2 * time.Minute}}
		for _, rule := range tt.rules {
			selector, expr, _ := strings.Cut(rule, ": ")
			expr, stage, _ := strings.Cut(expr, " @")
			x, err := threshold.Parse(selector, expr)
			if err != nil {
				t.Fatal(err)
			}
			x.Scope.Stage = stage
			e.Scenario.Thresholds = append(e.Scenario.Thresholds, x)
			e.Run.Thresholds = append(e.Run.Thresholds, threshold.Verdict{Pass: true})
		}
		if tt.byHand {
			e.Run.Interventions = report.Interventions{{Stage: "s", Act: report.ActEnded}}
		}
		if got := strings.Join(e.Unprovisioned(), "; "); !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s: %q; want %q", name, got, tt.want)
		}
	}
}

// Devices that were lost and did not come back fail a run whose thresholds on devices know nothing of that.
func TestGoneAfterTheThreshold(t *testing.T) {
	lost := report.Outage{From: 90 * time.Second, To: 2 * time.Minute, Lost: 4, Total: 4}
	stopped := report.Outage{From: 30 * time.Second, To: time.Minute, Lost: 4, Total: 4, Left: 4}
	for name, tt := range map[string]struct {
		outage report.Outage
		rules  []string // selector, and stage
		want   bool
	}{
		"no threshold":                {lost, nil, true},
		"of the whole run":            {lost, []string{"devices"}, false},
		"of the last stage":           {lost, []string{"devices @hold"}, false},
		"of an earlier stage":         {lost, []string{"devices @boot"}, true},
		"of one group of two":         {lost, []string{"devices{group=robots}"}, true},
		"of both groups":              {lost, []string{"devices{group=robots}", "devices{group=gates} @hold"}, false},
		"stopped, of that stage":      {stopped, []string{"devices @boot"}, false},
		"stopped, of the whole run":   {stopped, []string{"devices"}, false},
		"stopped, of one before that": {stopped, []string{"devices @before"}, true},
	} {
		e := &vain.Evidence{Scenario: &scenario.Scenario{}, Run: &report.Run{Totals: &metrics.Snapshot{}, Outages: []report.Outage{tt.outage}}}
		e.Scenario.Fleet.Groups = []scenario.Group{{Name: "robots"}, {Name: "gates"}}
		e.Run.Stages = []report.Stage{
			{Name: "before", To: 10 * time.Second}, {Name: "boot", From: 10 * time.Second, To: time.Minute}, {Name: "hold", From: time.Minute, To: 2 * time.Minute},
		}
		e.Scenario.Stages = []scenario.Stage{{Name: "before"}, {Name: "boot"}, {Name: "hold"}}
		for _, rule := range tt.rules {
			selector, stage, _ := strings.Cut(rule, " @")
			x, err := threshold.Parse(selector, "connected_rate >= 50%")
			if err != nil {
				t.Fatal(err)
			}
			x.Scope.Stage = stage
			e.Scenario.Thresholds = append(e.Scenario.Thresholds, x)
		}
		if got := e.Gone(); (len(got) > 0) != tt.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
