package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/iothub/query"
	"github.com/twinfleet/twinfleet/internal/worker"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// serviceSide is what the worker of a run is made of, and where the fleet's news goes. Its parts that
// the scenario does not ask for are nil.
type serviceSide struct {
	queries  []worker.Query
	probes   []worker.Query
	audit    *worker.Audit
	rollouts []*worker.Rollout
}

func (e *Engine) newServiceSide() (*serviceSide, error) {
	s := &serviceSide{}
	if !e.target.Can.Service {
		return s, nil
	}
	var err error
	if s.queries, err = e.queries(); err != nil {
		return nil, err
	}
	s.rollouts = e.rollouts()
	if e.sc.Service.Freshness != nil {
		if err := e.newAudit(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// onDesired hands on that desired properties reached a device.
func (e *Engine) onDesired(u fleet.DesiredUpdate) {
	e.desired.arrived(u)
	for _, r := range e.service.rollouts {
		r.Told(u.Index, u.Version, u.At)
	}
}

func (s *serviceSide) onReporting(index int, sent time.Time) {
	if s.audit != nil {
		s.audit.Sending(index, sent)
	}
}

func (s *serviceSide) onReported(r fleet.Report) {
	if s.audit != nil {
		s.audit.Acked(worker.Ack{Index: r.Index, Connectivity: r.Connectivity, Version: r.Version, Sent: r.Sent, Acked: r.Acked})
	}
	if r.Answered > 0 {
		for _, x := range s.rollouts {
			x.Answered(r.Index, r.Answered, r.Acked)
		}
	}
}

// runQueries runs the scheduled queries until ctx ends.
func (e *Engine) runQueries(ctx context.Context) error {
	runner := &worker.QueryRunner{Service: querier{e.target.Paced}, Recorder: e.rec, Queries: e.service.queries}
	if e.service.audit != nil {
		runner.Watch = e.service.audit.Watch
	}
	return runner.Run(ctx)
}

// queries are the scheduled queries. Their phases are spread, so that they do not beat in step.
func (e *Engine) queries() ([]worker.Query, error) {
	var out []worker.Query
	for i := range e.sc.Service.Queries {
		q := &e.sc.Service.Queries[i]
		rows, err := e.rows(q.SQL)
		if err != nil {
			return nil, fmt.Errorf("query %s: %w", q.Name, err)
		}
		if parsed, err := query.Parse(q.SQL); err == nil && !parsed.PerDevice() {
			e.ledger.Write(func(r *report.Run) { r.Rows = append(r.Rows, q.Name) })
		}
		next := worker.Query{
			Name: q.Name, SQL: q.SQL, PageSize: q.PageSize, Timeout: q.Timeout, Cron: q.Cron, Rows: rows,
			Every:  e.sc.Service.QueryTimes(i),
			Active: e.gate.active(q.Stages),
		}
		if q.Expect != nil {
			next.Expect = q.Expect.Met
		}
		out = append(out, next)
	}
	return out, nil
}

// The paths that the audit knows of a twin, beside tags.
const (
	pathDevice       = "deviceId"
	pathConnectivity = "properties.reported.connectivity.type"
)

// rows is what the rows of a query tell the audit, and how its condition is evaluated on what the audit knows.
func (e *Engine) rows(sql string) (worker.Rows, error) {
	q, err := query.Parse(sql)
	if err != nil {
		return worker.Rows{}, err
	}
	rows := worker.Rows{
		Whole: !q.Raw() && q.From() == query.Devices, Device: q.Column(pathDevice), Version: q.Column("properties", "reported", "$version"),
	}
	switch {
	case !q.Whole():
		rows.Unchecked = "it does not list every device that it selects"
		return rows, nil
	case !rows.Whole && rows.Device == "":
		rows.Unchecked = "its rows have no deviceId"
		return rows, nil
	}
	for _, p := range q.Paths() {
		path := strings.Join(p, ".")
		switch {
		case p[0] == "tags" && e.setsTag(p[1:]):
			rows.UsesTags = true
		case path == pathDevice, path == pathConnectivity:
		default:
			rows.Unchecked = path + " is not known to the fleet"
			return rows, nil
		}
	}
	rows.Holds = condition(q)
	return rows, nil
}

// setsTag reports whether the scenario gives some group a tag at a path.
func (e *Engine) setsTag(path []string) bool {
	has := func(doc json.RawMessage) bool {
		for _, name := range path {
			var members map[string]json.RawMessage
			if json.Unmarshal(doc, &members) != nil || members[name] == nil {
				return false
			}
			doc = members[name]
		}
		return true
	}
	for _, doc := range e.sc.Service.Tags {
		if has(doc) {
			return true
		}
	}
	return slices.ContainsFunc(e.sc.Stages, func(t scenario.Stage) bool {
		return slices.ContainsFunc(t.Steps, func(x scenario.Step) bool { return x.Tag != nil && has(x.Tag.Tags) })
	})
}
