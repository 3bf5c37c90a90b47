package metrics

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/metrics/internal/tally"
)

// Options of a Recorder. The zero value is good.
type Options struct {
	// LateAfter is how long after its intended time an operation may start and still count as on
	// time; ten milliseconds when 0. Shorter is within the noise of timers.
	LateAfter time.Duration
	// MaxGroups bounds the groups per operation, those that devices are counted by, and the queries whose
	// results are counted; 100 when 0. Further ones are counted as "other".
	MaxGroups int
	// Start is when the run began, where that is not now: a Recorder that takes over from another.
	Start time.Time
	// Tap, when not nil, is told of every operation as it ends or is dropped, by whoever ended it: it must not wait, and may be called by
	// several at once.
	Tap func(Ended)
	// Operations are those of a program's own, beside the ones of this package: small letters, digits and _, as Prometheus has them.
	Operations []Operation
}

// Recorder takes every measured operation of a run. It is safe for concurrent use, and two devices
// share no lock on the way in.
type Recorder struct {
	opts    Options
	start   time.Time
	series  sync.Map // key → *Series
	reasons tally.Bound[errorKey]
	marks   atomic.Pointer[[]stageMark]
	parts   atomic.Pointer[[]*Part] // other Recorders, whose numbers count too
	telling sync.RWMutex            // held while a Part changes, or, to read, while a Snapshot is taken: until when it tells is then so of all of it

	mu      sync.Mutex // protects the creation of series, and the following fields
	groups  map[Operation]int
	devices map[deviceKey]*atomic.Int64
	gauged  map[string]bool // groups that devices are counted by
	queries map[string]*queryState
	figures []func() []Figure
	labels  RunLabels
}

type key struct {
	operation Operation
	group     string
}

type deviceKey struct{ group, state string }

type queryState struct {
	results, pages atomic.Int64
	runs           atomic.Int64
	queryChecks
}

// otherGroup takes what is over the bound of groups.
const otherGroup = "other"

// NewRecorder makes an empty Recorder.
func NewRecorder(o Options) *Recorder {
	if o.LateAfter == 0 {
		o.LateAfter = 10 * time.Millisecond
	}
	if o.MaxGroups == 0 {
		o.MaxGroups = 100
	}
	if o.Start.IsZero() {
		o.Start = time.Now()
	}
	r := &Recorder{
		opts: o, start: o.Start, groups: make(map[Operation]int),
		devices: make(map[deviceKey]*atomic.Int64), gauged: make(map[string]bool), queries: make(map[string]*queryState),
	}
	r.reasons.Most = maxReasons
	r.marks.Store(&[]stageMark{})
	r.parts.Store(&[]*Part{})
	return r
}

// Series finds or makes the series of an operation and group.
func (r *Recorder) Series(op Operation, group string) *Series {
	if !op.isKnown() && !slices.Contains(r.opts.Operations, op) {
		op = OpOther
	}
	if s, ok := r.series.Load(key{op, group}); ok {
		return s.(*Series)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.series.Load(key{op, group}); ok {
		return s.(*Series)
	}
	if r.groups[op] >= r.opts.MaxGroups {
		group = otherGroup
		if s, ok := r.series.Load(key{op, group}); ok {
			return s.(*Series)
		}
	}
	s := &Series{operation: op, group: group, rec: r}
	s.cells.Store(&[]*cell{})
	r.groups[op]++
	r.series.Store(key{op, group}, s)
	return s
}

// Expect says how many groups, or names of queries, there will be of an operation: so many are told apart, if that is more than Options.MaxGroups.
func (r *Recorder) Expect(groups int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opts.MaxGroups = max(r.opts.MaxGroups, groups)
}

// Observe counts a whole operation: Series.Start and Started.End in one.
func (r *Recorder) Observe(o Observation) {
	r.Series(o.Operation, o.Group).Start(o.Intended, o.Sent).End(o.Done, o.Outcome)
}

// DeviceGauge counts the devices of a group that are in one state.
func (r *Recorder) DeviceGauge(group, state string) *atomic.Int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := deviceKey{group, state}
	if r.devices[k] == nil && !r.mayHave(group) {
		k.group = otherGroup
	}
	if r.devices[k] == nil {
		r.devices[k] = new(atomic.Int64)
		if k.group != otherGroup {
			r.gauged[k.group] = true
		}
	}
	return r.devices[k]
}

// mayHave reports whether devices may be counted by one more group, or already are. r.mu is held.
func (r *Recorder) mayHave(group string) bool {
	return r.gauged[group] || len(r.gauged) < r.opts.MaxGroups
}

// QueryResult keeps the size of a query's last result and adds to its pages.
func (r *Recorder) QueryResult(query string, results, pages int) {
	q := r.query(query)
	q.results.Store(int64(results))
	q.pages.Add(int64(pages))
	q.runs.Add(1)
}

func (r *Recorder) query(name string) *queryState {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.queries[name]
	if q == nil && len(r.queries) >= r.opts.MaxGroups {
		name = otherGroup
		q = r.queries[name]
	}
	if q == nil {
		q = new(queryState)
		r.queries[name] = q
	}
	return q
}

// RunLabels name a run, for the info metric that dashboards join on.
type RunLabels struct {
	Run      string // the name of its record
	Scenario string // the scenario's name
	Version  string // of the program
}

// SetRun names the run.
func (r *Recorder) SetRun(l RunLabels) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.labels = l
}

// Run is what the run was named; its fields are empty before SetRun.
func (r *Recorder) Run() RunLabels {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.labels
}

// allSeries are the series in the order of reports.
func (r *Recorder) allSeries() []*Series {
	var all []*Series
	r.series.Range(func(_, v any) bool {
		all = append(all, v.(*Series))
		return true
	})
	slices.SortFunc(all, func(a, b *Series) int {
		return cmp.Or(cmp.Compare(a.operation.rank(), b.operation.rank()), cmp.Compare(a.operation, b.operation), cmp.Compare(a.group, b.group))
	})
	return all
}

// Snapshot copies all numbers as they are now.
func (r *Recorder) Snapshot() *Snapshot {
	r.telling.RLock()
	defer r.telling.RUnlock()
	now := time.Now()
	s := &Snapshot{At: now, Elapsed: now.Sub(r.start), behind: r.behind(now)}
	for _, series := range r.allSeries() {
		x := series.snapshot(now)
		s.Series = append(s.Series, x)
		s.Errors = mergeErrors(s.Errors, ofAllGroups(x.Reasons))
	}
	s.Devices, s.Queries = r.ownCounts()
	for _, p := range *r.parts.Load() {
		devices, queries := p.counts()
		s.Devices, s.Queries = addDevices(s.Devices, devices), addQueries(s.Queries, queries)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Stage = r.stage()
	return s
}

// Losses are the connections that were lost so far, by reason, of all groups: see Series.Lost.
func (r *Recorder) Losses() (all []ErrorCount) {
	r.telling.RLock()
	defer r.telling.RUnlock()
	add := func(reasons []ErrorCount) {
		for _, e := range reasons {
			if e.Outcome == LostConnection {
				all = mergeErrors(all, []ErrorCount{{OpConnect, "", e.Outcome, e.Reason, e.Count, e.Last}})
			}
		}
	}
	r.series.Range(func(_, v any) bool {
		s := v.(*Series)
		if s.operation != OpConnect {
			return true
		}
		for _, c := range *s.cells.Load() {
			if c != nil && c.lost.Load() > 0 {
				add(errorCounts(&c.errors, s.operation, s.group))
			}
		}
		for _, p := range *r.parts.Load() {
			cells, _, _ := p.of(key{s.operation, s.group})
			for _, x := range cells {
				add(x.Reasons)
			}
		}
		return true
	})
	return all
}

// ownCounts are the devices and the results of queries, without those of the Parts.
func (r *Recorder) ownCounts() (devices []DeviceCount, queries []QueryCount) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, n := range r.devices {
		devices = append(devices, DeviceCount{k.group, k.state, int(n.Load())})
	}
	slices.SortFunc(devices, DeviceCount.compare)
	for _, name := range slices.Sorted(maps.Keys(r.queries)) {
		q := r.queries[name]
		queries = append(queries, QueryCount{
			Query: name, Results: int(q.results.Load()), Pages: int(q.pages.Load()), Runs: int(q.runs.Load()),
			Met: int(q.met.Load()), Unmet: int(q.unmet.Load()), Rows: q.counts(),
		})
	}
	return devices, queries
}
