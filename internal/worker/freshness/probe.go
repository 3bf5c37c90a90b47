package freshness

import (
	"context"
	"time"

	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/internal/worker/queries"
	"github.com/twinfleet/twinfleet/internal/worker/rows"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// ProbeName is the name of the audit's own queries, in metrics and thresholds.
const ProbeName = "freshness-probe"

// probeColumns are what a probe asks of each device.
const probeColumns = "SELECT deviceId, properties.reported.$version AS version FROM devices WHERE deviceId IN ["

// Probes are the queries that ask for the watched devices every so often: as many as it takes to name
// them all within the length that a query may have.
func (a *Audit) Probes(every time.Duration) []queries.Query {
	var out []queries.Query
	for _, sql := range queries.ForDevices(probeColumns, a.IDs()) {
		out = append(out, ProbeQuery(sql, every, rows.Meaning{Device: "deviceId", Version: "version"}))
	}
	return out
}

// ProbeQuery is a probing query of somebody's own.
func ProbeQuery(sql string, every time.Duration, rows rows.Meaning) queries.Query {
	return queries.Query{Name: ProbeName, SQL: sql, Every: schedule.Every{Period: every}, PageSize: 1000, InFlight: 4, Yields: true, Rows: rows}
}

// watchful runs probes and shows their results to the audit.
func (a *Audit) watchful(service queries.Service, probes []queries.Query) *queries.Runner {
	return &queries.Runner{Service: service, Recorder: a.opts.Recorder, Queries: probes, Watch: a.Watch}
}

// sweepEvery is how often the audit checks for reports that ran out of time.
const sweepEvery = time.Second

// Run probes, with the queries given, until ctx ends.
func (a *Audit) Run(ctx context.Context, service queries.Service, probes []queries.Query) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for {
			select {
			case now := <-tick.C:
				a.Sweep(now)
			case <-ctx.Done():
				return
			}
		}
	}()
	_ = a.watchful(service, probes).Run(ctx) // it returns nil: a probe that fails is an observation
	<-done
}

// Settle asks on, after the last report, until every acknowledged report was shown or ctx ends.
func (a *Audit) Settle(ctx context.Context, service queries.Service, probes []queries.Query) {
	if len(probes) == 0 || a.Pending() == 0 {
		return
	}
	runner := a.watchful(service, probes)
	series := a.opts.Recorder.Series(metrics.OpQuery, ProbeName)
	for a.Pending() > 0 {
		began := time.Now()
		for i := range probes {
			runner.Once(ctx, &probes[i], series, time.Now())
		}
		if wait.For(ctx, time.Until(began.Add(probes[0].Every.Period))) != nil {
			return
		}
		a.Sweep(time.Now())
	}
}
