package metrics

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whoever taps a Recorder can count what it counts: every operation once, by stage, group, outcome and reason.
func TestTapIsToldOfEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var mu sync.Mutex
		type row struct {
			stage, group, outcome, reason string
			late                          bool
		}
		told := make(map[row]uint64)
		r := NewRecorder(Options{Tap: func(e Ended) {
			mu.Lock()
			defer mu.Unlock()
			if e.Dropped > 0 {
				told[row{e.Stage, e.Group, "dropped", e.Reason, false}] += e.Dropped
				return
			}
			told[row{e.Stage, e.Group, e.Outcome.String(), e.Reason, e.Late}]++
		}})
		var open []Started
		for i := range rapid.IntRange(1, 60).Draw(t, "operations") {
			s := r.Series(OpTelemetry, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "group"))
			now := time.Now()
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				r.SetStage(strconv.Itoa(i))
			case 1:
				s.DropMany(rapid.Uint64Range(0, 3).Draw(t, "n"), now, rapid.SampledFrom(append(DropReasons(), "what")).Draw(t, "why"))
			case 2:
				open = append(open, s.Start(now.Add(-time.Duration(rapid.IntRange(0, 30).Draw(t, "lag"))*ms), now))
			default:
				outcome := Outcome(rapid.IntRange(0, int(outcomes)).Draw(t, "outcome"))
				s.Start(now, now).EndBecause(now.Add(ms), outcome, rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "reason"))
			}
		}
		for _, o := range open {
			o.Unanswered(time.Now(), "")
		}
		for _, stage := range r.Stages() {
			for _, x := range stage.Series {
				late, onTime := uint64(0), uint64(0)
				for _, o := range Outcomes() {
					n := uint64(0)
					for k, v := range told {
						if k.stage == stage.Stage && k.group == x.Group && k.outcome == o.String() {
							n += v
							if k.late {
								late += v
							} else {
								onTime += v
							}
						}
					}
					if o == OK && n != x.Count(OK) {
						t.Fatalf("stage %q, %s: %d ended well; the Recorder has %d", stage.Stage, x.Group, n, x.Count(OK))
					}
				}
				if late != x.Late || onTime != x.OnTime {
					t.Fatalf("stage %q, %s: %d late and %d on time; the Recorder has %d and %d", stage.Stage, x.Group, late, onTime, x.Late, x.OnTime)
				}
				for _, e := range x.Reasons {
					n := told[row{stage.Stage, x.Group, e.Outcome, e.Reason, false}] + told[row{stage.Stage, x.Group, e.Outcome, e.Reason, true}]
					if n != e.Count {
						t.Fatalf("stage %q, %s: %d ended as %s, %s; the Recorder has %d", stage.Stage, x.Group, n, e.Outcome, e.Reason, e.Count)
					}
				}
				for why, n := range x.Dropped {
					if got := told[row{stage.Stage, x.Group, "dropped", why, false}]; got != n {
						t.Fatalf("stage %q, %s: %d dropped as %s; the Recorder has %d", stage.Stage, x.Group, got, why, n)
					}
				}
			}
		}
	})
}

// What a tap costs an operation, beside one that has none.
func BenchmarkTap(b *testing.B) {
	for _, x := range []struct {
		name string
		tap  func(Ended)
	}{{"none", nil}, {"one", func(Ended) {}}} {
		b.Run(x.name, func(b *testing.B) {
			s := NewRecorder(Options{Tap: x.tap}).Series(OpTwinReport, "robots")
			for b.Loop() {
				observe(s, 0, ms, OK)
			}
		})
	}
}
