package cron

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
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
		{"0 0 29 2 MON", "2026-03-01T00:00:00Z", "2044-02-29T00:00:00Z"},
		{"0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"},
		{"@daily", "2026-03-01T10:00:00Z", "2026-03-02T00:00:00Z"},

		// 2026-10-25 clocks in Berlin go from 3:00 back to 2:00, at 1:00 UTC.
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"},
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-25T01:10:00Z", "2026-10-26T01:30:00Z"},
		{"CRON_TZ=Europe/Berlin 0 3 * * *", "2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"},
		{"CRON_TZ=Europe/Berlin 30 * * * *", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"},
		{"CRON_TZ=Europe/Berlin */15 * * * *", "2026-10-25T00:59:00Z", "2026-10-25T01:00:00Z"},
		{"CRON_TZ=Europe/Berlin @hourly", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"},

		// 2027-03-28 they go from 2:00 forward to 3:00, at 1:00 UTC.
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2027-03-27T12:00:00Z", "2027-03-28T01:00:00Z"},
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"},
		{"CRON_TZ=Europe/Berlin 0 3 * * *", "2027-03-27T12:00:00Z", "2027-03-28T01:00:00Z"},
		{"CRON_TZ=Europe/Berlin 0 2,3 * * *", "2027-03-28T01:00:00Z", "2027-03-29T00:00:00Z"},
		{"CRON_TZ=Europe/Berlin */30 * * * *", "2027-03-28T00:30:00Z", "2027-03-28T01:00:00Z"},
		{"CRON_TZ=Europe/Berlin * 2 * * *", "2027-03-28T00:59:00Z", "2027-03-29T00:00:00Z"},

		// Days without a midnight.
		{"CRON_TZ=Africa/Cairo 0 1 * * 5", "2027-04-24T00:00:00Z", "2027-04-29T22:00:00Z"},
		{"CRON_TZ=Africa/Cairo 0 0 * * 5", "2027-04-24T00:00:00Z", "2027-04-29T22:00:00Z"},
		{"CRON_TZ=Asia/Beirut 0 1 28 3 *", "2026-12-01T00:00:00Z", "2027-03-27T22:00:00Z"},
		{"CRON_TZ=Asia/Beirut 0 0 28 3 *", "2026-12-01T00:00:00Z", "2027-03-27T22:00:00Z"},
		{"CRON_TZ=America/Sao_Paulo 30 0 4 11 *", "2018-10-01T00:00:00Z", "2018-11-04T03:00:00Z"},

		// Samoa had no 30th of December 2011, and Lord Howe moves its clocks by half an hour.
		{"CRON_TZ=Pacific/Apia 0 8 30 12 *", "2011-12-01T00:00:00Z", "2011-12-30T10:00:00Z"},
		{"CRON_TZ=Australia/Lord_Howe 45 1 * * *", "2026-04-04T12:00:00Z", "2026-04-04T14:45:00Z"},
		{"CRON_TZ=Australia/Lord_Howe 45 1 * * *", "2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"},

		// Far away: beyond the tables of locations, and across the last days of leap years.
		{"CRON_TZ=Africa/Cairo 0 0 29 2 1", "2026-01-01T00:00:00Z", "2044-02-28T22:00:00Z"},
		{"CRON_TZ=America/New_York 30 23 31 12 1", "2036-06-01T00:00:00Z", "2041-01-01T04:30:00Z"},
		{"CRON_TZ=America/New_York */15 * * * *", "2040-12-31T05:50:00Z", "2040-12-31T06:00:00Z"},
	} {
		c, err := Parse(tt.text)
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
	for _, bad := range []string{
		"CRON_TZ=Asia/Beirut * 0 28 3 0", // on Sundays of the last week of March, that hour is skipped
		"0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "CRON_TZ=Europe/Berlin 0 0 31 2 *", "@every 1h", "", "* * * *", "* * * * * * *", "61 * * * *", "@every 5s", "soon",
		"CRON_TZ=Nowhere/Land * * * * *",
	} {
		if _, err := Parse(bad); !errors.Is(err, ErrExpression) {
			t.Errorf("Parse(%q): %v; want %v", bad, err, ErrExpression)
		}
	}
}

// bruteForce goes from minute to minute of UTC and reads the clock of a location: what it shows, what it skipped
// since the minute before, and what it showed already.
func bruteForce(expression []func(time.Time) bool, wild bool, l *time.Location, from time.Time, minutes int) (due []time.Time) {
	matches := func(local time.Time) bool {
		for _, fits := range expression {
			if !fits(local) {
				return false
			}
		}
		return true
	}
	// shown is the reading of the clock, as if it were UTC's.
	shown := func(at time.Time) time.Time {
		x := at.In(l)
		return time.Date(x.Year(), x.Month(), x.Day(), x.Hour(), x.Minute(), 0, 0, time.UTC)
	}
	for n := 1; n <= minutes; n++ {
		at := from.Add(time.Duration(n) * time.Minute)
		now, before := shown(at), shown(at.Add(-time.Minute))
		is := matches(now)
		if !wild {
			for back := 1; is && back <= 25*60; back++ {
				is = !shown(at.Add(-time.Duration(back) * time.Minute)).Equal(now)
			}
			for skipped := before.Add(time.Minute); skipped.Before(now); skipped = skipped.Add(time.Minute) {
				is = is || matches(skipped)
			}
		}
		if is {
			due = append(due, at)
		}
	}
	return due
}

// A schedule is what going through all minutes of a few days around a change of the clocks finds.
func TestCronIsWhatGoingThroughAllMinutesFinds(t *testing.T) {
	changes := []struct{ zone, at string }{
		{"Europe/Berlin", "2026-10-25T01:00:00Z"},
		{"Europe/Berlin", "2027-03-28T01:00:00Z"},
		{"Africa/Cairo", "2027-04-29T22:00:00Z"},
		{"Africa/Cairo", "2026-10-29T21:00:00Z"},
		{"Asia/Beirut", "2027-03-27T22:00:00Z"},
		{"America/Sao_Paulo", "2018-11-04T03:00:00Z"},
		{"America/Sao_Paulo", "2018-02-18T02:00:00Z"},
		{"Australia/Lord_Howe", "2026-04-04T15:00:00Z"},
		{"Australia/Lord_Howe", "2026-10-03T15:30:00Z"},
		{"Pacific/Apia", "2011-12-30T10:00:00Z"},
		{"America/St_Johns", "2026-11-01T04:30:00Z"},
		{"Asia/Kolkata", "2026-01-01T00:00:00Z"},
		{"America/New_York", "2040-12-31T05:00:00Z"}, // beyond the table of the location, on the last day of a leap year
		{"UTC", "2028-02-29T00:00:00Z"},
	}
	rapid.Check(t, func(t *rapid.T) {
		change := rapid.SampledFrom(changes).Draw(t, "change")
		l, err := time.LoadLocation(change.zone)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, change.at)
		if err != nil {
			t.Fatal(err)
		}
		var expression []func(time.Time) bool
		field := func(name string, values []int, of func(time.Time) int) string {
			switch rapid.IntRange(0, 3).Draw(t, name+" form") {
			case 0:
				return "*"
			case 1:
				step := rapid.IntRange(2, 7).Draw(t, name+" step")
				expression = append(expression, func(x time.Time) bool { return (of(x)-values[0])%step == 0 })
				return fmt.Sprintf("*/%d", step)
			default:
				v := rapid.SampledFrom(values).Draw(t, name)
				expression = append(expression, func(x time.Time) bool { return of(x) == v })
				return fmt.Sprint(v)
			}
		}
		local := at.In(l)
		text := strings.Join([]string{
			field("minute", []int{0, 15, 30, 45}, time.Time.Minute), field("hour", []int{0, 1, 2, 3, 8, 23}, time.Time.Hour),
			field("day", []int{1, local.Day(), local.AddDate(0, 0, 1).Day()}, time.Time.Day), field("month", []int{1, int(local.Month())},
				func(x time.Time) int { return int(x.Month()) }),
			field("weekday", []int{0, 1, 5, 6}, func(x time.Time) int { return int(x.Weekday()) }),
		}, " ")
		const minutes = 3 * 24 * 60
		from := at.Add(-time.Duration(rapid.IntRange(0, 30*60).Draw(t, "before")) * time.Minute)
		fields := strings.Fields(text)
		want := bruteForce(expression, fields[0][0] == '*' || fields[1][0] == '*', l, from, minutes)
		c, err := Parse("CRON_TZ=" + change.zone + " " + text)
		if err != nil { // as of an hour that the clock skips whenever its day and its weekday meet
			if len(want) > 0 || !strings.Contains(err.Error(), "never due") {
				t.Fatalf("%v; want %v", err, want)
			}
			return
		}
		var got []time.Time
		for next := c.After(from); !next.IsZero() && !next.After(from.Add(minutes*time.Minute)); next = c.After(next) {
			got = append(got, next)
		}
		if !slices.EqualFunc(got, want, time.Time.Equal) {
			t.Fatalf("%s from %s: %v; want %v", c, from, got, want)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"*/5 * * * *", "0 0 1 1 *", "*/10 * * * * *", "@daily", "CRON_TZ=UTC 1-5,7 2 * JAN-MAR MON"} {
		f.Add(s)
	}
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse(text)
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
