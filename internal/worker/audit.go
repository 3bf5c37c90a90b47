package worker

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// AuditGroup is devices of one group that the audit may watch.
type AuditGroup struct {
	Name  string
	First int      // index in the fleet of the group's first device
	IDs   []string // one a device
}

// AuditOptions of an Audit.
type AuditOptions struct {
	Seed     uint64            // the sample follows from it
	Recorder *metrics.Recorder // required
	Groups   []AuditGroup      // of the devices that report
	// Sample is how many devices are watched at the most; 200 when 0.
	Sample int
	// Timeout is after how long a report that no result has shown counts as timed out; a minute when 0.
	Timeout time.Duration
	// Tolerance is how much older than what was acknowledged a result may be before a device in it
	// counts as missing, extra or stale.
	Tolerance time.Duration
	// Fresh says of a device by index whether this run made it, so that its twin was empty at Made;
	// nil when none was.
	Fresh func(index int) bool
	Made  time.Time
	// Known reports whether a device is one of the run's. Others in results are looked for at the end; nil looks for none.
	Known func(id string) bool
}

// Audit measures how fresh the results of queries are, and checks them against what the target has
// acknowledged to the devices. It watches a sample of the fleet that follows from the seed.
//
// Every acknowledged report of a watched device is one operation of metrics.OpFreshness: it starts
// with its acknowledgement, and ends when a page arrives that shows the device with the $version of
// that report or a later one.
//
//	ack of version 7           ack of 8      page arrives with version 8
//	├───────────────── freshness of 7 ──────────────┤
//	                           ├── freshness of 8 ──┤
//
// It is safe for concurrent use.
type Audit struct {
	opts      AuditOptions
	devices   int // that could have been watched
	watched   []*watched
	byIndex   map[int]*watched
	byID      map[string]*watched
	tags      tagBook
	strangers strangers
}

// watched is a device of the sample.
type watched struct {
	index  int
	id     string
	group  string
	series *metrics.Series

	mu      sync.Mutex // protects the following fields
	pending []pending  // acknowledged and not shown yet
	shown   int64      // the highest $version that a result has shown
	history history
}

// pending is an acknowledged report that no result has shown yet.
type pending struct {
	version int64
	op      metrics.Started // from the acknowledgement
}

// maxPending bounds the reports of one device that wait to be shown; further ones are dropped and counted.
const maxPending = 1024

const (
	defaultSample  = 200
	defaultTimeout = time.Minute
)

// NewAudit chooses the sample.
func NewAudit(o AuditOptions) *Audit {
	o.Sample = orDefault(o.Sample, defaultSample)
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	a := &Audit{opts: o, byIndex: make(map[int]*watched), byID: make(map[string]*watched), tags: tagBook{groups: make(map[string]groupTags)}}
	var ends []int // of the groups, in the numbering of all devices that could be watched
	for _, g := range o.Groups {
		a.devices += len(g.IDs)
		ends = append(ends, a.devices)
	}
	for _, n := range pick(o.Seed, a.devices, o.Sample) {
		at, _ := slices.BinarySearch(ends, n+1)
		g := &o.Groups[at]
		i := n - (ends[at] - len(g.IDs))
		w := &watched{index: g.First + i, id: g.IDs[i], group: g.Name, series: o.Recorder.Series(metrics.OpFreshness, g.Name)}
		if o.Fresh != nil && o.Fresh(w.index) {
			w.history.begin(o.Made)
		}
		a.watched = append(a.watched, w)
		a.byIndex[w.index], a.byID[w.id] = w, w
	}
	return a
}

// pick chooses n of the numbers below total, in ascending order; all when n is not below it.
func pick(seed uint64, total, n int) []int {
	chosen := schedule.Rand(seed, "freshness", 0).Perm(total)
	chosen = chosen[:min(n, total)]
	slices.Sort(chosen)
	return chosen
}

// Sampled is how many devices are watched, of how many.
func (a *Audit) Sampled() (n, of int) { return len(a.watched), a.devices }

// IDs are the watched devices.
func (a *Audit) IDs() []string {
	ids := make([]string, len(a.watched))
	for i, w := range a.watched {
		ids[i] = w.id
	}
	return ids
}

// Sending notes that a device is about to report. What it reports may be true of its twin from now on.
func (a *Audit) Sending(index int, sent time.Time) {
	if w := a.byIndex[index]; w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.history.sending(sent)
	}
}

// Ack is an acknowledged report.
type Ack struct {
	Index        int
	Connectivity string    // empty when the report did not speak of it
	Version      int64     // $version of the reported properties after it
	Sent, Acked  time.Time // Sent as Sending was told
}

// Acked notes that the target acknowledged a report.
func (a *Audit) Acked(r Ack) {
	w := a.byIndex[r.Index]
	if w == nil || r.Version <= 0 {
		return // without a version nobody can tell what a result shows
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history.acked(r, a.opts.Tolerance)
	if len(w.pending) >= maxPending {
		w.series.Drop(r.Acked, metrics.DropInFlight)
		return
	}
	op := w.series.Start(r.Acked, r.Acked)
	if r.Version <= w.shown { // a result that was under way showed it before the device knew
		op.End(r.Acked, metrics.OK)
		return
	}
	w.pending = append(w.pending, pending{r.Version, op})
}

// show notes that a page which arrived at a time shows a $version of the device.
func (w *watched) show(version int64, arrived time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if version <= w.shown {
		return
	}
	w.shown = version
	w.pending = slices.DeleteFunc(w.pending, func(p pending) bool {
		if p.version > version {
			return false
		}
		done := arrived
		if done.Before(p.op.Sent) {
			done = p.op.Sent
		}
		p.op.End(done, metrics.OK)
		return true
	})
}

// Sweep ends the reports that were not shown within the audit's time-out.
func (a *Audit) Sweep(now time.Time) {
	for _, w := range a.watched {
		w.mu.Lock()
		w.pending = slices.DeleteFunc(w.pending, func(p pending) bool {
			if now.Sub(p.op.Sent) < a.opts.Timeout {
				return false
			}
			p.op.End(now, metrics.Timeout)
			return true
		})
		w.mu.Unlock()
	}
}

// Pending is how many acknowledged reports no result has shown yet.
func (a *Audit) Pending() int {
	n := 0
	for _, w := range a.watched {
		w.mu.Lock()
		n += len(w.pending)
		w.mu.Unlock()
	}
	return n
}

// Close ends the audit at a time: reports that no result has shown are counted as unanswered. It returns how many.
func (a *Audit) Close(now time.Time) int {
	a.Sweep(now)
	n := 0
	for _, w := range a.watched {
		w.mu.Lock()
		for _, p := range w.pending {
			p.op.Unanswered(now, runEnded)
		}
		n += len(w.pending)
		w.pending = nil
		w.mu.Unlock()
	}
	return n
}

// tagBook is what the worker knows of the tags of each group.
type tagBook struct {
	mu     sync.Mutex // protects the following fields
	groups map[string]groupTags
	lost   bool // something else writes tags: nothing is known of them any more
}

type groupTags struct {
	patches []json.RawMessage // that all devices of the group were given, in order
	since   time.Time         // when the last of them was written
	writing bool
}

// Tagging notes that the tags of a group are being written: until Tagged is called, nothing is known of them.
func (a *Audit) Tagging(group string) {
	a.tags.mu.Lock()
	defer a.tags.mu.Unlock()
	g := a.tags.groups[group]
	g.writing = true
	a.tags.groups[group] = g
}

// Tagged notes tags that were merged into those of all devices of a group.
func (a *Audit) Tagged(group string, patch json.RawMessage) {
	a.tags.mu.Lock()
	defer a.tags.mu.Unlock()
	g := a.tags.groups[group]
	g.patches, g.since, g.writing = append(slices.Clip(g.patches), patch), time.Now(), false
	a.tags.groups[group] = g
}

// TagsUnknown notes that somebody else writes tags: from now on no result is checked against them.
func (a *Audit) TagsUnknown() {
	a.tags.mu.Lock()
	defer a.tags.mu.Unlock()
	a.tags.lost = true
}

// of are the patches that made the tags which a group's devices have had since a time; ok is false
// when that is not known.
func (b *tagBook) of(group string, since time.Time) (patches []json.RawMessage, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.groups[group]
	return g.patches, !b.lost && !g.writing && !g.since.After(since)
}
