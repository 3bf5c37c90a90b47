package queries_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/worker/queries"
	"github.com/twinfleet/twinfleet/internal/worker/workertest"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/cron"
)

func TestQueriesKeepTheirSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := metrics.NewRecorder(metrics.Options{})
		runner := queries.Runner{
			Service: workertest.Slow{Takes: time.Second, Pages: 3}, Recorder: rec,
			Queries: []queries.Query{{Name: "q", Every: schedule.Every{Period: 10 * time.Second, Phase: 5 * time.Second}}},
		}
		ctx, cancel := context.WithTimeout(t.Context(), 61*time.Second)
		defer cancel()
		if err := runner.Run(ctx); err != nil {
			t.Fatal(err)
		}
		x := rec.Snapshot().Find(metrics.OpQuery, "q")
		if x.Scheduled() != 6 || x.Count(metrics.OK) != 6 {
			t.Errorf("%d scheduled, %d answered; want 6", x.Scheduled(), x.Count(metrics.OK))
		}
		if got := x.Latency(false).Quantile(0.5).Round(10 * time.Millisecond); got != 3*time.Second {
			t.Errorf("latency = %v; want 3s, all pages", got)
		}
		if q := rec.Snapshot().Queries[0]; q.Results != 30 || q.Pages != 18 {
			t.Errorf("results %d, pages %d; want 30 and 18", q.Results, q.Pages)
		}
	})
}

// A query that takes longer than its period: starts that find it busy are dropped and counted, never silently.
func TestSlowQueriesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := metrics.NewRecorder(metrics.Options{})
		runner := queries.Runner{
			Service: workertest.Slow{Takes: 25 * time.Second, Pages: 1}, Recorder: rec,
			Queries: []queries.Query{{Name: "q", Every: schedule.Every{Period: 10 * time.Second}}},
		}
		ctx, cancel := context.WithTimeout(t.Context(), 95*time.Second)
		defer cancel()
		_ = runner.Run(ctx)
		x := rec.Snapshot().Find(metrics.OpQuery, "q")
		if x.Scheduled() != 10 || x.Dropped[metrics.DropInFlight] != 6 || x.Started() != 4 || x.Count(metrics.Unanswered) != 1 {
			t.Errorf("%d scheduled, %v dropped, %d started, %d unanswered; want 10, 6, 4, 1",
				x.Scheduled(), x.Dropped, x.Started(), x.Count(metrics.Unanswered))
		}
	})
}

// Queries by the clock, with expectations, only when they are wanted.
func TestQueriesByTheClock(t *testing.T) {
	cron, err := cron.Parse("*/5 * * * *")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		rec := metrics.NewRecorder(metrics.Options{})
		began := time.Now() // midnight, in a bubble
		runner := queries.Runner{Service: workertest.Slow{Takes: time.Second, Pages: 2}, Recorder: rec, Queries: []queries.Query{
			{Name: "clock", Cron: cron, Expect: func(n int) bool { return n == 20 }},
			{Name: "gated", Cron: cron, Active: func() bool { return time.Since(began) > 21*time.Minute }, Expect: func(n int) bool { return n > 20 }},
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 31*time.Minute)
		defer cancel()
		if err := runner.Run(ctx); err != nil {
			t.Fatal(err)
		}
		s := rec.Snapshot()
		if x := s.Find(metrics.OpQuery, "clock"); x.OnTime != 6 || x.Scheduled() != 6 {
			t.Errorf("clock: %d on time of %d; want 6", x.OnTime, x.Scheduled())
		}
		if x := s.Find(metrics.OpQuery, "gated"); x.Scheduled() != 2 {
			t.Errorf("gated: %d scheduled; want 2", x.Scheduled())
		}
		clock, _ := s.Query("clock")
		gated, _ := s.Query("gated")
		if clock.Met != 6 || clock.Unmet != 0 || gated.Met != 0 || gated.Unmet != 2 {
			t.Errorf("expectations: clock %+v, gated %+v", clock, gated)
		}
	})
}
