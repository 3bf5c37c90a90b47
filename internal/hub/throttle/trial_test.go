package throttle

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/throttle/bucket"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

// admitted is how many of n operations pass at once.
func admitted(t *testing.T, l *Limiter, class tier.Class, n int) (passed int) {
	t.Helper()
	for range n {
		switch err := l.Admit(t.Context(), class, 1); {
		case err == nil:
			passed++
		case !iothub.Throttled(err):
			t.Fatal(err)
		}
	}
	return passed
}

// A day on which bursts are used up: what may come at once is what was said, the rate goes on, and afterwards all is as before.
func TestSustain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := armed(t, tier.S1, 1, bucket.Shape{Backlog: -1})
		if n := admitted(t, l, tier.ClassTwinUpdate, 1000); n != 1000 {
			t.Fatalf("%d of 1,000 passed of a burst of 3,000", n)
		}
		l.Sustain(map[tier.Class]float64{tier.ClassTwinUpdate: 20}, 1)
		if n := admitted(t, l, tier.ClassTwinUpdate, 100); n != 20 {
			t.Errorf("%d passed at once; want 20", n)
		}
		if n := admitted(t, l, tier.ClassTelemetry, 10); n != 1 {
			t.Errorf("%d of a class that was not named passed at once; want 1", n)
		}
		time.Sleep(time.Second)
		if n := admitted(t, l, tier.ClassTwinUpdate, 100); n != 20 {
			t.Errorf("%d passed after a second; want those that may come at once, 20", n)
		}
		time.Sleep(100 * time.Millisecond)
		if n := admitted(t, l, tier.ClassTwinUpdate, 100); n != 5 {
			t.Errorf("%d passed in a tenth of a second; want 5", n)
		}
		l.Resume()
		if n := admitted(t, l, tier.ClassTwinUpdate, 5000); n != 2000 {
			t.Errorf("%d passed afterwards; want the 2,000 that were left", n)
		}
		l.Resume() // twice changes nothing
		time.Sleep(time.Second)
		if n := admitted(t, l, tier.ClassTwinUpdate, 100); n != 50 {
			t.Errorf("%d passed after another second; want 50", n)
		}
	})
}

// Of the messages that are left of the day only a share may be sent; the day does not turn meanwhile.
func TestSustainShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := armed(t, tier.F1, 1, bucket.Shape{})
		for range 4000 {
			l.Meter(1)
		}
		l.Sustain(nil, 0.01)
		if used, allowed := l.Quota(); used != 4000 || allowed != 4040 {
			t.Fatalf("%d of %d; want 4,000 of 4,040", used, allowed)
		}
		for i := range 40 {
			if usedUp := l.Meter(1); usedUp != (i == 39) {
				t.Errorf("message %d: used up is %v", i, usedUp)
			}
		}
		if err := l.Admit(t.Context(), tier.ClassTelemetry, 1); !errors.Is(err, iothub.ErrQuotaExceeded) || l.Refused() != 1 {
			t.Errorf("%v, %d refused", err, l.Refused())
		}
		time.Sleep(25 * time.Hour)
		if err := l.Admit(t.Context(), tier.ClassTelemetry, 1); !errors.Is(err, iothub.ErrQuotaExceeded) {
			t.Errorf("the day turned: %v", err)
		}
		l.Resume()
		if used, allowed := l.Quota(); used != 4000 || allowed != 8000 {
			t.Errorf("%d of %d; want 4,000 of 8,000", used, allowed)
		}
	})
}

// A time that is left out counts as if it had been.
func TestSkip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := armed(t, tier.S1, 1, bucket.Shape{Backlog: -1})
		admitted(t, l, tier.ClassTwinUpdate, 3000)
		l.Skip(10*time.Second, map[tier.Class]float64{tier.ClassTwinUpdate: 30}, 123.4) // 50/s come back, 30/s are taken
		if n := admitted(t, l, tier.ClassTwinUpdate, 1000); n != 200 {
			t.Errorf("%d passed; want 200", n)
		}
		if used, _ := l.Quota(); used != 124 {
			t.Errorf("%d messages; want 124", used)
		}
		if s := stat(t, l, tier.ClassTwinUpdate); s.Rejected != 800 {
			t.Fatalf("%d were shed; want the 800 that did not pass", s.Rejected)
		}
		l.Skip(10*time.Second, map[tier.Class]float64{tier.ClassTwinUpdate: 80}, 0) // 30/s too many, and nothing is left
		if s := stat(t, l, tier.ClassTwinUpdate); s.Rejected != 1100 {
			t.Errorf("%d were shed; want 300 more", s.Rejected)
		}
		l.Skip(time.Hour, nil, 0)
		if n := admitted(t, l, tier.ClassTwinUpdate, 10_000); n != 3000 {
			t.Errorf("%d passed after a quiet hour; want a burst of 3,000", n)
		}
	})
}

func TestTrialWithoutTier(t *testing.T) {
	var l *Limiter
	l.Sustain(nil, 1)
	l.Skip(time.Hour, nil, 1)
	l.Resume()
	if l.Refused() != 0 {
		t.Error("something was refused")
	}
}
