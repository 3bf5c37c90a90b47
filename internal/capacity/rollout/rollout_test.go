//go:build !race

package rollout_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/twinfleet/twinfleet/internal/capacity/rollout"
	"github.com/twinfleet/twinfleet/internal/capacity/rollout/exercise"
	"github.com/twinfleet/twinfleet/internal/capacity/rollout/report"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

func loader(text string) trial.Load {
	return func(set []string) (*scenario.Scenario, error) {
		return scenario.Decode("rollout.yaml", []byte(text), scenario.Options{Set: set})
	}
}

// virtual makes engines for virtual time, in which the processors of this machine say nothing.
func virtual(o engine.Options) trial.Engine {
	o.AllowSaturated = true
	return engine.New(o)
}

// study makes a whole study in virtual time, with the embedded hub in memory.
func study(t *testing.T, o rollout.Options) *report.Answer {
	t.Helper()
	var a *report.Answer
	synctest.Test(t, func(t *testing.T) {
		o.Start, o.Version = virtual, "test"
		if o.End == nil {
			o.End = func(r exercise.Record) {
				t.Logf("%2d %-8s %-7s %6d at %-8.5g %-11s %-11s close %-5t %-9s %-12s up %.1f p99 %.3f | %d thr %d ref %d fail (%d) | 99 %% %.2f all %.2f peak %.0f att %.2f left %.0f/%.0f %.0f s  %s", r.Number, r.Part,
					r.Phase, r.Devices, r.Rate, r.Backoff, r.Verdict, r.Close, r.Limit, r.Class, r.Up, r.P99, r.Throttled, r.Refused, r.Failed, r.Excused, r.Back99, r.BackAll, r.Peak,
					r.Attempts, r.LeftOver, r.Burst, r.Seconds, r.Why)
			}
		}
		s, err := rollout.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if a, err = s.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	var b strings.Builder
	if err := a.Text(&b, color.Style{}); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + b.String())
	return a
}

const fleet = `
name: fleet
seed: 1
target: {tier: S1, units: 1, %s transport: memory}
fleet: {client: lean, groups: [{name: robots, count: %d%s}]}
stages: [{name: up, duration: %ds, devices: 100%%, network: {latency: 50ms}}]
thresholds: {connect: ["p(99) < 300ms"]}
`

// Connecting takes four times the latency: the transport's round trip, and that of CONNECT. Who tries again at once would else do so without end
// in no time.
const wait = 0.3 - 4*0.050

// fastest is the highest rate at which so many devices come up with 99 % of what they ask for waiting less than they may, where a target lets a
// burst of b operations pass, and r a second: the n-th, due at n/R, waits (n - b - r·n/R)/r.
func fastest(devices, b, r float64) float64 { return r / (1 - (b+r*wait)/(0.99*devices)) }

// A fleet comes up as fast as the burst and the rate of one unit of S1 let it.
func TestBringUpOfS1(t *testing.T) {
	for _, x := range []struct {
		name, target, group string
		devices, seconds    int
		want                float64
		class               string
	}{
		{"connections", "burst: 10s,", "", 2000, 20, fastest(2000, 1000, 100), "connections"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			a := study(t, rollout.Options{Load: loader(fmt.Sprintf(fleet, x.target, x.devices, x.group, x.seconds))})
			t.Logf("found %.4g/s; theory %.4g/s: %+.1f %%", a.BringUp.Held, x.want, 100*(a.BringUp.Held/x.want-1))
			if a.End != search.Found || a.BringUp.Held > x.want*1.01 || math.Abs(a.BringUp.Held/x.want-1) > 0.05 || a.BringUp.Class != x.class {
				t.Errorf("%+v; theory says %.4g/s", a.BringUp, x.want)
			}
		})
	}
}
