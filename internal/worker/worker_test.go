package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// twins is a service side that keeps tags, and fails as it is told.
type twins struct {
	mu    sync.Mutex
	tags  map[string]string
	calls int
	fail  func(call int, id string) error
}

func (s *twins) write(id string, tags json.RawMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.fail != nil {
		if err := s.fail(s.calls, id); err != nil {
			return err
		}
	}
	if s.tags == nil {
		s.tags = make(map[string]string)
	}
	s.tags[id] = string(tags)
	return nil
}

func (s *twins) PatchTwin(_ context.Context, id string, patch []byte, _ string) (json.RawMessage, error) {
	var doc struct{ Tags json.RawMessage }
	if err := json.Unmarshal(patch, &doc); err != nil {
		return nil, err
	}
	return nil, s.write(id, doc.Tags)
}

func (s *twins) Bulk(_ context.Context, entries []registry.BulkEntry) (r registry.BulkResult, err error) {
	for _, e := range entries {
		if e.ImportMode != registry.ImportUpdateTwin {
			return r, fmt.Errorf("import mode %s", e.ImportMode)
		}
		if err := s.write(e.ID, e.Tags); err != nil {
			r.Errors = append(r.Errors, registry.BulkError{DeviceID: e.ID, ErrorCode: 404001, ErrorStatus: err.Error()})
		}
	}
	return r, nil
}

func ids(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint("dev-", i)
	}
	return out
}

func TestTagging(t *testing.T) {
	for _, tt := range []struct {
		mode  TagMode
		calls uint64
	}{{TagPatch, 250}, {TagBulk, 3}} {
		s, rec := &twins{}, metrics.NewRecorder(metrics.Options{})
		tagger := Tagger{Twins: s, Registry: s, Recorder: rec, Mode: tt.mode}
		var mu sync.Mutex
		most := 0
		err := tagger.Tag(t.Context(), "robots", ids(250), json.RawMessage(`{"plant":"A"}`), func(done int) {
			mu.Lock()
			defer mu.Unlock()
			most = max(most, done)
		})
		if err != nil || most != 250 || len(s.tags) != 250 || s.tags["dev-249"] != `{"plant":"A"}` {
			t.Errorf("%s: %v, %d done, %d tagged", tt.mode, err, most, len(s.tags))
		}
		if x := rec.Snapshot().Find(metrics.OpTag, "robots"); x.Ended() != tt.calls || x.Count(metrics.OK) != tt.calls {
			t.Errorf("%s: %d calls observed; want %d", tt.mode, x.Ended(), tt.calls)
		}
	}
}

// Throttled calls are made again until they are served; each try is an observation.
func TestTaggingWaitsForThrottles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &twins{fail: func(call int, _ string) error {
			if call <= 3 {
				return iothub.ErrThrottled
			}
			return nil
		}}
		rec := metrics.NewRecorder(metrics.Options{})
		tagger := Tagger{Twins: s, Registry: s, Recorder: rec, Mode: TagPatch, Concurrency: 1}
		began := time.Now()
		if err := tagger.Tag(t.Context(), "g", ids(1), json.RawMessage(`{}`), nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 3500*time.Millisecond {
			t.Errorf("waited %v; want half a second, one, two", took)
		}
		if x := rec.Snapshot().Find(metrics.OpTag, "g"); x.Count(metrics.Throttled) != 3 || x.Count(metrics.OK) != 1 {
			t.Errorf("%d throttled, %d served; want 3 and 1", x.Count(metrics.Throttled), x.Count(metrics.OK))
		}
	})
}

// All devices are tried; the error names each kind of failure once.
func TestTaggingFailures(t *testing.T) {
	for _, mode := range []TagMode{TagPatch, TagBulk} {
		s := &twins{fail: func(_ int, id string) error {
			if strings.HasSuffix(id, "7") {
				return iothub.ErrDeviceNotFound
			}
			return nil
		}}
		tagger := Tagger{Twins: s, Registry: s, Recorder: metrics.NewRecorder(metrics.Options{}), Mode: mode}
		err := tagger.Tag(t.Context(), "g", ids(100), json.RawMessage(`{}`), nil)
		if !errors.Is(err, iothub.ErrDeviceNotFound) || !strings.Contains(err.Error(), "10 devices failed") || len(s.tags) != 90 {
			t.Errorf("%s: %v; %d tagged", mode, err, len(s.tags))
		}
	}
}

// slow is a service whose queries take their time.
type slow struct {
	takes time.Duration
	pages int
	err   error
}

func (s slow) Query(string, int) Pager { return &slowPager{slow: s} }

type slowPager struct {
	slow
	page int
}

func (p *slowPager) More() bool { return p.page < p.pages }

func (p *slowPager) Next(ctx context.Context) ([]json.RawMessage, error) {
	p.page++
	if err := wait.For(ctx, p.takes); err != nil {
		return nil, err
	}
	return make([]json.RawMessage, 10), p.err
}

func TestQueriesKeepTheirSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := metrics.NewRecorder(metrics.Options{})
		runner := QueryRunner{
			Service: slow{takes: time.Second, pages: 3}, Recorder: rec,
			Queries: []Query{{Name: "q", Every: schedule.Every{Period: 10 * time.Second, Phase: 5 * time.Second}}},
		}
		ctx, cancel := context.WithTimeout(t.Context(), 61*time.Second)
		defer cancel()
		if err := runner.Run(ctx); err != nil {
			t.Fatal(err)
		}
		x := rec.Snapshot().Find(metrics.OpQuery, "q")
		if x.Scheduled() != 6 || x.Count(metrics.OK) != 6 {
			t.Errorf("%d scheduled, %d answered; want 6", x.Scheduled(), x.Count(metrics.OK))
		}
		if got := x.Latency(false).Quantile(0.5).Round(10 * time.Millisecond); got != 3*time.Second {
			t.Errorf("latency = %v; want 3s, all pages", got)
		}
		if q := rec.Snapshot().Queries[0]; q.Results != 30 || q.Pages != 18 {
			t.Errorf("results %d, pages %d; want 30 and 18", q.Results, q.Pages)
		}
	})
}

// A query that takes longer than its period: starts that find it busy are dropped and counted, never silently.
func TestSlowQueriesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := metrics.NewRecorder(metrics.Options{})
		runner := QueryRunner{Service: slow{takes: 25 * time.Second, pages: 1}, Recorder: rec, Queries: []Query{{Name: "q", Every: schedule.Every{Period: 10 * time.Second}}}}
		ctx, cancel := context.WithTimeout(t.Context(), 95*time.Second)
		defer cancel()
		_ = runner.Run(ctx)
		x := rec.Snapshot().Find(metrics.OpQuery, "q")
		if x.Scheduled() != 10 || x.Dropped[metrics.DropInFlight] != 6 || x.Started() != 4 || x.Count(metrics.Unanswered) != 1 {
			t.Errorf("%d scheduled, %v dropped, %d started, %d unanswered; want 10, 6, 4, 1", x.Scheduled(), x.Dropped, x.Started(), x.Count(metrics.Unanswered))
		}
	})
}

func TestQueryOutcomes(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want metrics.Outcome
	}{{nil, metrics.OK}, {iothub.ErrThrottled, metrics.Throttled}, {iothub.ErrUnauthorizedAccess, metrics.Refused}, {iothub.ErrArgumentInvalid, metrics.Failed}, {context.DeadlineExceeded, metrics.Timeout}, {fmt.Errorf("x: %w", &net.DNSError{IsTimeout: true}), metrics.Timeout}, {fmt.Errorf("x: %w", iothub.ErrMethodTimeout), metrics.Timeout}} {
		if got := OutcomeOf(tt.err); got != tt.want {
			t.Errorf("OutcomeOf(%v) = %v; want %v", tt.err, got, tt.want)
		}
	}
}
