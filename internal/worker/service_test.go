package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// windows gives the windows of a test, one after the other: at a time after now, of a length.
func windows(ctx context.Context, spans ...[2]time.Duration) Windows {
	began, next := time.Now(), 0
	return func(until context.Context) (Window, error) {
		if next == len(spans) {
			<-until.Done()
			return Window{}, context.Cause(until)
		}
		s := spans[next]
		next++
		if err := wait.For(until, time.Until(began.Add(s[0]))); err != nil {
			return Window{}, err
		}
		end, cancel := context.WithDeadline(ctx, began.Add(s[0]+s[1]))
		context.AfterFunc(end, cancel)
		return Window{Start: began.Add(s[0]), Length: s[1], Context: end}, nil
	}
}

func TestLoadKeepsItsRate(t *testing.T) {
	for _, tt := range []struct {
		name     string
		from, to float64
		spans    [][2]time.Duration
		want     uint64
	}{
		{"steady", 20, 20, [][2]time.Duration{{0, 10 * time.Second}}, 200},
		{"a ramp", 0, 20, [][2]time.Duration{{0, 10 * time.Second}}, 100},
		{"in two windows", 20, 20, [][2]time.Duration{{time.Second, 2 * time.Second}, {5 * time.Second, time.Second}}, 60},
		{"less than one a second", 0.5, 0.5, [][2]time.Duration{{0, 10 * time.Second}}, 5},
		{"never", 0, 0, [][2]time.Duration{{0, 10 * time.Second}}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			rec := metrics.NewRecorder(metrics.Options{})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var mu sync.Mutex
			var turns []int64
			load := Load{Series: rec.Series(metrics.OpTwinRead, "g"), From: tt.from, To: tt.to, Windows: windows(ctx, tt.spans...), Do: func(_ context.Context, n int64) error {
				mu.Lock()
				defer mu.Unlock()
				turns = append(turns, n)
				return nil
			}}
			load.Run(ctx)
			x := rec.Snapshot().Find(metrics.OpTwinRead, "g")
			if math.Abs(float64(x.OnTime)-float64(tt.want)) > 1 || x.Late != 0 || x.Count(metrics.OK) != x.OnTime {
				t.Errorf("%s: %d on time, %d late, %d done; want %d", tt.name, x.OnTime, x.Late, x.Count(metrics.OK), tt.want)
			}
			slices.Sort(turns)
			for i, n := range turns {
				if int64(i) != n {
					t.Fatalf("%s: turns %v; want each once", tt.name, turns)
				}
			}
		})
	}
}

// Operations that take longer than their period run side by side up to the bound; what is due beyond
// is dropped and counted, and what the end of the run cut off is unanswered.
func TestLoadIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := metrics.NewRecorder(metrics.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		codes := new(Codes)
		load := Load{
			Series: rec.Series(metrics.OpMethod, "m"), From: 10, To: 10, InFlight: 5, Windows: windows(ctx, [2]time.Duration{0, time.Minute}), Codes: codes,
			Do: func(ctx context.Context, n int64) error {
				if err := wait.For(ctx, time.Second+time.Millisecond); err != nil {
					return err
				}
				return map[bool]error{true: iothub.ErrDeviceNotOnline, false: iothub.ErrThrottled}[n%2 == 0]
			},
		}
		load.Run(ctx)
		x := rec.Snapshot().Find(metrics.OpMethod, "m")
		if x.Scheduled() != 100 || x.Started()+x.Dropped[metrics.DropInFlight] != 100 || x.Started() < 45 || x.Started() > 50 || x.Count(metrics.Unanswered) == 0 || x.Count(metrics.Unanswered) > 5 {
			t.Errorf("%d scheduled, %d started, %v dropped, %d unanswered; want 100, about 47, the rest, up to 5", x.Scheduled(), x.Started(), x.Dropped, x.Count(metrics.Unanswered))
		}
		if x.Started() != x.Ended() || x.Count(metrics.Throttled)+x.Count(metrics.Failed)+x.Count(metrics.Unanswered) != x.Ended() || x.Count(metrics.Throttled) == 0 {
			t.Errorf("%d throttled, %d failed of %d", x.Count(metrics.Throttled), x.Count(metrics.Failed), x.Ended())
		}
		if list := codes.List(); len(list) != 2 || list[0].Count+list[1].Count != int(x.Ended()-x.Count(metrics.Unanswered)) {
			t.Errorf("codes = %v; want those of all %d that were answered", list, x.Ended()-x.Count(metrics.Unanswered))
		}
	})
}

// caller answers direct methods by device.
type caller struct {
	mu    sync.Mutex
	calls map[string]int
	last  methods.Request
}

func (c *caller) InvokeMethod(_ context.Context, id string, call methods.Request) (methods.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		c.calls = make(map[string]int)
	}
	c.calls[id]++
	c.last = call
	switch id {
	case "dev-1":
		return methods.Response{}, iothub.ErrMethodTimeout
	case "dev-2":
		return methods.Response{Status: 501}, nil
	}
	return methods.Response{Status: 200}, nil
}

func TestMethodsGoFromDeviceToDevice(t *testing.T) {
	c := &caller{}
	do := CallMethod(c, ids(4), Order(1, "m", 4), "reboot", json.RawMessage(`{"delay":1}`), 1500*time.Millisecond)
	outcomes := make(map[metrics.Outcome]int)
	for n := range int64(12) {
		outcomes[OutcomeOf(do(t.Context(), n))]++
	}
	for _, id := range ids(4) {
		if c.calls[id] != 3 {
			t.Errorf("%s was called %d times; want 3", id, c.calls[id])
		}
	}
	if c.last.Name != "reboot" || string(c.last.Payload) != `{"delay":1}` || c.last.ResponseTimeout != 2 {
		t.Errorf("called with %+v", c.last)
	}
	if outcomes[metrics.OK] != 6 || outcomes[metrics.Timeout] != 3 || outcomes[metrics.Failed] != 3 {
		t.Errorf("outcomes %v; want 6 good, 3 timed out, 3 answered with a failure", outcomes)
	}
}

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
		Name: "firmware", Group: "robots", First: 100, IDs: ids(devices), Properties: json.RawMessage(`{"firmware":"2"}`), Waves: waves,
		Rate: 100, Timeout: 2 * time.Second, StopOver: 1, Answers: true, Seed: 3, Service: s, Recorder: rec, Codes: new(Codes),
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
		if waves[0].Took != 5*time.Second || waves[1].Took != 305*time.Millisecond || waves[2].Took != 345*time.Millisecond || time.Since(began) != 5650*time.Millisecond {
			t.Errorf("waves took %v, %v, %v, %v in all", waves[0].Took, waves[1].Took, waves[2].Took, time.Since(began))
		}
		slices.Sort(s.patched)
		if len(s.patched) != 40 || len(slices.Compact(s.patched)) != 40 {
			t.Errorf("patched %v; want each once", s.patched)
		}
		snapshot := rec.Snapshot()
		for op, want := range map[metrics.Operation]time.Duration{metrics.OpDesiredPatch: 20, metrics.OpDesired: 50, metrics.OpDesiredReply: 150} {
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
			"told after their time, before anybody has looked", func(r *Rollout, _ *desired) { r.Timeout = 40 * time.Millisecond },
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
			for op, want := range map[metrics.Operation]map[metrics.Outcome]uint64{metrics.OpDesiredPatch: tt.patch, metrics.OpDesired: tt.told, metrics.OpDesiredReply: tt.reply} {
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

// oneJob is a service that carries out one job, a step at every look.
type oneJob struct {
	busy    int // creations that are throttled
	states  []jobs.Job
	looks   int
	failAt  int
	cancels int
}

func (j *oneJob) CreateJob(_ context.Context, in jobs.Job) (jobs.Job, error) {
	if j.busy > 0 {
		j.busy--
		return jobs.Job{}, iothub.ErrTooManyJobs
	}
	in.Status = jobs.Queued
	return in, nil
}

func (j *oneJob) Job(context.Context, string) (jobs.Job, error) {
	j.looks++
	if j.looks == j.failAt {
		return jobs.Job{}, iothub.ErrServer
	}
	if j.looks > len(j.states) {
		return j.states[len(j.states)-1], nil
	}
	return j.states[j.looks-1], nil
}

func (j *oneJob) CancelJob(context.Context, string) (jobs.Job, error) {
	j.cancels++
	return jobs.Job{Status: jobs.Cancelled}, nil
}

func TestJobs(t *testing.T) {
	state := func(status string, succeeded, failed int) jobs.Job {
		return jobs.Job{Status: status, DeviceJobStatistic: &jobs.Statistics{Devices: 10, Succeeded: succeeded, Failed: failed}}
	}
	running := state(jobs.Running, 3, 0)
	for _, tt := range []struct {
		name    string
		service *oneJob
		outcome metrics.Outcome
		took    time.Duration
		told    int // states that the observer saw
		want    error
	}{
		{"done", &oneJob{states: []jobs.Job{running, running, state(jobs.Completed, 10, 0)}}, metrics.OK, 3 * time.Second, 3, nil},
		{"waits for room", &oneJob{busy: 4, states: []jobs.Job{state(jobs.Completed, 10, 0)}}, metrics.OK, 5 * time.Second, 2, nil},
		{"no room", &oneJob{busy: 100, states: []jobs.Job{running}}, metrics.Throttled, 29 * time.Second, 0, iothub.ErrTooManyJobs},
		{"devices failed", &oneJob{states: []jobs.Job{state(jobs.Completed, 8, 2)}}, metrics.Failed, time.Second, 2, ErrJob},
		{"failed", &oneJob{states: []jobs.Job{running, state(jobs.Failed, 3, 0)}}, metrics.Failed, 2 * time.Second, 3, ErrJob},
		{"cannot be followed", &oneJob{states: []jobs.Job{running}, failAt: 2}, metrics.Failed, 2 * time.Second, 2, iothub.ErrServer},
	} {
		synctest.Test(t, func(t *testing.T) {
			rec := metrics.NewRecorder(metrics.Options{})
			told := 0
			run := JobRun{Name: "j", Job: jobs.Job{JobID: "j-1"}, Service: tt.service, Recorder: rec, OnState: func(jobs.Job) { told++ }}
			_, err := run.Run(t.Context(), time.Now())
			x := rec.Snapshot().Find(metrics.OpJob, "j")
			if !errors.Is(err, tt.want) || x.Count(tt.outcome) != 1 || x.Ended() != 1 || told != tt.told {
				t.Errorf("%s: %v, %d %s, told %d states; want %v, 1, %d", tt.name, err, x.Count(tt.outcome), tt.outcome, told, tt.want, tt.told)
			}
			if got := x.Latency(false).Maximum().Round(10 * time.Millisecond); got != tt.took {
				t.Errorf("%s took %v; want %v", tt.name, got, tt.took)
			}
		})
	}
}

// A run that ends before its job does takes the job with it.
func TestJobIsCancelledWithTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := metrics.NewRecorder(metrics.Options{})
		service := &oneJob{states: []jobs.Job{{Status: jobs.Running}}}
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		_, err := (&JobRun{Name: "j", Service: service, Recorder: rec}).Run(ctx, time.Now())
		if x := rec.Snapshot().Find(metrics.OpJob, "j"); !errors.Is(err, context.DeadlineExceeded) || x.Count(metrics.Unanswered) != 1 || service.cancels != 1 {
			t.Errorf("%v, %d unanswered, cancelled %d times; want once", err, x.Count(metrics.Unanswered), service.cancels)
		}
	})
}

// Queries by the clock, with expectations, only when they are wanted.
func TestQueriesByTheClock(t *testing.T) {
	cron, err := schedule.ParseCron("*/5 * * * *")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		rec := metrics.NewRecorder(metrics.Options{})
		began := time.Now() // midnight, in a bubble
		runner := QueryRunner{Service: slow{takes: time.Second, pages: 2}, Recorder: rec, Queries: []Query{
			{Name: "clock", Cron: cron, Expect: func(n int) bool { return n == 20 }},
			{Name: "gated", Cron: cron, Active: func() bool { return time.Since(began) > 21*time.Minute }, Expect: func(n int) bool { return n > 20 }},
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 31*time.Minute)
		defer cancel()
		if err := runner.Run(ctx); err != nil {
			t.Fatal(err)
		}
		s := rec.Snapshot()
		if x := s.Find(metrics.OpQuery, "clock"); x.OnTime != 6 || x.Scheduled() != 6 {
			t.Errorf("clock: %d on time of %d; want 6", x.OnTime, x.Scheduled())
		}
		if x := s.Find(metrics.OpQuery, "gated"); x.Scheduled() != 2 {
			t.Errorf("gated: %d scheduled; want 2", x.Scheduled())
		}
		clock, _ := s.Query("clock")
		gated, _ := s.Query("gated")
		if clock.Met != 6 || clock.Unmet != 0 || gated.Met != 0 || gated.Unmet != 2 {
			t.Errorf("expectations: clock %+v, gated %+v", clock, gated)
		}
	})
}
