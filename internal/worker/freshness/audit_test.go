package freshness

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/worker/freshness/known"
	"github.com/twinfleet/twinfleet/internal/worker/workertest"
	"github.com/twinfleet/twinfleet/metrics"
)

// at is a time of a test, in milliseconds.
func at(ms int) time.Time { return time.UnixMilli(1_700_000_000_000 + int64(ms)) }

func audit(devices int, o Options) (*Audit, *metrics.Recorder) {
	o.Recorder = metrics.NewRecorder(metrics.Options{})
	o.Groups = []Group{{Name: "robots", First: 0, IDs: workertest.IDs(devices)}}
	return New(o), o.Recorder
}

func (a *Audit) ack(device int, version int64, acked time.Time) {
	a.Acked(device, known.Report{Version: version, Connectivity: "wifi", Sent: acked, Acked: acked})
}

func TestSample(t *testing.T) {
	o := Options{Recorder: metrics.NewRecorder(metrics.Options{}), Sample: 10, Seed: 4, Groups: []Group{
		{Name: "a", First: 5, IDs: workertest.IDs(30)}, {Name: "b", First: 100, IDs: []string{"x", "y"}}, {Name: "c", First: 200, IDs: workertest.IDs(70)},
	}}
	first, second := New(o), New(o)
	if n, of := first.Sampled(); n != 10 || of != 102 || !slices.Equal(first.IDs(), second.IDs()) {
		t.Errorf("sampled %d of %d, %v and %v; want 10 of 102, the same twice", n, of, first.IDs(), second.IDs())
	}
	o.Seed = 5
	if slices.Equal(first.IDs(), New(o).IDs()) {
		t.Error("another seed gives the same sample")
	}
	o.Sample = 1000
	seen := make(map[int]bool)
	for _, w := range New(o).watched {
		seen[w.index] = true
		if g := map[bool]string{w.index >= 200: "c", w.index >= 100 && w.index < 200: "b", w.index < 100: "a"}[true]; g != w.group {
			t.Errorf("device %d is in group %s; want %s", w.index, w.group, g)
		}
	}
	if len(seen) != 102 || !seen[5] || !seen[34] || !seen[101] || !seen[269] {
		t.Errorf("%d devices; want all 102", len(seen))
	}
}

// What the audit costs: a report of a device that it does not watch, one that it does, and a page of a
// thousand whole twins of which two hundred are watched.
func BenchmarkAudit(b *testing.B) {
	const twin = `{"deviceId":%q,"etag":"AAAAAAAAAAE=","deviceEtag":"NTU3","status":"enabled","statusUpdateTime":"0001-01-01T00:00:00Z",` +
		`"connectionState":"Connected","lastActivityTime":"2026-01-01T00:00:00Z","cloudToDeviceMessageCount":0,` +
		`"authenticationType":"sas","x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"modelId":"",` +
		`"version":12,"tags":{"location":{"region":"US","plant":"Redmond43"}},` +
		`"properties":{"desired":{"$metadata":{"$lastUpdated":"2026-01-01T00:00:00Z"},"$version":1},` +
		`"reported":{"connectivity":{"type":"cellular"},"$metadata":{"$lastUpdated":"2026-01-01T00:00:00Z",` +
		`"connectivity":{"$lastUpdated":"2026-01-01T00:00:00Z","type":{"$lastUpdated":"2026-01-01T00:00:00Z"}}},"$version":%d}},` +
		`"capabilities":{"iotEdge":false}}`
	report := func(b *testing.B, index func(a *Audit) int) {
		a, _ := audit(100_000, Options{})
		i := index(a)
		b.ReportAllocs()
		for n := int64(1); b.Loop(); n++ {
			now := at(int(n))
			a.Sending(i, now)
			a.Acked(i, known.Report{Version: n, Connectivity: "wifi", Sent: now, Acked: now})
			if w := a.byIndex[i]; w != nil {
				w.reports.Shown(n, now)
			}
		}
	}
	b.Run("report of an unwatched device", func(b *testing.B) {
		report(b, func(a *Audit) int {
			i := 0
			for a.byIndex[i] != nil {
				i++
			}
			return i
		})
	})
	b.Run("report of a watched device", func(b *testing.B) {
		report(b, func(a *Audit) int { return a.watched[0].index })
	})
	b.Run("page of 1000 twins", func(b *testing.B) {
		a, _ := audit(1000, Options{Sample: 200})
		var page []json.RawMessage
		for _, id := range workertest.IDs(1000) {
			page = append(page, fmt.Appendf(nil, twin, id, 3))
		}
		q := onType("wifi")
		b.ReportAllocs()
		for b.Loop() {
			w := a.Watch(q, at(0))
			w.Page(at(1), page)
			w.End(nil)
		}
	})
}
