// Package verify holds twins against the reports that the target acknowledged.
package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/twinfleet/twinfleet/internal/worker/call"
	"github.com/twinfleet/twinfleet/internal/worker/failure"
	"github.com/twinfleet/twinfleet/internal/worker/queries"
	"github.com/twinfleet/twinfleet/internal/worker/twinread"
	"github.com/twinfleet/twinfleet/metrics"
)

// ErrLostReport is the class of errors of twins that do not hold a report which the target acknowledged.
var ErrLostReport = errors.New("an acknowledged report is missing in the twin")

// ErrForeignReport is the class of errors of twins with more reports than their devices sent.
var ErrForeignReport = errors.New("the twin holds more reports than its device sent")

// Name is the name of the verification's queries and twin reads, in metrics and thresholds.
const Name = "freshness-verify"

// Expectation is what the reported properties of a device must be like once it has stopped.
type Expectation struct {
	Device    string // its id
	Reports   int64  // acknowledged
	Low, High int64  // bounds of $version: every acknowledged report raised it by one, an unanswered one may have
	// Connectivity must be in the twin while its $version is at most Until, and may be replaced by one of
	// Others at a later one; empty when none was acknowledged.
	Connectivity string
	Until        int64    // the highest $version at which Connectivity cannot have been replaced
	Others       []string // of reports that were never acknowledged
	// Direct reads the twin itself. Other devices are queried first, many at once.
	Direct bool
}

// Result says whether twins hold what the target acknowledged.
type Result struct {
	Devices int   // with an acknowledged report
	Held    int   // whose twins hold all of them
	Lost    int   // whose twins do not, or hold what was never sent
	Unread  int   // whose twins could not be read
	Reports int64 // acknowledged
	Missing int64 // of those, how many are not in the twins at the least
	Err     error // one for each kind of what is wrong; nil when nothing is
}

// Verifier compares twins with what the target acknowledged to their devices.
type Verifier struct {
	Service  queries.Service   // nil reads every twin itself
	Twins    twinread.Reader   // required
	Recorder *metrics.Recorder // required
	// Progress, which may be nil, is told how many devices are done, one call at a time.
	Progress func(done, total int)

	mu       sync.Mutex // protects the following fields
	result   Result
	failures *failure.Kinds
}

// concurrency is how many calls are under way at once.
const concurrency = 8

// Verify holds the twin of every device against what is expected of it. What a query shows counts when it is as
// it must be: queries may lag. All other twins are read themselves.
func (v *Verifier) Verify(ctx context.Context, all []Expectation) Result {
	v.result, v.failures = Result{Devices: len(all)}, new(failure.Kinds)
	for i := range all {
		v.result.Reports += all[i].Reports
	}
	v.tell()
	left := all
	if v.Service != nil {
		left = v.query(ctx, all)
	}
	series := v.Recorder.Series(metrics.OpTwinRead, Name)
	var g errgroup.Group
	g.SetLimit(concurrency)
	for i := range left {
		g.Go(func() error {
			v.read(ctx, series, &left[i])
			return nil
		})
	}
	_ = g.Wait() // the functions return nil: failures are collected
	v.result.Err = v.failures.Err()
	return v.result
}

func (v *Verifier) tell() {
	if v.Progress != nil {
		v.Progress(v.result.Held+v.result.Lost+v.result.Unread, v.result.Devices)
	}
}

// columns are what the verification asks of many devices at once.
const columns = "SELECT deviceId, properties.reported.$version AS version, properties.reported.connectivity.type AS type " +
	"FROM devices WHERE deviceId IN ["

// query asks for many devices at once and returns those whose twins have to be read.
func (v *Verifier) query(ctx context.Context, all []Expectation) (left []Expectation) {
	ids := make([]string, 0, len(all))
	byID := make(map[string]*Expectation, len(all))
	for i := range all {
		if x := &all[i]; !x.Direct {
			ids, byID[x.Device] = append(ids, x.Device), x
		}
	}
	held := make(map[string]bool, len(ids))
	judge := func(items []json.RawMessage) {
		for _, item := range items {
			var row struct {
				DeviceID string `json:"deviceId"`
				Version  int64  `json:"version"`
				Type     string `json:"type"`
			}
			if json.Unmarshal(item, &row) != nil {
				continue
			}
			v.mu.Lock()
			if x := byID[row.DeviceID]; x != nil && !held[row.DeviceID] && x.check(row.Version, row.Type) == nil {
				held[row.DeviceID] = true
				v.result.Held++
			}
			v.mu.Unlock()
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.tell()
	}
	runner := &queries.Runner{Service: v.Service, Recorder: v.Recorder, Watch: func(*queries.Query, time.Time) queries.Watch { return queries.Pages(judge) }}
	series := v.Recorder.Series(metrics.OpQuery, Name)
	for _, sql := range queries.ForDevices(columns, ids) {
		if ctx.Err() != nil {
			break
		}
		runner.Once(ctx, &queries.Query{Name: Name, SQL: sql, PageSize: 1000}, series, time.Now())
	}
	return slices.DeleteFunc(slices.Clone(all), func(x Expectation) bool { return held[x.Device] })
}

// read reads one twin and judges it.
func (v *Verifier) read(ctx context.Context, series *metrics.Series, x *Expectation) {
	var doc json.RawMessage
	err := context.Cause(ctx)
	if err == nil {
		doc, err = call.Measure(ctx, series, time.Now(), func(ctx context.Context) (json.RawMessage, error) { return v.Twins.Twin(ctx, x.Device) })
	}
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
	if err == nil {
		err = json.Unmarshal(doc, &twin)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	defer v.tell()
	if err != nil {
		v.result.Unread++
		v.failures.Add(x.Device, fmt.Errorf("reading the twin: %w", err))
		return
	}
	got := twin.Properties.Reported
	if err := x.check(got.Version, got.Connectivity.Type); err != nil {
		v.result.Lost++
		v.result.Missing += max(0, x.Low-got.Version)
		v.failures.Add(x.Device, err)
		return
	}
	v.result.Held++
}

// check holds the reported properties of a twin against what is expected of them.
func (x *Expectation) check(version int64, connectivity string) error {
	switch {
	case version < x.Low:
		return fmt.Errorf("%w: its $version is lower than what was acknowledged makes it", ErrLostReport)
	case version > x.High:
		return fmt.Errorf("%w: its $version is higher; does another client use the identity?", ErrForeignReport)
	case x.Connectivity == "" || connectivity == x.Connectivity:
		return nil
	case version <= x.Until:
		return fmt.Errorf("%w: it holds another connectivity at the $version that was acknowledged", ErrLostReport)
	case !slices.Contains(x.Others, connectivity):
		return fmt.Errorf("%w: it holds a connectivity that its device did not send since", ErrLostReport)
	}
	return nil
}
