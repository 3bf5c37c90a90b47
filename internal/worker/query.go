package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/schedule"
	"github.com/twinfleet/twinfleet/metrics"
)

// Pager walks through the pages of one query.
type Pager interface {
	More() bool
	Next(ctx context.Context) (items []json.RawMessage, err error)
}

// Querier begins queries.
type Querier interface {
	Query(sql string, pageSize int) Pager
}

// Query is a named twin query on a schedule.
type Query struct {
	Name     string         // the group of its observations
	SQL      string         // in the IoT Hub query language
	Every    schedule.Every // when it starts, from the start of the runner
	PageSize int            // items a page; 0 leaves it to the service
	Timeout  time.Duration  // for the whole result; one minute when 0
	// InFlight is how many runs of this query may be under way at once; 1 when 0. A start that
	// finds all of them busy is dropped and counted as such.
	InFlight int
}

// QueryResult is one run of a query, through all its pages.
type QueryResult struct {
	Query                *Query
	Intended, Sent, Done time.Time
	Items                []json.RawMessage // nil unless the runner keeps items
	Count, Pages         int
	Err                  error
}

// QueryRunner runs queries on their schedules, in the open model: a run's latency counts from the
// time the schedule wanted it, whatever the runs before it do.
type QueryRunner struct {
	Service  Querier
	Recorder *metrics.Recorder
	Queries  []Query
	// OnResult, which may be nil, sees every run as it ends, from several goroutines.
	OnResult func(QueryResult)
	// KeepItems leaves the items in the results that OnResult sees.
	KeepItems bool
}

// Run runs until ctx ends, waits for the queries under way, and returns nil: a query that fails is
// an observation, not the end.
func (r *QueryRunner) Run(ctx context.Context) error {
	var all sync.WaitGroup
	start := time.Now()
	for i := range r.Queries {
		all.Go(func() { r.schedule(ctx, start, &r.Queries[i]) })
	}
	all.Wait()
	return nil
}

func (r *QueryRunner) schedule(ctx context.Context, start time.Time, q *Query) {
	series := r.Recorder.Series(metrics.OpQuery, q.Name)
	busy := make(chan struct{}, orDefault(q.InFlight, 1))
	var under sync.WaitGroup
	defer under.Wait()
	for n := int64(0); ; n++ {
		intended := start.Add(q.Every.Nth(n))
		if pause(ctx, time.Until(intended)) != nil {
			return
		}
		select {
		case busy <- struct{}{}:
			under.Go(func() {
				defer func() { <-busy }()
				r.Once(ctx, q, series, intended)
			})
		default:
			series.Drop("in_flight")
		}
	}
}

// Once runs a query through all its pages and records it.
func (r *QueryRunner) Once(ctx context.Context, q *Query, series *metrics.Series, intended time.Time) QueryResult {
	result := QueryResult{Query: q, Intended: intended, Sent: time.Now()}
	series.Start(intended, result.Sent)
	timeout := q.Timeout
	if timeout == 0 {
		timeout = time.Minute
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for pager := r.Service.Query(q.SQL, q.PageSize); pager.More(); {
		items, err := pager.Next(limited)
		if err != nil {
			result.Err = fmt.Errorf("query %s, page %d: %w", q.Name, result.Pages+1, err)
			break
		}
		result.Pages++
		result.Count += len(items)
		if r.KeepItems {
			result.Items = append(result.Items, items...)
		}
	}
	result.Done = time.Now()
	if result.Err != nil && ctx.Err() != nil {
		// The run ended, not the query: it says nothing about the target.
		series.Abandon()
		return result
	}
	series.ObserveBecause(intended, result.Sent, result.Done, OutcomeOf(result.Err), metrics.Reason(result.Err))
	if result.Err == nil {
		r.Recorder.QueryResult(q.Name, result.Count, result.Pages)
	}
	if r.OnResult != nil {
		r.OnResult(result)
	}
	return result
}
