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
			"1 of 10 devices of robots were assigned to a hub and never connected to it: not authorized (4 of 4)",
		},
		"a threshold on devices does": {
			report.Provisioned{Devices: 10, Assigned: 7, Connected: 7}, []end{ok}, []string{"devices: connected_rate >= 50%"}, false, "",
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
		for _, rule := range tt.rules {
			selector, expr, _ := strings.Cut(rule, ": ")
			x, err := threshold.Parse(selector, expr)
			if err != nil {
				t.Fatal(err)
			}
			e.Scenario.Thresholds = append(e.Scenario.Thresholds, x)
			e.Run.Thresholds = append(e.Run.Thresholds, threshold.Verdict{Pass: true})
		}
		if tt.byHand {
			e.ByHand = []string{"s"}
		}
		if got := strings.Join(e.Unprovisioned(), "; "); !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s: %q; want %q", name, got, tt.want)
		}
	}
}
