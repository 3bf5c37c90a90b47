package fleet

import (
	"context"
	"iter"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// Load starts operations of a kind, of all devices with a Rated activity of it, at a rate that follows a curve, in operations per second,
// when schedule.Curve.Nth says, and returns when the curve is over or with the cause of ctx. Each goes to
// the next connected device in turn; with none connected it is dropped and counted.
func (f *Fleet) Load(ctx context.Context, op metrics.Operation, curve schedule.Curve) error {
	return f.LoadAt(ctx, op, curve.Even(), curve.Total())
}

// LoadAt is Load at times of the caller's own, in ascending order; it returns when the whole time is over.
func (f *Fleet) LoadAt(ctx context.Context, op metrics.Operation, times iter.Seq[time.Duration], whole time.Duration) error {
	begin := time.Now()
	s := newSleeper()
	defer s.stop()
	for at := range times {
		intended := begin.Add(at)
		if err := s.until(ctx, intended); err != nil {
			return err
		}
		f.hand(op, intended)
	}
	return s.until(ctx, begin.Add(whole))
}

// hand gives an operation to the device whose turn it is.
func (f *Fleet) hand(op metrics.Operation, intended time.Time) {
	turns, paused := f.turns[op], f.paused.Load()
	if turns == nil || !turns.Next(func(i int) {
		d := f.devices[i]
		c := command{d.group.activityOf(op), intended}
		if paused {
			c.act.series.Drop(intended, metrics.DropPaused)
			return
		}
		d.offer(c)
	}) {
		reason := metrics.DropNotConnected
		if paused {
			reason = metrics.DropPaused
		}
		f.absent(op).Drop(intended, reason)
	}
}

// absent is the series of those who would do an operation if they were connected.
func (f *Fleet) absent(op metrics.Operation) *metrics.Series {
	for _, g := range f.groups {
		if a := g.activityOf(op); a != nil {
			return a.series
		}
	}
	return f.cfg.Recorder.Series(op, "")
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
