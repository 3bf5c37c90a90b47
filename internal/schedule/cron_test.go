package schedule

import (
	"errors"
	"testing"
	"time"
)

func TestCron(t *testing.T) {
	for _, tt := range []struct{ text, after, want string }{
		{"*/5 * * * *", "2026-03-01T10:00:00Z", "2026-03-01T10:05:00Z"},
		{"*/5 * * * *", "2026-03-01T10:04:59.999Z", "2026-03-01T10:05:00Z"},
		{"*/5 * * * *", "2026-03-01T12:04:00+02:00", "2026-03-01T10:05:00Z"},
		{"0 3 * * MON", "2026-03-01T10:00:00Z", "2026-03-02T03:00:00Z"},
		{"30 0 29 2 *", "2026-03-01T00:00:00Z", "2028-02-29T00:30:00Z"},
		{"*/10 * * * * *", "2026-03-01T10:00:00Z", "2026-03-01T10:00:10Z"},
		{"@hourly", "2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z"},
		{"CRON_TZ=Europe/Berlin 0 8 * * *", "2026-07-01T00:00:00Z", "2026-07-01T06:00:00Z"},
	} {
		c, err := ParseCron(tt.text)
		if err != nil {
			t.Error(err)
			continue
		}
		after, err1 := time.Parse(time.RFC3339Nano, tt.after)
		want, err2 := time.Parse(time.RFC3339Nano, tt.want)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if got := c.After(after); !got.Equal(want) {
			t.Errorf("%q after %s = %s; want %s", tt.text, tt.after, got, tt.want)
		}
	}
	if c, err := ParseCron("0 0 30 2 *"); err == nil && !c.After(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		t.Error("there is a 30th of February")
	}
	for _, bad := range []string{"", "* * * *", "* * * * * * *", "61 * * * *", "@every 5s", "soon", "CRON_TZ=Nowhere/Land * * * * *"} {
		if _, err := ParseCron(bad); !errors.Is(err, ErrCron) {
			t.Errorf("ParseCron(%q): %v; want %v", bad, err, ErrCron)
		}
	}
}

func FuzzParseCron(f *testing.F) {
	for _, s := range []string{"*/5 * * * *", "0 0 1 1 *", "*/10 * * * * *", "@daily", "CRON_TZ=UTC 1-5,7 2 * JAN-MAR MON"} {
		f.Add(s)
	}
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCron(text)
		if err != nil {
			return
		}
		for at, n := now, 0; n < 3; n++ {
			next := c.After(at)
			if next.IsZero() {
				return
			}
			if !next.After(at) {
				t.Fatalf("%q: %s comes after %s", text, next, at)
			}
			at = next
		}
	})
}
