package compare_test

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// world is what a run meets. A latency is what the network takes, twice, and what the target takes: lognormal around work, on days
// that are a little better or worse, in weather in which what slows one second slows the next, with stalls now and then.
type world struct {
	network time.Duration // each way
	work    time.Duration
	weather float64 // standard deviation of what a second adds to it, as a share
	stalls  float64 // chance of a stall in a second
	seconds int     // of the hold, after a ramp of two
	devices int
	rate    int // reports a second; as many messages
	timeout time.Duration

	quiet    bool          // without telemetry
	dead     int           // seconds at the end in which nothing is answered
	slower   int           // of this many devices one is ten times slower
	climb    float64       // by how much work grows from the beginning to the end, as a share
	roughly  float64       // by how much connecting takes longer, as a share
	failures int           // reports that fail, one a second
	late     time.Duration // by which one operation in ten starts late
}

var (
	// weathered is dominated by what its target does.
	weathered = world{work: 10 * time.Millisecond, weather: 0.04, rate: 20, seconds: 60}
	// networked is dominated by its network.
	networked = world{network: 20 * time.Millisecond, work: time.Millisecond, weather: 0.1, stalls: 0.05, rate: 100, seconds: 30, devices: 100}
	// local has a target in the same machine.
	local = world{work: 700 * time.Microsecond, weather: 0.05, stalls: 0.1, rate: 100, seconds: 30, devices: 100}
)

var began = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// operation is one that will end.
type operation struct {
	start, end time.Duration
	sent       time.Duration
	series     *metrics.Series
	outcome    metrics.Outcome
	started    metrics.Started
}

// run makes a history as a run's record has it: with the open operations waited for at the end, until their time-out.
func (w world) run(seed uint64) *report.History {
	chance := rand.New(rand.NewPCG(seed, 1))
	if w.timeout == 0 {
		w.timeout = 30 * time.Second
	}
	ramp := 0
	if w.devices > 0 {
		ramp = 2
	}
	total := ramp + w.seconds
	rec := metrics.NewRecorder(metrics.Options{})
	day, weather := 1+0.02*chance.NormFloat64(), w.weather/0.6*chance.NormFloat64()
	var open []operation
	plan := func(op metrics.Operation, at time.Duration, trips int, stall time.Duration, outcome metrics.Outcome) time.Duration {
		took := 2*time.Duration(trips)*w.network + stall
		if op == metrics.OpConnect {
			took += time.Duration(w.roughly * float64(took))
		}
		took += time.Duration(float64(w.work) * float64(trips) * day * (1 + w.climb*at.Seconds()/float64(total)) * math.Exp(weather+0.3*chance.NormFloat64()))
		if w.dead > 0 && at+took > time.Duration(total-w.dead)*time.Second {
			took = time.Hour
		}
		if took > w.timeout {
			took, outcome = w.timeout, metrics.Timeout
		}
		late := time.Duration(0)
		if len(open)%10 == 0 {
			late = w.late
		}
		took += late
		open = append(open, operation{at, at + took, at + late, rec.Series(op, "robots"), outcome, metrics.Started{}})
		return at + took
	}
	h := &report.History{Whole: true, Run: &report.Run{
		Name: "world", Started: began, Outcome: report.Passed, Seed: 42, Devices: w.devices,
		Target: "embedded hub",
	}}
	connected := make([]time.Duration, 0, w.devices)
	for second := range total {
		weather = 0.8*weather + w.weather*chance.NormFloat64()
		from := time.Duration(second) * time.Second
		stalled, stall := chance.Float64() < w.stalls, time.Duration(chance.IntN(20))*time.Millisecond
		for n := 0; second < ramp && n < w.devices/ramp; n++ {
			connected = append(connected, plan(metrics.OpConnect, from+time.Duration(n)*time.Second*time.Duration(ramp)/time.Duration(w.devices), 2, 0, metrics.OK))
		}
		for n := range w.rate {
			at := from + time.Duration(n)*time.Second/time.Duration(w.rate)
			if w.devices > 0 && (n >= len(connected) || connected[n%len(connected)] > at) {
				continue
			}
			slow := time.Duration(0)
			if stalled && n%10 == 0 {
				slow = stall
			}
			if w.slower > 0 && n%w.slower == 0 {
				slow = 10 * (2*w.network + w.work)
			}
			outcome := metrics.OK
			if n == 0 && second-ramp < w.failures && second >= ramp {
				outcome = metrics.Failed
			}
			plan(metrics.OpTwinReport, at, 1, slow, outcome)
			if !w.quiet && w.devices > 0 {
				plan(metrics.OpTelemetry, at, 1, slow, metrics.OK)
			}
		}
	}
	w.record(h, rec, open, ramp)
	return h
}

// record samples what came of the operations once a second, as the engine does.
func (w world) record(h *report.History, rec *metrics.Recorder, open []operation, ramp int) {
	end := time.Duration(ramp+w.seconds) * time.Second
	last := rec.Snapshot()
	last.At = began
	name := "hold"
	if ramp > 0 {
		name = "ramp"
		h.Run.Stages = append(h.Run.Stages, report.Stage{Name: "ramp", To: time.Duration(ramp) * time.Second})
	}
	h.Run.Stages = append(h.Run.Stages, report.Stage{Name: "hold", From: time.Duration(ramp) * time.Second, To: end})
	ended := end
	for _, o := range open {
		ended = max(ended, o.end)
	}
	for from := time.Duration(0); from < ended; from += time.Second {
		to := from + time.Second
		if from >= time.Duration(ramp)*time.Second {
			name = "hold"
		}
		rec.SetStage(name)
		kept := open[:0]
		for _, o := range open {
			if o.start >= from && o.start < to {
				o.started = o.series.Start(began.Add(o.start), began.Add(o.sent))
			}
			if o.end >= to {
				kept = append(kept, o)
				continue
			}
			o.started.End(began.Add(o.end), o.outcome)
		}
		open = kept
		now := rec.Snapshot()
		now.At = began.Add(to)
		h.Samples = append(h.Samples, report.Sample{At: to, Window: now.Sub(last)})
		last = now
	}
	h.Run.Totals, h.Run.Ended = last, began.Add(ended)
}
