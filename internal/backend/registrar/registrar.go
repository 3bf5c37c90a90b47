// Package registrar makes the identities of a run before it, and removes them after it.
package registrar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/identity/paced"
	"github.com/twinfleet/twinfleet/internal/identity/provision"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/ledger"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/internal/worker/call"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// measured gives the bulk calls of a registry to a series.
type measured struct {
	provision.Registry
	series *metrics.Series
}

func (m measured) Bulk(ctx context.Context, entries []registry.BulkEntry) (registry.BulkResult, error) {
	return call.Measure(ctx, m.series, time.Now(), func(ctx context.Context) (registry.BulkResult, error) {
		return m.Registry.Bulk(ctx, entries)
	})
}

// Registrar makes the identities of a run, and removes them. All of its fields are required.
type Registrar struct {
	Target     *target.Target     // one without a service side needs no identities
	Identities *target.Identities // to make and to remove
	Recorder   *metrics.Recorder  // counts the calls that make them
	Ledger     *ledger.Ledger     // the record of the run
	Stop       <-chan struct{}    // ends the making politely when it is closed
}

// Provision makes the identities that are not there. It returns nil when it was asked to end: what was made is known.
func (r *Registrar) Provision(ctx context.Context) error {
	if !r.Target.Can.Service {
		return nil
	}
	began := time.Now()
	last := 0
	err := r.Identities.Provision(ctx, &provision.Provisioner{
		Registry: measured{r.Target.Paced, r.Recorder.Series(metrics.OpProvision, "")}, Stop: r.Stop,
		Progress: func(p paced.Progress) {
			if last = p.Done; last == p.Total {
				return // what follows says how long it took
			}
			r.note()
			r.Ledger.Tell(report.Event{Kind: report.KindProvision, OK: true, Text: "identities made" + p.Hindrance(), Done: p.Done, Total: p.Total})
		},
	})
	if errors.Is(err, paced.ErrStopped) || ctx.Err() != nil {
		return nil
	}
	if err == nil && last > 0 {
		r.Ledger.Tell(report.Event{Kind: report.KindProvision, OK: true, Text: "identities made", Done: last, Total: last, Detail: human.Duration(time.Since(began))})
	}
	return target.WithRemedy(err)
}

// note writes down what the making of identities has come to so far.
func (r *Registrar) note() {
	now := r.Recorder.Snapshot()
	r.Ledger.Write(func(run *report.Run) { run.Totals = now })
}

// removeGrace is how long removing the identities may take.
const removeGrace = 5 * time.Minute

// Deprovision removes the identities that Provision made, unless they go with the target.
func (r *Registrar) Deprovision(ctx context.Context) error {
	if !r.Target.Can.Registry {
		return nil
	}
	if n := len(r.Identities.Mine()); n > 0 && ctx.Err() != nil {
		return fmt.Errorf("the registry still has %s of this run; twinfleet deprovision removes what is left", human.Number(n, "identity"))
	}
	ctx, cancel := context.WithTimeout(ctx, removeGrace)
	defer cancel()
	p := &provision.Provisioner{Registry: r.Target.Paced, Progress: func(p paced.Progress) {
		r.Ledger.Tell(report.Event{Kind: report.KindProvision, OK: true, Text: "identities removed" + p.Hindrance(), Done: p.Done, Total: p.Total})
	}}
	if err := p.Remove(ctx, r.Identities.Mine(), nil); err != nil {
		return fmt.Errorf("%w; twinfleet deprovision removes the rest", target.WithRemedy(err))
	}
	return nil
}
