package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/twinfleet/twinfleet/metrics"
)

// ErrLostReport is the class of errors of twins that do not hold a report which the target acknowledged.
var ErrLostReport = errors.New("an acknowledged report is missing in the twin")

// TwinReader reads one twin.
type TwinReader interface {
	Twin(ctx context.Context, id string) (json.RawMessage, error)
}

// Verification says whether twins hold what the target acknowledged.
type Verification struct {
	Devices int // watched devices with an acknowledged report
	Held    int // whose twins hold the last one, or a later state
	Lost    int // whose twins do not
	Unread  int // whose twins could not be read
	Err     error
}

// verifyConcurrency is how many twins are read at once.
const verifyConcurrency = 8

// Verify reads the twins of the watched devices, which must not report any more, and compares each with
// the last report that was acknowledged to its device: at that $version the twin must say what the device
// said; it may be at a later one, for a report can be carried out and its acknowledgement be lost.
func (a *Audit) Verify(ctx context.Context, twins TwinReader) Verification {
	var v Verification
	var mu sync.Mutex // protects v
	failures := newFailures()
	series := a.opts.Recorder.Series(metrics.OpTwinRead, "freshness-verify")
	var g errgroup.Group
	g.SetLimit(verifyConcurrency)
	for _, w := range a.watched {
		w.mu.Lock()
		last, ok := w.history.last()
		w.mu.Unlock()
		if !ok || last.version == 0 {
			continue
		}
		v.Devices++
		g.Go(func() error {
			doc, err := Measure(ctx, series, time.Now(), func(ctx context.Context) (json.RawMessage, error) { return twins.Twin(ctx, w.id) })
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				v.Unread++
				failures.add(w.id, err)
				return nil
			}
			if err := compare(doc, last); err != nil {
				v.Lost++
				failures.add(w.id, err)
				return nil
			}
			v.Held++
			return nil
		})
	}
	_ = g.Wait() // the functions return nil: failures are collected
	v.Err = failures.err()
	return v
}

// compare holds a twin against the last report that was acknowledged.
func compare(doc json.RawMessage, last known) error {
	var twin struct {
		Properties struct {
			Reported struct {
				Connectivity struct {
					Type string `json:"type"`
				} `json:"connectivity"`
				Version int64 `json:"$version"`
			} `json:"reported"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(doc, &twin); err != nil {
		return fmt.Errorf("reading the twin: %w", err)
	}
	got := twin.Properties.Reported
	switch {
	case got.Version < last.version:
		return fmt.Errorf("%w: the twin is older than what was acknowledged", ErrLostReport)
	case got.Version == last.version && got.Connectivity.Type != last.connectivity:
		return fmt.Errorf("%w: the twin holds something else at the version that was acknowledged", ErrLostReport)
	}
	return nil
}
