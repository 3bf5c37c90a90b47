package soak

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// fault is something that goes wrong at a time of a run.
type fault struct {
	at   time.Duration
	name string
	d    time.Duration
	size float64
}

// bound is a threshold of which the oracle knows what it must say.
type bound struct {
	op      string
	share   float64       // of errors; or
	q       float64       // a quantile
	latency time.Duration // below this
}

func (b bound) expr() string {
	if b.latency > 0 {
		return fmt.Sprintf("p(%g) < %s", b.q*100, b.latency)
	}
	return fmt.Sprintf("error_rate < %g%%", b.share*100)
}

// plan is one random run.
type plan struct {
	seed    uint64
	broker  bool
	devices int
	timeout time.Duration
	yaml    string
	bounds  []bound
	faults  []fault
	stop    time.Duration // when Ctrl-C comes; 0 for never
	hard    bool          // and comes again
	waits   bool          // what is due waits for its turn
}

// draw makes a plan; the same for the same seed.
func draw(seed uint64, target string) plan {
	r := rand.New(rand.NewPCG(seed, 1))
	p := plan{seed: seed, broker: seed%2 == 1, devices: 10 + r.IntN(50), timeout: time.Duration(500+r.IntN(1500)) * time.Millisecond}
	millis := func(least, most int) time.Duration {
		return time.Duration(least+r.IntN(most-least+1)) * time.Millisecond
	}
	group := fmt.Sprintf("name: robots, count: %d, timeout: %s, telemetry: {every: %s, qos: 1}", p.devices, p.timeout, millis(200, 1000))
	ops := []string{"connect", "telemetry"}
	if p.broker {
		group += ", subscribe: {topics: [\"fleet/{device}/down\"]}"
	} else {
		ops = append(ops, "twin_report", "twin_get")
		group += fmt.Sprintf(", reported: {connectivity: {type: {cellular: 60, wifi: 40}}, every: %s}", millis(200, 1000))
	}
	switch r.IntN(4) {
	case 0:
		group += fmt.Sprintf(", session: {online: %s, offline: %s}", millis(1000, 3000), millis(200, 1500))
	case 1:
		group += fmt.Sprintf(", in_flight: %d, overflow: wait", 1+r.IntN(3))
		p.waits = true
	}
	group += ", backoff: " + []string{"exponential", "steep"}[r.IntN(2)]
	ramp, hold, end := millis(500, 2000), millis(2000, 4000), millis(1000, 3000)
	kinds := []string{"stall", "swallow", "cut", "refuse", "deaf", "pause"}
	for range r.IntN(4) {
		f := fault{at: ramp/2 + millis(0, int((hold+end)/time.Millisecond)), name: kinds[r.IntN(len(kinds))], d: millis(200, 4000), size: r.Float64()}
		p.faults = append(p.faults, f)
	}
	if r.IntN(6) == 0 {
		p.stop, p.hard = ramp+millis(0, 4000), r.IntN(2) == 0
	}
	var b strings.Builder
	fmt.Fprintf(&b, "name: soak-%d\nseed: %d\ntarget: {%s}\nfleet: {groups: [{%s}]}\nstages:\n", seed, seed, target, group)
	fmt.Fprintf(&b, "  - {name: ramp, duration: %s, devices: %d}\n  - {name: hold, duration: %s}\n  - {name: end, duration: %s}\nthresholds:\n", ramp,
		p.devices, hold, end)
	for _, op := range ops {
		rate := bound{op: op, share: []float64{0.001, 0.05, 0.3}[r.IntN(3)]}
		time := bound{op: op, q: []float64{0.5, 0.9, 0.99}[r.IntN(3)], latency: []time.Duration{
			400 * time.Millisecond, time.Second,
			1500 * time.Millisecond,
		}[r.IntN(3)]}
		p.bounds = append(p.bounds, rate, time)
		fmt.Fprintf(&b, "  %s: [%q, %q]\n", op, rate.expr(), time.expr())
	}
	p.yaml = b.String()
	return p
}
