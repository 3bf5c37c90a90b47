package judge

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
)

// machines run a stage, each ten operations a second of 100 ms. Their numbers come once a second, each when it does.
type machines struct {
	n          int
	stage      time.Duration
	apart      time.Duration // by which each tells less often than the one before it
	silent     int           // so many, the first ones, do not tell
	away, back time.Duration // from one time to another
	slow       time.Duration // from here on the operations of the last one take 200 ms, for 300 ms; never when it is below 0
}

// three are machines of which none tells anything from one time to another.
func three(away, back time.Duration) machines {
	return machines{n: 3, stage: 30 * time.Second, apart: 20 * time.Millisecond, silent: 3, away: away, back: back, slow: -1}
}

// told gives the verdicts on what machines tell, and what was to end the run.
func told(t *testing.T, m machines, rules ...threshold.Threshold) (verdicts, aborting []threshold.Verdict) {
	synctest.Test(t, func(t *testing.T) {
		const tick = 20 * time.Millisecond
		whole := metrics.NewRecorder(metrics.Options{})
		j := New(whole, rules)
		var recs []*metrics.Recorder
		var parts []*metrics.Part
		for range m.n {
			recs, parts = append(recs, metrics.NewRecorder(metrics.Options{})), append(parts, whole.Join())
		}
		time.Sleep(time.Second)
		begin := whole.SetStage("hold")
		for _, r := range recs {
			r.SetStageAt("hold", begin)
		}
		last := whole.Snapshot()
		time.Sleep(time.Microsecond) // it takes a moment to get there
		j.Stage("hold", last)
		for at := time.Duration(0); at < m.stage; at += tick {
			time.Sleep(time.Until(begin.Add(at)))
			for i, r := range recs {
				if at%(100*time.Millisecond) == time.Duration(i%5)*tick {
					now, took := time.Now(), 100*time.Millisecond
					if i == m.n-1 && m.slow >= 0 && at >= m.slow && at < m.slow+300*time.Millisecond {
						took = 200 * time.Millisecond
					}
					op := r.Series(metrics.OpConnect, "g").Start(now, now)
					time.AfterFunc(took, func() { op.End(now.Add(took), metrics.OK) })
				}
				every := time.Second + time.Duration(i)*m.apart // they wander
				if at%every == 700*time.Millisecond && (i >= m.silent || at < m.away || at >= m.back) {
					parts[i].Set(r.Contribution())
				}
			}
			if at > 0 && at%time.Second == 0 {
				now := whole.Snapshot()
				aborting = append(aborting, j.Sample(now)...)
				if x := now.Sub(last); at > time.Second && x.Elapsed >= time.Second/2 {
					if rate := float64(x.Select(metrics.OpConnect, "").Started()) / x.Elapsed.Seconds(); m.slow < 0 && (rate < 27 || rate > 33) {
						t.Errorf("after %s: %.1f were started a second", at, rate)
					}
				}
				last = now
			}
		}
		time.Sleep(time.Until(begin.Add(m.stage)))
		whole.SetStage("")
		j.Stage("", whole.Snapshot())
		time.Sleep(time.Second)
		for i, r := range recs {
			parts[i].Set(r.Contribution())
		}
		verdicts = j.End(whole.Snapshot())
	})
	return verdicts, aborting
}

// What other machines tell late has not happened later, nor less: neither a second in which a number was not there yet nor ten without any is
// taken for an outage of the target, or for operations that take so long. And what is to be missed is.
func TestNumbersThatComeLate(t *testing.T) {
	scope := func(stage string, window time.Duration) threshold.Scope {
		return threshold.Scope{Stage: stage, Window: window, Abort: true, Delay: 3 * time.Second}
	}
	for _, away := range []time.Duration{math.MaxInt64, 10500 * time.Millisecond} {
		for _, s := range []threshold.Scope{scope("", 0), scope("hold", 0), scope("hold", time.Second), scope("", 2*time.Second), scope("hold", 7*time.Second), scope("hold", 30*time.Second)} {
			t.Run(fmt.Sprint(away < math.MaxInt64, s), func(t *testing.T) {
				holds := []threshold.Threshold{
					parse(t, "rate > 27/s", s), parse(t, "rate < 33/s", s), parse(t, "p(99) < 300ms", s), parse(t, "max < 2s", s), parse(t, "error_rate < 1%", s),
				}
				verdicts, aborting := told(t, three(away, 20*time.Second), holds...)
				for _, v := range verdicts {
					if !v.Pass {
						t.Errorf("%+v", v)
					}
				}
				if len(aborting) > 0 {
					t.Errorf("the run was to end for %+v", aborting)
				}
				for _, x := range []string{"rate > 33/s", "rate < 27/s", "max < 50ms"} {
					if v, _ := told(t, three(away, 20*time.Second), parse(t, x, s)); !v[0].Missed() {
						t.Errorf("%+v", v)
					}
				}
			})
		}
	}
}

// However late numbers come, and however much later those of one machine than the others', a short time in which operations are slow is in a window:
// from the first moment of a stage to its last.
func TestNoGapsBetweenWindows(t *testing.T) {
	const stage, never = 14 * time.Second, math.MaxInt64
	for name, m := range map[string]machines{
		"in step":           {n: 3, away: never},
		"wander":            {n: 10, apart: 20 * time.Millisecond, away: never},
		"drift apart":       {n: 10, apart: 140 * time.Millisecond, away: never},
		"one of 3 silent":   {n: 3, apart: 20 * time.Millisecond, silent: 1, away: 5 * time.Second, back: 8 * time.Second},
		"one of 10 silent":  {n: 10, apart: 20 * time.Millisecond, silent: 1, away: 5 * time.Second, back: 8 * time.Second},
		"two of 3 silent":   {n: 3, apart: 20 * time.Millisecond, silent: 2, away: 5 * time.Second, back: 8 * time.Second},
		"silent at its end": {n: 3, apart: 20 * time.Millisecond, silent: 3, away: 11 * time.Second, back: never},
	} {
		t.Run(name, func(t *testing.T) {
			m.stage = stage
			rules := []threshold.Threshold{
				parse(t, "max < 150ms", threshold.Scope{Stage: "hold", Window: time.Second}), parse(t, "max < 150ms", threshold.Scope{Window: time.Second}),
			}
			for m.slow = 0; m.slow < stage; m.slow += 300 * time.Millisecond {
				verdicts, _ := told(t, m, rules...)
				for _, v := range verdicts {
					if !v.Missed() {
						t.Errorf("slow after %s: %+v", m.slow, v)
					}
				}
			}
		})
	}
}
