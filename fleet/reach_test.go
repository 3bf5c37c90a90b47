package fleet_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/schedule"
)

// How many devices tried to connect is known, and how many ever did, with what they subscribe to, whatever became of them since.
func TestReach(t *testing.T) {
	bothVersions(t, func(t *testing.T, v link.Version) {
		b := newBroker(v, boards)
		b.refuses = func(o link.Options) bool { return strings.HasSuffix(o.ClientID, "-1") }
		b.forbids = func(id string) bool { return id == "boards-2" }
		f, _ := keptFleet(t, b, 3, 4, func(_, l *fleet.Group) { l.Backoff = schedule.Backoff{Base: time.Second} })
		to(t, f, 7, 0)
		time.Sleep(10 * time.Second)
		b.set(func() { b.away = true })
		b.drop()
		time.Sleep(10 * time.Second)
		want := []fleet.Reach{{Group: "sensors", Devices: 3, Tried: 3, Connected: 2}, {Group: "boards", Devices: 4, Tried: 4, Connected: 2}}
		if got := f.Reach(); !slices.Equal(got, want) {
			t.Errorf("%+v; want %+v", got, want)
		}
		f.Stop(t.Context())
		if got := f.Reach(); !slices.Equal(got, want) {
			t.Errorf("at the end: %+v; want %+v", got, want)
		}
	})
}

// A device that is told to stop while it connects has connected; one whose connection is cut short at the end has not tried.
func TestReachOfLateDevices(t *testing.T) {
	for name, tt := range map[string]struct {
		latency time.Duration
		refuses bool
		want    fleet.Reach
	}{
		"it connects":       {2 * time.Second, false, fleet.Reach{Group: "sensors", Devices: 1, Tried: 1, Connected: 1}},
		"it is refused":     {2 * time.Second, true, fleet.Reach{Group: "sensors", Devices: 1, Tried: 1}},
		"it has no time":    {time.Hour, false, fleet.Reach{Group: "sensors", Devices: 1}},
		"it has never time": {time.Hour, true, fleet.Reach{Group: "sensors", Devices: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			bothVersions(t, func(t *testing.T, v link.Version) {
				b := newBroker(v, boards)
				b.latency = tt.latency
				b.refuses = func(link.Options) bool { return tt.refuses }
				f, _ := keptFleet(t, b, 1, 0, func(s, _ *fleet.Group) { s.Timeout = 2 * time.Hour })
				to(t, f, 1, 0)
				time.Sleep(time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				f.Stop(ctx)
				if got := f.Reach()[0]; got != tt.want {
					t.Errorf("%+v; want %+v", got, tt.want)
				}
			})
		})
	}
}
