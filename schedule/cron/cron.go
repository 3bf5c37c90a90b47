// Package cron is schedules by the clock: expressions as cron(8) has them, also where clocks are put forward or back.
package cron

import (
	"errors"
	"fmt"
	"strings"
	"time"

	cron "github.com/netresearch/go-cron"
)

// ErrExpression is the class of errors of Parse. Their texts say what would be right.
var ErrExpression = errors.New("cron expression")

// Expression is a schedule by the clock, in UTC unless the expression begins with CRON_TZ=.
//
// Where clocks are put forward or back it does what cron(8) does. With a * in the minute or the hour it follows the
// clock: what the clock skips is not due, and what it shows twice is due twice. Otherwise it is due once a day that
// has such a time: the first time that the clock shows it, or when the clock skips it, in that instant.
type Expression struct {
	text     string
	spec     *cron.SpecSchedule
	location *time.Location
	wild     bool // a * in the minute or the hour
}

// horizon, in years, is beyond what any expression that is ever due waits for: the 29th of February falls on each day
// of the week once in 28 years, or in 40 across a century that is no leap year.
const horizon = 45

// Parse reads a cron expression: minute, hour, day of month, month, day of week; with six
// fields the first is the second. Day of month and day of week must both fit. Descriptors such as @hourly serve too;
// @every does not, for it is an interval. An expression that is never due is an error.
func Parse(text string) (*Expression, error) {
	if strings.Contains(text, "@every") {
		return nil, fmt.Errorf("%w %q: write an interval as every", ErrExpression, text)
	}
	times, err := cron.StandardParser().WithSecondOptional().Parse(text)
	spec, ok := times.(*cron.SpecSchedule)
	if err != nil || !ok {
		return nil, fmt.Errorf("%w %q: write five fields, minute hour day month weekday, as in */5 * * * *, or six with the second first: %w", ErrExpression, text,
			err)
	}
	c := &Expression{text, spec, spec.Location, wild(text)}
	if c.location == nil || c.location == time.Local {
		c.location = time.UTC
	}
	if from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); c.After(from).IsZero() {
		return nil, fmt.Errorf("%w %q: it is never due: no month has such a day, or the clock skips that time on all of them", ErrExpression, text)
	}
	return c, nil
}

// wild reports whether minute or hour of an expression begin with *.
func wild(text string) bool {
	fields := strings.Fields(text)
	if len(fields) > 0 && strings.Contains(fields[0], "TZ=") {
		fields = fields[1:]
	}
	if len(fields) == 1 {
		return strings.EqualFold(fields[0], "@hourly")
	}
	n := len(fields)
	return n >= 5 && (strings.HasPrefix(fields[n-5], "*") || strings.HasPrefix(fields[n-4], "*"))
}

// After is the first time later than t, in UTC; the zero Time when there is none within the next 45 years.
func (c *Expression) After(t time.Time) time.Time {
	at := t.Truncate(time.Second).Add(time.Second)
	limit := t.AddDate(horizon, 0, 0)
	for at.Before(limit) {
		start, end := evenly(at, c.location)
		offset := offsetOf(at, c.location)
		from := at.Add(offset)
		if !c.wild && !start.IsZero() {
			before := offsetOf(start.Add(-time.Second), c.location)
			switch first := start.Add(offset); {
			case before < offset && at.Equal(start) && c.dueBetween(first.Add(before-offset), first):
				return start.UTC() // the clock skipped it
			case before > offset && from.Before(first.Add(before-offset)):
				from = first.Add(before - offset) // the clock showed this before
			}
		}
		due := c.next(from)
		if due.IsZero() {
			return time.Time{}
		}
		if due = due.Add(-offset); end.IsZero() || due.Before(end) {
			return due
		}
		at = end.UTC()
	}
	return time.Time{}
}

// evenly is a stretch of time around t in which a clock is neither put forward nor back; without an end or a start it is
// the zero Time.
func evenly(t time.Time, l *time.Location) (start, end time.Time) {
	start, end = t.In(l).ZoneBounds()
	if !end.IsZero() && !end.After(t) { // as on the last day of a leap year, beyond the table of the location
		end = t.Add(time.Hour)
	}
	return start, end
}

// offsetOf is how far the clock of a location is ahead of UTC.
func offsetOf(t time.Time, l *time.Location) time.Duration {
	_, seconds := t.In(l).Zone()
	return time.Duration(seconds) * time.Second
}

func (c *Expression) dueBetween(from, to time.Time) bool {
	due := c.next(from.UTC())
	return !due.IsZero() && due.Before(to)
}

// next is the first time from t on by a clock that is never put forward or back, which is shown as if it were UTC's.
func (c *Expression) next(t time.Time) time.Time {
	t = t.UTC()
	limit := t.AddDate(horizon, 0, 0)
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	since := int(t.Sub(day) / time.Second)
	for day.Before(limit) {
		switch {
		case !has(c.spec.Month, int(day.Month())):
			day = time.Date(day.Year(), day.Month()+1, 1, 0, 0, 0, 0, time.UTC)
		case !has(c.spec.Dom, day.Day()) || !has(c.spec.Dow, int(day.Weekday())):
			day = day.AddDate(0, 0, 1)
		default:
			if s, ok := c.second(since); ok {
				return day.Add(time.Duration(s) * time.Second)
			}
			day = day.AddDate(0, 0, 1)
		}
		since = 0
	}
	return time.Time{}
}

// second is the first second of a day, from one on, that has a time that is due.
func (c *Expression) second(from int) (int, bool) {
	for h := from / 3600; h < 24; h++ {
		if !has(c.spec.Hour, h) {
			continue
		}
		for m := max(0, from-h*3600) / 60; m < 60; m++ {
			if !has(c.spec.Minute, m) {
				continue
			}
			for s := max(0, from-h*3600-m*60); s < 60; s++ {
				if has(c.spec.Second, s) {
					return h*3600 + m*60 + s, true
				}
			}
		}
	}
	return 0, false
}

func has(bits uint64, n int) bool { return bits>>n&1 == 1 }

// String is the expression as it was written.
func (c *Expression) String() string { return c.text }
