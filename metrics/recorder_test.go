package metrics

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

const ms = time.Millisecond

var epoch = time.Unix(1_700_000_000, 0)

// observe gives a series one operation that was sent late by lag and answered after service.
func observe(s *Series, lag, service time.Duration, o Outcome) {
	s.Start(epoch, epoch.Add(lag)).End(epoch.Add(lag+service), o)
}

func TestResponseRunsFromTheIntendedTime(t *testing.T) {
	r := NewRecorder(Options{})
	s := r.Series(OpTwinReport, "robots")
	observe(s, 900*ms, 100*ms, OK)
	x := r.Snapshot().Find(OpTwinReport, "robots")
	near := func(got, want time.Duration) bool { return got >= want && got <= want+want/500 }
	if got := x.Latency(false).Maximum(); !near(got, 1000*ms) {
		t.Errorf("response = %v; want about 1s", got)
	}
	if got := x.Latency(true).Maximum(); !near(got, 100*ms) {
		t.Errorf("service = %v; want about 100ms", got)
	}
	if x.Late != 1 || x.OnTime != 0 {
		t.Errorf("on time %d, late %d; want one late", x.OnTime, x.Late)
	}
}

// scheduled = on time + late + dropped, and what started has ended, one way or another, or is in flight.
func TestAccounting(t *testing.T) {
	r := NewRecorder(Options{})
	s := r.Series(OpTelemetry, "g")
	for range 5 {
		observe(s, 0, ms, OK)
	}
	observe(s, 20*ms, ms, Throttled)
	observe(s, 0, ms, Timeout)
	observe(s, 0, ms, Refused)
	observe(s, 0, ms, Outcome(99))
	s.Start(epoch, epoch)
	s.Start(epoch, epoch).Unanswered(epoch.Add(time.Minute), "the run ended first")
	s.Drop(epoch, DropInFlight)
	s.Drop(epoch, "something new")
	x := r.Snapshot().Find(OpTelemetry, "g")
	for name, pair := range map[string][2]uint64{
		"scheduled": {x.Scheduled(), 13}, "started": {x.Started(), 11}, "late": {x.Late, 1}, "dropped": {x.DroppedTotal(), 2}, "ended": {x.Ended(), 10},
		"in flight": {x.InFlight(), 1}, "errors": {x.Errors(), 4}, "unanswered": {x.Count(Unanswered), 1}, "throttled": {x.Count(Throttled), 1},
		"other drops": {x.Dropped[DropOther], 1},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s = %d; want %d", name, pair[0], pair[1])
		}
	}
}

func TestSnapshotWindow(t *testing.T) {
	r := NewRecorder(Options{})
	s := r.Series(OpConnect, "g")
	observe(s, 0, 5*ms, OK)
	before := r.Snapshot()
	observe(s, 0, 50*ms, OK)
	observe(r.Series(OpConnect, "late"), 0, ms, OK)
	window := r.Snapshot().Sub(before)
	if x := window.Find(OpConnect, "g"); x.Ended() != 1 || x.Latency(false).Quantile(0.5) < 49*ms {
		t.Errorf("window = %+v; want the second observation alone", x)
	}
	if x := window.Select(OpConnect, ""); x.Ended() != 2 {
		t.Errorf("all groups: %d; want 2", x.Ended())
	}
	if whole := before.Merge(window).Select(OpConnect, ""); whole.Ended() != 3 {
		t.Errorf("merged: %d; want 3", whole.Ended())
	}
}

func TestLabelsAreBounded(t *testing.T) {
	r := NewRecorder(Options{MaxGroups: 3})
	for _, g := range []string{"a", "b", "c", "d", "e"} {
		observe(r.Series(OpConnect, g), 0, ms, OK)
	}
	observe(r.Series("invented", "x"), 0, ms, OK)
	s := r.Snapshot()
	if x := s.Find(OpConnect, "other"); x == nil || x.Ended() != 2 {
		t.Errorf("what is over the bound = %+v; want two", x)
	}
	if s.Find(OpOther, "x") == nil {
		t.Error("an unknown operation was not counted as other")
	}
}

func TestConcurrentUse(t *testing.T) {
	r := NewRecorder(Options{})
	const goroutines, each = 8, 5000
	var wg sync.WaitGroup
	for i := range goroutines {
		wg.Go(func() {
			s := r.Series(OpTwinReport, []string{"a", "b"}[i%2])
			for range each {
				observe(s, 0, time.Duration(rand.IntN(1e6))*time.Microsecond, OK)
			}
		})
	}
	for range 20 {
		r.Snapshot()
	}
	wg.Wait()
	if n := r.Snapshot().Select(OpTwinReport, "").Ended(); n != goroutines*each {
		t.Errorf("%d observations; want %d", n, goroutines*each)
	}
}

func TestObserveDoesNotAllocate(t *testing.T) {
	s := NewRecorder(Options{}).Series(OpTwinReport, "g")
	observe(s, 0, ms, OK)
	if n := testing.AllocsPerRun(1000, func() { observe(s, 0, ms, OK) }); n > 0 {
		t.Errorf("%v allocations an observation", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	s := NewRecorder(Options{}).Series(OpTwinReport, "g")
	b.ReportAllocs()
	for b.Loop() {
		s.Start(epoch, epoch).End(epoch.Add(3*ms), OK)
	}
}

// Many devices give to few series, from all processors.
func BenchmarkObserveContended(b *testing.B) {
	r := NewRecorder(Options{})
	series := []*Series{r.Series(OpTwinReport, "a"), r.Series(OpTelemetry, "a"), r.Series(OpTwinReport, "b")}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		n := rand.IntN(1000)
		for pb.Next() {
			n++
			s := series[n%len(series)]
			s.Start(epoch, epoch).End(epoch.Add(time.Duration(n%5000)*time.Microsecond), OK)
		}
	})
}

// BenchmarkSnapshot takes what a monitor takes every second of a run of 100,000 devices that report every 30 s, twenty minutes into it:
// the figures, and what came since the last ones.
func BenchmarkSnapshot(b *testing.B) {
	r := NewRecorder(Options{})
	random := rand.New(rand.NewPCG(1, 2))
	at := time.Now()
	tick := func(operations int) {
		at = at.Add(time.Second)
		for range operations {
			intended := at.Add(time.Duration(random.ExpFloat64() * float64(time.Second)))
			sent := intended.Add(time.Duration(random.ExpFloat64() * float64(500*time.Microsecond)))
			r.Series(OpTwinReport, "dev").Start(intended, sent).End(sent.Add(time.Duration(random.ExpFloat64()*float64(5*time.Millisecond))), OK)
		}
		for _, query := range []string{"all", "cellular"} {
			r.Series(OpQuery, query).Start(at, at).End(at.Add(time.Duration(random.ExpFloat64()*float64(time.Second))), OK)
		}
	}
	for _, op := range []Operation{OpConnect, OpSubscribe, OpTwinGet} {
		for range 100_000 {
			sent := at.Add(time.Duration(random.ExpFloat64() * float64(5*time.Millisecond)))
			r.Series(op, "dev").Start(at, sent).End(sent.Add(time.Duration(random.ExpFloat64()*float64(20*time.Millisecond))), OK)
		}
	}
	r.SetStage("hold")
	for range 1200 {
		tick(3333)
	}
	last := r.Snapshot()
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		tick(3333)
		b.StartTimer()
		now := r.Snapshot()
		now.Sub(last)
		last = now
	}
}
