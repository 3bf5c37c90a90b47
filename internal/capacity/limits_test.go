//go:build !race

package capacity_test

import (
	"flag"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/twinfleet/twinfleet/internal/capacity"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// seeds is how often each search is made, with different seeds; with more than one, so are those that make test leaves out.
var seeds = flag.Int("seeds", 1, "searches of each kind, with different seeds")

// loader reads a scenario's text as often as trials need it.
func loader(text string) trial.Load {
	return func(set []string) (*scenario.Scenario, error) {
		return scenario.Decode("capacity.yaml", []byte(text), scenario.Options{Set: set})
	}
}

func start(o engine.Options) trial.Engine {
	o.AllowSaturated = true
	return engine.New(o)
}

// seek searches in virtual time, with the embedded hub in memory.
func seek(t *testing.T, text string, vary trial.Vary, o search.Options, b trial.Options) capacity.Outcome {
	t.Helper()
	base, err := trial.NewBase(loader(text), vary, b)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range base.Notes {
		t.Log(n)
	}
	var out capacity.Outcome
	synctest.Test(t, func(t *testing.T) {
		out, err = capacity.Run(t.Context(), capacity.Options{
			Base: base, Start: start, Search: o,
			End: func(r trial.Record) {
				t.Logf("%2d %-8s %-18s %-11s close %-5t %-9s %-12s p50 %.3f p99 %.3f offered %.2f done %.2f shed %.3f settled %t drained %t %4.0f s  %s",
					r.Number, r.Phase, vary.Text(r.Load), r.Verdict, r.Close, r.Limit, r.Class, r.P50, r.P99, r.Offered, r.Done, r.Shed, r.Settled, r.Drained, r.Seconds, r.Why)
			},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", out.Answer)
	return out
}

const limited = `
name: limited
seed: %d
target: {tier: S1, units: 1, transport: memory}
fleet: {client: lean, groups: [{name: robots, count: 200, reported: {connectivity: {type: cellular}}, telemetry: {payload: {x: 1}}}]}
stages:
  - {name: up, duration: 10s, devices: 100%%}
  - {name: hold, duration: 1m, telemetry_rate: 10/s}
service:
  twin_reads: [{group: robots, rate: 10/s}]
  queries: [{name: all, sql: SELECT * FROM devices, every: 10s, page_size: 1000}]
  methods: [{name: poke, group: robots, method: poke, rate: 5/s}]
thresholds: {%s: ["p(95) < 500ms", "error_rate < 0.1%%"]}
`

// A day's messages that are used up within a trial are no limit of a rate: the search says so, and ends.
func TestQuotaIsNoRate(t *testing.T) {
	t.Parallel()
	text := strings.Replace(fmt.Sprintf(limited, 1, "telemetry"), "tier: S1", "tier: F1", 1)
	out := seek(t, text, trial.TelemetryRate, search.Options{From: 5, To: 1000, Least: 1}, trial.Options{})
	if last := out.Records[len(out.Records)-1]; out.End != search.Exhausted || out.Missed != 0 || last.Limit != trial.ByQuota || last.Verdict != search.Spent {
		t.Errorf("%+v, %s by %s", out.Answer, last.Verdict, last.Limit)
	}
}

// The documented limits of one unit of S1 are found, with its burst on.
func TestLimitsOfS1(t *testing.T) {
	for _, x := range []struct {
		vary     trial.Vary
		op       string
		from, to float64
		limit    float64
		class    string
	}{
		{trial.ReportRate, "twin_report", 20, 1000, 50, "twin updates"},
		{trial.TwinReadRate, "twin_read", 20, 1000, 100, "twin reads"},
		{trial.TelemetryRate, "telemetry", 20, 1000, 100, "telemetry"},
		{trial.QueryRate, "query", 0.1, 10, 20.0 / 60, "queries"},
		{trial.MethodRate, "method", 10, 1000, 40, "direct methods"},
		{trial.ConnectRate, "connect", 20, 1000, 100, "connections"},
	} {
		for seed := range *seeds {
			t.Run(fmt.Sprintf("%s/%d", x.vary, seed), func(t *testing.T) {
				t.Parallel()
				text := fmt.Sprintf(limited, seed+1, x.op)
				if x.vary == trial.ConnectRate { // the first report of a device is a twin update
					text = strings.Replace(text, "reported: {connectivity: {type: cellular}}, ", "", 1)
				}
				from := x.from * (1 + 0.3*float64(seed)) // so that other loads are tried
				if *seeds == 1 {
					from = 0.6 * x.limit // fewer steps
				}
				out := seek(t, text, x.vary, search.Options{From: from, To: x.to, Least: from / 16}, trial.Options{})
				if out.End != search.Found || math.Abs(out.Held/x.limit-1) > 0.05 || out.Missed < x.limit*0.999 {
					t.Errorf("%+v; the limit is %g", out.Answer, x.limit)
				}
				last := out.Records[0]
				for _, r := range out.Records {
					if r.Verdict == search.Missed {
						last = r
					}
				}
				if last.Limit != trial.ByThrottle || last.Class != x.class {
					t.Errorf("%s %s binds; want %s", last.Limit, last.Class, x.class)
				}
			})
		}
	}
}
