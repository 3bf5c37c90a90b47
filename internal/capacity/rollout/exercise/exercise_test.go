//go:build !race

package exercise_test

import (
	"math"
	"testing"
	"testing/synctest"

	"github.com/twinfleet/twinfleet/internal/capacity/rollout/exercise"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
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

// run makes one trial in virtual time, with the embedded hub in memory.
func run(t *testing.T, text string, o exercise.Options, a exercise.Asked) exercise.Record {
	t.Helper()
	b, err := exercise.NewBase(loader(text), o)
	if err != nil {
		t.Fatal(err)
	}
	x, err := b.Make(a)
	if err != nil {
		t.Fatal(err)
	}
	var r exercise.Record
	synctest.Test(t, func(t *testing.T) { r, err = b.Run(t.Context(), x, virtual) })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s %d at %.4g/s %s: %s %s %s; up %.1f s clean %t; %d throttled %d refused %d failed %d excused; lost %d, 99 %% %.2f s, all %.2f s, peak %.0f/s, %.2f attempts; left %.0f of %.0f; %s",
		r.Part, r.Devices, r.Rate, r.Backoff, r.Verdict, r.Limit, r.Class, r.Up, r.Clean, r.Throttled, r.Refused, r.Failed, r.Excused, r.Lost, r.Back99, r.BackAll, r.Peak, r.Attempts,
		r.LeftOver, r.Burst, r.Why)
	return r
}

const small = `
name: small
seed: 1
target: {tier: S1, units: 1, burst: 1s, transport: memory}
fleet: {client: lean, groups: [{name: robots, count: 2000}]}
stages:
  - {name: up, duration: 20s, devices: 100%, network: {latency: 50ms}}
thresholds: {connect: ["p(99) < 60s"]}
`

// A storm of N devices on a hub that lets r connect a second, after a burst of B, takes (N-B)/r at least. Who asks all the time keeps the queue of
// the hub full and needs just so long; who asks every ten seconds fills ten seconds of queue at each round.
func TestStormByBackoff(t *testing.T) {
	const devices, limit, burst, backlog = 2000.0, 100.0, 100.0, 1000.0
	for _, x := range []struct {
		backoff string
		all     float64
	}{
		{"none", (devices - burst) / limit},
		// At 10 s burst and backlog come in, the last of them at 20 s; at 20 s all the others.
		{"fixed", 10 + (devices-burst)/limit},
	} {
		t.Run(x.backoff, func(t *testing.T) {
			t.Parallel()
			r := run(t, small, exercise.Options{}, exercise.Asked{Number: 1, Part: exercise.Backoff, Devices: devices, Rate: 90, Backoff: x.backoff, Seed: 1})
			if math.Abs(r.BackAll/x.all-1) > 0.05 || r.BackAll < (devices-burst)/limit || r.Connected != devices {
				t.Errorf("all back after %.2f s; theory says %.2f s", r.BackAll, x.all)
			}
			if r.LeftOver != burst {
				t.Errorf("%g of the burst left", r.LeftOver)
			}
		})
	}
}
