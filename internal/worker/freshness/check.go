package freshness

import (
	"encoding/json"
	"time"

	"github.com/twinfleet/twinfleet/internal/worker/queries"
	"github.com/twinfleet/twinfleet/internal/worker/rows"
	"github.com/twinfleet/twinfleet/metrics"
)

// Watch makes the observer of one run of a query that is being sent; nil when its rows tell no device.
func (a *Audit) Watch(q *queries.Query, sent time.Time) queries.Watch {
	if !q.Rows.Whole && q.Rows.Device == "" {
		return nil
	}
	return &check{audit: a, query: q, sent: sent, rows: make(map[*watched]int64)}
}

// check judges the result of one run of a query.
type check struct {
	audit *Audit
	query *queries.Query
	sent  time.Time
	ended time.Time          // of one that is judged later
	rows  map[*watched]int64 // $version as shown; 0 when the row does not tell it
}

// Page notes the devices of a page.
func (c *check) Page(arrived time.Time, items []json.RawMessage) {
	for _, item := range items {
		id, version := c.query.Rows.Read(item, c.audit.watches)
		w := c.audit.byID[id]
		if w == nil {
			c.audit.strangers.Note(id, c.query.Name)
			continue
		}
		c.rows[w] = max(c.rows[w], version)
		if version > 0 {
			w.reports.Shown(version, arrived)
		}
	}
}

// watches reports whether a device is of the sample.
func (a *Audit) watches(id string) bool { return a.byID[id] != nil }

// Follows reports whether the device of an index is of the sample: of others nothing need be told.
func (a *Audit) Follows(index int) bool { return a.byIndex[index] != nil }

// End judges the whole result of a run that ended well.
func (c *check) End(err error) {
	switch {
	case err != nil || c.query.Rows.Holds == nil:
	case c.audit.opts.Late:
		c.audit.later(c)
	default:
		c.conclude(0)
	}
}

// conclude judges the result, by times of devices that may be wrong by a margin.
func (c *check) conclude(margin time.Duration) {
	var found [5]int
	for _, w := range c.audit.watched {
		version, there := c.rows[w]
		f, ok := c.judge(w, version, there, margin)
		if ok && margin > MaxMargin {
			f = metrics.RowUnjudged
		}
		if ok {
			found[f]++
		}
	}
	rec := c.audit.opts.Recorder
	for f, n := range found {
		if n > 0 {
			rec.QueryRows(c.query.Name, metrics.RowCheck(f), n)
		}
	}
}

// judge compares one device with what the target had acknowledged when the query was sent, less the
// tolerance. It is not ok for a device that is not in the result and need not be.
func (c *check) judge(w *watched, version int64, there bool, margin time.Duration) (found metrics.RowCheck, ok bool) {
	from := c.sent.Add(-c.audit.opts.Tolerance - margin)
	tags, sure := c.audit.tags.Since(w.group, from)
	sure = sure || !c.query.Rows.UsesTags
	w.mu.Lock()
	states, known := w.history.Since(from)
	last, _ := w.history.Last()
	var oldest int64
	if len(states) > 0 && !states[0].Acked.After(from) {
		oldest = states[0].Version
	}
	holds := 0
	for _, s := range states {
		if c.query.Rows.Holds(rows.State{Device: w.id, Group: w.group, Tags: tags, Connectivity: s.Connectivity}) {
			holds++
		}
	}
	w.mu.Unlock()
	sure = sure && known
	due, barred := sure && holds == len(states), sure && holds == 0
	switch {
	case there && barred && version <= last.Version:
		return metrics.RowExtra, true
	case there && version > 0 && version < oldest:
		return metrics.RowStale, true
	case there && due:
		return metrics.RowOK, true
	case !there && due:
		return metrics.RowMissing, true
	case !there && barred:
		return 0, false
	default:
		return metrics.RowUnjudged, true
	}
}
