package query_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/store"
	"github.com/twinfleet/twinfleet/internal/iothub/query"
	"github.com/twinfleet/twinfleet/internal/iothub/query/plan"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

var large = flag.Bool("large", false, "benchmark a million twins too")

// many is a store of n twins: one plant in ten, three in five of them cellular.
func many(b testing.TB, n int) *store.Store {
	b.Helper()
	s, err := store.Open(b.Context(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	for first := 0; first < n; first += registry.MaxBulk {
		entries := make([]registry.BulkEntry, 0, registry.MaxBulk)
		for i := first; i < min(first+registry.MaxBulk, n); i++ {
			e := registry.NewBulkEntry(registry.ImportCreate, fmt.Sprintf("robots-%07d", i), sas.NewKey(), sas.NewKey())
			e.Tags = json.RawMessage(fmt.Sprintf(`{"location":{"region":"US","plant":"Redmond%d"}}`, i%10))
			entries = append(entries, e)
		}
		if _, err := s.Bulk(b.Context(), entries); err != nil {
			b.Fatal(err)
		}
	}
	for i := range n {
		kind := []string{"cellular", "cellular", "cellular", "wifi", "ethernet"}[i/10%5]
		if _, err := s.Report(b.Context(), fmt.Sprintf("robots-%07d", i),
			value(b, `{"connectivity":{"type":"`+kind+`"},"level":`+fmt.Sprint(i%100)+`,"odometer":`+fmt.Sprint(uint32(i)*2654435761>>8)+`}`), -1); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func sizes() []int {
	if *large {
		return []int{10_000, 100_000, 1_000_000}
	}
	return []int{10_000, 100_000}
}

// run reports the median and the 99th percentile of the first page of a query, in milliseconds.
func run(b *testing.B, src plan.Source, sql string) {
	b.Helper()
	first := func() {
		q, err := query.Parse(sql)
		if err != nil {
			b.Fatal(err)
		}
		page, err := q.Plan(src).Run(b.Context(), 100, "")
		if err != nil || len(page.Items) == 0 {
			b.Fatal(len(page.Items), err)
		}
	}
	first() // builds the indexes
	b.ReportAllocs()
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		first()
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
}

// The cost of a first page must not grow with the fleet where an index helps; that of a scan does.
func BenchmarkQuery(b *testing.B) {
	const plant = "tags.location.plant = 'Redmond3'"
	for _, n := range sizes() {
		src := many(b, n)
		for _, q := range []struct{ name, sql string }{
			{"plant", "SELECT * FROM devices WHERE " + plant},
			{"plant-cellular", "SELECT * FROM devices WHERE " + plant + " AND properties.reported.connectivity.type = 'cellular'"},
			{"one", "SELECT * FROM devices WHERE deviceId = 'robots-0000007'"},
			{"in", "SELECT * FROM devices WHERE tags.location.plant IN ['Redmond1', 'Redmond2'] AND properties.reported.level = 41"},
			{"range-few", "SELECT * FROM devices WHERE properties.reported.odometer < 100000"},
			{"range-many", "SELECT * FROM devices WHERE properties.reported.odometer > 5000000"},
			{"range-and", "SELECT * FROM devices WHERE " + plant + " AND properties.reported.odometer > 5000000"},
			{"scan-group-by", "SELECT properties.reported.connectivity.type AS type, COUNT() AS n, AVG(properties.reported.level) AS level FROM devices " +
				"GROUP BY properties.reported.connectivity.type"},
		} {
			b.Run(fmt.Sprintf("%s/%d", q.name, n), func(b *testing.B) { run(b, src, q.sql) })
		}
	}
}
