package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A hub that is left alone ends when it was not used for long, and not before.
func TestUnused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		unused(t.Context(), orphanKeep, func() (n uint64) {
			if now := time.Since(start); now > 7*time.Minute && now < 20*time.Minute {
				return 3
			}
			return 0
		})
		if ran := time.Since(start).Round(time.Minute); ran != 31*time.Minute {
			t.Errorf("it ends after %s; want 11m after 20m", ran)
		}
	})
}

// An agent whose coordinator is gone ends with its run, or at once when it has none, or is not to survive.
func TestErrand(t *testing.T) {
	for _, x := range []struct {
		does     string
		once     bool
		survives bool
		want     string
	}{
		{"begin over begin over", false, true, ""},
		{"begin over", true, true, "over"},
		{"orphan", false, true, "orphan"},
		{"begin orphan over", false, true, "over"},
		{"begin orphan", false, false, "orphan"},
		{"begin over orphan", false, true, "orphan"},
	} {
		ended, now := "", ""
		e := &errand{once: x.once, end: func() { ended = now }}
		for _, now = range strings.Fields(x.does) {
			switch now {
			case "begin", "over":
				e.ran(now == "over")
			case "orphan":
				e.orphaned(x.survives)
			}
		}
		if ended != x.want {
			t.Errorf("%s, once %t, survives %t: ended at %q; want %q", x.does, x.once, x.survives, ended, x.want)
		}
	}
}
