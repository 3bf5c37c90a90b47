package several_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/configuration"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/internal/target/several"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client opens a hub in memory and makes its client.
func client(t testing.TB) several.Service {
	t.Helper()
	h, err := hub.Open(context.Background(), hub.Options{NoPort: true, ConfigurationsEvery: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	c, err := service.New(service.Options{ConnectionString: h.ConnectionString("iothubowner"), BaseURL: "http://hub", Dial: h.Dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// id is that of a device, which is at hub i modulo their number.
func id(i int) string { return fmt.Sprintf("d-%03d", i) }

func over(n int) func(string) (int, bool) {
	return func(id string) (int, bool) {
		var i int
		if _, err := fmt.Sscanf(id, "d-%d", &i); err != nil {
			return 0, false
		}
		return i % n, true
	}
}

// hubs are n hubs in memory as one, and each of them.
func hubs(t testing.TB, n int) (*several.Hubs, []several.Service) {
	t.Helper()
	var of []several.Service
	for range n {
		of = append(of, client(t))
	}
	return several.New(of, over(n)), of
}

func create(t testing.TB, s several.Service, first, last int) {
	t.Helper()
	for ; first < last; first += registry.MaxBulk {
		var entries []registry.BulkEntry
		for i := first; i < min(last, first+registry.MaxBulk); i++ {
			entries = append(entries, registry.NewBulkEntry(registry.ImportCreate, id(i), sas.NewKey(), sas.NewKey()))
		}
		if r, err := s.Bulk(t.Context(), entries); err != nil || !r.IsSuccessful || len(r.Errors) > 0 {
			t.Fatalf("creating %d devices: %+v, %v", len(entries), r, err)
		}
	}
}

// all reads a query to its end.
func all(ctx context.Context, s several.Service, sql string, size int) (items []string, pages int, err error) {
	for p := s.Query(sql, size); p.More(); {
		page, err := p.Next(ctx)
		if err != nil {
			return items, pages, err
		}
		pages++
		if size > 0 && len(page.Items) > size {
			return items, pages, fmt.Errorf("a page of %d", len(page.Items))
		}
		for _, item := range page.Items {
			items = append(items, string(item))
		}
	}
	return items, pages, nil
}

// Whatever is asked of several hubs, their rows are those that one hub with all devices has.
func TestQueriesHaveTheRowsOfOneHub(t *testing.T) {
	const devices = 137
	one, many := client(t), make(map[int]*several.Hubs)
	create(t, one, 0, devices)
	for _, n := range []int{2, 3} {
		many[n], _ = hubs(t, n)
		create(t, many[n], 0, devices)
	}
	for i := range devices {
		patch := fmt.Appendf(nil, `{"tags":{"site":"s%d","n":%d}}`, i%5, i)
		for _, s := range []several.Service{one, many[2], many[3]} {
			if _, err := s.PatchTwin(t.Context(), id(i), patch, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.SampledFrom([]int{2, 3}).Draw(rt, "hubs")
		items := rapid.SampledFrom([]string{"deviceId", "deviceId, tags.site AS site", "COUNT() AS n", "COUNT() AS a, COUNT() AS b", "COUNT()"}).
			Draw(rt, "items")
		conditions := []string{"", " WHERE tags.site = 's1'", " WHERE tags.n > 130", " WHERE tags.n > 1000", " WHERE deviceId IN ['d-001', 'd-002', 'd-136']"}
		where := rapid.SampledFrom(conditions).Draw(rt, "where")
		sql, size := "SELECT "+items+" FROM devices"+where, rapid.IntRange(0, 60).Draw(rt, "size")
		want, _, err := all(t.Context(), one, sql, size)
		if err != nil {
			rt.Fatal(err)
		}
		got, pages, err := all(t.Context(), many[n], sql, size)
		if err != nil {
			rt.Fatal(err)
		}
		if strings.Contains(items, "COUNT") && pages != 1 {
			rt.Fatalf("%s has %d pages", sql, pages)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			rt.Fatalf("%s of %d hubs has\n%s\none has\n%s", sql, n, got, want)
		}
	})
	for _, n := range []int{2, 3} { // pages are those of the hubs, one after the other
		if _, pages, err := all(t.Context(), many[n], "SELECT deviceId FROM devices", 10); err != nil || pages != map[int]int{2: 7 + 7, 3: 5 + 5 + 5}[n] {
			t.Errorf("%d pages of %d hubs, %v", pages, n, err)
		}
	}
	for _, sql := range []string{
		"SELECT TOP 3 * FROM devices", "SELECT tags.site, COUNT() FROM devices GROUP BY tags.site", "SELECT AVG(tags.n) FROM devices",
		"SELECT COUNT(), MAX(tags.n) FROM devices",
	} {
		if items, _, err := all(t.Context(), many[2], sql, 0); !errors.Is(err, several.ErrNotOne) || len(items) > 0 {
			t.Errorf("%s: %v, %v", sql, items, err)
		}
	}
	if _, _, err := all(t.Context(), many[2], "SELECT", 0); err == nil || errors.Is(err, several.ErrNotOne) {
		t.Errorf("what is no query: %v", err)
	}
	if s, err := many[3].Statistics(t.Context()); err != nil || s.Total != devices || s.Enabled != devices {
		t.Errorf("statistics: %+v, %v", s, err)
	}
}

// What is of one device goes to its hub alone. A stranger is read wherever it is, and nobody writes it.
func TestOfOneDevice(t *testing.T) {
	h, of := hubs(t, 3)
	create(t, h, 0, 9)
	for i := range 9 {
		if _, err := h.Twin(t.Context(), id(i)); err != nil {
			t.Error(err)
		}
		for k, hub := range of {
			if _, err := hub.Device(t.Context(), id(i)); (err == nil) != (k == i%3) {
				t.Errorf("device %d at hub %d: %v", i, k, err)
			}
		}
	}
	entry := registry.NewBulkEntry(registry.ImportCreate, "stranger", sas.NewKey(), sas.NewKey())
	if _, err := of[2].Bulk(t.Context(), []registry.BulkEntry{entry}); err != nil {
		t.Fatal(err)
	}
	if x, err := h.Device(t.Context(), "stranger"); err != nil || x.DeviceID != "stranger" {
		t.Errorf("the stranger: %v, %v", x.DeviceID, err)
	}
	if _, err := h.Twin(t.Context(), "nobody"); !errors.Is(err, iothub.ErrDeviceNotFound) {
		t.Errorf("nobody: %v", err)
	}
	if _, err := h.PatchTwin(t.Context(), "stranger", []byte("{}"), ""); err == nil {
		t.Error("a stranger was written")
	}
	if _, err := h.InvokeMethod(t.Context(), "stranger", methods.Request{Name: "m"}); err == nil {
		t.Error("a stranger was called")
	}
	if _, err := h.Bulk(t.Context(), []registry.BulkEntry{entry}); err == nil {
		t.Error("a stranger was made")
	}
	if _, err := h.InvokeMethod(t.Context(), id(4), methods.Request{Name: "m"}); !errors.Is(err, iothub.ErrDeviceNotOnline) {
		t.Errorf("a method of a device that is not there: %v", err)
	}
}

// What failed of a bulk call stands in the order of the entries, whatever hub said it.
func TestBulkInOrder(t *testing.T) {
	h, _ := hubs(t, 3)
	create(t, h, 0, 20)
	var entries []registry.BulkEntry
	var want []string
	for _, i := range []int{30, 7, 31, 3, 4, 32, 19, 33, 0} {
		entries = append(entries, registry.NewBulkEntry(registry.ImportCreate, id(i), sas.NewKey(), sas.NewKey()))
		if i < 20 {
			want = append(want, id(i))
		}
	}
	r, err := h.Bulk(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range r.Errors {
		got = append(got, e.DeviceID)
	}
	if r.IsSuccessful || !slices.Equal(got, want) {
		t.Errorf("%v failed; want %v", got, want)
	}
	if s, err := h.Statistics(t.Context()); err != nil || s.Total != 24 {
		t.Errorf("%+v, %v", s, err)
	}
}

// shedding is a hub that sheds some bulk calls.
type shedding struct {
	several.Service
	left  int
	calls int
}

func (s *shedding) Bulk(ctx context.Context, entries []registry.BulkEntry) (registry.BulkResult, error) {
	s.calls++
	if s.left > 0 {
		s.left--
		return registry.BulkResult{}, &iothub.Error{Status: 429, Code: 429001, RetryAfter: 3 * time.Second}
	}
	return s.Service.Bulk(ctx, entries)
}

// A part that a hub sheds while others took theirs is sent anew, alone; a call that all shed is the caller's to repeat.
func TestBulkThatOneSheds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entries := []registry.BulkEntry{
			registry.NewBulkEntry(registry.ImportCreate, id(0), sas.NewKey(), sas.NewKey()),
			registry.NewBulkEntry(registry.ImportCreate, id(1), sas.NewKey(), sas.NewKey()),
		}
		a, b := &shedding{Service: client(t)}, &shedding{Service: client(t), left: 2}
		h := several.New([]several.Service{a, b}, over(2))
		began := time.Now()
		if r, err := h.Bulk(t.Context(), entries); err != nil || !r.IsSuccessful || a.calls != 1 || b.calls != 3 || time.Since(began) < 6*time.Second {
			t.Errorf("%+v, %v after %s, %d and %d calls", r, err, time.Since(began), a.calls, b.calls)
		}
		a.left, b.left = 1, 1
		if _, err := h.Bulk(t.Context(), entries); !iothub.Throttled(err) {
			t.Errorf("both shed: %v", err)
		}
		b.left = 1000
		if _, err := h.Bulk(t.Context(), entries); !errors.Is(err, several.ErrPart) || iothub.Throttled(err) {
			t.Errorf("one sheds for ever: %v", err)
		}
	})
}

// Jobs and configurations are at all hubs, and are one.
func TestJobsAndConfigurations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := hubs(t, 2)
		create(t, h, 0, 10)
		ctx := t.Context()
		job, err := h.CreateJob(ctx, jobs.Job{JobID: "j", Type: jobs.TwinUpdate, UpdateTwin: json.RawMessage(`{"etag":"*","tags":{"a":1}}`), MaxExecutionTime: 60})
		for range 60 {
			if err != nil || job.Status == jobs.Completed {
				break
			}
			time.Sleep(time.Second)
			job, err = h.Job(ctx, "j")
		}
		if err != nil || job.Status != jobs.Completed || job.DeviceJobStatistic == nil || job.DeviceJobStatistic.Succeeded != 10 {
			t.Errorf("%+v with %+v, %v", job, job.DeviceJobStatistic, err)
		}
		if _, err := h.Job(ctx, "none"); !errors.Is(err, iothub.ErrJobNotFound) {
			t.Errorf("no job: %v", err)
		}
		doc := configuration.Configuration{ID: "c", Content: configuration.OfProperties(json.RawMessage(`{"b":1}`)), TargetCondition: "tags.a = 1"}
		if _, err := h.PutConfiguration(ctx, doc); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		c, err := h.Configuration(ctx, "c")
		if err != nil || c.SystemMetrics.Results[configuration.TargetedCount] != 10 || c.SystemMetrics.Results[configuration.AppliedCount] != 10 {
			t.Errorf("%+v, %v", c.SystemMetrics, err)
		}
		if _, err := h.PutConfiguration(ctx, doc); !errors.Is(err, iothub.ErrConfigurationExists) {
			t.Errorf("a second one: %v", err)
		}
		if err := h.DeleteConfiguration(ctx, "c"); err != nil {
			t.Error(err)
		}
		if err := h.DeleteConfiguration(ctx, "c"); !errors.Is(err, iothub.ErrConfigurationNotFound) {
			t.Errorf("one that is gone: %v", err)
		}
	})
}
