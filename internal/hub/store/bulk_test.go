package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
)

// bulk decodes entries as a client writes them and calls Bulk.
func bulk(t *testing.T, s *Store, body string) (registry.BulkResult, error) {
	t.Helper()
	var entries []registry.BulkEntry
	if err := json.Unmarshal([]byte(body), &entries); err != nil {
		t.Fatal(err)
	}
	return s.Bulk(t.Context(), entries)
}

// bulkMode is one import mode, and the error code it gives.
type bulkMode struct {
	mode, with  string // with: further members of the entry; <etag> and <twin> stand for the present ones.
	there, none int    // The code for a device that exists, and for one that does not; 0 for success.
}

func bulkModes() []bulkMode {
	const ok = 0
	return []bulkMode{
		{"create", ``, 409001, ok},
		{"CREATE", ``, 409001, ok},
		{"createOrUpdate", ``, ok, ok},
		{"", ``, ok, ok},
		{"CreateOrUpdateIfMatchETag", `,"eTag":"<etag>"`, ok, ok},
		{"createOrUpdateIfMatchETag", `,"eTag":"bm8="`, 412001, ok},
		{"createOrUpdateIfMatchETag", ``, ok, ok},
		{"update", ``, ok, 404001},
		{"Update", `,"eTag":"bm8="`, ok, 404001},
		{"UpdateIfMatchETag", `,"eTag":"<etag>"`, ok, 404001},
		{"updateIfMatchETag", `,"eTag":"*"`, ok, 404001},
		{"updateIfMatchETag", `,"eTag":"bm8="`, 412001, 404001},
		{"updateIfMatchETag", ``, ok, 404001},
		{"delete", `,"eTag":"bm8="`, ok, 404001},
		{"DeleteIfMatchETag", `,"eTag":"<etag>"`, ok, 404001},
		{"deleteIfMatchETag", `,"eTag":"bm8="`, 412001, 404001},
		{"deleteIfMatchETag", ``, ok, 404001},
		{"updateTwin", `,"tags":{"a":1}`, ok, 404001},
		{"updateTwin", `,"tags":{"a":1},"twinETag":"AAAAAAAAAGM="`, ok, 404001},
		{"updateTwin", ``, ok, 404001},
		{"UpdateTwinIfMatchETag", `,"tags":{"a":1},"twinETag":"<twin>"`, ok, 404001},
		{"updateTwinIfMatchETag", `,"tags":{"a":1},"twinETag":"AAAAAAAAAGM="`, 412001, 404001},
		{"updateTwinIfMatchETag", `,"twinETag":"AAAAAAAAAGM="`, 412001, 404001},
		{"updateTwinIfMatchETag", `,"tags":{"a":1}`, ok, 404001},
		{"updateIfMatchETag", `,"eTag":"\"<etag>\""`, ok, 404001},
		{"createOrUpdate", `,"tags":{"a":1},"twinETag":"AAAAAAAAAGM="`, 412001, ok},
		{"upsert", ``, 400004, 400004},
		{"create", `,"status":"asleep"`, 409001, 400004},
		{"create", `,"tags":{"a b":1}`, 409001, 400004},
		{"createOrUpdate", `,"tags":{"a":1,"a":2}`, 400004, 400004},
		{"createOrUpdate", `,"properties":{"desired":[]}`, 400004, 400004},
	}
}

// TestBulkModes tries every import mode on a device that exists and on one that does not.
func TestBulkModes(t *testing.T) {
	for i, tt := range bulkModes() {
		for _, exists := range []bool{true, false} {
			s := open(t, Options{})
			etag := "bm8="
			if exists {
				create(t, s, "d")
				tw, err := s.Twin("d")
				if err != nil {
					t.Fatal(err)
				}
				etag = tw.DeviceETag
			}
			with := strings.NewReplacer("<etag>", etag, "<twin>", "AAAAAAAAAAE=").Replace(tt.with)
			result, err := bulk(t, s, fmt.Sprintf(`[{"id":"d","importMode":%q%s}]`, tt.mode, with))
			if err != nil {
				t.Errorf("%d %s: %v", i, tt.mode, err)
				continue
			}
			code, want := 0, tt.none
			if exists {
				want = tt.there
			}
			if len(result.Errors) > 0 {
				code = result.Errors[0].ErrorCode
			}
			if code != want || result.IsSuccessful != (want == 0) || len(result.Errors) > 0 && result.Errors[0].DeviceID != "d" {
				t.Errorf("%d %s%s, exists %v: %+v; want code %d", i, tt.mode, tt.with, exists, result, want)
			}
		}
	}
}

func TestBulkEffects(t *testing.T) {
	var told []string
	s := open(t, Options{
		OnDesired: func(id string, delta []byte, _ int64) { told = append(told, id+string(delta)) },
		OnGone:    func(id string, reason GoneReason) { told = append(told, id+" "+reason.String()) },
	})
	result, err := bulk(t, s, `[
		{"id":"a","importMode":"create","tags":{"location":{"plant":"Redmond43"}},"properties":{"desired":{"x":1}},"capabilities":{"iotEdge":true}},
		{"id":"b","importMode":"create","status":"disabled"},
		{"id":"c","importMode":"create"},
		{"id":"a/b","importMode":"create"}]`)
	if err != nil || result.IsSuccessful || len(result.Errors) != 1 || result.Errors[0].DeviceID != "a/b" || result.Errors[0].ErrorCode != 400004 {
		t.Errorf("result %+v, %v", result, err)
	}
	if got := s.Statistics(); got != (registry.Statistics{Total: 3, Enabled: 2, Disabled: 1}) {
		t.Errorf("Statistics = %+v", got)
	}
	result, err = bulk(t, s, `[
		{"id":"a","importMode":"update","status":"disabled","properties":{"desired":{"x":2}}},
		{"id":"b","importMode":"updateTwin","properties":{"desired":{"y":1}}},
		{"id":"c","importMode":"delete"}]`)
	if err != nil || !result.IsSuccessful || len(result.Errors) != 0 {
		t.Errorf("result %+v, %v", result, err)
	}
	if want := `[a{"x":2,"$version":2} a disabled a/$edgeAgent disabled a/$edgeHub disabled b{"y":1,"$version":2} c deleted]`; fmt.Sprint(told) != want {
		t.Errorf("told %s; want %s", told, want)
	}
	tw, err := s.Twin("a")
	if err != nil || !tw.IoTEdge || tw.Status != "disabled" || tw.ETag != 2 || tw.Field("tags", "location", "plant").Str() != "Redmond43" {
		t.Errorf("twin %s, %v", tw.AppendJSON(nil), err)
	}
	text, err := json.Marshal(result)
	if err != nil || string(text) != `{"isSuccessful":true,"errors":[],"warnings":[]}` {
		t.Errorf("result is written as %s, %v", text, err)
	}
}

// TestBulkIsAtomicPerDevice: an entry whose twin is refused leaves the identity alone.
func TestBulkIsAtomicPerDevice(t *testing.T) {
	s := open(t, Options{})
	create(t, s, "a")
	before, err := s.Device("a")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range []string{
		`{"id":"a","importMode":"update","status":"disabled","tags":{"x y":1}}`,
		`{"id":"a","importMode":"update","status":"disabled","tags":{"x":1},"twinETag":"AAAAAAAAAGM="}`,
	} {
		if result, err := bulk(t, s, "["+entry+"]"); err != nil || result.IsSuccessful {
			t.Errorf("%s: %+v, %v", entry, result, err)
		}
	}
	after, err := s.Device("a")
	if err != nil || !reflect.DeepEqual(after, before) {
		t.Errorf("after refused entries\n%+v\nbefore\n%+v", after, before)
	}
}

func TestBulkErrors(t *testing.T) {
	s := open(t, Options{})
	if _, err := bulk(t, s, `[{"id":"a","importMode":"create"},{"id":"b","importMode":"create"},{"id":"a","importMode":"update"}]`); !errors.Is(err,
		iothub.ErrDefinedMultipleTimes) {
		t.Errorf("a device twice: %v", err)
	}
	entries := make([]registry.BulkEntry, 101)
	for i := range entries {
		entries[i] = registry.BulkEntry{ID: fmt.Sprint("d", i), ImportMode: "create"}
	}
	if _, err := s.Bulk(t.Context(), entries); !errors.Is(err, iothub.ErrTooManyDevices) {
		t.Errorf("101 entries: %v", err)
	}
	if s.Statistics().Total != 0 {
		t.Errorf("refused calls have made %d devices", s.Statistics().Total)
	}
	if result, err := s.Bulk(t.Context(), entries[:100]); err != nil || !result.IsSuccessful || s.Statistics().Total != 100 {
		t.Errorf("100 entries: %+v, %v", result, err)
	}
	if _, err := s.PatchTwin(t.Context(), "d7", value(t, `{"a":1}`), jsonvalue.Value{}, ""); err != nil {
		t.Errorf("a device made in bulk has no twin: %v", err)
	}
}
