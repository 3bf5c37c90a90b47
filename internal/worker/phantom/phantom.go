// Package phantom finds devices that queries show and that do not exist.
package phantom

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/internal/worker/call"
	"github.com/twinfleet/twinfleet/internal/worker/queries"
	"github.com/twinfleet/twinfleet/internal/worker/twinread"
	"github.com/twinfleet/twinfleet/internal/worker/verify"
	"github.com/twinfleet/twinfleet/metrics"
)

// Search notes strangers: devices in results that are none of the run's, but of others on the same hub, or of nobody. It is safe
// for concurrent use.
type Search struct {
	Known     func(id string) bool // whether a device is one of the run's; nil notes nobody
	Recorder  *metrics.Recorder    // required
	Tolerance time.Duration        // how far a result may be behind

	mu  sync.Mutex        // protects ids
	ids map[string]string // the query that showed each
}

// What is noted is bounded: so many, with ids of so many bytes, as a device's and a module's have together.
const (
	maxStrangers = 20
	longestID    = 257
)

// Note takes note of a device that a query showed.
func (s *Search) Note(id, query string) {
	if s.Known == nil || id == "" || len(id) > longestID || s.Known(id) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids = make(map[string]string)
	}
	if _, there := s.ids[id]; !there && len(s.ids) < maxStrangers {
		s.ids[id] = query
	}
}

// Device is a device that a query shows and that does not exist.
type Device struct {
	ID    string // as the row has it
	Query string // name of the query that showed it first
}

// Find tells which of the strangers noted since the last time are phantoms. One that has no twin, and that a query still shows
// after the time in which a result may be behind, does not exist.
func (s *Search) Find(ctx context.Context, service queries.Service, twins twinread.Reader) (found []Device) {
	s.mu.Lock()
	shown := s.ids
	s.ids = nil
	s.mu.Unlock()
	series := s.Recorder.Series(metrics.OpTwinRead, verify.Name)
	var gone []string
	for id := range shown {
		if ctx.Err() != nil {
			return nil
		}
		_, err := call.Measure(ctx, series, time.Now(), func(ctx context.Context) (json.RawMessage, error) { return twins.Twin(ctx, id) })
		if errors.Is(err, iothub.ErrDeviceNotFound) {
			gone = append(gone, id)
		}
	}
	if len(gone) == 0 || wait.For(ctx, s.Tolerance) != nil {
		return nil
	}
	runner := &queries.Runner{Service: service, Recorder: s.Recorder, Watch: func(*queries.Query, time.Time) queries.Watch {
		return queries.Pages(func(items []json.RawMessage) {
			for _, item := range items {
				var row struct {
					DeviceID string `json:"deviceId"`
				}
				if json.Unmarshal(item, &row) == nil && slices.Contains(gone, row.DeviceID) {
					found = append(found, Device{row.DeviceID, shown[row.DeviceID]})
				}
			}
		})
	}}
	for _, sql := range queries.ForDevices("SELECT deviceId FROM devices WHERE deviceId IN [", gone) {
		query := &queries.Query{Name: verify.Name, SQL: sql, PageSize: 1000}
		runner.Once(ctx, query, s.Recorder.Series(metrics.OpQuery, verify.Name), time.Now())
	}
	slices.SortFunc(found, func(a, b Device) int { return strings.Compare(a.ID, b.ID) })
	return found
}
