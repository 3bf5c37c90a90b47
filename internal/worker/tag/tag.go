// Package tag writes tags on the twins of many devices.
package tag

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/internal/worker/call"
	"github.com/twinfleet/twinfleet/internal/worker/failure"
	"github.com/twinfleet/twinfleet/metrics"
)

// Patcher changes one twin.
type Patcher interface {
	PatchTwin(ctx context.Context, id string, patch []byte, etag string) (json.RawMessage, error)
}

// BulkUpdater changes up to registry.MaxBulk twins a call.
type BulkUpdater interface {
	Bulk(ctx context.Context, entries []registry.BulkEntry) (registry.BulkResult, error)
}

// Mode is how tags reach the twins.
type Mode string

// The modes.
const (
	Patch Mode = "patch" // one PATCH a twin
	Bulk  Mode = "bulk"  // the registry's updateTwin, registry.MaxBulk twins a call
)

// Tagger sets tags on the twins of many devices.
type Tagger struct {
	Twins       Patcher           // of mode Patch
	Registry    BulkUpdater       // of mode Bulk
	Recorder    *metrics.Recorder // required
	Mode        Mode              // Patch when empty
	Concurrency int               // calls under way at once; 8 when 0
	// Attempts of one call that the service throttles; 10 when 0. Waits grow from half a second to ten.
	Attempts int
}

// Calls is how many calls that succeed tag so many devices.
func (t *Tagger) Calls(devices int) int {
	return (devices + t.size() - 1) / t.size()
}

// size is how many devices a call tags.
func (t *Tagger) size() int {
	if t.Mode == Bulk {
		return registry.MaxBulk
	}
	return 1
}

// Tag sets tags, a JSON object, on the twins of the devices of one group. progress, which may be nil,
// is told how many are done, from several goroutines. All devices are tried; the error joins one
// line for each kind of failure with the number of devices it struck.
func (t *Tagger) Tag(ctx context.Context, group string, ids []string, tags json.RawMessage, progress func(done int)) error {
	patch, err := json.Marshal(map[string]json.RawMessage{"tags": tags})
	if err != nil {
		return fmt.Errorf("tagging group %s: %w", group, err)
	}
	series := t.Recorder.Series(metrics.OpTag, group)
	var done atomic.Int64
	var failures failure.Kinds
	var g errgroup.Group
	g.SetLimit(cmp.Or(t.Concurrency, 8))
	for chunk := range slices.Chunk(ids, t.size()) {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if t.Mode == Bulk {
				t.bulk(ctx, series, chunk, tags, &failures)
			} else {
				failures.Add(chunk[0], t.retry(ctx, series, func(ctx context.Context) error {
					_, err := t.Twins.PatchTwin(ctx, chunk[0], patch, "")
					return err
				}))
			}
			n := done.Add(int64(len(chunk)))
			if progress != nil {
				progress(int(n))
			}
			return nil
		})
	}
	_ = g.Wait() // the functions return nil: failures are collected
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("tagging group %s: %w", group, err)
	}
	if err := failures.Err(); err != nil {
		return fmt.Errorf("tagging group %s: %w", group, err)
	}
	return nil
}

func (t *Tagger) bulk(ctx context.Context, series *metrics.Series, ids []string, tags json.RawMessage, failures *failure.Kinds) {
	entries := make([]registry.BulkEntry, 0, len(ids))
	for _, id := range ids {
		entries = append(entries, registry.BulkEntry{ID: id, ImportMode: registry.ImportUpdateTwin, Tags: tags})
	}
	var result registry.BulkResult
	err := t.retry(ctx, series, func(ctx context.Context) (err error) {
		result, err = t.Registry.Bulk(ctx, entries)
		return err
	})
	if err != nil {
		for _, id := range ids {
			failures.Add(id, err)
		}
		return
	}
	for _, e := range result.Errors {
		failures.Add(e.DeviceID, &iothub.Error{Code: e.ErrorCode, Message: e.ErrorStatus})
	}
}

// retry repeats a call while the service throttles it. Every try is one observation.
func (t *Tagger) retry(ctx context.Context, series *metrics.Series, do func(context.Context) error) error {
	pause := 500 * time.Millisecond
	for try := 1; ; try++ {
		_, err := call.Measure(ctx, series, time.Now(), func(ctx context.Context) (struct{}, error) { return struct{}{}, do(ctx) })
		if !iothub.Throttled(err) || try >= cmp.Or(t.Attempts, 10) {
			return err
		}
		var e *iothub.Error
		if errors.As(err, &e) && e.RetryAfter > 0 {
			pause = e.RetryAfter
		}
		if wait.For(ctx, pause) != nil {
			return err
		}
		pause = min(2*pause, 10*time.Second)
	}
}
