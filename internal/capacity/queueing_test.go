//go:build !race

package capacity_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
)

// tail is the chance that an operation takes longer than t in M/M/c: by Erlang's C formula, with rates a second.
func tail(lambda, mu float64, c int, t float64) float64 {
	a := lambda / mu
	sum, term := 0.0, 1.0
	for k := range c {
		sum += term
		term *= a / float64(k+1)
	}
	rho := a / float64(c)
	last := term / (1 - rho)
	waits := last / (sum + last)
	d := float64(c)*mu - lambda - mu // the difference of the two rates
	if math.Abs(d) < 1e-9*mu {
		return math.Exp(-mu*t) * (1 + waits*mu*t)
	}
	return (1-waits)*math.Exp(-mu*t) + waits*(mu*math.Exp(-(float64(c)*mu-lambda)*t)-(float64(c)*mu-lambda)*math.Exp(-mu*t))/(mu-(float64(c)*mu-lambda))
}

// most is the highest arrival rate at which 99 % take less than t.
func most(mu float64, c int, t float64) float64 {
	lo, hi := 0.0, float64(c)*mu
	for range 100 {
		if x := (lo + hi) / 2; tail(x, mu, c, t) < 0.01 {
			lo = x
		} else {
			hi = x
		}
	}
	return lo
}

const served = `
name: served
seed: %d
target: {transport: memory}
fleet: {client: lean, groups: [{name: robots, count: 400, in_flight: 1000, reported: {connectivity: {type: cellular}}}]}
stages:
  - {name: up, duration: 10s, devices: 100%%}
  - {name: hold, duration: 1m, report_rate: 10/s, arrivals: poisson, hub: {service: {servers: %d, time: %s, distribution: exponential}}}
thresholds: {twin_report: ["p(99) < %s"]}
`

// The capacity of a hub with so many exponential servers, under a bound on the 99th percentile, is the one of queueing theory.
func TestCapacityOfServers(t *testing.T) {
	for _, x := range []struct {
		c     int
		time  string
		mu    float64
		bound string
		t     float64
	}{
		{1, "10ms", 100, "200ms", 0.2},
		{1, "20ms", 50, "300ms", 0.3},
		{2, "20ms", 50, "200ms", 0.2},
		{4, "40ms", 25, "300ms", 0.3},
		{8, "50ms", 20, "400ms", 0.4},
	} {
		if *seeds == 1 && x.c != 4 {
			continue
		}
		for seed := range *seeds {
			t.Run(fmt.Sprintf("%d servers of %s, p99 below %s, seed %d", x.c, x.time, x.bound, seed), func(t *testing.T) {
				t.Parallel()
				want := most(x.mu, x.c, x.t)
				out := seek(t, fmt.Sprintf(served, seed+1, x.c, x.time, x.bound), trial.ReportRate, search.Options{From: 7 + 2*float64(seed), To: 10_000, Least: 1}, trial.Options{})
				t.Logf("found %.4g; theory %.4g: %+.1f %%", out.Held, want, 100*(out.Held/want-1))
				if out.End != search.Found || math.Abs(out.Held/want-1) > 0.10 {
					t.Errorf("found %g; queueing theory says %g", out.Held, want)
				}
			})
		}
	}
}
