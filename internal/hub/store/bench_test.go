package store

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/twinfleet/twinfleet/internal/hub/store/disk"
	"github.com/twinfleet/twinfleet/internal/hub/store/view"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
)

// fleet fills a store as the tutorial's fleet does: each device is registered, tagged and
// has reported two properties.
func fleet(b *testing.B, s *Store, n int) {
	b.Helper()
	ctx := context.Background()
	for start := 0; start < n; start += registry.MaxBulk {
		entries := make([]registry.BulkEntry, 0, registry.MaxBulk)
		for i := start; i < min(n, start+registry.MaxBulk); i++ {
			tags := fmt.Sprintf(`{"location":{"region":%q,"plant":"Redmond%d"}}`, []string{"US", "EU"}[i%2], i%100)
			entries = append(entries, registry.BulkEntry{ID: deviceID(i), ImportMode: registry.ImportCreate, Tags: []byte(tags)})
		}
		if result, err := s.Bulk(ctx, entries); err != nil || !result.IsSuccessful {
			b.Fatalf("Bulk: %+v, %v", result, err)
		}
	}
	for i := range n {
		reportOf(b, s, i, i)
	}
}

func deviceID(i int) string { return fmt.Sprintf("robot-%06d", i) }

// reportOf is a device's report as it comes from the wire: it is parsed, then stored.
func reportOf(b *testing.B, s *Store, device, n int) {
	types := []string{`cellular`, `wifi`, `ethernet`}
	patch, err := s.ParseValue(fmt.Appendf(nil, `{"connectivity":{"type":%q},"battery":%d}`, types[n%3], n%101))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.Report(context.Background(), deviceID(device), patch, -1); err != nil {
		b.Fatal(err)
	}
}

func benchStore(b *testing.B, opts Options) *Store {
	b.Helper()
	s, err := Open(context.Background(), opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// BenchmarkMemory reports what a stored device costs in all: record, keys, twin, metadata,
// maps, and its place in the view; and with two indexes.
func BenchmarkMemory(b *testing.B) {
	const devices = 100_000
	for b.Loop() {
		before := heapInUse()
		s, err := Open(context.Background(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		fleet(b, s, devices)
		b.ReportMetric(float64(heapInUse()-before)/devices, "bytes/twin")
		s.Lookup([]string{"tags", "location", "plant"})
		s.Lookup([]string{"properties", "reported", "connectivity", "type"})
		b.ReportMetric(float64(heapInUse()-before)/devices, "bytes/twin-indexed")
		if s.Len() != devices {
			b.Fatalf("%d devices", s.Len())
		}
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkLoad is the filling of a store with 100,000 devices.
func BenchmarkLoad(b *testing.B) {
	const devices = 100_000
	for b.Loop() {
		s, err := Open(context.Background(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		fleet(b, s, devices)
	}
	b.ReportMetric(float64(devices*b.N)/b.Elapsed().Seconds(), "devices/s")
}

// BenchmarkReport is a device's report, by all processors, with and without the indexes
// that the tutorial's queries need.
func BenchmarkReport(b *testing.B) {
	const devices = 100_000
	s := benchStore(b, Options{})
	fleet(b, s, devices)
	var text [3][]byte
	for i, kind := range []string{`cellular`, `wifi`, `ethernet`} {
		text[i] = fmt.Appendf(nil, `{"connectivity":{"type":%q}}`, kind)
	}
	ids := make([]string, devices)
	for i := range ids {
		ids[i] = deviceID(i)
	}
	run := func(b *testing.B) {
		b.ReportAllocs()
		var next atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			n := int(next.Add(devices / 2))
			for ; pb.Next(); n++ {
				patch, err := s.ParseValue(text[n/devices%3])
				if err != nil {
					b.Fatal(err)
				}
				if _, err := s.Report(context.Background(), ids[n%devices], patch, -1); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reports/s")
	}
	b.Run("plain", run)
	s.Lookup([]string{"tags", "location", "plant"})
	s.Lookup([]string{"properties", "reported", "connectivity", "type"})
	b.Run("indexed", run)
}

// BenchmarkPatch is a service's patch of tags, parsed beforehand.
func BenchmarkPatch(b *testing.B) {
	const devices = 100_000
	s := benchStore(b, Options{})
	fleet(b, s, devices)
	patch, err := s.ParseValue([]byte(`{"location":{"plant":"Redmond43"}}`))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if _, err := s.PatchTwin(context.Background(), deviceID(n%devices), patch, jsonvalue.Value{}, ""); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "patches/s")
}

// BenchmarkReportDurable is a report that is on disk when it returns, by 64 devices at a time.
func BenchmarkReportDurable(b *testing.B) {
	const devices = 10_000
	s := benchStore(b, Options{DataDir: b.TempDir()})
	fleet(b, s, devices)
	b.SetParallelism(32)
	var next atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n := int(next.Add(1))
			reportOf(b, s, n*7919%devices, n)
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reports/s")
}

// BenchmarkIndex is what a query asks of the indexes, at growing sizes of the fleet.
func BenchmarkIndex(b *testing.B) {
	for _, devices := range []int{10_000, 100_000, 1_000_000} {
		s := benchStore(b, Options{})
		fleet(b, s, devices)
		b.Run(fmt.Sprintf("build/%d", devices), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				v := view.New()
				for ord := range s.Max() {
					tw := s.At(ord)
					v.Publish(tw.DeviceID, tw)
				}
				b.StartTimer()
				v.Lookup([]string{"tags", "location", "plant"})
			}
		})
		plant, kind := s.Lookup([]string{"tags", "location", "plant"}), s.Lookup([]string{"properties", "reported", "connectivity", "type"})
		b.Run(fmt.Sprintf("equal/%d", devices), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				found := plant.Equal(jsonvalue.StringValue("Redmond43"))
				found.And(kind.Equal(jsonvalue.StringValue("cellular")))
				if found.IsEmpty() {
					b.Fatal("nothing found")
				}
			}
		})
	}
}

// BenchmarkOpen is the opening of a data directory with 100,000 devices.
func BenchmarkOpen(b *testing.B) {
	const devices = 100_000
	dir := b.TempDir()
	s, err := Open(context.Background(), Options{DataDir: dir})
	if err != nil {
		b.Fatal(err)
	}
	for start := 0; start < devices; start += 50_000 { // One batch each: filling is not what is measured.
		batches := make([]*disk.Batch, 0, 50_000)
		for i := start; i < start+50_000; i++ {
			e := registry.BulkEntry{ID: deviceID(i), ImportMode: registry.ImportCreate, Tags: []byte(`{"location":{"region":"US","plant":"Redmond43"}}`)}
			one, err := s.bulkEntry(&e)
			if err != nil {
				b.Fatal(err)
			}
			batches = append(batches, one)
		}
		for _, one := range batches {
			if err := one.Wait(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := Open(context.Background(), Options{DataDir: dir})
		if err != nil || s.Len() != devices {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
