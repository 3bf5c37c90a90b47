package metrics

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/metrics/histogram"
	"github.com/twinfleet/twinfleet/metrics/internal/inflight"
	"github.com/twinfleet/twinfleet/metrics/internal/tally"
)

// Series is where the operations of one kind and group go. Resolve it once, outside the hot path.
//
// Every operation belongs to the stage in which it was intended, whenever it starts or ends:
//
//	stage ramp          │ stage hold
//	  intended ── sent ─┼───── done      counts for ramp
type Series struct {
	operation Operation
	group     string
	rec       *Recorder
	open      inflight.Times

	mu    sync.Mutex              // protects the making of cells, and sums
	cells atomic.Pointer[[]*cell] // by stage; nil where the series has none yet
	sums  map[int]*sumCopy        // of the last snapshots: by stage, and of all of them
}

// allStages is where the sum of all stages is kept among the sums.
const allStages = -1

// cell is what a series has of one stage.
type cell struct {
	stage     string
	sent      atomic.Uint64 // started on time
	lateStart atomic.Uint64
	lateOwn   atomic.Uint64
	ended     atomic.Uint64
	dropped   [reasons]atomic.Uint64
	copies    [2]atomic.Uint64 // of deliveries: duplicates, and those out of order
	lost      atomic.Uint64    // connections, by reason in errors
	missing   atomic.Int64     // of deliveries: it may fall
	lag       histogram.Live
	own       histogram.Live
	response  [outcomes]histogram.Live
	service   [outcomes]histogram.Live
	errors    tally.Table[errorKey]

	mu     sync.Mutex // protects the following fields
	seen   [4]uint64  // starts, ends, drops, copies and losses, and what was missing of the last copy
	copied *SeriesSnapshot
}

// sumCopy is a sum of cells, with the copies that it was made from.
type sumCopy struct {
	parts []*SeriesSnapshot
	sum   SeriesSnapshot
}

// at is the cell of the stage in which an operation was intended.
func (s *Series) at(intended time.Time) *cell {
	number, name := s.rec.stageOf(intended)
	if cells := *s.cells.Load(); number < len(cells) && cells[number] != nil {
		return cells[number]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	cells := *s.cells.Load()
	if number < len(cells) && cells[number] != nil {
		return cells[number]
	}
	more := make([]*cell, max(len(cells), number+1))
	copy(more, cells)
	more[number] = &cell{stage: name}
	s.cells.Store(&more)
	return more[number]
}

// Started is an operation under way. It ends once: by End, EndBecause or Unanswered. The zero value is none and ends without
// being counted. It is a value to keep and to copy, not to end twice.
type Started struct {
	Intended time.Time // when the schedule wanted it to start
	Sent     time.Time // when it really started
	series   *Series
	cell     *cell
}

// Start counts an operation that starts: on time, or late when it starts more than Options.LateAfter after its intended time.
// That it starts late is the generator's doing.
func (s *Series) Start(intended, sent time.Time) Started {
	return s.StartAfter(intended, intended, sent)
}

// StartAfter is Start for an operation that had to wait until free for something that is the target's doing, such as an
// answer that makes room: only what came after that is the generator's doing.
func (s *Series) StartAfter(intended, free, sent time.Time) Started {
	c := s.at(intended)
	lag := max(0, sent.Sub(intended))
	own := lag
	if free.After(intended) {
		own = max(0, sent.Sub(free))
	}
	c.lag.Record(lag)
	c.own.Record(own)
	if own > s.rec.opts.LateAfter {
		c.lateOwn.Add(1)
	}
	if lag > s.rec.opts.LateAfter {
		c.lateStart.Add(1)
	} else {
		c.sent.Add(1)
	}
	s.open.Add(s.rec.start, intended, 1)
	return Started{intended, sent, s, c}
}

// End counts that the operation ended. The response time runs from the intended time, so that a
// stalled target cannot hide behind a generator that waited for it; the service time from the send.
func (o Started) End(done time.Time, outcome Outcome) { o.EndBecause(done, outcome, "") }

// EndBecause is End for an operation that may have ended badly, with the reason, best from Reason.
// Reasons are shown to people and their number is bounded; that of an operation that ended well is ignored.
func (o Started) EndBecause(done time.Time, outcome Outcome, reason string) {
	if o.cell == nil {
		return
	}
	if outcome >= outcomes {
		outcome = Failed
	}
	if outcome != OK {
		reason = o.series.rec.bound(outcome, reason)
		o.cell.errors.Add(errorKey{outcome, reason}, done)
	}
	o.cell.response[outcome].Record(done.Sub(o.Intended))
	o.cell.service[outcome].Record(done.Sub(o.Sent))
	o.cell.ended.Add(1)
	o.series.open.Add(o.series.rec.start, o.Intended, -1)
	if o.series.rec.opts.Tap != nil {
		o.tap(done, outcome, reason)
	}
}

// Unanswered counts that nobody waits for the operation any more, and why: it took the time until then at least.
func (o Started) Unanswered(now time.Time, reason string) { o.EndBecause(now, Unanswered, reason) }

// Drop counts an operation that was due at a time and never started, with one of the Drop reasons.
func (s *Series) Drop(intended time.Time, reason string) { s.DropMany(1, intended, reason) }

// DropMany is Drop for n operations of one time.
func (s *Series) DropMany(n uint64, intended time.Time, reason string) {
	i := slices.Index(DropReasons(), reason)
	if i < 0 {
		i = reasons - 1
	}
	c := s.at(intended)
	c.dropped[i].Add(n)
	if tap := s.rec.opts.Tap; tap != nil && n > 0 {
		tap(Ended{Operation: s.operation, Group: s.group, Stage: c.stage, Intended: intended, Dropped: n, Reason: DropReasons()[i]})
	}
}

// Copies is where it counts what became of the copies of a message beside its deliveries' ends: in the stage in which the message was intended, whenever
// that shows. Equal ones are of one series and stage. The zero value counts nothing.
type Copies struct{ cell *cell }

// Copies is where that counts of a message that was intended at a time.
func (s *Series) Copies(intended time.Time) Copies { return Copies{s.at(intended)} }

// Came counts copies that a subscriber had before, and first copies that came behind one of a later message.
func (c Copies) Came(duplicates, outOfOrder uint64) {
	if c.cell != nil && duplicates+outOfOrder > 0 {
		c.cell.copies[0].Add(duplicates)
		c.cell.copies[1].Add(outOfOrder)
	}
}

// Missing counts by how many more have not come of those that the target has acknowledged; fewer, below 0, when some came after all.
func (c Copies) Missing(more int64) {
	if c.cell != nil && more != 0 {
		c.cell.missing.Add(more)
	}
}

// Lost counts, of connect, that a connection which was made was lost at a time, and why, best from package metrics/reason: it shows among the reasons why
// operations ended badly, with LostConnection as its outcome, and in no other number.
func (s *Series) Lost(at time.Time, reason string) {
	c := s.at(at)
	c.errors.Add(errorKey{lost, s.rec.bound(lost, reason)}, at)
	c.lost.Add(1)
}

// snapshot copies the cell, or gives the last copy when nothing has come since.
func (c *cell) snapshot(op Operation, group string) *SeriesSnapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Ends are read before starts, so that no operation seems to have ended before it started.
	seen := [4]uint64{1: c.ended.Load(), 2: c.lost.Load(), 3: uint64(c.missing.Load())}
	for i := range c.dropped {
		seen[2] += c.dropped[i].Load()
	}
	for i := range c.copies {
		seen[2] += c.copies[i].Load()
	}
	seen[0] = c.sent.Load() + c.lateStart.Load()
	if c.copied != nil && seen == c.seen && seen[0] == seen[1] {
		return c.copied
	}
	out := &SeriesSnapshot{Operation: op, Group: group}
	for o := range outcomes {
		out.Response[o] = c.response[o].Snapshot()
		out.Service[o] = c.service[o].Snapshot()
	}
	out.Reasons = errorCounts(&c.errors, op, group)
	out.OnTime, out.Late, out.LateOwn = c.sent.Load(), c.lateStart.Load(), c.lateOwn.Load()
	out.Duplicates, out.OutOfOrder, out.Missing = c.copies[0].Load(), c.copies[1].Load(), int64(seen[3])
	out.Lag, out.OwnLag = c.lag.Snapshot(), c.own.Snapshot()
	for i, reason := range DropReasons() {
		if n := c.dropped[i].Load(); n > 0 {
			if out.Dropped == nil {
				out.Dropped = make(map[string]uint64)
			}
			out.Dropped[reason] = n
		}
	}
	// What ended while it was copied is in it or not: then it is copied once more.
	c.seen, c.copied = seen, out
	return out
}

// snapshot copies the series over all stages.
func (s *Series) snapshot(now time.Time) SeriesSnapshot {
	cells := *s.cells.Load()
	parts := make([]*SeriesSnapshot, 0, len(cells))
	for _, c := range cells {
		if c != nil {
			parts = append(parts, c.snapshot(s.operation, s.group))
		}
	}
	open := s.open.Ages(s.rec.start, s.rec.start, now, now)
	late := lagOf(parts, s.rec.start, now, now)
	for _, p := range *s.rec.parts.Load() {
		more, theirs, known := p.of(key{s.operation, s.group})
		parts, open = append(parts, more...), append(open, theirs...)
		late = late.plus(lagOf(more, s.rec.start, known, now))
	}
	out := s.sum(allStages, parts)
	out.open, out.lag = open, late
	return out
}

// stageSnapshot copies the series in a stage that lasted from a time to another; ok is false when it has nothing of it.
func (s *Series) stageSnapshot(number int, from, to, now time.Time) (out SeriesSnapshot, ok bool) {
	var parts []*SeriesSnapshot
	var open []inflight.Age
	if cells := *s.cells.Load(); number < len(cells) && cells[number] != nil {
		parts, open = append(parts, cells[number].snapshot(s.operation, s.group)), s.open.Ages(s.rec.start, from, to, now)
	}
	late := lagOf(parts, from, to, to)
	own, unheard := len(parts) > 0, false
	for _, p := range *s.rec.parts.Load() {
		x, theirs, known := p.ofStage(key{s.operation, s.group}, number)
		if x != nil {
			parts, open = append(parts, x), append(open, theirs...)
			late = late.plus(lagOf(parts[len(parts)-1:], from, known, to))
		}
		unheard = unheard || !known.IsZero() && !known.After(from)
	}
	if unheard && !own { // how much the others do is not known before they tell of the stage
		late = lag{1, (to.Sub(from) + time.Second).Seconds()}
	}
	if len(parts) == 0 {
		return out, false
	}
	out = s.sum(number, parts)
	out.open, out.lag = open, late
	return out, true
}

// sum adds up copies of cells: of a stage, or of all of them. What was added up the last time is not once more.
func (s *Series) sum(of int, parts []*SeriesSnapshot) SeriesSnapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.sums[of]; last != nil && slices.Equal(last.parts, parts) {
		return last.sum
	}
	x := &sumCopy{parts: parts, sum: SeriesSnapshot{Operation: s.operation, Group: s.group}}
	for _, p := range parts {
		x.sum = x.sum.plus(*p)
	}
	if s.sums == nil {
		s.sums = make(map[int]*sumCopy)
	}
	s.sums[of] = x
	return x.sum
}
