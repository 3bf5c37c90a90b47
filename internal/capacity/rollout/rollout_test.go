//go:build !race

package rollout_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// A fleet comes up as fast as the burst and the rate of one unit of S1 let it: 100 connections a second and twin reads, 50 twin updates.
func TestBringUpOfS1(t *testing.T) {
	const reported = ", reported: {connectivity: {type: cellular}}"
	for _, x := range []struct {
		name, target, group, judged string
		devices, seconds            int
		want                        float64
		class                       string
	}{
		{"connections", "burst: 10s,", "", "connect", 2000, 20, fastest(2000, 1000, 100), "connections"},
		{"connections, a small burst", "burst: 2s,", "", "connect", 1000, 20, fastest(1000, 200, 100), "connections"},
		{"the first report", "burst: 10s,", reported, "twin_report", 1500, 20, fastest(1500, 500, 50), "twin updates"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(fmt.Sprintf(fleet, x.target, x.devices, x.group, x.seconds), "connect:", x.judged+":", 1)
			a := study(t, rollout.Options{Load: loader(text)})
			t.Logf("found %.4g/s; theory %.4g/s: %+.1f %%", a.BringUp.Held, x.want, 100*(a.BringUp.Held/x.want-1))
			if a.End != search.Found || a.BringUp.Held > x.want*1.01 || math.Abs(a.BringUp.Held/x.want-1) > 0.05 || a.BringUp.Class != x.class {
				t.Errorf("%+v; theory says %.4g/s", a.BringUp, x.want)
			}
			for _, r := range a.Storms {
				if least := (float64(r.Devices) - r.LeftOver) / 100; r.BurstOf == "connections" && r.BackAll < least || !r.Clean {
					t.Errorf("%d devices were back after %.2f s; a limit of 100/s takes %.2f s", r.Devices, r.BackAll, least)
				}
			}
		})
	}
}

// A hub without a tier limits nothing: the fleet comes up at the highest rate that was to be tried, at least, and no back-off does harm.
func TestNoLimit(t *testing.T) {
	text := strings.Replace(fmt.Sprintf(fleet, "", 200, "", 10), "tier: S1, units: 1, ", "", 1)
	a := study(t, rollout.Options{Load: loader(text)})
	if a.End != search.Found || a.BringUp.End != search.AtLeast || a.BringUp.Held != 200 || a.BringUp.Class != "" || !strings.Contains(a.Headline(), "at 200/s at least") {
		t.Errorf("%s: %+v", a.Headline(), a.BringUp)
	}
	if a.Advice == nil || !a.Advice.Harmless || a.Advice.Best != "none" {
		t.Errorf("%+v", a.Advice)
	}
}

// A study that was stopped goes on from the trials that were finished: none is made twice, and the answer is the same.
func TestGoingOn(t *testing.T) {
	text := strings.Replace(fmt.Sprintf(fleet, "", 40, "", 4), "tier: S1, units: 1, ", "", 1)
	root := t.TempDir()
	var begun []exercise.Asked
	run := func(after int, anew bool) (a *report.Answer, known int) {
		synctest.Test(t, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			s, err := rollout.New(rollout.Options{
				Load: loader(text), Start: virtual, Root: root, Anew: anew,
				Begin: func(t *exercise.Trial) { begun = append(begun, t.Asked) },
				End: func(r exercise.Record) {
					if r.Number == after {
						stop()
					}
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			known = s.Known()
			if a, err = s.Run(ctx); err != nil {
				t.Fatal(err)
			}
		})
		return a, known
	}
	for i, stopped := range []int{2, 5, 0} {
		a, known := run(stopped, false)
		if want := []int{0, 2, 5}[i]; known != want {
			t.Errorf("%d trials were known; want %d", known, want)
		}
		if want := map[bool]search.End{true: search.Stopped, false: search.Found}[stopped > 0]; a.End != want {
			t.Errorf("it ended %s: %s; want %s", a.End, a.Why, want)
		}
		if stopped == 0 {
			if len(begun) != len(a.Trials) {
				t.Errorf("%d trials were made for %d", len(begun), len(a.Trials))
			}
			for k := range a.Trials {
				if a.Trials[k].Asked != begun[k] {
					t.Errorf("trial %d was %+v; it was made as %+v", k+1, a.Trials[k].Asked, begun[k])
				}
			}
		}
	}
	// One that has its answer is not gone on with.
	if a, known := run(1, false); known != 0 || a.End != search.Stopped {
		t.Errorf("%d trials were known of a study with an answer; it ended %s", known, a.End)
	}
	if _, known := run(1, true); known != 0 {
		t.Errorf("%d trials were known to a new study", known)
	}
}

// No trial is begun that would end after the time that a study has.
func TestTimeIsUp(t *testing.T) {
	text := strings.Replace(fmt.Sprintf(fleet, "", 40, "", 4), "tier: S1, units: 1, ", "", 1)
	a := study(t, rollout.Options{Load: loader(text), For: 10 * time.Second})
	if a.End != search.Stopped || a.Why != "its time was up" || len(a.Trials) == 0 {
		t.Errorf("%s %s", a.End, a.Why)
	}
}

// What a scenario must have, and which rates and sizes there are.
func TestMistakes(t *testing.T) {
	good := fmt.Sprintf(fleet, "", 40, "", 4)
	for _, x := range []struct {
		text string
		o    rollout.Options
		want string
	}{
		{good, rollout.Options{From: 10, To: 5}, "--to 5/s is below the first rate, 10/s"},
		{good, rollout.Options{Sizes: []int{0}}, "a fleet of 0 devices"},
		{strings.Replace(good, `connect: ["p(99) < 300ms"]`, "", 1), rollout.Options{}, "does not say what it means to hold"},
		{strings.Replace(good, "connect:", "recovery:", 1), rollout.Options{}, "about bringing devices up"},
		{strings.Replace(good, "devices: 100%", "devices: 0", 1), rollout.Options{}, "no stage starts devices"},
	} {
		x.o.Load = loader(x.text)
		if _, err := rollout.New(x.o); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%v; want %q", err, x.want)
		}
	}
	// Sizes are sorted, and none is there twice.
	s, err := rollout.New(rollout.Options{Load: loader(good), Sizes: []int{20, 7}})
	if err != nil {
		t.Fatal(err)
	}
	whole, trials, err := s.Expected()
	if err != nil || whole <= 0 || trials < 10 {
		t.Errorf("%d trials in %s: %v", trials, whole, err)
	}
	if a := s.Answer(); !slices.ContainsFunc(a.Thresholds, func(x string) bool { return strings.Contains(x, "stage storm") }) {
		t.Errorf("%v", a.Thresholds)
	}
}
