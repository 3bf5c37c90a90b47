package automatic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/configuration"
	"github.com/twinfleet/twinfleet/internal/worker/failure"
	"github.com/twinfleet/twinfleet/internal/worker/workertest"
	"github.com/twinfleet/twinfleet/metrics"
)

// hub is a service that keeps one configuration, and does with it what a test wants.
type hub struct {
	put    []error // what the first PUTs answer
	remove []error // what the first DELETEs answer
	made   func()  // once a configuration was made

	mu      sync.Mutex
	doc     *configuration.Configuration
	results map[string]int64
	puts    int
	deletes int
}

func next(errs *[]error) error {
	if len(*errs) == 0 {
		return nil
	}
	err := (*errs)[0]
	*errs = (*errs)[1:]
	return err
}

func (h *hub) PutConfiguration(_ context.Context, c configuration.Configuration) (configuration.Configuration, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.puts++
	if err := next(&h.put); err != nil {
		return c, err
	}
	h.doc = &c
	if h.made != nil {
		h.made()
	}
	return c, nil
}

func (h *hub) Configuration(context.Context, string) (configuration.Configuration, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := *h.doc
	c.SystemMetrics.Results = h.results
	return c, nil
}

func (h *hub) DeleteConfiguration(context.Context, string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deletes++
	if err := next(&h.remove); err != nil {
		return err
	}
	if h.doc == nil {
		return iothub.ErrConfigurationNotFound
	}
	h.doc = nil
	return nil
}

// counts has the service count.
func (h *hub) counts(targeted, applied int64) {
	h.results = map[string]int64{configuration.TargetedCount: targeted, configuration.AppliedCount: applied}
}

const content = `{"firmware":"2","mode":{"eco":true}}`

// told has devices be told of something a while after the configuration was made, and answer it a moment later.
func told(r *Rollout, after time.Duration, from, to int, text string, version int64) {
	for i := from; i < to; i++ {
		time.AfterFunc(after+time.Duration(i)*time.Millisecond, func() {
			r.Told(r.First+i, version, false, []byte(text), time.Now())
			r.Answered(r.First+i, version, time.Now().Add(time.Millisecond))
		})
	}
}

func rollout(t *testing.T, h *hub, devices int, shares ...int) (*Rollout, *metrics.Recorder) {
	t.Helper()
	rec := metrics.NewRecorder(metrics.Options{})
	r := &Rollout{
		Name: "firmware", Group: "robots", First: 100, IDs: workertest.IDs(devices), ID: "c1", Properties: json.RawMessage(content),
		Condition: "tags.plant = 'r43'", Priority: 7, Shares: shares, Timeout: time.Minute, Answers: true, Service: h, Recorder: rec, Codes: new(failure.Codes),
	}
	if err := r.Prepare(); err != nil {
		t.Fatal(err)
	}
	return r, rec
}

func TestSharesAreReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{}
		r, rec := rollout(t, h, 100, 50, 95, 100)
		h.made = func() {
			if text := string(h.doc.Content.Device); text != `{"properties.desired.firmware":"2","properties.desired.mode":{"eco":true}}` ||
				h.doc.TargetCondition != r.Condition || h.doc.Priority != 7 || h.doc.ID != "c1" {
				t.Errorf("the configuration is %+v, content %s", h.doc, text)
			}
			h.counts(100, 100)
			told(r, 2*time.Second, 0, 100, content, 2)
		}
		got := r.Run(t.Context())
		if got.Missed != nil || got.Left != nil || got.Told != 100 || got.Answered != 100 || got.Targeted != 100 || got.Applied != 100 || got.Before != 0 {
			t.Errorf("%+v", got)
		}
		want := []Share{{50, 2050 * time.Millisecond, true}, {95, 2095 * time.Millisecond, true}, {100, 2100 * time.Millisecond, true}}
		if fmt.Sprint(got.Shares) != fmt.Sprint(want) {
			t.Errorf("shares %v; want %v", got.Shares, want)
		}
		if got.Took != pollEvery { // the service's count is asked for so often
			t.Errorf("both witnesses after %v", got.Took)
		}
		if h.doc != nil || h.deletes != 1 {
			t.Error("the configuration was not removed")
		}
		for op, n := range map[metrics.Operation]uint64{metrics.OpDesiredPatch: 1, metrics.OpDesired: 100, metrics.OpDesiredReply: 100} {
			if x := rec.Snapshot().Find(op, "robots"); x.Count(metrics.OK) != n {
				t.Errorf("%s: %d good; want %d", op, x.Count(metrics.OK), n)
			}
		}
	})
}

// What would make the number lie: each must miss the share, and say why.
func TestWhatDoesNotCount(t *testing.T) {
	for name, c := range map[string]struct {
		shares  []int
		prepare func(r *Rollout)
		made    func(h *hub, r *Rollout)
		says    string
		told    int
	}{
		"accepted and never applied": {made: func(h *hub, _ *Rollout) { h.counts(10, 0) }, says: "applied to 0 of 10"},
		"the service never counts":   {made: func(_ *hub, r *Rollout) { told(r, 0, 0, 10, content, 2) }, says: "the service had not said yet to how many twins it was applied", told: 10},
		"counted and not delivered":  {made: func(h *hub, _ *Rollout) { h.counts(10, 10) }, says: "0 of 10 devices answered"},
		"delivered and not counted": {made: func(h *hub, r *Rollout) {
			h.counts(10, 3)
			told(r, 0, 0, 10, content, 2)
		}, says: "applied to 3 of 10", told: 10},
		"another change": {made: func(h *hub, r *Rollout) {
			h.counts(10, 10)
			told(r, 0, 0, 10, `{"firmware":"1","mode":{"eco":true}}`, 2)
		}, says: "0 of 10 devices"},
		"half of it": {made: func(h *hub, r *Rollout) {
			h.counts(10, 10)
			told(r, 0, 0, 10, `{"firmware":"2"}`, 2)
		}, says: "0 of 10 devices"},
		"half of it, taken back": {made: func(h *hub, r *Rollout) {
			h.counts(10, 10)
			told(r, 0, 0, 10, `{"firmware":"2"}`, 2)
			told(r, time.Second, 0, 10, `{"firmware":null,"mode":{"eco":true}}`, 3)
		}, says: "0 of 10 devices"},
		"devices are away": {made: func(h *hub, r *Rollout) {
			h.counts(10, 10)
			told(r, 0, 0, 9, content, 2)
		}, says: "9 of 10 devices", told: 9},
		"too late": {made: func(h *hub, r *Rollout) {
			h.counts(10, 10)
			told(r, time.Minute, 0, 10, content, 2)
		}, says: "0 of 10 devices"},
		"devices that had it before": {prepare: func(r *Rollout) {
			for i := range 10 {
				r.Told(100+i, 5, true, []byte(`{"firmware":"2","mode":{"eco":true},"other":1}`), time.Now())
			}
		}, made: func(h *hub, r *Rollout) {
			h.counts(10, 10)
			told(r, 0, 0, 10, content, 5) // what they read once more is no news
		}, says: "10 had the properties before"},
		"other devices": {made: func(h *hub, r *Rollout) {
			h.counts(10, 10)
			told(r, 0, -100, 0, content, 2)
			told(r, 0, 10, 20, content, 2)
		}, says: "0 of 10 devices"},
		"no answers": {made: func(h *hub, r *Rollout) {
			h.counts(10, 10)
			for i := range 10 {
				r2 := r
				time.AfterFunc(time.Second, func() { r2.Told(100+i, 2, true, []byte(content), time.Now()) })
				time.AfterFunc(time.Second, func() { r2.Answered(100+i, 1, time.Now()) }) // to an older version
			}
		}, says: "0 of 10 devices answered", told: 10},
		"the condition is of few": {made: func(h *hub, r *Rollout) {
			h.counts(4, 4)
			told(r, 0, 0, 4, content, 2)
		}, says: "applied to 4 of 4", told: 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hub{}
				r, rec := rollout(t, h, 10, 100)
				if c.prepare != nil {
					c.prepare(r)
				}
				h.made = func() { c.made(h, r) }
				got := r.Run(t.Context())
				time.Sleep(time.Minute) // what comes late must do no harm
				if !errors.Is(got.Missed, ErrMissed) || !strings.Contains(got.Missed.Error(), c.says) || got.Told != c.told {
					t.Errorf("told %d, %v; want %d, and %q", got.Told, got.Missed, c.told, c.says)
				}
				if got.Took != time.Minute || h.doc != nil {
					t.Errorf("given up after %v, configuration %v", got.Took, h.doc)
				}
				x := rec.Snapshot().Find(metrics.OpDesired, "robots")
				if x.Count(metrics.OK) != uint64(c.told) || x.Count(metrics.OK)+x.Count(metrics.Timeout) != 10 {
					t.Errorf("desired: %d good, %d out of time; want all of 10", x.Count(metrics.OK), x.Count(metrics.Timeout))
				}
			})
		})
	}
}

// Devices that held the properties count once they are told anew: the service has written them.
func TestDevicesThatAreToldAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{}
		r, _ := rollout(t, h, 10, 100)
		for i := range 10 {
			r.Told(100+i, 5, true, []byte(content), time.Now())
		}
		h.made = func() {
			h.counts(10, 10)
			told(r, 0, 0, 10, content, 6)
		}
		if got := r.Run(t.Context()); got.Missed != nil || got.Before != 10 || got.Answered != 10 {
			t.Errorf("%+v", got)
		}
	})
}

// A share below all is reached without those that are away, and devices that do not answer count when they are told.
func TestAShareOfDevicesThatDoNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{}
		r, rec := rollout(t, h, 10, 90)
		r.Answers, r.answered = false, nil
		h.made = func() {
			h.counts(10, 9)
			told(r, 0, 0, 9, content, 2)
		}
		if got := r.Run(t.Context()); got.Missed != nil || got.Told != 9 || got.Answered != 0 || !got.Shares[0].Reached {
			t.Errorf("%+v", got)
		}
		if x := rec.Snapshot().Find(metrics.OpDesired, "robots"); x.Count(metrics.Unanswered) != 1 {
			t.Errorf("the one that is away: %d unanswered", x.Count(metrics.Unanswered))
		}
	})
}

func TestTheServiceThrottlesAndRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{put: []error{iothub.ErrThrottled, iothub.ErrThrottled}, remove: []error{iothub.ErrThrottled}}
		r, rec := rollout(t, h, 10, 100)
		h.made = func() {
			h.counts(10, 10)
			told(r, 0, 0, 10, content, 2)
		}
		if got := r.Run(t.Context()); got.Missed != nil || got.Left != nil || h.puts != 3 || h.deletes != 2 {
			t.Errorf("%+v after %d PUTs and %d DELETEs", got, h.puts, h.deletes)
		}
		if x := rec.Snapshot().Find(metrics.OpDesiredPatch, "robots"); x.Count(metrics.Throttled) != 2 || x.Count(metrics.OK) != 1 {
			t.Errorf("%d throttled, %d good", x.Count(metrics.Throttled), x.Count(metrics.OK))
		}
		h = &hub{put: []error{iothub.ErrInvalidConfigurationContent}}
		r, rec = rollout(t, h, 10, 100)
		got := r.Run(t.Context())
		if !errors.Is(got.Missed, ErrMissed) || !errors.Is(got.Missed, iothub.ErrInvalidConfigurationContent) || got.Left != nil || got.Took != 0 {
			t.Errorf("%+v", got)
		}
		if x := rec.Snapshot().Find(metrics.OpDesired, "robots"); x.Count(metrics.Failed) != 10 {
			t.Errorf("%d failed; what was due must not vanish", x.Count(metrics.Failed))
		}
	})
}

// A configuration does not outlive its run, and one that does is named.
func TestTheRunEndsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{}
		r, rec := rollout(t, h, 10, 100)
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		got := r.Run(ctx)
		if !errors.Is(got.Missed, ErrMissed) || got.Took != 7*time.Second || h.doc != nil {
			t.Errorf("%+v, configuration %v", got, h.doc)
		}
		if x := rec.Snapshot().Find(metrics.OpDesired, "robots"); x.Count(metrics.Unanswered) != 10 {
			t.Errorf("%d unanswered", x.Count(metrics.Unanswered))
		}
		h = &hub{remove: []error{iothub.ErrServer, iothub.ErrServer, iothub.ErrServer, iothub.ErrServer, iothub.ErrServer}}
		r, _ = rollout(t, h, 10, 100)
		if got := r.Run(ctx); got.Left == nil || !strings.Contains(got.Left.Error(), "c1 is left") {
			t.Errorf("%v", got.Left)
		}
	})
}

func TestPropertiesThatNoConfigurationCanHold(t *testing.T) {
	for _, text := range []string{`{}`, `{"a":null}`, `{"$version":1}`} {
		r := &Rollout{Properties: json.RawMessage(text), Recorder: metrics.NewRecorder(metrics.Options{})}
		if err := r.Prepare(); !errors.Is(err, iothub.ErrInvalidConfigurationContent) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
