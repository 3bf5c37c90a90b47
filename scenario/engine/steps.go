package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/backend/steps"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
)

// awaitEvery is how often a step that waits for devices checks them.
const awaitEvery = 50 * time.Millisecond

// runSteps carries out the steps of a stage in order; the first that does not end as expected ends it.
func (c *conductor) runSteps(ctx context.Context, t *scenario.Stage) error {
	for i := range t.Steps {
		began := time.Now()
		text, detail, err := c.step(ctx, &t.Steps[i])
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			detail = err.Error()
		}
		row := report.Step{Stage: t.Name, Text: text, Detail: detail, OK: err == nil, Took: time.Since(began)}
		c.ledger.Write(func(r *report.Run) { r.Steps = append(r.Steps, row) })
		c.ledger.Tell(report.Event{Kind: report.KindStep, Stage: t.Name, Text: text, Detail: detail, OK: err == nil})
		if err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return nil
}

// step carries out one step: what it did, what came back.
func (c *conductor) step(ctx context.Context, x *scenario.Step) (text, detail string, err error) {
	switch {
	case x.Statistics != nil:
		return c.backend.Statistics(ctx, x.Statistics)
	case x.Tag != nil:
		return c.backend.Tag(ctx, x.Tag)
	case x.Query != nil:
		return c.backend.Query(ctx, x.Query)
	case x.Desired != nil:
		return c.backend.Desired(ctx, x.Desired)
	default:
		return c.stepAwait(ctx, x.Await)
	}
}

func devices(n int) string { return human.Number(n, "device") }

// stepAwait waits for connected devices and acknowledged reports.
func (c *conductor) stepAwait(ctx context.Context, x *scenario.AwaitStep) (text, detail string, err error) {
	var wants []string
	if x.Connected >= 0 {
		wants = append(wants, fmt.Sprintf("%d connected", x.Connected))
	}
	if x.Reported >= 0 {
		wants = append(wants, fmt.Sprintf("%d reported", x.Reported))
	}
	text = "wait for " + strings.Join(wants, ", ")
	deadline := time.Now().Add(x.Within)
	for {
		connected := c.crowd.Counts()[fleet.StateConnected]
		reported, last := c.crowd.Reporters()
		if last != "" {
			last = " (" + last + ")"
		}
		detail = fmt.Sprintf("%d connected, %d reported%s", connected, reported, last)
		if (x.Connected < 0 || connected == x.Connected) && (x.Reported < 0 || reported >= x.Reported) {
			return text, detail + c.backend.Told(), nil
		}
		if !time.Now().Before(deadline) {
			return text, detail, fmt.Errorf("%w: %s after %s", steps.ErrUnexpected, detail, x.Within)
		}
		if err := wait.For(ctx, awaitEvery); err != nil {
			return text, detail, err
		}
	}
}
