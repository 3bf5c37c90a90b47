package fleet

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// Load starts operations of a kind, of all devices with a Rated activity of it, at a rate that follows a curve, in operations per second,
// when schedule.Curve.Nth says, and returns when the curve is over or with the cause of ctx. Each goes to the device whose turn it is by the
// plan: those that have been active for a second take turns, one group after the other. If that one is not connected, it goes to the next of this fleet that is; with
// none connected it is dropped and counted. The turns of devices of other fleets are theirs.
func (f *Fleet) Load(ctx context.Context, op metrics.Operation, curve schedule.Curve) error {
	return f.LoadAt(ctx, time.Now(), op, curve.Even(), curve.Total())
}

// LoadAt is Load at times of the caller's own, in ascending order, from a begin on; it returns when the whole time is over. What is due then,
// or later, is not started.
func (f *Fleet) LoadAt(ctx context.Context, begin time.Time, op metrics.Operation, times iter.Seq[time.Duration], whole time.Duration) error {
	s, t := newSleeper(), f.dealerOf(op)
	defer s.stop()
	defer t.stop()
	for at := range times {
		if at >= whole {
			break
		}
		intended := begin.Add(at)
		if time.Until(intended) > t.ahead { // a timer for each turn of another fleet would cost more than the turn
			if err := s.until(ctx, intended.Add(-t.ahead/2)); err != nil {
				return err
			}
		}
		place, mine := t.next(intended)
		if !mine {
			continue
		}
		if err := s.until(ctx, intended); err != nil {
			return err
		}
		f.hand(op, place, intended)
	}
	return s.until(ctx, begin.Add(whole))
}

// dealer deals the operations that a rate asks for to devices.
type dealer struct {
	fleet      *Fleet
	groups     []int   // of those who may
	there, old *replay // who is active, and who was a while ago
	dealt      int     // turns of the round
	ahead      time.Duration
	recent     []turn // the last ones, where other fleets deal too
}

// turn is one that was dealt.
type turn struct {
	at    time.Time
	dealt int // turns of the round before it
}

// keepTurns is for how long turns are remembered: so late may it become known that devices come and go.
const keepTurns = 2 * time.Second

const (
	// lookAhead is how long before its time it is found out whose turn it is, where that may be another fleet's.
	lookAhead = 10 * time.Millisecond
	// settling is how long a device is active before it has turns: it connects. Whose turn it is does not depend on how fast that goes.
	settling = time.Second
)

func (f *Fleet) dealerOf(op metrics.Operation) *dealer {
	t := &dealer{fleet: f, groups: make([]int, 0, len(f.groups)), there: f.replay(), old: f.replay()}
	for i, g := range f.groups {
		if g.activityOf(op) != nil {
			t.groups = append(t.groups, i)
		}
	}
	if f.cfg.Mine != nil {
		t.ahead = lookAhead
	}
	return t
}

func (t *dealer) stop() {
	t.there.stop()
	t.old.stop()
}

// next is the device whose turn it is at a time; mine is false for that of another fleet. Those take turns who have been active for a while; if
// there are none, those who are. With nobody active, the turn is that of the first fleet.
func (t *dealer) next(at time.Time) (place int, mine bool) {
	if t.ahead > 0 {
		t.amend()
	}
	n, of := t.deal(at)
	for _, g := range t.groups {
		if n < of(g) {
			i := int(t.fleet.order[t.there.roster.Place(g, n)])
			return i, t.fleet.devices[i].Load() != nil
		}
		n -= of(g)
	}
	return nobody, len(t.fleet.devices) == 0 || t.fleet.devices[0].Load() != nil
}

// deal counts a turn, and gives its number in the round and of how many of a group the round is.
func (t *dealer) deal(at time.Time) (n int, of func(group int) int) {
	t.remember(at)
	t.there.until(at)
	t.old.until(at.Add(-settling))
	all, settled := 0, 0
	for _, g := range t.groups {
		all += t.there.roster.ActiveOf(g)
		settled += t.settled(g)
	}
	of = t.settled
	if settled == 0 {
		settled, of = all, t.there.roster.ActiveOf
	}
	if t.dealt >= settled {
		t.dealt = 0
	}
	t.dealt++
	return t.dealt - 1, of
}

// remember keeps a turn that is about to be dealt.
func (t *dealer) remember(at time.Time) {
	if t.ahead == 0 {
		return
	}
	if len(t.recent) == cap(t.recent) {
		old := 0
		for old < len(t.recent) && at.Sub(t.recent[old].at) > keepTurns {
			old++
		}
		t.recent = append(t.recent[:0], t.recent[old:]...)
	}
	t.recent = append(t.recent, turn{at, t.dealt})
}

// amend deals turns once more, to nobody, where it has become known since that devices came or went before them: other fleets may have known it in
// time, and all must deal on from the same turn.
func (t *dealer) amend() {
	news := t.fleet.courses.from(t.there.seen)
	if len(news) == 0 {
		return
	}
	from := slices.IndexFunc(t.recent, func(x turn) bool { return !x.at.Before(news[0].begin) })
	if from < 0 {
		return
	}
	wrong := slices.Clone(t.recent[from:])
	t.recent, t.dealt = t.recent[:from], wrong[0].dealt
	t.old.stop()
	t.old = t.fleet.replay() // it has gone too far
	for _, x := range wrong {
		t.deal(x.at)
	}
}

// settled is how many of a group's devices, which start and stop in their order, have been active for a while.
func (t *dealer) settled(group int) int {
	return min(t.there.roster.ActiveOf(group), t.old.roster.ActiveOf(group))
}

// nobody is no device.
const nobody = -1

// hand gives an operation to the device whose turn it is.
func (f *Fleet) hand(op metrics.Operation, place int, intended time.Time) {
	rotation, paused := f.turns[op], f.paused.Load()
	do := func(i int) {
		d := f.devices[i].Load()
		c := command{d.group.activityOf(op), intended}
		if paused {
			c.act.series.Drop(intended, metrics.DropPaused)
			return
		}
		d.offer(c)
	}
	switch {
	case rotation == nil:
	case place != nobody && rotation.Only(place, do):
		return
	case rotation.Next(do):
		return
	}
	reason := metrics.DropNotConnected
	if paused {
		reason = metrics.DropPaused
	}
	f.absent(op).Drop(intended, reason)
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
