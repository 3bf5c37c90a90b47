package fleet

import (
	"context"
	"iter"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// Kind is what a fleet-wide rate asks for.
type Kind uint8

// The kinds of fleet-wide load.
const (
	LoadReports   Kind = iota // of devices that report connectivity
	LoadTelemetry             // of devices whose Telemetry is Rated
	kinds
)

// Load starts operations of the whole fleet at a rate that follows a curve, in operations per second,
// when schedule.Curve.Nth says, and returns when the curve is over or with the cause of ctx. Each goes to
// the next connected device in turn; with none connected it is dropped and counted.
func (f *Fleet) Load(ctx context.Context, kind Kind, curve schedule.Curve) error {
	return f.LoadAt(ctx, kind, curve.Even(), curve.Total())
}

// LoadAt is Load at times of the caller's own, in ascending order; it returns when the whole time is over.
func (f *Fleet) LoadAt(ctx context.Context, kind Kind, times iter.Seq[time.Duration], whole time.Duration) error {
	begin := time.Now()
	s := newSleeper()
	defer s.stop()
	for at := range times {
		intended := begin.Add(at)
		if err := s.until(ctx, intended); err != nil {
			return err
		}
		f.hand(command{kind: kind, intended: intended})
	}
	return s.until(ctx, begin.Add(whole))
}

// hand gives a command to the device whose turn it is.
func (f *Fleet) hand(c command) {
	if !f.turns[c.kind].next(func(i int) { f.devices[i].offer(c) }) {
		f.absent(c.kind).Drop(c.intended, metrics.DropNotConnected)
	}
}

// absent is the series of those who would do an operation if they were connected.
func (f *Fleet) absent(k Kind) *metrics.Series {
	for _, g := range f.groups {
		if k == LoadReports && g.reports() {
			return g.report
		}
		if k == LoadTelemetry && g.Telemetry.Rated {
			return g.telemetry
		}
	}
	if k == LoadReports {
		return f.cfg.Recorder.Series(metrics.OpTwinReport, "")
	}
	return f.cfg.Recorder.Series(metrics.OpTelemetry, "")
}

// sleeper waits with one timer.
type sleeper struct{ timer *time.Timer }

func newSleeper() sleeper { return sleeper{time.NewTimer(0)} }

func (s sleeper) stop() { s.timer.Stop() }

// until waits until a time, or returns the cause of ctx.
func (s sleeper) until(ctx context.Context, at time.Time) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	d := time.Until(at)
	if d <= 0 {
		return nil
	}
	s.timer.Reset(d)
	select {
	case <-s.timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
