//go:build !race

package exercise_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/rollout/exercise"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/report"
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

// Twelve thousand devices on one unit of S1, whose burst is six thousand connections: at R a second the shortage begins when 6,000 + 100·t have
// come, so that all come up without waiting at 200 a second. With 99 % of them waiting for a tenth of a second at most it is
// 100/(1 - 6,010/11,880) = 202.4 a second.
func TestTwelveThousandOnS1(t *testing.T) {
	const text = `
name: twelve
seed: 1
target: {tier: S1, units: 1, transport: memory}
fleet: {client: lean, groups: [{name: robots, count: 12000}]}
stages: [{name: up, duration: 2m, devices: 100%}]
thresholds: {connect: ["p(99) < 100ms"]}
`
	theory := 100 / (1 - 6010.0/11_880)
	for share, want := range map[float64]search.Verdict{0.98: search.Held, 1.02: search.Missed} {
		r := run(t, text, exercise.Options{}, exercise.Asked{Number: 1, Part: exercise.BringUp, Devices: 12_000, Rate: share * theory, Seed: 1})
		if r.Verdict != want || (want == search.Missed) != (r.Class == "connections") {
			t.Errorf("%.4g/s: %s %s", r.Rate, r.Verdict, r.Class)
		}
	}
}

// unsure is an engine of whose first threshold nothing can be said.
type unsure struct{ *engine.Engine }

func (u unsure) Run(ctx context.Context) *report.Run {
	run := u.Engine.Run(ctx)
	run.Thresholds[0].Pass, run.Thresholds[0].CannotSay, run.Thresholds[0].Why = false, true, "a clock is unsure"
	return run
}

// A fleet has come up, or back, when all that was asked of it was told.
func TestUntold(t *testing.T) {
	b, err := exercise.NewBase(loader(small), exercise.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []exercise.Part{exercise.BringUp, exercise.Storm} {
		x, err := b.Make(exercise.Asked{Number: 1, Part: part, Devices: 200, Rate: 90, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			r, err := b.Run(t.Context(), x, func(o engine.Options) trial.Engine {
				o.AllowSaturated = true
				return unsure{engine.New(o)}
			})
			if err != nil || r.Verdict != search.Undelivered || r.Limit != trial.ByGenerator || !strings.HasSuffix(r.Why, "): a clock is unsure") {
				t.Errorf("%s: %s %s %q, %v", part, r.Verdict, r.Limit, r.Why, err)
			}
		})
	}
}

// What a device does on its own schedule goes on through the storm, and what goes with a connection that is cut is no harm.
func TestCutWithLoad(t *testing.T) {
	const text = `
name: busy
seed: 3
target: {transport: memory}
fleet: {client: lean, groups: [{name: robots, count: 200, reported: {connectivity: {type: cellular}, every: 1s}, telemetry: {payload: {x: 1}, every: 2s}}]}
stages: [{name: up, duration: 5s, devices: 100%, network: {latency: 200ms}}]
thresholds: {connect: ["p(99) < 2s"], devices: ["connected_rate > 99%"], twin_report: ["error_rate < 90%"]}
`
	r := run(t, text, exercise.Options{}, exercise.Asked{Number: 1, Part: exercise.Storm, Devices: 200, Rate: 50, Backoff: "steep", Seed: 3})
	if r.Verdict != search.Held || r.Harm() > 0 || r.BackAll == 0 || r.Attempts != 1 {
		t.Errorf("%+v", r)
	}
}

// A hub elsewhere, which an earlier trial loaded, is given the time of a burst; the fleet keeps the proportions of its groups at any size.
func TestStages(t *testing.T) {
	const text = `
name: far
target: {hub: "HostName=h.example;SharedAccessKeyName=iothubowner;SharedAccessKey=c2VjcmV0"}
fleet: {groups: [{name: robots, count: 30, backoff: steep}, {name: gates, count: 10}]}
stages: [{name: up, duration: 5s, devices: 100%, report_rate: 1/s}, {name: cut, duration: 1m, storm: {drop: 50%}}]
service: {queries: [{name: all, sql: SELECT * FROM devices, every: 10s}]}
thresholds:
  connect: ["p(99) < 2s", {threshold: "p(95) < 1s", stage: cut}, {threshold: "p(95) < 3s", window: 4s}]
  query: ["p(99) < 1s"]
  devices: ["connected_rate > 99%"]
`
	text2 := strings.Replace(text, "count: 30, ", "count: 30, reported: {connectivity: {type: cellular}}, ", 1)
	b, err := exercise.NewBase(loader(text2), exercise.Options{Devices: 400, Tier: "S1", Units: 2})
	if err != nil {
		t.Fatal(err)
	}
	if b.Backoff() != "" || b.Fresh || b.Devices != 400 || b.Own != 8 {
		t.Errorf("back-off %q, fresh %t, %d devices at %g/s", b.Backoff(), b.Fresh, b.Devices, b.Own)
	}
	notes := strings.Join(b.Notes, "\n")
	for _, want := range []string{"report_rate", "service side", "the threshold query: p(99) < 1s is left out"} {
		if !strings.Contains(notes, want) {
			t.Errorf("no note of %q in %q", want, notes)
		}
	}
	x, err := b.Make(exercise.Asked{Part: exercise.Storm, Devices: 400, Rate: 40, Backoff: "none", Seed: 5})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range x.Scenario.Stages {
		names = append(names, x.Scenario.Stages[i].Name)
	}
	if got := strings.Join(names, " "); got != "refill bring-up gather storm" || x.Scenario.Stages[0].Duration != time.Minute {
		t.Errorf("stages %s", got)
	}
	if g := x.Scenario.Fleet.Groups; g[0].Count != 300 || g[1].Count != 100 || g[0].Backoff != "none" || g[1].Backoff != "none" || x.Scenario.Seed != 5 || len(x.Scenario.Service.Queries) != 0 {
		t.Errorf("%+v", g)
	}
	for storm, want := range map[bool]string{
		false: "connect: p(99) < 2s (stage bring-up) | connect: p(95) < 3s (stage bring-up, every 4s) | devices: connected_rate > 99% (stage gather)",
		true:  "connect: p(99) < 2s (stage storm) | connect: p(95) < 1s (stage storm) | connect: p(95) < 3s (stage storm, every 4s) | devices: connected_rate > 99% (stage storm)",
	} {
		if got, err := b.Thresholds(storm); err != nil || strings.Join(got, " | ") != want {
			t.Errorf("%s; want %s: %v", strings.Join(got, " | "), want, err)
		}
	}
	// A window that is longer than the fleet takes to come up is all of it.
	if x, err = b.Make(exercise.Asked{Part: exercise.BringUp, Devices: 400, Rate: 400}); err != nil || x.Scenario.Thresholds[1].Scope.Window != 0 {
		t.Errorf("%+v: %v", x, err)
	}
}
