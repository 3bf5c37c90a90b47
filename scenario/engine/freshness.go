package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/query"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
	"github.com/twinfleet/twinfleet/internal/worker"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// newAudit makes the freshness audit and its probes.
func (e *Engine) newAudit(s *serviceSide) error {
	f := e.sc.Service.Freshness
	o := worker.AuditOptions{
		Seed: e.sc.Seed, Recorder: e.rec, Sample: f.Sample, Timeout: f.Timeout, Tolerance: f.Tolerance,
		Fresh: func(index int) bool { return e.ids.Made(index) }, Made: time.Now(), Known: e.ids.Known(),
	}
	for i := range e.sc.Fleet.Groups {
		if g := &e.sc.Fleet.Groups[i]; len(g.Report.Types) > 0 {
			o.Groups = append(o.Groups, worker.AuditGroup{Name: g.Name, First: e.firstOf(g), IDs: e.groupIDs(g)})
		}
	}
	s.audit = worker.NewAudit(o)
	n, of := s.audit.Sampled()
	row := &report.Freshness{Sampled: n, Devices: of, Probe: f.Probe, Tolerance: f.Tolerance}
	for i := range s.queries {
		if why := s.queries[i].Rows.Unchecked; why != "" {
			row.Unchecked = append(row.Unchecked, report.Unchecked{Query: s.queries[i].Name, Why: why})
		}
	}
	e.ledger.Write(func(r *report.Run) { r.Freshness = row })
	switch {
	case f.Probe == 0:
	case f.Query != "":
		rows, err := e.rows(f.Query)
		if err != nil {
			return fmt.Errorf("service.freshness.query: %w", err)
		}
		s.probes = []worker.Query{worker.ProbeQuery(f.Query, f.Probe, rows)}
	default:
		s.probes = s.audit.Probes(f.Probe)
	}
	return nil
}

// runAudit probes from the first stage on until ctx ends.
func (e *Engine) runAudit(ctx context.Context) {
	if e.gate.begin(ctx, "", 0) == nil {
		e.service.audit.Run(ctx, querier{e.target.Paced}, e.service.probes)
	}
}

// tagged writes a group's tags and tells the audit of it. After an error nothing is known of them.
func (s *serviceSide) tagged(g *scenario.Group, tags json.RawMessage, write func() error) error {
	if s.audit == nil {
		return write()
	}
	s.audit.Tagging(g.Name)
	err := write()
	if err == nil {
		s.audit.Tagged(g.Name, tags)
	}
	return err
}

// The verification at the end of a run may take a minute, and a bit for every device.
const (
	verifyGrace = time.Minute
	verifyEach  = 10 * time.Millisecond
)

// endAudit waits for the last reports to be shown, and compares twins with what was acknowledged, once
// the devices have stopped. The error says that a promise of the target was broken.
func (e *Engine) endAudit(ctx context.Context) error {
	a := e.service.audit
	if a == nil {
		return e.contradictions.err()
	}
	var err error
	f := e.sc.Service.Freshness
	if e.stopped() == nil && ctx.Err() == nil {
		settle, cancel := context.WithTimeout(ctx, f.Settle)
		a.Settle(settle, querier{e.target.Service}, e.service.probes)
		cancel()
		if f.Verify {
			err = e.verify(ctx)
			e.findPhantoms(ctx)
		}
	}
	unseen := a.Close(time.Now())
	e.ledger.Write(func(r *report.Run) { r.Freshness.Unseen = unseen })
	return errors.Join(e.contradictions.err(), err, e.wrongRows())
}

func (e *Engine) verify(ctx context.Context) error {
	all, lost := e.expectations()
	ctx, cancel := context.WithTimeout(ctx, verifyGrace+time.Duration(len(all))*verifyEach)
	defer cancel()
	told := 0
	verifier := &worker.Verifier{Service: querier{e.target.Service}, Twins: e.target.Service, Recorder: e.rec, Progress: func(done, total int) {
		if done == 0 || done == total || (done-told)*20 < total {
			return
		}
		told = done
		e.ledger.Tell(report.Event{Kind: report.KindVerified, OK: true, Text: "twins verified", Done: done, Total: total})
	}}
	v := verifier.Verify(ctx, all)
	v.Missing += lost
	row := &report.Verified{Devices: v.Devices, Held: v.Held, Lost: v.Lost, Unread: v.Unread, Reports: v.Reports, Missing: v.Missing}
	e.ledger.Write(func(r *report.Run) { r.Freshness.Verified = row })
	ok := v.Lost == 0 && v.Unread == 0
	e.ledger.Tell(report.Event{Kind: report.KindVerified, OK: ok && v.Missing == 0, Text: "acknowledged reports", Detail: row.String()})
	if ok {
		return nil // what is missing nevertheless is a contradiction, which has its own words
	}
	return fmt.Errorf("the twins of %s do not hold what was acknowledged, %d could not be read: %w", devices(v.Lost), v.Unread, v.Err)
}

// expectations are what the twins of all devices with an acknowledged report must be like, and how many
// acknowledged reports are known to be lost. The twins of the audit's sample are read themselves.
func (e *Engine) expectations() (all []worker.Expectation, lost int64) {
	sampled := make(map[string]bool)
	for _, id := range e.service.audit.IDs() {
		sampled[id] = true
	}
	for i := range e.fleet.Len() {
		a := e.fleet.Account(i)
		lost += a.Lost
		if a.Accepted == 0 || a.Low == 0 {
			continue
		}
		id := e.ids.IDs[i]
		all = append(all, worker.Expectation{
			Device: id, Reports: a.Accepted, Low: a.Low, High: a.High,
			Connectivity: a.Last.Connectivity, Until: a.Until, Others: a.Open, Direct: sampled[id],
		})
	}
	return all, lost
}

// condition evaluates a query's condition on what the audit knows of a device.
func condition(q *query.Query) func(worker.DeviceState) bool {
	return func(s worker.DeviceState) bool {
		t := twin.New(s.Device)
		for _, patch := range s.Tags {
			if tags, err := twin.Parse(patch); err == nil {
				if next, _, err := t.Patch(tags, twin.Value{}, time.Time{}); err == nil {
					t = next
				}
			}
		}
		if s.Connectivity != "" {
			kind := twin.ObjectValue(twin.Member{Key: "type", Value: twin.StringValue(s.Connectivity)})
			if next, err := t.Report(twin.ObjectValue(twin.Member{Key: "connectivity", Value: kind}), time.Time{}); err == nil {
				t = next
			}
		}
		return q.Matches(t)
	}
}
