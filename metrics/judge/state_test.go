package judge

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
)

// How a threshold stands, second by second: a sign a second, and since when it is missed at the end. A sign is . for pending,
// + for met, - for missed.
func TestStates(t *testing.T) {
	const ms = time.Millisecond
	whole := threshold.Scope{}
	for name, tt := range map[string]struct {
		expr  string
		scope threshold.Scope
		run   []second
		want  string
		since int // second after which it was missed to the end; -1 when it was not, or not before the end
	}{
		"met": {"p(95) < 250ms", whole, seconds("a", 4, 10*ms), "++++", -1},
		"missed from the third second on": {
			"max < 250ms", whole, concat(seconds("a", 2, 10*ms), seconds("", 3, 300*ms)), "++---", 3,
		},
		"missed, and met again": {
			"p(50) < 250ms", whole, concat(seconds("a", 1, 300*ms), seconds("", 3, 10*ms)), "-+++", -1,
		},
		"no data yet":                    {"p(95) < 250ms", whole, concat(seconds("a", 2), seconds("", 1, 10*ms)), "..+", -1},
		"a count that is still to come":  {"count >= 3", whole, seconds("a", 4, 10*ms), "..++", -1},
		"a count that never comes":       {"count >= 9", whole, seconds("a", 4, 10*ms), "....", -1},
		"a count that was passed":        {"count <= 2", whole, seconds("a", 4, 10*ms), "++--", 3},
		"of a stage that is to come":     {"p(95) < 250ms", threshold.Scope{Stage: "b"}, concat(seconds("a", 2, 300*ms), seconds("b", 2, 10*ms)), "..++", -1},
		"of a stage that is over":        {"p(95) < 250ms", threshold.Scope{Stage: "a"}, concat(seconds("a", 2, 300*ms), seconds("b", 2, 10*ms)), "----", 1},
		"of a stage that never comes":    {"p(95) < 250ms", threshold.Scope{Stage: "z"}, seconds("a", 2, 10*ms), "..", -1},
		"a window is missed for good":    {"max < 250ms", threshold.Scope{Window: 2 * time.Second}, concat(seconds("a", 3, 10*ms), seconds("", 1, 300*ms), seconds("", 4, 10*ms)), ".++-----", 4},
		"a window may be missed a while": {"max < 250ms", threshold.Scope{Window: time.Second, For: 3 * time.Second}, concat(seconds("a", 2, 10*ms), seconds("", 2, 300*ms), seconds("", 2, 10*ms)), "++++++", -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := metrics.NewRecorder(metrics.Options{})
				s := r.Series(metrics.OpConnect, "g")
				j := New(r, []threshold.Threshold{parse(t, tt.expr, tt.scope)})
				if before := j.States(r.Snapshot()); !before[0].Pending {
					t.Errorf("before the first stage: %+v", before[0])
				}
				begin, signs := time.Now(), strings.Builder{}
				for _, x := range tt.run {
					if x.stage != "" {
						r.SetStage(x.stage)
						j.Stage(x.stage, r.Snapshot())
					}
					now := time.Now()
					for _, d := range x.latency {
						s.Start(now, now).End(now.Add(d), metrics.OK)
					}
					time.Sleep(time.Second)
					now1 := r.Snapshot()
					j.Sample(now1)
					switch state := j.States(now1)[0]; {
					case state.Pending:
						signs.WriteByte('.')
					case state.Pass:
						signs.WriteByte('+')
					default:
						signs.WriteByte('-')
						if state.Since.IsZero() {
							t.Errorf("missed, but not since when: %+v", state)
						}
					}
				}
				r.SetStage("")
				j.Stage("", r.Snapshot())
				v := j.End(r.Snapshot())[0]
				since := -1
				if !v.Since.IsZero() {
					since = int(v.Since.Sub(begin) / time.Second)
				}
				if signs.String() != tt.want || since != tt.since {
					t.Errorf("%s, since second %d; want %s, %d: %+v", &signs, since, tt.want, tt.since, v)
				}
			})
		})
	}
}
