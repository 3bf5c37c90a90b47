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

// Devices that tried to connect and never once did fail a run, whatever became of the others, unless somebody says how many may be missing.
func TestUnreached(t *testing.T) {
	const (
		text    = " of robots tried to connect and never once did: "
		missing = "3 of 10 devices" + text + "connect: not authorized (6 of 13)"
	)
	type end struct {
		op      metrics.Operation
		outcome metrics.Outcome
		reason  string
		n       int
	}
	ok, refused := end{metrics.OpConnect, metrics.OK, "", 7}, end{metrics.OpConnect, metrics.Refused, "not authorized", 6}
	timeouts := end{metrics.OpConnect, metrics.Timeout, "no answer in time", 6}
	some := report.Reach{Devices: 10, Tried: 10, Connected: 7}
	for name, tt := range map[string]struct {
		r      report.Reach
		ends   []end
		rules  []string // selector: expression
		change func(*vain.Evidence)
		want   string
	}{
		"all are there":                  {report.Reach{Devices: 10, Tried: 10, Connected: 10}, []end{ok}, nil, nil, ""},
		"an old record":                  {report.Reach{}, []end{ok, refused}, nil, nil, ""},
		"some are refused":               {some, []end{ok, refused}, nil, nil, missing},
		"some get no answer":             {some, []end{ok, timeouts}, nil, nil, "3 of 10 devices" + text + "connect: no answer in time (6 of 13)"},
		"one is throttled":               {report.Reach{Devices: 8, Tried: 8, Connected: 7}, []end{ok, {metrics.OpConnect, metrics.Throttled, "busy", 1}}, nil, nil, "1 of 8 devices" + text + "connect: busy (1 of 8)"},
		"some may not subscribe":         {some, []end{ok, {metrics.OpSubscribe, metrics.Refused, "the broker refused", 6}}, nil, nil, "3 of 10 devices" + text + "subscribe: the broker refused (6 of 6)"},
		"both":                           {some, []end{ok, refused, {metrics.OpSubscribe, metrics.Refused, "no", 1}}, nil, nil, missing + "; subscribe: no (1 of 1)"},
		"some had no time to try":        {report.Reach{Devices: 10, Tried: 7, Connected: 7}, []end{ok, {metrics.OpConnect, metrics.Unanswered, "the run was stopped first", 3}}, nil, nil, ""},
		"none is: Kinds tells":           {report.Reach{Devices: 10, Tried: 10}, []end{refused}, nil, nil, ""},
		"an error rate is of operations": {some, []end{ok, refused}, []string{"connect: error_rate < 50%"}, nil, missing},
		"a percentile too":               {some, []end{ok, refused}, []string{"connect: p(99) < 1h"}, nil, missing},
		"a threshold on devices says it": {some, []end{ok, refused}, []string{"devices: connected_rate >= 50%"}, nil, ""},
		"one of the last stage does":     {some, []end{ok, refused}, []string{"devices: connected_rate >= 50% @hold"}, nil, ""},
		"one of an earlier stage":        {some, []end{ok, refused}, []string{"devices: connected_rate >= 50% @boot"}, nil, missing},
		"one of another group":           {some, []end{ok, refused}, []string{"devices{group=gates}: connected_rate >= 50%"}, nil, missing},
		"they were to fail":              {some, []end{ok, refused}, []string{"connect: errors >= 3"}, nil, ""},
		"a stage was ended by hand":      {some, []end{ok, refused}, nil, func(e *vain.Evidence) { e.Run.Interventions = report.Interventions{{Stage: "s", Act: report.ActEnded}} }, ""},
		"Unprovisioned tells":            {some, []end{ok, refused}, nil, func(e *vain.Evidence) { e.Run.Provisioned = []report.Provisioned{{Group: "robots"}} }, ""},
		"a fault keeps them away":        {some, []end{ok, timeouts}, nil, func(e *vain.Evidence) { e.Scenario.Stages[1].Hub = &scenario.HubFault{} }, ""},
		"no fault refuses":               {some, []end{ok, refused}, nil, func(e *vain.Evidence) { e.Scenario.Stages[1].Hub = &scenario.HubFault{} }, missing},
	} {
		rec := metrics.NewRecorder(metrics.Options{})
		now := time.Now()
		for _, x := range tt.ends {
			for range x.n {
				rec.Series(x.op, "robots").Start(now, now).EndBecause(now, x.outcome, x.reason)
			}
		}
		tt.r.Group = "robots"
		e := &vain.Evidence{Scenario: &scenario.Scenario{}, Run: &report.Run{Totals: rec.Snapshot(), Reach: []report.Reach{tt.r}}}
		e.Scenario.Stages = []scenario.Stage{{Name: "boot"}, {Name: "hold"}}
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
		if tt.change != nil {
			tt.change(e)
		}
		if got := strings.Join(e.Unreached(), "; "); got != tt.want {
			t.Errorf("%s: %q; want %q", name, got, tt.want)
		}
	}
}
