//go:build !race

package engine_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/servicetime"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

const searched = `
name: searched
fleet: {client: lean, groups: [{name: robots, count: 10, reported: {connectivity: {type: cellular}, every: 1s}}]}
stages:
  - {name: up, duration: 5s, devices: 100%}
  - {name: hold, duration: 1m}
thresholds: {twin_report: ["p(95) < 30ms"]}
`

// slowly is how long a hub takes for a twin operation, given the devices that are connected and the time since the search began. It is asked
// ten times a second.
type slowly func(h *hub.Hub, connected int, since time.Duration) time.Duration

// searchAt searches a hub that goes on from trial to trial, as hubs elsewhere do, in virtual time.
func searchAt(t *testing.T, behaves slowly, o search.Options) (out capacity.Outcome, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h, set := openHub(t, hub.Options{})
		watching, stop := context.WithCancel(t.Context())
		var behaving sync.WaitGroup
		began := time.Now()
		behaving.Go(func() {
			last := time.Duration(-1)
			for tick := time.NewTicker(100 * time.Millisecond); ; {
				if d := behaves(h, h.Stats().Connected, time.Since(began)); d != last {
					last = d
					h.Faults().Serve(&servicetime.Model{Servers: 100_000, Time: d}) // nothing waits for anything
				}
				select {
				case <-tick.C:
				case <-watching.Done():
					tick.Stop()
					return
				}
			}
		})
		var base *trial.Base
		base, err = trial.NewBase(func(more []string) (*scenario.Scenario, error) {
			return scenario.Decode("searched.yaml", []byte(searched), scenario.Options{Set: append(set[:len(set):len(set)], more...)})
		}, trial.Devices, trial.Options{})
		if err != nil {
			t.Fatal(err)
		}
		out, err = capacity.Run(t.Context(), capacity.Options{
			Base: base, Search: o,
			Start: func(o engine.Options) trial.Engine {
				return engine.New(engine.InMemory(engine.Sampled(o, calm()), h.Dial))
			},
			End: func(r trial.Record) {
				t.Logf("%2d %-8s %4.0f devices %-11s %-9s p50 %.4f p99 %.4f lowest %.4f settled %t %4.0f s  %s", r.Number, r.Phase, r.Load, r.Verdict, r.Limit, r.P50, r.P99,
					r.Lowest, r.Settled, r.Seconds, r.Why)
			},
		})
		stop()
		behaving.Wait()
	})
	t.Logf("%+v, %v", out.Answer, err)
	return out, err
}

// A target whose latency doubles above a number of devices holds that number.
func TestCapacityOfHardKnee(t *testing.T) {
	t.Parallel()
	out, err := searchAt(t, func(_ *hub.Hub, connected int, _ time.Duration) time.Duration {
		if connected > 53 {
			return 40 * time.Millisecond
		}
		return 20 * time.Millisecond
	}, search.Options{From: 10, To: 1000, Least: 1, Whole: true})
	if err != nil || out.End != search.Found || out.Held > 53 || out.Missed <= 53 || out.Missed/out.Held > 1.051 {
		t.Errorf("%+v, %v; it holds 53", out.Answer, err)
	}
}

// A target that stays slow for a while after it had too much does not make the loads after that look as if they did not hold.
func TestCapacityWithHysteresis(t *testing.T) {
	t.Parallel()
	slowUntil := time.Duration(-1)
	out, err := searchAt(t, func(_ *hub.Hub, connected int, since time.Duration) time.Duration {
		if connected > 53 {
			slowUntil = since + 20*time.Second
		}
		if since < slowUntil {
			return 40 * time.Millisecond
		}
		return 20 * time.Millisecond
	}, search.Options{From: 10, To: 1000, Least: 1, Whole: true})
	if err != nil || out.End != search.Found || out.Held > 53 || out.Missed <= 53 || out.Missed/out.Held > 1.051 {
		t.Errorf("%+v, %v; it holds 53", out.Answer, err)
	}
}

// A target that gets slower all the time has no capacity: the search says so, and gives no number.
func TestCapacityOfLeak(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name   string
		minute time.Duration
	}{{"half a ms a minute", 500 * time.Microsecond}, {"5 ms a minute", 5 * time.Millisecond}, {"20 ms a minute", 20 * time.Millisecond}} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			out, err := searchAt(t, func(_ *hub.Hub, connected int, since time.Duration) time.Duration {
				d := 10*time.Millisecond + time.Duration(since.Minutes()*float64(x.minute))
				if connected > 53 {
					d *= 4
				}
				return d
			}, search.Options{From: 10, To: 1000, Least: 1, Whole: true})
			switch {
			case errors.Is(err, trial.ErrNotClean):
			case err == nil && out.End != search.Found && out.End != search.AtLeast:
			default:
				t.Errorf("%+v, %v; want a refusal", out.Answer, err)
			}
		})
	}
}

// A target that goes away during a search has no limit of zero: the search ends, and what held until then is what is known.
func TestCapacityOfTargetThatGoesAway(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Duration{3 * time.Second, 100 * time.Second, 140 * time.Second, 200 * time.Second} {
		t.Run(at.String(), func(t *testing.T) {
			t.Parallel()
			gone := false
			out, err := searchAt(t, func(h *hub.Hub, _ int, since time.Duration) time.Duration {
				if since >= at && !gone {
					gone = true
					h.Restart(time.Hour)
				}
				return 20 * time.Millisecond
			}, search.Options{From: 10, To: 1000, Least: 1, Whole: true})
			if !errors.Is(err, trial.ErrUnreachable) || out.Missed != 0 || len(out.Records) == 0 && at > time.Minute*3/2 {
				t.Errorf("%+v after %d trials, %v", out.Answer, len(out.Records), err)
			}
		})
	}
}
