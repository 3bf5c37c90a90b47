package fleet

import (
	"context"
	"iter"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/roster"
)

// Movement is a plan of how the number of active devices changes from a time on. It holds from then until the next one does, whoever carries it
// out, and follows from the plans before it alone: fleets that are parts of one make the same of it, however late each of them is.
type Movement struct {
	fleet *Fleet
	begin time.Time
	over  time.Duration
	moves iter.Seq[roster.Move] // the same each time
	from  *roster.Roster        // the fleet at its begin; it is not changed
	// What is left of it; protected by courses.moving.
	next    func() (roster.Move, bool)
	stop    func()
	peeked  roster.Move
	waiting bool      // peeked is not carried out yet
	cut     time.Time // from then on nothing of it is carried out; zero for never
}

// courses are the movements of a fleet.
type courses struct {
	moving sync.Mutex // held while devices come and go, and while it matters who is there: before mu

	mu    sync.Mutex  // protects the following fields
	all   []*Movement // in the order of their begins
	ended bool        // none goes on
}

// from are the movements from the n-th on.
func (c *courses) from(n int) []*Movement {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[min(n, len(c.all)):]
}

// last is the movement that holds now; nil before the first.
func (c *courses) last() *Movement {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.all) == 0 {
		return nil
	}
	return c.all[len(c.all)-1]
}

// end has no movement go on.
func (c *courses) end() {
	c.moving.Lock()
	defer c.moving.Unlock()
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	if m := c.last(); m != nil {
		m.stop()
		m.waiting = false
	}
}

// Scale makes the number of active devices follow a curve from now on, as schedule.Curve.Steps says, and
// returns when the curve is over, or with the cause of ctx.
func (f *Fleet) Scale(ctx context.Context, curve schedule.Curve) error {
	return f.PlanScale(time.Now(), curve).Run(ctx)
}

// PlanScale is the movement that makes the number of active devices follow a curve, as schedule.Curve.Steps says.
func (f *Fleet) PlanScale(begin time.Time, curve schedule.Curve) *Movement {
	f.CatchUp(begin)
	return f.plan(begin, roster.Toward(f.Active(), curve.Steps(f.Active())), curve.Total())
}

// Arrive brings the number of active devices to a goal, up or down, one after the other at a rate that
// follows a curve, in devices per second, as schedule.Curve.Arrivals says. It returns when the rate has had
// the time for all of them, which is a little after the last, or with the cause of ctx.
func (f *Fleet) Arrive(ctx context.Context, goal int, rate schedule.Curve) error {
	return f.PlanArrive(time.Now(), goal, rate).Run(ctx)
}

// PlanArrive is the movement that brings the number of active devices to a goal, one after the other at a rate, as Arrive says.
func (f *Fleet) PlanArrive(begin time.Time, goal int, rate schedule.Curve) *Movement {
	f.CatchUp(begin)
	over, ok := rate.TimeOf(math.Abs(float64(goal - f.Active())))
	if !ok {
		over = rate.Total()
	}
	return f.plan(begin, roster.Toward(f.Active(), rate.Arrivals(f.Active(), goal)), over)
}

// ScaleGroups makes the number of active devices of each group go to a goal of its own over a time, linearly; goals below 0
// leave a group as it is. It returns when the time is over, or with the cause of ctx.
func (f *Fleet) ScaleGroups(ctx context.Context, goals []int, over time.Duration) error {
	return f.PlanGroups(time.Now(), goals, over).Run(ctx)
}

// PlanGroups is the movement that brings the number of active devices of each group to a goal of its own, as ScaleGroups says.
func (f *Fleet) PlanGroups(begin time.Time, goals []int, over time.Duration) *Movement {
	f.CatchUp(begin)
	f.courses.moving.Lock()
	moves := f.active.Moves(goals, over)
	f.courses.moving.Unlock()
	return f.plan(begin, slices.Values(moves), over)
}

// plan has a movement hold from its begin on.
func (f *Fleet) plan(begin time.Time, moves iter.Seq[roster.Move], over time.Duration) *Movement {
	c := &f.courses
	c.moving.Lock()
	defer c.moving.Unlock()
	m := &Movement{fleet: f, begin: begin, over: over, moves: moves, from: f.active.Clone()}
	m.next, m.stop = iter.Pull(moves)
	if before := c.last(); before != nil {
		before.stop()
		before.waiting = false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, m)
	if c.ended { // a stage that began while the fleet was stopped
		m.stop()
	}
	return m
}

// CatchUp carries out what is planned before a time and was not done by then: Active is then the number that a movement from that time on
// begins with.
func (f *Fleet) CatchUp(begin time.Time) {
	if m := f.courses.last(); m != nil {
		for {
			if _, more := m.due(begin, true); !more {
				return
			}
		}
	}
}

// Cut ends the movement early: nothing of what it planned for a time, or for later, is carried out.
func (m *Movement) Cut(at time.Time) {
	m.fleet.courses.moving.Lock()
	defer m.fleet.courses.moving.Unlock()
	m.cut = at
}

// End is when the movement is over.
func (m *Movement) End() time.Time { return m.begin.Add(m.over) }

// Run carries the movement out, and returns when it is over, or with the cause of ctx.
func (m *Movement) Run(ctx context.Context) error {
	s := newSleeper()
	defer s.stop()
	for now := time.Now(); ; now = time.Now() {
		next, more := m.due(now.Add(1), false)
		switch {
		case !more:
			return s.until(ctx, m.End())
		case next.After(now):
			if err := s.until(ctx, next); err != nil {
				return err
			}
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
}

// due carries out the next move, if it is one before a time, and gives the time of the one that is next; more is false when there is none:
// of all, or, when early is set, before that time.
func (m *Movement) due(before time.Time, early bool) (at time.Time, more bool) {
	m.fleet.courses.moving.Lock()
	defer m.fleet.courses.moving.Unlock()
	if !m.peek() {
		return at, false
	}
	at = m.begin.Add(m.peeked.At)
	switch {
	case !m.cut.IsZero() && !at.Before(m.cut):
		return at, false
	case !at.Before(before):
		return at, !early
	}
	m.waiting = false
	m.fleet.move(m.peeked.Group, m.peeked.Up, at)
	return at, true
}

// peek has the next move ready, if there is one.
func (m *Movement) peek() bool {
	if !m.waiting {
		m.peeked, m.waiting = m.next()
	}
	return m.waiting
}

// move starts the next device, of a group or of all, or stops the last.
func (f *Fleet) move(group int, up bool, intended time.Time) {
	place, ok := f.active.Move(group, up)
	if !ok {
		return
	}
	f.started.Store(int64(f.active.Active()))
	i := f.order[place]
	g := f.groupOf[i]
	f.most[g] = max(f.most[g], f.active.ActiveOf(int(g)))
	d := f.devices[i].Load()
	switch {
	case d == nil:
	case up:
		d.begins(intended)
	default:
		d.stop()
	}
}

// Adopt takes over devices of another fleet, which does nothing any more: those that are active start now. Indexes that are this fleet's
// already, or nobody's, do nothing. id names a device by its index. What is returned follows them from then on.
func (f *Fleet) Adopt(indexes []int, id func(index int) string) *Adoption {
	a := &Adoption{fleet: f, tallies: make([]tally, len(f.groups))}
	f.courses.moving.Lock()
	defer f.courses.moving.Unlock()
	now := time.Now()
	for _, index := range indexes {
		place := f.placeOf(index)
		if place < 0 || f.devices[place].Load() != nil {
			continue
		}
		d := f.add(place, id(index))
		d.adopted = a
		if !f.finished() && f.isActive(place) {
			a.active++
			d.missing = true
			d.begins(now)
		}
	}
	return a
}

// placeOf is where in Fleet.devices a device is; -1 when there is none.
func (f *Fleet) placeOf(index int) int {
	for _, g := range f.groups {
		if i := index - g.First; i >= 0 && i < len(g.IDs) {
			return g.at + i
		}
	}
	return -1
}

// begins starts a run of the device, and counts it when it is its first.
func (d *device) begins(intended time.Time) {
	if !d.ran {
		d.ran = true
		d.count(func(t *tally) { t.started.Add(1) })
	}
	d.start(intended)
}

// replay walks through the movements of a fleet as they are planned, whatever was carried out of them.
type replay struct {
	fleet  *Fleet
	seen   int // movements
	roster *roster.Roster
	begin  time.Time // of the movement that holds
	next   func() (roster.Move, bool)
	stop   func()
	peeked roster.Move // its next move
	more   bool        // that there is one
}

func (f *Fleet) replay() *replay { return &replay{fleet: f, roster: f.none.Clone(), stop: func() {}} }

// until moves on to a time.
func (r *replay) until(at time.Time) {
	for _, m := range r.fleet.courses.from(r.seen) {
		if m.begin.After(at) {
			break
		}
		r.stop()
		r.seen, r.roster, r.begin = r.seen+1, m.from.Clone(), m.begin
		r.next, r.stop = iter.Pull(m.moves)
		r.peeked, r.more = r.next()
	}
	for r.more && !r.begin.Add(r.peeked.At).After(at) {
		r.roster.Move(r.peeked.Group, r.peeked.Up)
		r.peeked, r.more = r.next()
	}
}
