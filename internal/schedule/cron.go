package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"

	cron "github.com/netresearch/go-cron"
)

// ErrCron is the class of errors of ParseCron. Their texts say what would be right.
var ErrCron = errors.New("cron expression")

// Cron is a schedule by the clock, in UTC unless the expression begins with CRON_TZ=.
type Cron struct {
	text  string
	times cron.Schedule
}

// ParseCron reads a cron expression: minute, hour, day of month, month, day of week; with six
// fields the first is the second. Descriptors such as @hourly serve too; @every does not, for it
// is an interval.
func ParseCron(text string) (*Cron, error) {
	if strings.Contains(text, "@every") {
		return nil, fmt.Errorf("%w %q: write an interval as every", ErrCron, text)
	}
	times, err := cron.StandardParser().WithSecondOptional().Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w %q: write five fields, minute hour day month weekday, as in */5 * * * *, or six with the second first: %w", ErrCron, text, err)
	}
	return &Cron{text, times}, nil
}

// After is the first time later than t; the zero Time when there is none within the next years.
func (c *Cron) After(t time.Time) time.Time { return c.times.Next(t.UTC()) }

// String is the expression as it was written.
func (c *Cron) String() string { return c.text }
