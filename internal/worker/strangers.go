package worker

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
	"github.com/twinfleet/twinfleet/metrics"
)

// strangers are devices in results that are none of the run's: of others on the same hub, or of nobody.
type strangers struct {
	mu  sync.Mutex // protects ids
	ids map[string]string
}

// maxStrangers bounds how many are looked for.
const maxStrangers = 20

// stranger notes a device that a query showed.
func (a *Audit) stranger(id, query string) {
	if a.opts.Known == nil || id == "" || a.opts.Known(id) {
		return
	}
	s := &a.strangers
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids = make(map[string]string)
	}
	if _, there := s.ids[id]; !there && len(s.ids) < maxStrangers {
		s.ids[id] = query
	}
}

// Phantom is a device that a query shows and that does not exist.
type Phantom struct{ Device, Query string }

// Phantoms looks for the strangers that results have shown. One that has no twin, and that a query still shows
// after the time in which a result may be behind, does not exist.
func (a *Audit) Phantoms(ctx context.Context, service Querier, twins TwinReader) (found []Phantom) {
	a.strangers.mu.Lock()
	shown := a.strangers.ids
	a.strangers.ids = nil
	a.strangers.mu.Unlock()
	series := a.opts.Recorder.Series(metrics.OpTwinRead, VerifyName)
	var gone []string
	for id := range shown {
		if ctx.Err() != nil {
			return nil
		}
		_, err := Measure(ctx, series, time.Now(), func(ctx context.Context) (json.RawMessage, error) { return twins.Twin(ctx, id) })
		if errors.Is(err, iothub.ErrDeviceNotFound) {
			gone = append(gone, id)
		}
	}
	if len(gone) == 0 || wait.For(ctx, a.opts.Tolerance) != nil {
		return nil
	}
	runner := &QueryRunner{Service: service, Recorder: a.opts.Recorder, Watch: func(*Query, time.Time) Watch {
		return pages(func(items []json.RawMessage) {
			for _, item := range items {
				var row struct {
					DeviceID string `json:"deviceId"`
				}
				if json.Unmarshal(item, &row) == nil && slices.Contains(gone, row.DeviceID) {
					found = append(found, Phantom{row.DeviceID, shown[row.DeviceID]})
				}
			}
		})
	}}
	for _, sql := range queriesFor("SELECT deviceId FROM devices WHERE deviceId IN [", gone) {
		runner.Once(ctx, &Query{Name: VerifyName, SQL: sql, PageSize: 1000}, a.opts.Recorder.Series(metrics.OpQuery, VerifyName), time.Now())
	}
	slices.SortFunc(found, func(a, b Phantom) int { return strings.Compare(a.Device, b.Device) })
	return found
}
