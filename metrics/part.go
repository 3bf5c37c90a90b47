package metrics

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/metrics/histogram"
	"github.com/twinfleet/twinfleet/metrics/internal/inflight"
)

// Contribution is the numbers of a Recorder that another one takes up as those of a Part. They count from the beginning: whoever has the
// last ones needs none of those before.
type Contribution struct {
	At      time.Time     `json:"at"`                // when they were copied
	Stages  []StagePart   `json:"stages,omitempty"`  // ascending; those that are not among them are as they were
	Open    []OpenPart    `json:"open,omitempty"`    // what is under way, of all stages
	Devices []DeviceCount `json:"devices,omitempty"` // as they are now
	Queries []QueryCount  `json:"queries,omitempty"` // results as they are now
}

// StagePart is what a Contribution has of one stage.
type StagePart struct {
	Number int               `json:"number"`         // from 1; 0 is before the first
	Series []*SeriesSnapshot `json:"series"`         // by operation and group; they are not changed any more
	Open   []OpenPart        `json:"open,omitempty"` // what is under way of it
}

// OpenPart is the operations of a series that are under way, by age.
type OpenPart struct {
	Operation Operation    `json:"operation"`       // which operation
	Group     string       `json:"group,omitempty"` // of devices, or the name of a query
	Ages      []UnderWayOf `json:"ages"`            // the youngest first
}

// UnderWayOf is how many operations have been under way for a time at least.
type UnderWayOf struct {
	Least time.Duration `json:"least"` // when the Contribution was made, to a quarter of a second
	Count uint64        `json:"count"` // how many
}

// Contribution copies the Recorder's own numbers, for the Part of another one. Those of its Parts are not among them.
func (r *Recorder) Contribution() *Contribution {
	now := time.Now()
	c := &Contribution{At: now}
	marks := *r.marks.Load()
	stages := make([]StagePart, len(marks)+1)
	for _, s := range r.allSeries() {
		c.Open = appendOpen(c.Open, s, s.open.Ages(r.start, r.start, now, now))
		for number, cell := range *s.cells.Load() {
			if cell == nil || number >= len(stages) {
				continue // a stage that began meanwhile
			}
			from, to := r.stageBounds(number, marks, now)
			x := &stages[number]
			x.Series = append(x.Series, cell.snapshot(s.operation, s.group))
			x.Open = appendOpen(x.Open, s, s.open.Ages(r.start, from, to, now))
		}
	}
	for number, x := range stages {
		if x.Number = number; len(x.Series) > 0 {
			c.Stages = append(c.Stages, x)
		}
	}
	c.Devices, c.Queries = r.ownCounts()
	return c
}

func appendOpen(all []OpenPart, s *Series, ages []inflight.Age) []OpenPart {
	if len(ages) == 0 {
		return all
	}
	x := OpenPart{Operation: s.operation, Group: s.group}
	for _, a := range ages {
		x.Ages = append(x.Ages, UnderWayOf{a.Least, a.N})
	}
	return append(all, x)
}

// Part is the numbers of another Recorder, perhaps on another machine, that count as if they were a Recorder's own: Snapshot, Stages and
// all that is made of them have them. Its stages are the same ones, in the same order. It may be used from any goroutine.
type Part struct {
	rec *Recorder

	mu      sync.Mutex                      // protects the following fields
	cells   map[key]map[int]*SeriesSnapshot // by stage
	open    map[key][]inflight.Age          // of all stages, at the time of the last Contribution
	staged  map[int]map[key][]inflight.Age  // of each stage, at the time of the last one that had it
	aged    map[int]time.Time               // that time
	known   time.Time                       // until when the numbers tell; zero before the first
	ended   bool                            // nothing more will come
	waiting []staged                        // of a Contribution whose rest has not come
	devices []DeviceCount
	queries []QueryCount
}

// Join has the numbers of another Recorder count, once there are some: see Part.Set.
func (r *Recorder) Join() *Part {
	p := &Part{
		rec: r, cells: make(map[key]map[int]*SeriesSnapshot), open: make(map[key][]inflight.Age), staged: make(map[int]map[key][]inflight.Age),
		aged: make(map[int]time.Time),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	parts := append(slices.Clone(*r.parts.Load()), p)
	r.parts.Store(&parts)
	return p
}

// Set takes up numbers in place of those before. What the Contribution holds must not be changed afterwards.
func (p *Part) Set(c *Contribution) {
	for i := range c.Stages {
		p.SetStage(c.At, &c.Stages[i])
	}
	p.SetNow(c)
}

// staged is the numbers of a stage at a time.
type staged struct {
	at     time.Time
	number int
	cells  map[key]*SeriesSnapshot
	open   map[key][]inflight.Age
}

// SetStage takes up the numbers of one stage, as they were at a time. They count once SetNow was called for that time: all of a Contribution does at once.
func (p *Part) SetStage(at time.Time, stage *StagePart) {
	fresh := make(map[key]*SeriesSnapshot)
	for _, x := range stage.Series {
		k := p.key(x.Operation, x.Group)
		if before := fresh[k]; before != nil { // several that the bound on groups makes one
			sum := before.plus(*x)
			x = &sum
		}
		fresh[k] = x
	}
	open := p.agesOf(stage.Open)
	defer p.change()()
	p.waiting = append(p.waiting, staged{at, stage.Number, fresh, open})
	if !at.After(p.known) {
		p.takeLocked()
	}
}

// takeLocked takes up the numbers of stages that wait. The caller holds the lock.
func (p *Part) takeLocked() {
	for _, x := range p.waiting {
		for k, c := range x.cells {
			if p.cells[k] == nil {
				p.cells[k] = make(map[int]*SeriesSnapshot)
			}
			p.cells[k][x.number] = c
		}
		p.staged[x.number], p.aged[x.number] = x.open, x.at
	}
	p.waiting = nil
}

// change begins a change of the part, between two snapshots of the whole; the returned function ends it.
func (p *Part) change() (end func()) {
	p.rec.telling.Lock()
	p.mu.Lock()
	return func() {
		p.mu.Unlock()
		p.rec.telling.Unlock()
	}
}

// SetNow takes up all of a Contribution but its stages.
func (p *Part) SetNow(c *Contribution) {
	open := p.agesOf(c.Open)
	defer p.change()()
	p.takeLocked()
	p.open, p.devices, p.queries, p.ended = open, c.Devices, c.Queries, false
	if c.At.After(p.known) {
		p.known = c.At
	}
}

// key is where a series goes, as the Recorder bounds them.
func (p *Part) key(op Operation, group string) key {
	s := p.rec.Series(op, group)
	return key{s.operation, s.group}
}

func (p *Part) agesOf(all []OpenPart) map[key][]inflight.Age {
	out := make(map[key][]inflight.Age)
	for _, x := range all {
		k := p.key(x.Operation, x.Group)
		for _, a := range x.Ages {
			out[k] = append(out[k], inflight.Age{Least: a.Least, N: a.Count})
		}
	}
	return out
}

// of is what the part has of a series: its cells, what was under way when they were told, and until when they tell; zero when nothing more comes.
// What was under way may have ended since: it is not known to be older than it was.
func (p *Part) of(k key) (cells []*SeriesSnapshot, open []inflight.Age, known time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, number := range slices.Sorted(maps.Keys(p.cells[k])) {
		cells = append(cells, p.cells[k][number])
	}
	return cells, p.open[k], p.knownLocked()
}

// ofStage is what the part has of a series in a stage, as of has it; nil when it has nothing.
func (p *Part) ofStage(k key, number int) (cell *SeriesSnapshot, open []inflight.Age, known time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cells[k][number], p.staged[number][k], p.knownLocked()
}

// knownLocked is until when the part tells; zero when nothing more comes. The caller holds the lock.
func (p *Part) knownLocked() time.Time {
	if p.ended {
		return time.Time{}
	}
	return p.known
}

// behind is by how much what the Parts have told is older than a time, on average: of what they do evenly, so much is not known yet. Those that
// have ended have nothing more to tell. Before the first has told anything nothing is known.
func (r *Recorder) behind(at time.Time) time.Duration {
	sum, told, open := time.Duration(0), 0, 0
	for _, p := range *r.parts.Load() {
		p.mu.Lock()
		switch {
		case p.ended:
		case p.known.IsZero():
			open++
		default:
			told++
			sum += max(0, at.Sub(p.known))
		}
		p.mu.Unlock()
	}
	switch {
	case told > 0:
		return sum / time.Duration(told)
	case open > 0:
		return at.Sub(r.start)
	}
	return 0
}

// End says that nobody waits any more for what is under way, and why: the other Recorder is gone. It took the time until then at least.
// No device is counted any more. A later Set takes all of that back.
func (p *Part) End(now time.Time, why string) {
	defer p.change()()
	p.takeLocked()
	why = p.rec.bound(Unanswered, why)
	for k, stages := range p.cells {
		for number, x := range stages {
			if n := x.InFlight(); n > 0 {
				stages[number] = x.unanswered(n, older(p.staged[number][k], now.Sub(p.aged[number])), now, why)
			}
		}
	}
	clear(p.open)
	clear(p.staged)
	p.devices, p.ended = nil, true
}

// older is ages a time later.
func older(ages []inflight.Age, by time.Duration) []inflight.Age {
	out := slices.Clone(ages)
	for i := range out {
		out[i].Least += max(0, by)
	}
	return out
}

// unanswered is the numbers when so many operations have ended without an answer, whose ages are these as far as they are known.
func (s *SeriesSnapshot) unanswered(n uint64, ages []inflight.Age, now time.Time, why string) *SeriesSnapshot {
	var took histogram.Live
	left := n
	for _, a := range slices.Backward(ages) { // the oldest first: those are there for certain
		took.RecordMany(a.Least, min(a.N, left))
		left -= min(a.N, left)
	}
	took.RecordMany(0, left)
	out := *s
	h := took.Snapshot()
	out.Response[Unanswered], out.Service[Unanswered] = out.Response[Unanswered].Merge(h), out.Service[Unanswered].Merge(h)
	out.Reasons = mergeErrors(s.Reasons, []ErrorCount{{s.Operation, s.Group, Unanswered.String(), why, n, now.UTC()}})
	return &out
}

// Snapshot is the part's numbers alone, of all stages.
func (p *Part) Snapshot() *Snapshot {
	now := time.Now()
	p.mu.Lock()
	keys := slices.Collect(maps.Keys(p.cells))
	p.mu.Unlock()
	s := &Snapshot{At: now}
	for _, k := range keys {
		x := SeriesSnapshot{Operation: k.operation, Group: k.group}
		cells, open, _ := p.of(k)
		for _, c := range cells {
			x = x.plus(*c)
		}
		x.open = open
		s.Series = append(s.Series, x)
	}
	slices.SortFunc(s.Series, func(a, b SeriesSnapshot) int {
		return cmp.Or(cmp.Compare(a.Operation.rank(), b.Operation.rank()), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Group, b.Group))
	})
	s.Devices, s.Queries = p.counts()
	return s
}

// PartTotals is what became of all operations of a Part, without their times.
type PartTotals struct {
	Scheduled uint64 // that were due
	Started   uint64 // of them
	OK        uint64 // ended well
	Failed    uint64 // ended in any other way, throttled ones among them
	Dropped   uint64 // were due, and never started
}

// InFlight is how many started and have not ended.
func (t PartTotals) InFlight() uint64 { return t.Started - min(t.Started, t.OK+t.Failed) }

// Totals adds up all operations of the part. It is quick, and may be asked for at every scrape.
func (p *Part) Totals() (t PartTotals) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, stages := range p.cells {
		for _, x := range stages {
			ok, dropped := x.Count(OK), x.DroppedTotal()
			t.Started, t.OK, t.Failed, t.Dropped = t.Started+x.Started(), t.OK+ok, t.Failed+x.Ended()-ok, t.Dropped+dropped
		}
	}
	t.Scheduled = t.Started + t.Dropped
	return t
}

// counts are the devices and the results of queries.
func (p *Part) counts() ([]DeviceCount, []QueryCount) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.devices, p.queries
}
