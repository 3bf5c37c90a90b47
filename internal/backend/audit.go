package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/worker/freshness"
	"github.com/twinfleet/twinfleet/internal/worker/queries"
	"github.com/twinfleet/twinfleet/internal/worker/rows"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// newAudit makes the freshness audit and its probes.
func (b *Backend) newAudit() error {
	f := b.Scenario.Service.Freshness
	o := freshness.Options{
		Seed: b.Scenario.Seed, Recorder: b.Recorder, Sample: f.Sample, Timeout: f.Timeout, Tolerance: f.Tolerance,
		Fresh: func(index int) bool { return b.Identities.Made(index) }, Made: time.Now(), Known: b.Identities.Known(),
	}
	for i := range b.Scenario.Fleet.Groups {
		if g := &b.Scenario.Fleet.Groups[i]; len(g.Report.Types) > 0 {
			o.Groups = append(o.Groups, freshness.Group{Name: g.Name, First: b.Identities.First(g), IDs: b.Identities.Of(g)})
		}
	}
	b.audit = freshness.New(o)
	n, of := b.audit.Sampled()
	row := &report.Freshness{Sampled: n, Devices: of, Probe: f.Probe, Tolerance: f.Tolerance}
	for i := range b.queries {
		if why := b.queries[i].Rows.Unchecked; why != "" {
			row.Unchecked = append(row.Unchecked, report.Unchecked{Query: b.queries[i].Name, Why: why})
		}
	}
	b.Ledger.Write(func(r *report.Run) { r.Freshness = row })
	switch {
	case f.Probe == 0:
	case f.Query != "":
		shown, err := rows.Of(f.Query, b.setsTag)
		if err != nil {
			return fmt.Errorf("service.freshness.query: %w", err)
		}
		b.probes = []queries.Query{freshness.ProbeQuery(f.Query, f.Probe, shown)}
	default:
		b.probes = b.audit.Probes(f.Probe)
	}
	return nil
}

// runAudit probes from the first stage on until ctx ends.
func (b *Backend) runAudit(ctx context.Context) {
	if b.Gate.Begin(ctx, "", 0) == nil {
		b.audit.Run(ctx, querier{b.Target.Paced}, b.probes)
	}
}

// tagged writes a group's tags and tells the audit of it. After an error nothing is known of them.
func (b *Backend) tagged(g *scenario.Group, tags json.RawMessage, write func() error) error {
	if b.audit == nil {
		return write()
	}
	b.audit.Tagging(g.Name)
	err := write()
	if err == nil {
		b.audit.Tagged(g.Name, tags)
	}
	return err
}

// The verification at the end of a run may take a minute, and a bit for every device.
const (
	verifyGrace = time.Minute
	verifyEach  = 10 * time.Millisecond
)

// EndAudit waits for the last reports to be shown, and compares twins with what was acknowledged, once the devices have stopped.
// Of a run that was not whole neither is asked. The error says that a promise of the target was broken.
func (b *Backend) EndAudit(ctx context.Context, devices *fleet.Fleet, whole bool) error {
	a := b.audit
	if a == nil {
		return nil
	}
	var err error
	f := b.Scenario.Service.Freshness
	if whole && ctx.Err() == nil {
		settle, cancel := context.WithTimeout(ctx, f.Settle)
		a.Settle(settle, querier{b.Target.Service}, b.probes)
		cancel()
		if f.Verify {
			err = b.verify(ctx, devices)
			b.findPhantoms(ctx)
		}
	}
	unseen := a.Close(time.Now())
	b.Ledger.Write(func(r *report.Run) { r.Freshness.Unseen = unseen })
	return errors.Join(err, b.wrongRows())
}
