package metrics

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options of a Recorder. The zero value is good.
type Options struct {
	// LateAfter is how long after its intended time an operation may start and still count as on
	// time; ten milliseconds when 0. Shorter is within the noise of timers.
	LateAfter time.Duration
	// MaxGroups bounds the groups per operation, those that devices are counted by, and the queries whose
	// results are counted; 100 when 0. Further ones are counted as "other".
	MaxGroups int
}

// Recorder takes every measured operation of a run. It is safe for concurrent use, and two devices
// share no lock on the way in.
type Recorder struct {
	opts   Options
	start  time.Time
	series sync.Map // key → *Series
	errors errorTable

	mu      sync.Mutex // protects the creation of series, and the following fields
	groups  map[Operation]int
	devices map[deviceKey]*atomic.Int64
	queries map[string]*queryState
	gauges  []gauge
	labels  RunLabels
	stage   string
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
	return &Recorder{
		opts: o, start: time.Now(), groups: make(map[Operation]int),
		devices: make(map[deviceKey]*atomic.Int64), queries: make(map[string]*queryState),
	}
}

// Series is where the operations of one kind and group go. Resolve it once, outside the hot path.
type Series struct {
	operation Operation
	group     string
	late      time.Duration
	errors    *errorTable // the Recorder's

	sent      atomic.Uint64 // started on time
	lateStart atomic.Uint64
	abandoned atomic.Uint64
	dropped   [reasons]atomic.Uint64
	lag       liveHistogram
	response  [outcomes]liveHistogram
	service   [outcomes]liveHistogram
}

// Series finds or makes the series of an operation and group.
func (r *Recorder) Series(op Operation, group string) *Series {
	if !op.known() {
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
	s := &Series{operation: op, group: group, late: r.opts.LateAfter, errors: &r.errors}
	r.groups[op]++
	r.series.Store(key{op, group}, s)
	return s
}

// Start counts an operation that starts: on time, or late when it starts more than
// Options.LateAfter after its intended time. Every Start is followed by one Observe or Abandon.
func (s *Series) Start(intended, sent time.Time) {
	lag := max(0, sent.Sub(intended))
	s.lag.record(lag)
	if lag > s.late {
		s.lateStart.Add(1)
	} else {
		s.sent.Add(1)
	}
}

// Observe counts an operation that ended. The response time runs from the intended time, so that a
// stalled target cannot hide behind a generator that waited for it; the service time from the send.
func (s *Series) Observe(intended, sent, done time.Time, o Outcome) {
	s.ObserveBecause(intended, sent, done, o, "")
}

// ObserveBecause is Observe for an operation that may have ended badly, with the reason, best from Reason.
// Reasons are shown to people and their number is bounded; that of an operation that ended well is ignored.
func (s *Series) ObserveBecause(intended, sent, done time.Time, o Outcome, reason string) {
	if o >= outcomes {
		o = Failed
	}
	if o != OK {
		s.errors.add(errorKey{s.operation, o, reason}, done)
	}
	s.response[o].record(done.Sub(intended))
	s.service[o].record(done.Sub(sent))
}

// Abandon counts an operation that started and whose end nobody will see: the run was over first.
func (s *Series) Abandon() { s.abandoned.Add(1) }

// Drop counts an operation that was scheduled and never started, with one of the Drop reasons.
func (s *Series) Drop(reason string) { s.DropMany(1, reason) }

// DropMany is Drop for n operations.
func (s *Series) DropMany(n uint64, reason string) {
	known := dropReasons()
	i := slices.Index(known[:], reason)
	if i < 0 {
		i = len(known) - 1
	}
	s.dropped[i].Add(n)
}

// Observe counts a whole operation: Start and Series.Observe in one.
func (r *Recorder) Observe(o Observation) {
	s := r.Series(o.Operation, o.Group)
	s.Start(o.Intended, o.Sent)
	s.Observe(o.Intended, o.Sent, o.Done, o.Outcome)
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
	}
	return r.devices[k]
}

// mayHave reports whether devices may be counted by one more group, or already are. r.mu is held.
func (r *Recorder) mayHave(group string) bool {
	groups := make(map[string]bool)
	for k := range r.devices {
		groups[k.group] = true
	}
	delete(groups, otherGroup)
	return groups[group] || len(groups) < r.opts.MaxGroups
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
type RunLabels struct{ Run, Scenario, Version string }

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

// SetStage names the stage that runs.
func (r *Recorder) SetStage(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stage = name
}

// gauge is a number that another room keeps and that /metrics shows.
type gauge struct {
	name, help string
	counter    bool
	labels     []string
	read       func() []Sample
}

// Sample is one value of a registered gauge, with the values of its labels in order.
type Sample struct {
	Labels []string
	Value  float64
}

// Register shows numbers that another room keeps, such as the embedded hub's throttles, on /metrics.
// Names begin with "twinfleet_"; those of counters end in "_total". read must be quick.
func (r *Recorder) Register(name, help string, labels []string, read func() []Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	isCounter := len(name) > 6 && name[len(name)-6:] == "_total"
	r.gauges = append(r.gauges, gauge{name, help, isCounter, labels, read})
}

// allSeries are the series in the order of reports.
func (r *Recorder) allSeries() []*Series {
	var all []*Series
	r.series.Range(func(_, v any) bool {
		all = append(all, v.(*Series))
		return true
	})
	slices.SortFunc(all, func(a, b *Series) int {
		return cmp.Or(cmp.Compare(a.operation.rank(), b.operation.rank()), cmp.Compare(a.group, b.group))
	})
	return all
}

// Snapshot copies all numbers as they are now.
func (r *Recorder) Snapshot() *Snapshot {
	now := time.Now()
	s := &Snapshot{At: now, Elapsed: now.Sub(r.start)}
	for _, series := range r.allSeries() {
		s.Series = append(s.Series, series.snapshot())
	}
	s.Errors = r.errors.snapshot()
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Stage = r.stage
	for _, k := range slices.SortedFunc(maps.Keys(r.devices), func(a, b deviceKey) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.state, b.state))
	}) {
		s.Devices = append(s.Devices, DeviceCount{k.group, k.state, int(r.devices[k].Load())})
	}
	for _, name := range slices.Sorted(maps.Keys(r.queries)) {
		q := r.queries[name]
		s.Queries = append(s.Queries, QueryCount{
			Query: name, Results: int(q.results.Load()), Pages: int(q.pages.Load()), Runs: int(q.runs.Load()),
			Met: int(q.met.Load()), Unmet: int(q.unmet.Load()), Rows: q.counts(),
		})
	}
	return s
}
