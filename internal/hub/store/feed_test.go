package store

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
)

// lagging is a store in a bubble of time whose changes queries see after the present lag.
type lagging struct {
	t   *testing.T
	s   *Store
	lag time.Duration
}

// lagTest runs a test of a store with lag, at first of a second.
func lagTest(t *testing.T, test func(t *testing.T, l *lagging)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lagging{t: t, lag: time.Second}
		var err error
		if l.s, err = Open(context.Background(), Options{QueryLag: func() time.Duration { return l.lag }}); err != nil {
			t.Fatal(err)
		}
		test(t, l)
		if err := l.s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// pass lets time pass, and what is due happen.
func (l *lagging) pass(d time.Duration) {
	time.Sleep(d) // The bubble's time, not the test's.
	synctest.Wait()
}

// sees compares the devices with the tag v = 1, and then those with v = 2, that queries find.
func (l *lagging) sees(when string, want ...string) {
	l.t.Helper()
	idx := l.s.Lookup([]string{"tags", "v"})
	got := append(ids(l.s, idx.Equal(jsonvalue.NumberValue(1))), ids(l.s, idx.Equal(jsonvalue.NumberValue(2)))...)
	if !slices.Equal(got, want) {
		l.t.Errorf("%s: queries find %q; want %q", when, got, want)
	}
}

func TestQueryLag(t *testing.T) {
	lagTest(t, func(t *testing.T, l *lagging) {
		create(t, l.s, "a", "b")
		patch(t, l.s, "a", `{"v":1}`, "")
		if tw, err := l.s.Twin("a"); err != nil || tw.Field("tags", "v").Num() != 1 {
			t.Errorf("Twin must not lag: %v", err)
		}
		l.pass(time.Second - time.Millisecond)
		if l.s.Len() != 0 {
			t.Errorf("queries see %d twins too early", l.s.Len())
		}
		l.pass(time.Millisecond)
		l.sees("after a second", "a")
		if l.s.Len() != 2 {
			t.Errorf("queries see %d twins; want 2", l.s.Len())
		}
		l.lag = -time.Second // Counts as none.
		patch(t, l.s, "b", `{"v":2}`, "")
		l.pass(0)
		l.sees("without delay", "a", "b")
	})
}

// TestQueryLagKeepsTheOrderOfATwin: of two changes the second one has a shorter delay, and
// waits for the first. Another twin does not wait.
func TestQueryLagKeepsTheOrderOfATwin(t *testing.T) {
	lagTest(t, func(t *testing.T, l *lagging) {
		create(t, l.s, "a", "b")
		l.pass(time.Second)
		patch(t, l.s, "a", `{"v":2}`, "")
		l.lag = 100 * time.Millisecond
		patch(t, l.s, "a", `{"v":1}`, "")
		patch(t, l.s, "b", `{"v":1}`, "")
		l.pass(100 * time.Millisecond)
		l.sees("after the short delay", "b")
		l.pass(900 * time.Millisecond)
		l.sees("after the long delay", "a", "b")
	})
}

// TestQueryLagOfRecreation: a device is deleted and made anew within the delay.
func TestQueryLagOfRecreation(t *testing.T) {
	lagTest(t, func(t *testing.T, l *lagging) {
		create(t, l.s, "b")
		patch(t, l.s, "b", `{"v":1}`, "")
		l.pass(time.Second)
		if err := l.s.DeleteDevice(context.Background(), "b", ""); err != nil {
			t.Fatal(err)
		}
		l.lag = 0
		create(t, l.s, "b")
		l.pass(0)
		l.sees("before the deletion is seen", "b")
		l.pass(time.Second)
		l.sees("afterwards")
		if _, tw, ok := l.s.ByID("b"); !ok || tw.Version != 2 || l.s.Len() != 1 {
			t.Errorf("queries see %v of b", tw)
		}
	})
}
