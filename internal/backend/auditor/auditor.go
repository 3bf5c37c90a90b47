// Package auditor has the freshness of what queries show audited, and judges the run by it.
package auditor

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/backend/side"
	"github.com/twinfleet/twinfleet/internal/worker/freshness"
	"github.com/twinfleet/twinfleet/internal/worker/queries"
	"github.com/twinfleet/twinfleet/internal/worker/rows"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// Auditor is the freshness audit of a run.
type Auditor struct {
	*freshness.Audit
	side   *side.Side
	probes []queries.Query
}

// New makes the audit that a scenario asks for, with its probes. knowsTag says whether the scenario writes a tag.
func New(b *side.Side, scheduled []queries.Query, knowsTag func(path []string) bool) (*Auditor, error) {
	f := b.Scenario.Service.Freshness
	o := freshness.Options{
		Seed: b.Scenario.Seed, Recorder: b.Recorder, Sample: f.Sample, Timeout: f.Timeout, Tolerance: f.Tolerance,
		Fresh: func(index int) bool { return b.Identities.Made(index) }, Made: time.Now(), Known: b.Identities.Known(), Late: b.Late,
	}
	for i := range b.Scenario.Fleet.Groups {
		if g := &b.Scenario.Fleet.Groups[i]; len(g.Report.Types) > 0 {
			o.Groups = append(o.Groups, freshness.Group{Name: g.Name, First: b.Identities.First(g), IDs: b.Identities.Of(g)})
		}
	}
	a := &Auditor{Audit: freshness.New(o), side: b}
	n, of := a.Sampled()
	row := &report.Freshness{Sampled: n, Devices: of, Probe: f.Probe, Tolerance: f.Tolerance}
	for i := range scheduled {
		if why := scheduled[i].Rows.Unchecked; why != "" {
			row.Unchecked = append(row.Unchecked, report.Unchecked{Query: scheduled[i].Name, Why: why})
		}
	}
	b.Ledger.Write(func(r *report.Run) { r.Freshness = row })
	switch {
	case f.Probe == 0:
	case f.Query != "":
		shown := rows.Of(f.Query, knowsTag)
		a.probes = []queries.Query{freshness.ProbeQuery(f.Query, f.Probe, shown)}
	default:
		a.probes = a.Probes(f.Probe)
	}
	return a, nil
}

// Run probes from the first stage on until ctx ends.
func (a *Auditor) Run(ctx context.Context) {
	if a.side.Gate.Begin(ctx, "", 0) == nil {
		a.Audit.Run(ctx, side.Querier(a.side.Target.Paced), a.probes)
	}
}

// Tag writes a group's tags and tells the audit of it. After an error nothing is known of them.
func (a *Auditor) Tag(g *scenario.Group, tags json.RawMessage, write func() error) error {
	a.Tagging(g.Name)
	err := write()
	if err == nil {
		a.Tagged(g.Name, tags)
	}
	return err
}

// Devices are those of a run, by index, once they have stopped.
type Devices interface {
	Len() int
	Account(index int) fleet.Account // as fleet.Fleet has it
}

// The verification at the end of a run may take a minute, and a bit for every device.
const (
	verifyGrace = time.Minute
	verifyEach  = 10 * time.Millisecond
)

// End waits for the last reports to be shown, and compares twins with what was acknowledged, once the devices have stopped.
// Of a run that was not whole neither is asked. The error says that a promise of the target was broken.
func (a *Auditor) End(ctx context.Context, devices Devices, whole bool) error {
	var err error
	f := a.side.Scenario.Service.Freshness
	if whole && ctx.Err() == nil {
		settle, cancel := context.WithTimeout(ctx, f.Settle)
		a.Settle(settle, side.Querier(a.side.Target.Service), a.probes)
		cancel()
		if f.Verify {
			err = a.verify(ctx, devices)
			a.findPhantoms(ctx)
		}
	}
	unseen := a.Close(time.Now())
	a.side.Ledger.Write(func(r *report.Run) { r.Freshness.Unseen = unseen })
	return errors.Join(err, a.wrongRows())
}
