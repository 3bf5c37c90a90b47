package inflight_test

import (
	"slices"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics/internal/inflight"
)

// What is under way is counted by its age, the youngest first; what ended is not.
func TestAges(t *testing.T) {
	var times inflight.Times
	start := time.Unix(1_700_000_000, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	times.Add(start, at(0), 3)
	times.Add(start, at(time.Second), 2)
	times.Add(start, at(time.Second), -1)
	times.Add(start, at(2*time.Second), 1)
	times.Add(start, at(2*time.Second), -1)
	now := at(3 * time.Second)
	want := []inflight.Age{{Least: 1750 * time.Millisecond, N: 1}, {Least: 2750 * time.Millisecond, N: 3}}
	if got := times.Ages(start, start, now, now); !slices.Equal(got, want) {
		t.Errorf("%v; want %v", got, want)
	}
	if got := times.Ages(start, at(500*time.Millisecond), now, now); !slices.Equal(got, want[:1]) {
		t.Errorf("intended after half a second: %v; want %v", got, want[:1])
	}
	if got := times.Ages(start, start, at(500*time.Millisecond), now); !slices.Equal(got, want[1:]) {
		t.Errorf("intended in the first half of a second: %v; want %v", got, want[1:])
	}
}
