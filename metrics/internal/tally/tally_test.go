package tally_test

import (
	"sync"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics/internal/tally"
)

// Whoever counts at once, nothing is lost, and the last time is that of one of the last.
func TestTable(t *testing.T) {
	var table tally.Table[string]
	start := time.Unix(1_700_000_000, 0)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for n := range 1000 {
				table.Add([]string{"a", "b", "b", "b"}[n%4], start.Add(time.Duration(n)*time.Second))
			}
		})
	}
	all.Wait()
	got := make(map[string]uint64)
	table.Each(func(k string, count uint64, last time.Time) {
		got[k] = count
		if last.Before(start) || last.After(start.Add(1000*time.Second)) || last.Location() != time.UTC {
			t.Errorf("%s was counted last at %v", k, last)
		}
	})
	if got["a"] != 2000 || got["b"] != 6000 || len(got) != 2 {
		t.Errorf("%v; want 2000 of a and 6000 of b", got)
	}
}

// What was admitted stays so, whoever comes later.
func TestBound(t *testing.T) {
	b := tally.Bound[int]{Most: 3}
	for n := range 5 {
		if got := b.Admit(n); got != (n < 3) {
			t.Errorf("%d is admitted: %v", n, got)
		}
	}
	if !b.Admit(0) || b.Admit(4) {
		t.Error("what was admitted changes")
	}
	var none tally.Bound[int]
	if none.Admit(1) {
		t.Error("the zero value admits one")
	}
}
