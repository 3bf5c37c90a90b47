package worker

import (
	"context"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// ProbeName is the name of the audit's own queries, in metrics and thresholds.
const ProbeName = "freshness-probe"

// maxQuery is how many characters a query may have (iot-hub-devguide-query-language).
const maxQuery = 8192

// probeColumns are what a probe asks of each device.
const probeColumns = "SELECT deviceId, properties.reported.$version AS version FROM devices WHERE deviceId IN ["

// Probes are the queries that ask for the watched devices every so often: as many as it takes to name
// them all within the length that a query may have.
func (a *Audit) Probes(every time.Duration) []Query {
	var out []Query
	for _, sql := range queriesFor(probeColumns, a.IDs()) {
		out = append(out, ProbeQuery(sql, every, Rows{Device: "deviceId", Version: "version"}))
	}
	return out
}

// queriesFor are queries that begin alike, up to the bracket of IN, and together name all ids.
func queriesFor(begin string, ids []string) (out []string) {
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			out = append(out, b.String()+"]")
		}
		b.Reset()
	}
	for _, id := range ids {
		quoted := "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(id) + "'"
		if b.Len()+len(quoted)+2 > maxQuery {
			flush()
		}
		if b.Len() == 0 {
			b.WriteString(begin)
		} else {
			b.WriteByte(',')
		}
		b.WriteString(quoted)
	}
	flush()
	return out
}

// ProbeQuery is a probing query of somebody's own.
func ProbeQuery(sql string, every time.Duration, rows Rows) Query {
	return Query{Name: ProbeName, SQL: sql, Every: schedule.Every{Period: every}, PageSize: 1000, InFlight: 4, Yields: true, Rows: rows}
}

// Watchful runs queries and shows their results to the audit.
func (a *Audit) Watchful(service Querier, queries []Query) *QueryRunner {
	return &QueryRunner{Service: service, Recorder: a.opts.Recorder, Queries: queries, Watch: a.Watch}
}

// sweepEvery is how often reports that ran out of time are looked for.
const sweepEvery = time.Second

// Run probes, with the queries given, until ctx ends.
func (a *Audit) Run(ctx context.Context, service Querier, probes []Query) {
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
	_ = a.Watchful(service, probes).Run(ctx) // it returns nil: a probe that fails is an observation
	<-done
}

// Settle asks on, after the last report, until every acknowledged report was shown or ctx ends.
func (a *Audit) Settle(ctx context.Context, service Querier, probes []Query) {
	if len(probes) == 0 || a.Pending() == 0 {
		return
	}
	runner := a.Watchful(service, probes)
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
