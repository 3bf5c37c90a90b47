package tag_test

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
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/worker/tag"
	"github.com/twinfleet/twinfleet/internal/worker/workertest"
	"github.com/twinfleet/twinfleet/metrics"
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

func TestTagging(t *testing.T) {
	for _, tt := range []struct {
		mode  tag.Mode
		calls uint64
	}{{tag.Patch, 250}, {tag.Bulk, 3}} {
		s, rec := &twins{}, metrics.NewRecorder(metrics.Options{})
		tagger := tag.Tagger{Twins: s, Registry: s, Recorder: rec, Mode: tt.mode}
		var mu sync.Mutex
		most := 0
		err := tagger.Tag(t.Context(), "robots", workertest.IDs(250), json.RawMessage(`{"plant":"A"}`), func(done int) {
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
		if n := tagger.Calls(250); n != int(tt.calls) {
			t.Errorf("%s: %d calls are to be made; want %d", tt.mode, n, tt.calls)
		}
	}
}

// Throttled calls are repeated until they are served; each try is an observation.
func TestTaggingWaitsForThrottles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &twins{fail: func(call int, _ string) error {
			if call <= 3 {
				return iothub.ErrThrottled
			}
			return nil
		}}
		rec := metrics.NewRecorder(metrics.Options{})
		tagger := tag.Tagger{Twins: s, Registry: s, Recorder: rec, Mode: tag.Patch, Concurrency: 1}
		began := time.Now()
		if err := tagger.Tag(t.Context(), "g", workertest.IDs(1), json.RawMessage(`{}`), nil); err != nil {
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
	for _, mode := range []tag.Mode{tag.Patch, tag.Bulk} {
		s := &twins{fail: func(_ int, id string) error {
			if strings.HasSuffix(id, "7") {
				return iothub.ErrDeviceNotFound
			}
			return nil
		}}
		tagger := tag.Tagger{Twins: s, Registry: s, Recorder: metrics.NewRecorder(metrics.Options{}), Mode: mode}
		err := tagger.Tag(t.Context(), "g", workertest.IDs(100), json.RawMessage(`{}`), nil)
		if !errors.Is(err, iothub.ErrDeviceNotFound) || !strings.Contains(err.Error(), "10 devices failed") || len(s.tags) != 90 {
			t.Errorf("%s: %v; %d tagged", mode, err, len(s.tags))
		}
	}
}
