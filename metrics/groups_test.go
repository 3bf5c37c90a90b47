package metrics

import (
	"slices"
	"testing"
)

// A group keeps its own name in every state, also when others came over the bound in between.
func TestGroupsKeepTheirNames(t *testing.T) {
	r := NewRecorder(Options{MaxGroups: 2})
	for _, g := range []string{"a", "b", "c", "d"} {
		r.DeviceGauge(g, "waiting").Add(1)
	}
	for _, g := range []string{"a", "b", "c", "d"} {
		r.DeviceGauge(g, "waiting").Add(-1)
		r.DeviceGauge(g, "connected").Add(1)
	}
	want := []DeviceCount{
		{"a", "connected", 1},
		{"a", "waiting", 0},
		{"b", "connected", 1},
		{"b", "waiting", 0},
		{"other", "connected", 2},
		{"other", "waiting", 0},
	}
	if got := r.Snapshot().Devices; !slices.Equal(got, want) {
		t.Errorf("devices = %v; want %v", got, want)
	}
}

// As many groups as are expected are told apart, however few would be without.
func TestExpectedGroupsAreToldApart(t *testing.T) {
	r := NewRecorder(Options{MaxGroups: 2})
	r.Expect(3)
	r.Expect(1)
	for _, g := range []string{"a", "b", "c", "d"} {
		r.Series(OpTelemetry, g).Drop(r.start, DropPaused)
	}
	var got []string
	for _, x := range r.Snapshot().Series {
		got = append(got, x.Group)
	}
	if want := []string{"a", "b", "c", "other"}; !slices.Equal(got, want) {
		t.Errorf("groups %v; want %v", got, want)
	}
}
