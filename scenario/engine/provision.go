package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/identity"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/internal/worker"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// measured gives the bulk calls of a registry to a series.
type measured struct {
	identity.Registry
	series *metrics.Series
}

func (m measured) Bulk(ctx context.Context, entries []iothub.BulkEntry) (iothub.BulkResult, error) {
	return worker.Measure(ctx, m.series, time.Now(), func(ctx context.Context) (iothub.BulkResult, error) { return m.Registry.Bulk(ctx, entries) })
}

// provision makes the run's identities.
func (e *Engine) provision(ctx context.Context) error {
	e.ids = e.target.Identities()
	if !e.target.Can.Service {
		return nil
	}
	began := time.Now()
	last := 0
	err := e.ids.Provision(ctx, &identity.Provisioner{
		Registry: measured{e.target.Paced, e.rec.Series(metrics.OpProvision, "")}, Stop: e.soft.Done(),
		Progress: func(p identity.Progress) {
			if last = p.Done; last == p.Total {
				return // what follows says how long it took
			}
			e.ledger.Tell(report.Event{Kind: report.KindProvision, OK: true, Text: "identities made" + p.Hindrance(), Done: p.Done, Total: p.Total})
		},
	})
	if errors.Is(err, identity.ErrStopped) || ctx.Err() != nil {
		return nil // it was asked to end; what was made will be removed if there is time
	}
	if err == nil && last > 0 {
		e.ledger.Tell(report.Event{Kind: report.KindProvision, OK: true, Text: "identities made", Done: last, Total: last, Detail: report.Duration(time.Since(began))})
	}
	return target.WithRemedy(err)
}

// deprovision removes the identities that this run made, unless they are kept or go with the hub.
func (e *Engine) deprovision(ctx context.Context) error {
	if e.ids == nil || !e.target.Can.Registry || e.sc.Target.Keep || ctx.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, deprovisionGrace)
	defer cancel()
	mine := e.ids.Mine()
	p := &identity.Provisioner{Registry: e.target.Paced, Progress: func(p identity.Progress) {
		e.ledger.Tell(report.Event{Kind: report.KindProvision, OK: true, Text: "identities removed" + p.Hindrance(), Done: p.Done, Total: p.Total})
	}}
	if err := p.Remove(ctx, mine, nil); err != nil {
		return fmt.Errorf("%w; twinfleet deprovision removes the rest", target.WithRemedy(err))
	}
	return nil
}
