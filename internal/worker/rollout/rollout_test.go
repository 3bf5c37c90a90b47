package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/internal/worker/failure"
	"github.com/twinfleet/twinfleet/internal/worker/workertest"
	"github.com/twinfleet/twinfleet/metrics"
)

// desired is a service whose twins have desired properties, and devices that answer as they are told.
type desired struct {
	rollout *Rollout
	device  func(index int, version int64) // what a device does once its twin was patched
	before  bool                           // it is faster than the answer to the PATCH
	fail    func(id string) error

	mu       sync.Mutex
	patched  []string
	inFlight int
	most     int
}

func (s *desired) PatchTwin(ctx context.Context, id string, patch []byte, _ string) (json.RawMessage, error) {
	s.mu.Lock()
	s.inFlight++
	s.most = max(s.most, s.inFlight)
	s.patched = append(s.patched, id)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.inFlight--
		s.mu.Unlock()
	}()
	if want := `{"properties":{"desired":{"firmware":"2"}}}`; string(patch) != want {
		return nil, fmt.Errorf("patch %s; want %s", patch, want)
	}
	if s.fail != nil {
		if err := s.fail(id); err != nil {
			return nil, err
		}
	}
	if err := wait.For(ctx, 20*time.Millisecond); err != nil {
		return nil, err
	}
	index := slices.Index(s.rollout.IDs, id) + s.rollout.First
	if s.before {
		s.device(index, 7)
	} else if s.device != nil {
		time.AfterFunc(30*time.Millisecond, func() { s.device(index, 7) })
	}
	return json.RawMessage(`{"properties":{"desired":{"firmware":"2","$version":7}}}`), nil
}

func newRollout(devices int, waves ...Wave) (*Rollout, *desired, *metrics.Recorder) {
	rec := metrics.NewRecorder(metrics.Options{})
	s := &desired{}
	r := &Rollout{
		Name: "firmware", Group: "robots", First: 100, IDs: workertest.IDs(devices), Properties: json.RawMessage(`{"firmware":"2"}`),
		Waves: waves, Rate: 100, Timeout: 2 * time.Second, StopOver: 1, Answers: true, Seed: 3,
		Service: s, Recorder: rec, Codes: new(failure.Codes),
	}
	r.Prepare()
	s.rollout = r
	s.device = func(index int, version int64) {
		r.Told(index, version, time.Now())
		time.AfterFunc(100*time.Millisecond, func() { r.Answered(index, version, time.Now()) })
	}
	return r, s, rec
}

func TestRolloutInWaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s, rec := newRollout(40, Wave{10, 5 * time.Second}, Wave{50, 0}, Wave{100, 0})
		began := time.Now()
		waves, err := r.Run(t.Context())
		synctest.Wait()
		if err != nil || len(waves) != 3 {
			t.Fatalf("%v, waves %+v; want three", err, waves)
		}
		for i, want := range []int{4, 16, 20} {
			if w := waves[i]; w.Devices != want || w.Patched != want || w.Told != want || w.Answered != want || w.Failed != 0 || w.Stopped {
				t.Errorf("wave %d: %+v; want all of %d", i+1, w, want)
			}
		}
		// The first wave lasts its time; the others as long as their devices take: 155ms and 195ms to
		// the last patch at 100/s, and 150ms after it.
		took := [...]time.Duration{waves[0].Took, waves[1].Took, waves[2].Took, time.Since(began)}
		if want := [...]time.Duration{5 * time.Second, 305 * time.Millisecond, 345 * time.Millisecond, 5650 * time.Millisecond}; took != want {
			t.Errorf("waves, and all of them, took %v; want %v", took, want)
		}
		slices.Sort(s.patched)
		if len(s.patched) != 40 || len(slices.Compact(s.patched)) != 40 {
			t.Errorf("patched %v; want each once", s.patched)
		}
		snapshot := rec.Snapshot()
		for op, want := range map[metrics.Operation]time.Duration{
			metrics.OpDesiredPatch: 20,
			metrics.OpDesired:      50,
			metrics.OpDesiredReply: 150,
		} {
			x := snapshot.Find(op, "robots")
			if got := x.Latency(false).Maximum().Round(time.Millisecond); x.Count(metrics.OK) != 40 || x.OnTime != 40 || got != want*time.Millisecond {
				t.Errorf("%s: %d good, %v; want 40, %v", op, x.Count(metrics.OK), got, want*time.Millisecond)
			}
		}
	})
}

// Which devices a wave has follows from the seed alone.
func TestRolloutOrder(t *testing.T) {
	first := func(seed uint64) []string {
		var got []string
		synctest.Test(t, func(t *testing.T) {
			r, s, _ := newRollout(30, Wave{20, time.Second}, Wave{100, 0})
			r.Seed, r.StopOver = seed, 0
			s.device = nil // nobody answers: it stops after the first wave
			if waves, _ := r.Run(t.Context()); len(waves) != 1 || !waves[0].Stopped || waves[0].Failed != 6 {
				t.Errorf("waves %+v; want one of 6 that failed", waves)
			}
			synctest.Wait()
			slices.Sort(s.patched)
			got = s.patched
		})
		return got
	}
	if a, b, c := first(1), first(1), first(2); !slices.Equal(a, b) || slices.Equal(a, c) {
		t.Errorf("seed 1: %v and %v, seed 2: %v", a, b, c)
	}
}

func TestRolloutOutcomes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(*Rollout, *desired)
		want  WaveResult // of the one wave, without number, percent and time
		patch map[metrics.Outcome]uint64
		told  map[metrics.Outcome]uint64
		reply map[metrics.Outcome]uint64
	}{
		{
			"notified before the PATCH is answered", func(_ *Rollout, s *desired) { s.before = true },
			WaveResult{Devices: 10, Patched: 10, Told: 10, Answered: 10},
			map[metrics.Outcome]uint64{metrics.OK: 10},
			map[metrics.Outcome]uint64{metrics.OK: 10},
			map[metrics.Outcome]uint64{metrics.OK: 10},
		}, {
			"told of an older version alone", func(r *Rollout, s *desired) {
				s.device = func(index int, version int64) { r.Told(index, version-1, time.Now()) }
			},
			WaveResult{Devices: 10, Patched: 10, Failed: 10},
			map[metrics.Outcome]uint64{metrics.OK: 10},
			map[metrics.Outcome]uint64{metrics.Timeout: 10},
			map[metrics.Outcome]uint64{metrics.Timeout: 10},
		}, {
			"told of a newer version at connecting", func(r *Rollout, s *desired) {
				s.device = func(index int, version int64) { r.Told(index, version+3, time.Now()) }
			},
			WaveResult{Devices: 10, Patched: 10, Told: 10, Failed: 10},
			map[metrics.Outcome]uint64{metrics.OK: 10},
			map[metrics.Outcome]uint64{metrics.OK: 10},
			map[metrics.Outcome]uint64{metrics.Timeout: 10},
		}, {
			"devices that do not answer", func(r *Rollout, s *desired) {
				r.Answers = false
				s.device = func(index int, version int64) { r.Told(index, version, time.Now()) }
			},
			WaveResult{Devices: 10, Patched: 10, Told: 10},
			map[metrics.Outcome]uint64{metrics.OK: 10},
			map[metrics.Outcome]uint64{metrics.OK: 10},
			nil,
		}, {
			"told after their time, before the sweep", func(r *Rollout, _ *desired) { r.Timeout = 40 * time.Millisecond },
			WaveResult{Devices: 10, Patched: 10, Failed: 10},
			map[metrics.Outcome]uint64{metrics.OK: 10},
			map[metrics.Outcome]uint64{metrics.Timeout: 10},
			map[metrics.Outcome]uint64{metrics.Timeout: 10},
		}, {
			"told in time and answered after it", func(r *Rollout, _ *desired) { r.Timeout = 120 * time.Millisecond },
			WaveResult{Devices: 10, Patched: 10, Told: 10, Failed: 10},
			map[metrics.Outcome]uint64{metrics.OK: 10},
			map[metrics.Outcome]uint64{metrics.OK: 10},
			map[metrics.Outcome]uint64{metrics.Timeout: 10},
		}, {
			"PATCHes that fail", func(_ *Rollout, s *desired) {
				s.fail = func(id string) error {
					return map[string]error{"dev-1": iothub.ErrThrottled, "dev-2": iothub.ErrDeviceNotFound}[id]
				}
			},
			WaveResult{Devices: 10, Patched: 8, Told: 8, Answered: 8, Failed: 2},
			map[metrics.Outcome]uint64{metrics.OK: 8, metrics.Throttled: 1, metrics.Failed: 1},
			map[metrics.Outcome]uint64{metrics.OK: 8},
			map[metrics.Outcome]uint64{metrics.OK: 8},
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, s, rec := newRollout(10, Wave{100, 0})
			tt.setup(r, s)
			r.Prepare() // with what was set up
			waves, err := r.Run(t.Context())
			synctest.Wait()
			if err != nil || len(waves) != 1 {
				t.Fatalf("%s: %v, %+v", tt.name, err, waves)
			}
			got := waves[0]
			got.Number, got.Percent, got.Took = 0, 0, 0
			if got != tt.want {
				t.Errorf("%s: %+v; want %+v", tt.name, got, tt.want)
			}
			snapshot := rec.Snapshot()
			for op, want := range map[metrics.Operation]map[metrics.Outcome]uint64{
				metrics.OpDesiredPatch: tt.patch,
				metrics.OpDesired:      tt.told,
				metrics.OpDesiredReply: tt.reply,
			} {
				x := snapshot.Find(op, "robots")
				if x == nil {
					x = &metrics.SeriesSnapshot{}
				}
				for _, o := range metrics.Outcomes() {
					if x.Count(o) != want[o] {
						t.Errorf("%s: %d of %s are %s; want %d", tt.name, x.Count(o), op, o, want[o])
					}
				}
				if x.Started() != x.Ended() {
					t.Errorf("%s: %d of %s started, %d ended", tt.name, x.Started(), op, x.Ended())
				}
			}
		})
	}
}

// The end of the run cuts a rollout off: what was under way is abandoned, and the rest never starts.
func TestRolloutIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s, rec := newRollout(1000, Wave{50, 0}, Wave{100, 0})
		s.device = nil
		ctx, cancel := context.WithTimeout(t.Context(), 990*time.Millisecond)
		defer cancel()
		waves, err := r.Run(ctx)
		if err != nil || len(waves) != 1 || waves[0].Stopped {
			t.Errorf("%v, waves %+v; want one that did not stop", err, waves)
		}
		snapshot := rec.Snapshot()
		for _, op := range []metrics.Operation{metrics.OpDesiredPatch, metrics.OpDesired, metrics.OpDesiredReply} {
			x := snapshot.Find(op, "robots")
			if x.Started() < 95 || x.Started() > 99 || x.Started() != x.Ended() || x.Count(metrics.Unanswered) == 0 {
				t.Errorf("%s: %d started, %d ended, %d unanswered", op, x.Started(), x.Ended(), x.Count(metrics.Unanswered))
			}
		}
	})
}
