package schedule

import (
	"time"

	"github.com/twinfleet/twinfleet/schedule/chance"
)

// Rhythm is when a device does something on its own, repeatedly: every so often, or after gaps that chance draws by
// device and turn, whatever became of the turns before. The zero value is never.
type Rhythm struct {
	every  Every
	gaps   chance.Distribution
	stream chance.Stream
	index  int
}

// Cursor is how far somebody went through a rhythm, and goes forward only. The zero value is the start.
type Cursor struct {
	turn int64
	next time.Duration
}

// IsZero reports whether nothing is ever due.
func (r Rhythm) IsZero() bool { return r.every.Period == 0 && r.gaps.IsZero() }

// gap is the time before a turn, counted from 0. It is never 0, so that no two turns are due at once. Before the first
// one it is a part of a gap, for the device was there before; an exponential gap has no memory and is whole.
func (r Rhythm) gap(turn int64) time.Duration {
	d := r.gaps.At(r.stream.Unit(r.index, turn))
	if turn == 0 && !r.gaps.Memoryless() {
		d = time.Duration(r.stream.Unit(r.index, -1) * float64(d))
	}
	return max(1, d)
}

// After is the first due time later than t. With random gaps, calls with one cursor must not ask for an
// earlier t than the call before, unless the time that it gave has yet to come.
func (r Rhythm) After(c *Cursor, t time.Duration) time.Duration {
	if r.gaps.IsZero() {
		next, _ := r.every.After(t)
		return next
	}
	for c.turn == 0 || c.next <= t {
		c.next += r.gap(c.turn)
		c.turn++
	}
	return c.next
}

// Count is how many times are due later than from, and not later than to.
func (r Rhythm) Count(c *Cursor, from, to time.Duration) int64 {
	if r.gaps.IsZero() {
		return r.every.Due(to) - r.every.Due(from)
	}
	r.After(c, from)
	before := c.turn
	r.After(c, to)
	return c.turn - before
}

// Turns is how many turns were drawn so far.
func (c *Cursor) Turns() int64 { return c.turn }
