package worker

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
)

// Rows says what the rows of a query's result tell of devices. The zero value tells nothing.
type Rows struct {
	Whole   bool   // rows are whole twins
	Device  string // else the member that holds the device id; empty when none does
	Version string // else the member that holds the $version of the reported properties; empty when none does
	// Holds evaluates the query's condition on what is known of a device. It is nil when the condition
	// needs more than that: then results are not checked, and Unchecked says why.
	Holds     func(DeviceState) bool
	UsesTags  bool // the condition reads tags
	Unchecked string
}

// DeviceState is what the audit knows of a device.
type DeviceState struct {
	Device       string
	Group        string
	Tags         []json.RawMessage // patches, in order; nil for no tags
	Connectivity string            // properties.reported.connectivity.type; empty when it was not reported
}

// Watch begins to look at one run of a query that is being sent.
func (a *Audit) Watch(q *Query, sent time.Time) Watch {
	if !q.Rows.Whole && q.Rows.Device == "" {
		return nil
	}
	return &check{audit: a, query: q, sent: sent, rows: make(map[*watched]int64)}
}

// check looks at the result of one run of a query.
type check struct {
	audit *Audit
	query *Query
	sent  time.Time
	rows  map[*watched]int64 // $version as shown; 0 when the row does not tell it
}

// Page looks at the devices of a page.
func (c *check) Page(arrived time.Time, items []json.RawMessage) {
	for _, item := range items {
		id, version := c.read(item)
		w := c.audit.byID[id]
		if w == nil {
			c.audit.stranger(id, c.query.Name)
			continue
		}
		c.rows[w] = max(c.rows[w], version)
		if version > 0 {
			w.show(version, arrived)
		}
	}
}

// read is what a row tells. Of devices that are not watched it is no more than their ids where decoding can be
// avoided: a result may have thousands.
func (c *check) read(item json.RawMessage) (id string, version int64) {
	rows := &c.query.Rows
	if rows.Whole {
		if id, ok := leadingID(item); ok && c.audit.byID[id] == nil {
			return id, 0
		}
		var row struct {
			DeviceID   string `json:"deviceId"`
			Properties struct {
				Reported struct {
					Version int64 `json:"$version"`
				} `json:"reported"`
			} `json:"properties"`
		}
		if json.Unmarshal(item, &row) != nil {
			return "", 0
		}
		return row.DeviceID, row.Properties.Reported.Version
	}
	var row map[string]json.RawMessage
	if json.Unmarshal(item, &row) != nil || json.Unmarshal(row[rows.Device], &id) != nil {
		return "", 0
	}
	if raw, ok := row[rows.Version]; ok && rows.Version != "" && json.Unmarshal(raw, &version) != nil {
		return id, 0
	}
	return id, version
}

// leadingID is the device id of a twin that begins with it, as the service's do.
func leadingID(item []byte) (string, bool) {
	rest, ok := bytes.CutPrefix(item, []byte(`{"deviceId":"`))
	if !ok {
		return "", false
	}
	end := bytes.IndexAny(rest, `"\`)
	if end < 0 || rest[end] != '"' {
		return "", false
	}
	return string(rest[:end]), true
}

// End judges the whole result of a run that ended well.
func (c *check) End(err error) {
	if err != nil || c.query.Rows.Holds == nil {
		return
	}
	var found [5]int
	for _, w := range c.audit.watched {
		version, there := c.rows[w]
		if f, ok := c.judge(w, version, there); ok {
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
func (c *check) judge(w *watched, version int64, there bool) (found metrics.RowCheck, ok bool) {
	from := c.sent.Add(-c.audit.opts.Tolerance)
	tags, sure := c.audit.tags.of(w.group, from)
	sure = sure || !c.query.Rows.UsesTags
	w.mu.Lock()
	states, known := w.history.since(from)
	last, _ := w.history.last()
	var oldest int64
	if len(states) > 0 && !states[0].acked.After(from) {
		oldest = states[0].version
	}
	holds := 0
	for _, s := range states {
		if c.query.Rows.Holds(DeviceState{Device: w.id, Group: w.group, Tags: tags, Connectivity: s.connectivity}) {
			holds++
		}
	}
	w.mu.Unlock()
	sure = sure && known
	due, barred := sure && holds == len(states), sure && holds == 0
	switch {
	case there && barred && version <= last.version:
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
