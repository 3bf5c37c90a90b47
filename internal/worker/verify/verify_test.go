package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/worker/workertest"
	"github.com/twinfleet/twinfleet/metrics"
)

func TestExpectations(t *testing.T) {
	x := Expectation{Low: 4, High: 6, Connectivity: "wifi", Until: 4, Others: []string{"ethernet"}}
	for _, tt := range []struct {
		version      int64
		connectivity string
		want         error
	}{
		{4, "wifi", nil},
		{5, "wifi", nil},
		{6, "ethernet", nil}, // later reports whose answers were lost
		{3, "wifi", ErrLostReport},
		{4, "ethernet", ErrLostReport},
		{4, "", ErrLostReport},
		{5, "cellular", ErrLostReport},
		{6, "", ErrLostReport},
		{7, "wifi", ErrForeignReport},
	} {
		if err := x.check(tt.version, tt.connectivity); !errors.Is(err, tt.want) {
			t.Errorf("%s at version %d: %v; want %v", tt.connectivity, tt.version, err, tt.want)
		}
	}
	if err := (&Expectation{Low: 1, High: 3}).check(2, "wifi"); err != nil {
		t.Errorf("of a device that told nothing of connectivity: %v", err)
	}
}

// Every device is verified: many by query, the twins of those that a query does not show as they must be are read.
func TestVerify(t *testing.T) {
	const (
		doc = `{"properties":{"reported":{"connectivity":{"type":%q},"$version":%d}}}`
		row = `{"deviceId":%q,"version":%d,"type":%q}`
	)
	twins, queried := workertest.Twins{}, &workertest.Rows{ByID: map[string]string{}}
	var all []Expectation
	add := func(queryVersion, version int64, kind string, direct bool) {
		id := fmt.Sprintf("dev-%d", len(all))
		all = append(all, Expectation{Device: id, Reports: 3, Low: 4, High: 5, Connectivity: "wifi", Until: 4, Direct: direct})
		if version > 0 {
			twins[id] = fmt.Sprintf(doc, kind, version)
		}
		queried.ByID[id] = fmt.Sprintf(row, id, queryVersion, kind)
	}
	add(4, 0, "wifi", false) // read by nobody: the query shows all
	add(3, 4, "wifi", false) // the query lags
	add(4, 4, "wifi", true)
	add(4, 2, "wifi", true)      // the query lies
	add(1, 1, "wifi", false)     // lost three
	add(4, 4, "cellular", false) // lost by its content
	add(3, 0, "wifi", false)     // cannot be read
	add(9, 9, "wifi", false)     // somebody else's
	rec := metrics.NewRecorder(metrics.Options{})
	var told []int
	v := &Verifier{Service: queried, Twins: twins, Recorder: rec, Progress: func(done, _ int) { told = append(told, done) }}
	got := v.Verify(t.Context(), all)
	if got.Devices != 8 || got.Held != 3 || got.Lost != 4 || got.Unread != 1 || got.Reports != 24 || got.Missing != 5 {
		t.Errorf("verified = %+v; want 3 of 8 held, 4 lost, 1 unread, 5 of 24 reports missing", got)
	}
	for _, want := range []error{ErrLostReport, ErrForeignReport, iothub.ErrDeviceNotFound} {
		if !errors.Is(got.Err, want) {
			t.Errorf("the error %v does not tell of %v", got.Err, want)
		}
	}
	if !slices.IsSorted(told) || told[0] != 0 || told[len(told)-1] != 8 {
		t.Errorf("progress = %v; want up to 8", told)
	}
	reads, asked := rec.Snapshot().Find(metrics.OpTwinRead, Name), rec.Snapshot().Find(metrics.OpQuery, Name)
	if reads.Started() != 7 || asked.Started() != 1 {
		t.Errorf("%d reads, %d queries; want 7 and 1", reads.Started(), asked.Started())
	}
	queried.Err = iothub.ErrThrottled // then every twin is read
	if got := v.Verify(t.Context(), all); got.Held != 2 || got.Lost != 4 || got.Unread != 2 {
		t.Errorf("without queries = %+v; want 2 held, 4 lost, 2 unread", got)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got := v.Verify(ended, all); got.Unread != 8 || !errors.Is(got.Err, context.Canceled) {
		t.Errorf("after its time is up = %+v; want 8 unread", got)
	}
}
