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

// told plays a stage of thirty seconds that three other machines run, each ten operations a second of 100 ms, whose numbers come once a second,
// each when it does, and not at all from one time to another. It gives the verdicts, and what was to end the run.
func told(t *testing.T, away, back time.Duration, rules ...threshold.Threshold) (verdicts, aborting []threshold.Verdict) {
	synctest.Test(t, func(t *testing.T) {
		const stage, tick = 30 * time.Second, 20 * time.Millisecond
		whole := metrics.NewRecorder(metrics.Options{})
		j := New(whole, rules)
		var recs []*metrics.Recorder
		var parts []*metrics.Part
		for range 3 {
			recs, parts = append(recs, metrics.NewRecorder(metrics.Options{})), append(parts, whole.Join())
		}
		time.Sleep(time.Second)
		begin := whole.SetStage("hold")
		for _, r := range recs {
			r.SetStageAt("hold", begin)
		}
		last := whole.Snapshot()
		j.Stage("hold", last)
		for at := time.Duration(0); at < stage; at += tick {
			time.Sleep(time.Until(begin.Add(at)))
			for i, r := range recs {
				if at%(100*time.Millisecond) == time.Duration(i)*tick {
					now := time.Now()
					op := r.Series(metrics.OpConnect, "g").Start(now, now)
					time.AfterFunc(100*time.Millisecond, func() { op.End(now.Add(100*time.Millisecond), metrics.OK) })
				}
				every := time.Duration(1000+20*i) * time.Millisecond // they wander
				if at%every == 300*time.Millisecond && (at < away || at >= back) {
					parts[i].Set(r.Contribution())
				}
			}
			if at > 0 && at%time.Second == 0 {
				now := whole.Snapshot()
				aborting = append(aborting, j.Sample(now)...)
				if x := now.Sub(last); at > time.Second && x.Elapsed >= time.Second/2 {
					if rate := float64(x.Select(metrics.OpConnect, "").Started()) / x.Elapsed.Seconds(); rate < 27 || rate > 33 {
						t.Errorf("after %s: %.1f were started a second", at, rate)
					}
				}
				last = now
			}
		}
		time.Sleep(time.Until(begin.Add(stage)))
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
				verdicts, aborting := told(t, away, 20*time.Second, holds...)
				for _, v := range verdicts {
					if !v.Pass {
						t.Errorf("%+v", v)
					}
				}
				if len(aborting) > 0 {
					t.Errorf("the run was to end for %+v", aborting)
				}
				for _, x := range []string{"rate > 33/s", "rate < 27/s", "max < 50ms"} {
					if v, _ := told(t, away, 20*time.Second, parse(t, x, s)); !v[0].Missed() {
						t.Errorf("%+v", v)
					}
				}
			})
		}
	}
}
