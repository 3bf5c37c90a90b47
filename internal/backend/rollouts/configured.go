package rollouts

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/twinfleet/twinfleet/internal/backend/side"
	"github.com/twinfleet/twinfleet/internal/worker/automatic"
	"github.com/twinfleet/twinfleet/internal/worker/failure"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
)

// configured is a rollout by a configuration.
type configured struct {
	scenario *scenario.Rollout
	unusable error // why it cannot begin; nil when it can
	*automatic.Rollout
}

// configure makes a rollout by a configuration, whose id no other run has.
func configure(b *side.Side, x *scenario.Rollout, g *scenario.Group) configured {
	r := &automatic.Rollout{
		Name: x.Name, Group: g.Name, First: b.Identities.First(g), IDs: b.Identities.Of(g), ID: "twinfleet-" + x.Name + "-" + strings.ToLower(rand.Text()[:10]),
		Properties: x.Properties, Condition: x.Condition, Priority: x.Priority, Shares: x.Shares, Timeout: x.Timeout, Answers: g.Answer,
		Service: b.Target.Paced, Recorder: b.Recorder, Codes: new(failure.Codes),
	}
	return configured{x, r.Prepare(), r}
}

// run carries it out at its time, and puts into the record what became of it.
func (c configured) run(ctx context.Context, b *side.Side) {
	x := c.scenario
	if c.unusable != nil {
		b.Fail(c.unusable)
		return
	}
	if err := b.Gate.Begin(ctx, x.Stage, x.At); err != nil {
		b.Ledger.Note("rollout %s did not begin: the run ended first", x.Name)
		return
	}
	detail := fmt.Sprintf("configuration %s to %s of %s", c.ID, human.Number(len(c.IDs), "device"), x.Group)
	b.Ledger.Tell(report.Event{Kind: report.KindRollout, OK: true, Text: "rollout " + x.Name, Detail: detail})
	got := c.Run(ctx)
	row := report.Configured{
		Rollout: x.Name, Group: x.Group, ID: c.ID, Devices: got.Devices, Before: got.Before, Told: got.Told, Answered: got.Answered,
		Targeted: got.Targeted, Applied: got.Applied, Took: got.Took,
	}
	for _, s := range got.Shares {
		row.Shares = append(row.Shares, report.Share{Percent: s.Percent, Took: s.Took, Reached: s.Reached})
	}
	if got.Missed != nil {
		row.Missed = fmt.Sprintf("rollout %s: %v", x.Name, got.Missed)
	}
	if got.Left != nil {
		row.Left = got.Left.Error()
	}
	b.Ledger.Write(func(r *report.Run) { r.Configured = append(r.Configured, row) })
	b.Ledger.Tell(report.Event{Kind: report.KindRollout, OK: got.Missed == nil, Text: "rollout " + x.Name, Detail: row.String()})
	b.AddErrors("rollout "+x.Name, c.Codes)
}
