// Package queries runs twin queries on their schedules.
package queries

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/internal/worker/call"
	"github.com/twinfleet/twinfleet/internal/worker/rows"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/cron"
)

// Pager walks through the pages of one query.
type Pager interface {
	// More reports whether there is a further page.
	More() bool
	// Next fetches it.
	Next(ctx context.Context) (items []json.RawMessage, err error)
}

// Service begins queries.
type Service interface {
	Query(sql string, pageSize int) Pager
}

// Query is a named twin query on a schedule.
type Query struct {
	Name     string           // the group of its observations; required
	SQL      string           // required; in the IoT Hub query language
	Every    schedule.Every   // when it starts, from the start of the runner; or
	Cron     *cron.Expression // when it starts by the clock
	PageSize int              // items a page; 0 leaves it to the service
	Timeout  time.Duration    // for the whole result; one minute when 0
	// InFlight is how many runs of this query may be under way at once; 1 when 0. A start that
	// finds all of them busy is dropped and counted as such.
	InFlight int
	// Expect says whether a result has the size that it should have; nil expects nothing.
	Expect func(count int) bool
	// Active says whether the query is wanted at a time; nil wants it always. What is not wanted is not scheduled.
	Active func() bool
	// Yields leaves the service alone for a while when it throttles the query: what is due meanwhile is
	// dropped and counted. Other queries go on as scheduled and are counted as throttled.
	Yields bool
	Rows   rows.Meaning // what the rows of the result tell
}

// Watch observes one run of a query. It is used from one goroutine.
type Watch interface {
	// Page is told of each page as it arrives.
	Page(arrived time.Time, items []json.RawMessage)
	// End is told how the run ended, unless it was cut off.
	End(err error)
}

// Result is one run of a query, through all its pages.
type Result struct {
	Query    *Query            // that was run
	Intended time.Time         // by the schedule
	Sent     time.Time         // when its first page was asked for
	Done     time.Time         // when the last page arrived, or the error
	Items    []json.RawMessage // nil unless the runner keeps items
	Count    int               // items of all pages
	Pages    int               // that arrived
	Err      error             // what ended it early
}

// Runner runs queries on their schedules, in the open model: a run's latency counts from the
// time the schedule wanted it, whatever the runs before it do.
type Runner struct {
	Service  Service           // required
	Recorder *metrics.Recorder // required
	Queries  []Query           // that Run runs
	// Watch, which may be nil, makes the observer of a run that is being sent; it may return nil.
	Watch func(q *Query, sent time.Time) Watch
	// KeepItems leaves the items in the results that Once returns.
	KeepItems bool
}

// Run runs until ctx ends, waits for the queries under way, and returns nil: a query that fails is
// an observation, not the end.
func (r *Runner) Run(ctx context.Context) error {
	var all sync.WaitGroup
	start := time.Now()
	for i := range r.Queries {
		all.Go(func() { r.schedule(ctx, start, &r.Queries[i]) })
	}
	all.Wait()
	return nil
}

// times are the times of a query, one after the other.
func (q *Query) times(start time.Time) func() time.Time {
	if q.Cron != nil {
		last := start
		return func() time.Time {
			last = q.Cron.After(last)
			return last
		}
	}
	n := int64(-1)
	return func() time.Time {
		n++
		return start.Add(q.Every.Nth(n))
	}
}

func (r *Runner) schedule(ctx context.Context, start time.Time, q *Query) {
	series := r.Recorder.Series(metrics.OpQuery, q.Name)
	busy := make(chan struct{}, cmp.Or(q.InFlight, 1))
	var rest yielding
	var under sync.WaitGroup
	defer under.Wait()
	next := q.times(start)
	for {
		intended := next()
		if intended.IsZero() || wait.For(ctx, time.Until(intended)) != nil {
			return // a cron expression may name a day that never comes
		}
		if q.Active != nil && !q.Active() {
			continue
		}
		if q.Yields && rest.at(intended) {
			series.Drop(intended, metrics.DropOther)
			continue
		}
		select {
		case busy <- struct{}{}:
			under.Go(func() {
				defer func() { <-busy }()
				rest.after(r.Once(ctx, q, series, intended))
			})
		default:
			series.Drop(intended, metrics.DropInFlight)
		}
	}
}

// Once runs a query through all its pages and records it.
func (r *Runner) Once(ctx context.Context, q *Query, series *metrics.Series, intended time.Time) Result {
	result := Result{Query: q, Intended: intended, Sent: time.Now()}
	op := series.Start(intended, result.Sent)
	var watch Watch
	if r.Watch != nil {
		watch = r.Watch(q, result.Sent)
	}
	limited, cancel := context.WithTimeout(call.Context(ctx), cmp.Or(q.Timeout, time.Minute))
	defer cancel()
	for pager := r.Service.Query(q.SQL, q.PageSize); pager.More(); {
		items, err := pager.Next(limited)
		if err != nil {
			result.Err = fmt.Errorf("query %s, page %d: %w", q.Name, result.Pages+1, err)
			break
		}
		result.Pages++
		result.Count += len(items)
		if watch != nil {
			watch.Page(time.Now(), items)
		}
		if r.KeepItems {
			result.Items = append(result.Items, items...)
		}
	}
	result.Done = time.Now()
	if !call.Finish(ctx, op, result.Done, result.Err) {
		return result
	}
	if result.Err == nil {
		r.Recorder.QueryResult(q.Name, result.Count, result.Pages)
	}
	if result.Err == nil && q.Expect != nil {
		r.Recorder.QueryExpectation(q.Name, q.Expect(result.Count))
	}
	if watch != nil {
		watch.End(result.Err)
	}
	return result
}
