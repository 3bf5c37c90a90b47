package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
)

func TestReport(t *testing.T) {
	c := newClock()
	s := open(t, Options{Now: c.now})
	create(t, s, "d")
	if got := report(t, s, "d", `{"connectivity":{"type":"wifi"}}`); got != 2 {
		t.Errorf("first report gives version %d; want 2", got)
	}
	if _, err := s.Report(t.Context(), "d", value(t, `{"a":1}`), 1); !errors.Is(err, iothub.ErrPreconditionFailed) {
		t.Errorf("report over an old version: %v", err)
	}
	if got, err := s.Report(t.Context(), "d", value(t, `{"a":1}`), 2); got != 3 || err != nil {
		t.Errorf("report over the present version = %d, %v; want 3", got, err)
	}
	_, err := s.Report(t.Context(), "d", value(t, `{"a":[{"b":null}]}`), -1)
	if !errors.Is(err, iothub.ErrArgumentInvalid) || !strings.Contains(err.Error(), "Value of Property or Tag cannot be null. Error inProperty/Tag b") {
		t.Errorf("null in an array: %v", err)
	}
	tw, err := s.Twin("d")
	if err != nil || tw.Reported.Version() != 3 || tw.Version != 4 || tw.ETag != 1 || !tw.LastActivity.Equal(c.t.Truncate(100)) {
		t.Errorf("twin %s, %v", tw.AppendJSON(nil), err)
	}
}

func TestTwinLimitsOnBothWrites(t *testing.T) {
	s := open(t, Options{})
	create(t, s, "d")
	large := value(t, `{"a":"`+strings.Repeat("x", 4096)+`","b":"`+strings.Repeat("x", 4096)+`"}`)
	if _, err := s.PatchTwin(t.Context(), "d", large, value(t, `{"ok":1}`), ""); !errors.Is(err, iothub.ErrArgumentInvalid) {
		t.Errorf("PatchTwin beyond the size: %v", err)
	}
	if _, err := s.ReplaceTwin(t.Context(), "d", large, value(t, `{"ok":1}`), ""); !errors.Is(err, iothub.ErrArgumentInvalid) {
		t.Errorf("ReplaceTwin beyond the size: %v", err)
	}
	if tw, err := s.Twin("d"); err != nil || tw.Version != 2 || tw.Desired.Version() != 1 {
		t.Errorf("a refused write has changed the twin: %s, %v", tw.AppendJSON(nil), err)
	}
}

// TestOnDesired: what a device is told is what it needs to follow, and no more.
func TestOnDesired(t *testing.T) {
	var told []string
	s := open(t, Options{OnDesired: func(id string, delta []byte, version int64) {
		told = append(told, fmt.Sprintf("%s %d %s", id, version, delta))
	}})
	create(t, s, "d", "e")
	patch(t, s, "d", "", `{"f":"5m","route":null}`)
	patch(t, s, "d", `{"tag":1}`, "")
	patch(t, s, "d", `{"tag":1}`, `{}`)
	report(t, s, "d", `{"f":"5m"}`)
	patch(t, s, "d", "", `{"f":"5m"}`)
	if _, err := s.ReplaceTwin(t.Context(), "d", jsonvalue.Value{}, value(t, `{"g":1}`), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PatchTwin(t.Context(), "d", jsonvalue.Value{}, value(t, `{"x y":1}`), ""); err == nil {
		t.Error("a bad name was accepted")
	}
	patch(t, s, "e", "", `{"f":1}`)
	want := []string{
		`d 2 {"f":"5m","route":null,"$version":2}`,
		`d 3 {"f":"5m","$version":3}`,
		`d 4 {"f":null,"g":1,"$version":4}`,
		`e 2 {"f":1,"$version":2}`,
	}
	if !slices.Equal(told, want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
}

func TestConnectionState(t *testing.T) {
	c := newClock()
	s := open(t, Options{Now: c.now})
	create(t, s, "d", "e")
	s.SetConnected("d", true)
	s.SetConnected("d", true)
	s.SetConnected("e", true)
	if got := s.ConnectedCount(); got != 2 {
		t.Errorf("ConnectedCount = %d; want 2", got)
	}
	device, err := s.Device("d")
	if err != nil || device.ConnectionState != "Connected" || !device.ConnectionStateUpdated.Equal(c.t) || !device.LastActivity.Equal(c.t.Truncate(100)) {
		t.Errorf("device %+v, %v", device, err)
	}
	connected := s.Lookup([]string{"connectionState"}).Equal(jsonvalue.StringValue("Connected"))
	if connected == nil || connected.GetCardinality() != 2 {
		t.Errorf("queries see %v connected", connected)
	}
	s.SetConnected("d", false)
	if err := s.DeleteDevice(t.Context(), "e", ""); err != nil {
		t.Fatal(err)
	}
	if got := s.ConnectedCount(); got != 0 {
		t.Errorf("ConnectedCount = %d; want 0", got)
	}
	if tw, err := s.Twin("d"); err != nil || tw.Connected || tw.Version != 2 {
		t.Errorf("twin %s, %v", tw.AppendJSON(nil), err)
	}
}

// TestTouch: activity is seen at once by who asks for the device, and by queries once it
// is a second newer than what they see.
func TestTouch(t *testing.T) {
	c := newClock()
	start := c.t
	s := open(t, Options{Now: c.now})
	create(t, s, "d")
	seen := func() time.Duration {
		_, tw, _ := s.ByID("d")
		return tw.LastActivity.Sub(start.Truncate(100))
	}
	s.Touch("d")
	for _, tt := range []struct{ later, want time.Duration }{
		{0, 0}, {900 * time.Millisecond, 0}, {time.Second, time.Second}, {1500 * time.Millisecond, time.Second}, {3 * time.Second, 3 * time.Second},
	} {
		c.t = start.Add(tt.later)
		s.Touch("d")
		tw, err := s.Twin("d")
		device, deviceErr := s.Device("d")
		if err != nil || deviceErr != nil || !tw.LastActivity.Equal(c.t.Truncate(100)) || !device.LastActivity.Equal(c.t.Truncate(100)) {
			t.Errorf("after %v the last activity is %v, %v", tt.later, tw.LastActivity, device.LastActivity)
		}
		if got := seen(); got != tt.want {
			t.Errorf("after %v queries see activity of %v; want %v", tt.later, got, tt.want)
		}
	}
	c.t = start.Add(3100 * time.Millisecond)
	s.Touch("d")
	patch(t, s, "d", `{"a":1}`, "") // Must not bring the older time back.
	if tw, err := s.Twin("d"); err != nil || !tw.LastActivity.Equal(c.t.Truncate(100)) {
		t.Errorf("last activity %v, %v", tw.LastActivity, err)
	}
}

func TestNotes(t *testing.T) {
	s := open(t, Options{})
	create(t, s, "d")
	if err := s.SetModelID(t.Context(), "d", "dtmi:example:thermostat;1"); err != nil {
		t.Fatal(err)
	}
	s.SetC2DCount("d", 2)
	tw, err := s.Twin("d")
	if err != nil || tw.ModelID != "dtmi:example:thermostat;1" || tw.C2DCount != 2 || tw.Version != 2 {
		t.Errorf("twin %s, %v", tw.AppendJSON(nil), err)
	}
	if _, shown, _ := s.ByID("d"); shown.ModelID != tw.ModelID || shown.C2DCount != 2 {
		t.Errorf("queries see %s", shown.AppendJSON(nil))
	}
	if device, err := s.Device("d"); err != nil || device.C2DMessages != 2 {
		t.Errorf("device %+v, %v", device, err)
	}
}

// Once a write has failed nothing more is acknowledged, and no device is told; what is in memory can still be read.
func TestFailureOfTheDisk(t *testing.T) {
	told := 0
	s := open(t, Options{DataDir: t.TempDir(), OnDesired: func(string, []byte, int64) { told++ }})
	create(t, s, "d")
	if err := s.disk.Abandon(); err != nil { // From now on the library refuses.
		t.Fatal(err)
	}
	calls := []struct {
		name string
		call func() error
	}{
		{"PatchTwin", func() error {
			_, err := s.PatchTwin(t.Context(), "d", jsonvalue.Value{}, value(t, `{"a":1}`), "")
			return err
		}},
		{"CreateDevice", func() error { _, err := s.CreateDevice(t.Context(), registry.Identity{DeviceID: "e"}); return err }},
		{"Report", func() error { _, err := s.Report(t.Context(), "d", value(t, `{"a":1}`), -1); return err }},
		{"Bulk", func() error { _, err := s.Bulk(t.Context(), []registry.BulkEntry{{ID: "e"}}); return err }},
	}
	for _, x := range calls {
		if err := x.call(); !errors.Is(err, iothub.ErrServer) {
			t.Errorf("%s: %v; want ServerError", x.name, err)
		}
	}
	if _, err := s.Twin("d"); err != nil || told != 0 {
		t.Errorf("reading after the disk has failed: %v; %d notifications", err, told)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	for _, x := range calls {
		if err := x.call(); !errors.Is(err, iothub.ErrServiceUnavailable) {
			t.Errorf("%s after Close: %v; want ServiceUnavailable", x.name, err)
		}
	}
}
