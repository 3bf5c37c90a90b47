package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
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
	Every    schedule.Every // when it starts, from the start of the runner; or
	Cron     *schedule.Cron // when it starts by the clock
	PageSize int            // items a page; 0 leaves it to the service
	Timeout  time.Duration  // for the whole result; one minute when 0
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
	Rows   Rows // what the rows of the result tell
}

// Watch looks at one run of a query: at each page as it arrives, and at the end. It is used from one goroutine.
type Watch interface {
	Page(arrived time.Time, items []json.RawMessage)
	End(err error)
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
	// Watch, which may be nil, begins to look at a run that is being sent; it may return nil.
	Watch func(q *Query, sent time.Time) Watch
	// KeepItems leaves the items in the results that Once returns.
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

func (r *QueryRunner) schedule(ctx context.Context, start time.Time, q *Query) {
	series := r.Recorder.Series(metrics.OpQuery, q.Name)
	busy := make(chan struct{}, orDefault(q.InFlight, 1))
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
func (r *QueryRunner) Once(ctx context.Context, q *Query, series *metrics.Series, intended time.Time) QueryResult {
	result := QueryResult{Query: q, Intended: intended, Sent: time.Now()}
	op := series.Start(intended, result.Sent)
	var watch Watch
	if r.Watch != nil {
		watch = r.Watch(q, result.Sent)
	}
	timeout := q.Timeout
	if timeout == 0 {
		timeout = time.Minute
	}
	limited, cancel := context.WithTimeout(calls(ctx), timeout)
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
	if !finish(calls(ctx), op, result.Done, result.Err) {
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

// The waits of a query that yields: from a second, doubled with every throttled run, up to a minute.
const (
	firstYield = time.Second
	mostYield  = time.Minute
)

// yielding is the rest that a query gives a service which throttles it.
type yielding struct {
	mu    sync.Mutex // protects the following fields
	until time.Time
	wait  time.Duration
}

func (y *yielding) at(t time.Time) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return t.Before(y.until)
}

func (y *yielding) after(r QueryResult) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if !iothub.Throttled(r.Err) {
		if r.Err == nil {
			y.wait = 0
		}
		return
	}
	y.wait = min(max(2*y.wait, firstYield), mostYield)
	var e *iothub.Error
	if errors.As(r.Err, &e) && e.RetryAfter > 0 {
		y.wait = e.RetryAfter
	}
	y.until = r.Done.Add(y.wait)
}
