// Package freshness audits the results of queries: how fresh they are, and whether they are true.
package freshness

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/worker/freshness/delay"
	"github.com/twinfleet/twinfleet/internal/worker/freshness/known"
	"github.com/twinfleet/twinfleet/internal/worker/phantom"
	"github.com/twinfleet/twinfleet/internal/worker/queries"
	"github.com/twinfleet/twinfleet/internal/worker/twinread"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// Group is devices of one group that the audit may watch.
type Group struct {
	Name  string   // in metrics
	First int      // index in the fleet of the group's first device
	IDs   []string // one a device
}

// Options of an Audit.
type Options struct {
	Seed     uint64            // the sample follows from it
	Recorder *metrics.Recorder // required
	Groups   []Group           // of the devices that report
	// Sample is how many devices are watched at the most; 200 when 0.
	Sample int
	// Timeout is after how long a report that no result has shown counts as timed out; a minute when 0.
	Timeout time.Duration
	// Tolerance is how much older than what was acknowledged a result may be before a device in it
	// counts as missing, extra or stale.
	Tolerance time.Duration
	// Late has results judged once Known says that all is known of the devices until then: what they do is told late.
	Late bool
	// Fresh says of a device by index whether this run made it, so that its twin was empty at Made;
	// nil when none was.
	Fresh func(index int) bool
	Made  time.Time // when its devices were made; only of use with Fresh
	// Known reports whether a device is one of the run's. Others in results are noted, and checked at the end; nil notes none.
	Known func(id string) bool
}

// Audit measures how fresh the results of queries are, and checks them against what the target has
// acknowledged to the devices. It watches a sample of the fleet that follows from the seed.
//
// Every acknowledged report of a watched device is one operation of metrics.OpFreshness, as delay.Reports say.
//
// It is safe for concurrent use.
type Audit struct {
	opts      Options
	devices   int // that could have been watched
	watched   []*watched
	byIndex   map[int]*watched
	byID      map[string]*watched
	tags      known.Tags
	strangers *phantom.Search

	mu      sync.Mutex    // protects the following fields
	pending []*check      // results that are not judged yet, in the order in which they ended
	margin  time.Duration // as Known was told last
}

// watched is a device of the sample.
type watched struct {
	index   int
	id      string
	group   string
	reports *delay.Reports

	mu      sync.Mutex // protects history
	history known.History
}

const (
	defaultSample  = 200
	defaultTimeout = time.Minute
)

// New makes an Audit, and chooses the sample.
func New(o Options) *Audit {
	o.Sample, o.Timeout = cmp.Or(o.Sample, defaultSample), cmp.Or(o.Timeout, defaultTimeout)
	a := &Audit{
		opts: o, byIndex: make(map[int]*watched), byID: make(map[string]*watched),
		strangers: &phantom.Search{Known: o.Known, Recorder: o.Recorder, Tolerance: o.Tolerance},
	}
	var ends []int // of the groups, in the numbering of all devices that could be watched
	for _, g := range o.Groups {
		a.devices += len(g.IDs)
		ends = append(ends, a.devices)
	}
	for _, n := range pick(o.Seed, a.devices, o.Sample) {
		at, _ := slices.BinarySearch(ends, n+1)
		g := &o.Groups[at]
		i := n - (ends[at] - len(g.IDs))
		w := &watched{index: g.First + i, id: g.IDs[i], group: g.Name}
		w.reports = delay.New(o.Recorder.Series(metrics.OpFreshness, g.Name), o.Timeout)
		if o.Fresh != nil && o.Fresh(w.index) {
			w.history.Begin(o.Made)
		}
		a.watched = append(a.watched, w)
		a.byIndex[w.index], a.byID[w.id] = w, w
	}
	return a
}

// pick chooses n of the numbers below total, in ascending order; all when n is not below it.
func pick(seed uint64, total, n int) []int {
	chosen := chance.Rand(seed, "freshness", 0).Perm(total)
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

// Sending notes that a device, by its index in the fleet, is about to report. What it reports may be true of its twin from now on.
func (a *Audit) Sending(index int, sent time.Time) {
	if w := a.byIndex[index]; w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.history.Sending(sent)
	}
}

// Acked notes that the target acknowledged a report of a device.
func (a *Audit) Acked(index int, r known.Report) {
	w := a.byIndex[index]
	if w == nil || r.Version <= 0 {
		return // without a version nobody can tell what a result shows
	}
	w.mu.Lock()
	w.history.Acked(r, a.opts.Tolerance)
	w.mu.Unlock()
	w.reports.Acked(r.Version, r.Acked)
}

// Missed notes that devices may have been acknowledged reports of which nobody tells: nothing is known of a device until it tells of the next.
func (a *Audit) Missed() {
	for _, w := range a.watched {
		w.mu.Lock()
		w.history.Miss()
		w.mu.Unlock()
	}
}

// Sweep ends the reports that were not shown within the audit's time-out.
func (a *Audit) Sweep(now time.Time) {
	for _, w := range a.watched {
		w.reports.Sweep(now)
	}
}

// Pending is how many acknowledged reports no result has shown yet.
func (a *Audit) Pending() int {
	n := 0
	for _, w := range a.watched {
		n += w.reports.Pending()
	}
	return n
}

// Known says that all is known of what devices did until a time, give or take a margin by which their times may be wrong: the results that
// ended by then are judged, unless the margin is beyond MaxMargin; then nothing can be said of them.
func (a *Audit) Known(until time.Time, margin time.Duration) {
	a.mu.Lock()
	a.margin = margin
	n := 0
	for n < len(a.pending) && !a.pending[n].ended.Add(margin).After(until) {
		n++
	}
	due := a.pending[:n:n]
	a.pending = a.pending[n:]
	a.mu.Unlock()
	for _, c := range due {
		c.conclude(margin)
	}
}

// MaxMargin is up to which margin results are judged.
const MaxMargin = time.Second

// later keeps a result to be judged once all is known of the time until now.
func (a *Audit) later(c *check) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c.ended = time.Now()
	a.pending = append(a.pending, c)
}

// Close ends the audit at a time: reports that no result has shown are counted as unanswered. It returns how many.
func (a *Audit) Close(now time.Time) int {
	a.mu.Lock()
	margin := a.margin
	a.mu.Unlock()
	a.Known(now.Add(time.Hour), margin) // nothing more is told
	n := 0
	for _, w := range a.watched {
		n += w.reports.Close(now)
	}
	return n
}

// Tagging notes that the tags of a group are being written: until Tagged is called, nothing is known of them.
func (a *Audit) Tagging(group string) {
	a.tags.Writing(group)
}

// Tagged notes tags that were merged into those of all devices of a group.
func (a *Audit) Tagged(group string, patch json.RawMessage) {
	a.tags.Written(group, patch, time.Now())
}

// TagsUnknown notes that somebody else writes tags: from now on no result is checked against them.
func (a *Audit) TagsUnknown() {
	a.tags.Lose()
}

// Phantoms are the devices that results have shown, that are none of the run's, and that do not exist.
func (a *Audit) Phantoms(ctx context.Context, service queries.Service, twins twinread.Reader) []phantom.Device {
	return a.strangers.Find(ctx, service, twins)
}
