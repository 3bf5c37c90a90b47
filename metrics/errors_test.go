package metrics_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
)

// The counts of errors add up to what the histograms hold, whoever counts at once.
func TestErrorsAreAccounted(t *testing.T) {
	rec := metrics.NewRecorder(metrics.Options{})
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	observe := func(n int) {
		s := rec.Series(metrics.OpTwinReport, "robots")
		for i := range n {
			o := metrics.Outcomes()[i%len(metrics.Outcomes())]
			reason := ""
			if i%2 == 0 {
				reason = "status 429"
			}
			s.Start(at, at).EndBecause(at.Add(time.Duration(i)*time.Millisecond), o, reason)
		}
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { observe(100) })
	}
	all.Wait()
	early := rec.Snapshot()
	observe(50)
	late := rec.Snapshot()
	window := late.Sub(early)
	for name, s := range map[string]*metrics.Snapshot{"all": late, "before": early, "window": window, "merged": early.Merge(window)} {
		for _, o := range metrics.Outcomes()[1:] {
			var counted uint64
			for _, e := range s.Errors {
				if e.Outcome == o.String() {
					counted += e.Count
				}
			}
			if want := s.Select(metrics.OpTwinReport, "").Count(o); counted != want || want == 0 {
				t.Errorf("%s: %d errors by reason, %d %s", name, counted, want, o)
			}
		}
	}
	if e := late.Errors[len(late.Errors)-1]; !e.Last.Equal(at.Add(99*time.Millisecond)) && !e.Last.Equal(at.Add(49*time.Millisecond)) && e.Last.Before(at) {
		t.Errorf("last seen at %v", e.Last)
	}
	if len(rec.Snapshot().Sub(late).Errors) != 0 {
		t.Error("a window in which nothing happened has errors")
	}
}

// However many reasons a target invents, the table stays small and nothing is lost.
func TestReasonsAreBounded(t *testing.T) {
	rec := metrics.NewRecorder(metrics.Options{})
	s, now := rec.Series(metrics.OpConnect, "robots"), time.Now()
	for i := range 1000 {
		s.Start(now, now).EndBecause(now, metrics.Failed, strings.Repeat("x", i))
	}
	errs := rec.Snapshot().Errors
	var sum uint64
	for _, e := range errs {
		sum += e.Count
	}
	if len(errs) > 60 || sum != 1000 {
		t.Errorf("%d reasons with %d errors; want 1000 errors of few reasons", len(errs), sum)
	}
}

// A connection that is lost is told of by its reason, in its stage, over Parts and in windows, and is the outcome of no operation.
func TestLostConnections(t *testing.T) {
	rec, other := metrics.NewRecorder(metrics.Options{}), metrics.NewRecorder(metrics.Options{})
	s, now := rec.Series(metrics.OpConnect, "robots"), time.Now()
	s.Start(now, now).End(now, metrics.OK)
	before := rec.Snapshot() // whose copy of the series must not be given once more
	s.Lost(now, "the target closed the connection")
	s.Lost(now, "")
	other.Series(metrics.OpConnect, "robots").Lost(now, "the target closed the connection")
	part := rec.Join()
	part.Set(other.Contribution())
	after := rec.Snapshot()
	text := func(all []metrics.ErrorCount) string {
		b := &strings.Builder{}
		for _, e := range all {
			fmt.Fprintf(b, "%d %s %s: %s; ", e.Count, e.Operation, e.Outcome, e.Reason)
		}
		return b.String()
	}
	const want = "1 connect lost: nothing is known of why; 2 connect lost: the target closed the connection; "
	for name, all := range map[string][]metrics.ErrorCount{
		"all": after.Errors, "window": after.Sub(before).Errors, "merged": before.Merge(after.Sub(before)).Errors, "losses": rec.Losses(),
		"series": after.Find(metrics.OpConnect, "robots").Reasons,
	} {
		if got := text(all); got != want {
			t.Errorf("%s: %q; want %q", name, got, want)
		}
	}
	x := after.Find(metrics.OpConnect, "robots")
	if x.Scheduled() != 1 || x.Ended() != 1 || x.Errors() != 0 {
		t.Errorf("%d scheduled, %d ended, %d errors; want one that went well", x.Scheduled(), x.Ended(), x.Errors())
	}
	for n := range 1000 {
		s.Lost(now, fmt.Sprintf("tenant %d is over its quota", n))
	}
	if n := len(rec.Losses()); n > 52 {
		t.Errorf("%d reasons of losses are told apart", n)
	}
}
