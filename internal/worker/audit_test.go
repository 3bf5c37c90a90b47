package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/metrics"
)

// at is a time of a test, in milliseconds.
func at(ms int) time.Time { return time.UnixMilli(1_700_000_000_000 + int64(ms)) }

func audit(devices int, o AuditOptions) (*Audit, *metrics.Recorder) {
	o.Recorder = metrics.NewRecorder(metrics.Options{})
	o.Groups = []AuditGroup{{Name: "robots", First: 0, IDs: ids(devices)}}
	return NewAudit(o), o.Recorder
}

func (a *Audit) ack(device int, version int64, acked time.Time) {
	a.Acked(Ack{Index: device, Version: version, Connectivity: "wifi", Sent: acked, Acked: acked})
}

func TestFreshness(t *testing.T) {
	a, rec := audit(2, AuditOptions{Timeout: time.Second})
	show := func(version int64, ms int) { a.byIndex[0].show(version, at(ms)) }
	a.ack(0, 7, at(0))
	a.ack(0, 8, at(100))
	show(6, 110)         // older than both
	show(8, 300)         // shows both: 300 and 200
	show(9, 350)         // before the device knows:
	a.ack(0, 9, at(400)) // 0
	a.ack(0, 10, at(500))
	a.Sweep(at(1499))
	a.Sweep(at(1500)) // 10 timed out
	show(10, 1600)    // which does not count any more
	a.ack(0, 11, at(1700))
	a.ack(1, 3, at(1700))
	if n := a.Pending(); n != 2 {
		t.Errorf("%d wait; want 2", n)
	}
	if n := a.Close(at(1800)); n != 2 {
		t.Errorf("%d were not seen; want 2", n)
	}
	x := rec.Snapshot().Find(metrics.OpFreshness, "robots")
	if x.Started() != 6 || x.Count(metrics.OK) != 3 || x.Count(metrics.Timeout) != 1 || x.Count(metrics.Unanswered) != 2 {
		t.Errorf("%d started, %d ok, %d timed out, %d unanswered; want 6, 3, 1, 2", x.Started(), x.Count(metrics.OK), x.Count(metrics.Timeout), x.Count(metrics.Unanswered))
	}
	if sum := x.Response[metrics.OK].Sum; sum != 500_000 {
		t.Errorf("freshness sums up to %dµs; want 300ms + 200ms + 0", sum)
	}
}

// The audit against a model that keeps everything and searches it at the end.
func TestFreshnessModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const timeout = 400
		a, rec := audit(3, AuditOptions{Timeout: timeout * time.Millisecond})
		type event struct {
			ms, device int
			version    int64
		}
		var acks, shows []event
		var sweeps []int
		version := make([]int64, 3)
		now := 0
		for range rapid.IntRange(0, 60).Draw(t, "events") {
			now += rapid.IntRange(1, 150).Draw(t, "pause")
			d := rapid.IntRange(0, 2).Draw(t, "device")
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0, 1:
				version[d] += int64(rapid.IntRange(1, 2).Draw(t, "step"))
				acks = append(acks, event{now, d, version[d]})
				a.ack(d, version[d], at(now))
			case 2: // also one that the device does not know yet
				v := int64(rapid.IntRange(0, int(version[d])+2).Draw(t, "shown"))
				shows = append(shows, event{now, d, v})
				a.byIndex[d].show(v, at(now))
			default:
				sweeps = append(sweeps, now)
				a.Sweep(at(now))
			}
		}
		now++
		sweeps = append(sweeps, now)
		unseen := a.Close(at(now))
		var ok, late, open, sum int
		for _, k := range acks {
			seen, swept := -1, -1
			for _, s := range shows {
				if s.device == k.device && s.version >= k.version && seen < 0 {
					seen = max(s.ms, k.ms)
				}
			}
			for _, s := range sweeps {
				if s-k.ms >= timeout && swept < 0 {
					swept = s
				}
			}
			switch {
			case seen >= 0 && (swept < 0 || seen < swept):
				ok, sum = ok+1, sum+seen-k.ms
			case swept >= 0:
				late++
			default:
				open++
			}
		}
		x := rec.Snapshot().Find(metrics.OpFreshness, "robots")
		if int(x.Count(metrics.OK)) != ok || int(x.Count(metrics.Timeout)) != late || int(x.Count(metrics.Unanswered)) != open || unseen != open {
			t.Fatalf("%d ok, %d timed out, %d unanswered; want %d, %d, %d", x.Count(metrics.OK), x.Count(metrics.Timeout), x.Count(metrics.Unanswered), ok, late, open)
		}
		if got := int(x.Response[metrics.OK].Sum); got != sum*1000 {
			t.Fatalf("freshness sums up to %dµs; want %dms", got, sum)
		}
	})
}

// judged is the finding on one device of one result; "" when it is none.
func judged(a *Audit, q *Query, sent time.Time, version int64, there bool) string {
	c := a.Watch(q, sent).(*check)
	if f, ok := c.judge(a.watched[0], version, there); ok {
		return f.String()
	}
	return ""
}

func onType(want string) *Query {
	return &Query{Name: "q", Rows: Rows{Whole: true, Holds: func(s DeviceState) bool { return s.Connectivity == want }}}
}

// What is in a result is compared with what had been acknowledged when the query was sent, at 1,000 ms.
func TestResultChecks(t *testing.T) {
	const absent = -1
	for _, tt := range []struct {
		name    string
		history string // "type@ms" acknowledged, "?@ms" sent and never acknowledged; versions count from 2
		wifi    int64  // version of the row in the result of connectivity = wifi, absent, or 0 for a row without version
		want    string
		tol     int // ms
	}{
		{"as it should be", "wifi@100", 2, "ok", 0},
		{"without a version", "wifi@100", 0, "ok", 0},
		{"not in it", "wifi@100", absent, "missing", 0},
		{"need not be in it", "cellular@100", absent, "", 0},
		{"should not be in it", "cellular@100", 2, "extra", 0},
		{"should not be in it any more", "wifi@100 cellular@200", 2, "extra", 0},
		{"an older state", "wifi@100 wifi@200", 2, "stale", 0},
		{"an older state within the tolerance", "wifi@100 wifi@900", 2, "ok", 200},
		{"an older state beyond the tolerance", "wifi@100 wifi@900", 2, "stale", 50},
		{"changed while the query ran: there", "cellular@100 wifi@1100", 3, "unjudged", 0},
		{"changed while the query ran: not there", "cellular@100 wifi@1100", absent, "unjudged", 0},
		{"went while the query ran", "wifi@100 cellular@1100", absent, "unjudged", 0},
		{"the same again while the query ran", "wifi@100 wifi@1100", 3, "ok", 0},
		{"a report is under way", "wifi@100 ?@1050", absent, "unjudged", 0},
		{"a report was lost", "wifi@100 ?@200", absent, "unjudged", 0},
		{"a lost report was followed by another", "cellular@100 ?@200 wifi@300", absent, "missing", 0},
		{"a lost report within the tolerance", "wifi@100 ?@900 wifi@950", absent, "unjudged", 300},
		{"newer than anything acknowledged", "cellular@100", 5, "unjudged", 0},
		{"nothing reported, not in it", "", absent, "", 0},
		{"nothing reported, in it", "", 1, "unjudged", 0},
	} {
		a, _ := audit(1, AuditOptions{Tolerance: time.Duration(tt.tol) * time.Millisecond, Fresh: func(int) bool { return true }, Made: at(0)})
		version := int64(1)
		for _, entry := range strings.Fields(tt.history) {
			kind, when, _ := strings.Cut(entry, "@")
			var ms int
			if _, err := fmt.Sscan(when, &ms); err != nil {
				t.Fatal(err)
			}
			a.Sending(0, at(ms-1))
			if version++; kind != "?" {
				a.Acked(Ack{Index: 0, Connectivity: kind, Version: version, Sent: at(ms - 1), Acked: at(ms)})
			}
		}
		there := tt.wifi != absent
		if got := judged(a, onType("wifi"), at(1000), max(tt.wifi, 0), there); got != tt.want {
			t.Errorf("%s: %q; want %q", tt.name, got, tt.want)
		}
	}
}

// A device that was there before the run: nothing is known of it until its first report is acknowledged.
func TestNothingIsKnownOfDevicesOfOthers(t *testing.T) {
	a, _ := audit(1, AuditOptions{})
	q := onType("wifi")
	if got := judged(a, q, at(1000), 0, false); got != "unjudged" {
		t.Errorf("before its first report it is %q; want unjudged", got)
	}
	a.ack(0, 40, at(1100))
	if got := judged(a, q, at(1050), 0, false); got != "unjudged" {
		t.Errorf("when the query was sent it is %q; want unjudged", got)
	}
	if got := judged(a, q, at(1200), 0, false); got != "missing" {
		t.Errorf("after it it is %q; want missing", got)
	}
}

// A target that answers every query with a state that the twin had while the query ran is never
// accused, however reports overlap and get lost; one that answers with older states is always found out.
func TestChecksAccuseNobodyWrongly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, _ := audit(1, AuditOptions{Fresh: func(int) bool { return true }, Made: at(0)})
		type state struct {
			ms      int
			version int64
			kind    string
		}
		twin := []state{{0, 1, ""}} // the truth
		type report struct {
			sent, applied, acked int // acked below 0: lost
			state
		}
		var reports []report
		now, lastAck := 1, 0
		for range rapid.IntRange(0, 8).Draw(t, "reports") {
			now += rapid.IntRange(1, 12).Draw(t, "gap")
			applied := max(now, twin[len(twin)-1].ms) + rapid.IntRange(0, 8).Draw(t, "way")
			s := state{applied, twin[len(twin)-1].version + 1, rapid.SampledFrom([]string{"wifi", "cellular"}).Draw(t, "kind")}
			r := report{now, applied, max(applied, lastAck) + rapid.IntRange(0, 8).Draw(t, "back"), s}
			if rapid.IntRange(0, 4).Draw(t, "fate") == 0 {
				r.acked = -1
				if rapid.Bool().Draw(t, "applied") {
					twin = append(twin, s)
				}
			} else {
				lastAck = r.acked
				twin = append(twin, s)
			}
			reports = append(reports, r)
		}
		sent := rapid.IntRange(1, now+10).Draw(t, "query")
		served := sent + rapid.IntRange(0, 12).Draw(t, "there")
		arrived := served + rapid.IntRange(0, 12).Draw(t, "back")
		// What the audit knows when the page arrives.
		type known struct {
			ms int
			do func()
		}
		var script []known
		acked := int64(0)
		for _, r := range reports {
			script = append(script, known{r.sent, func() { a.Sending(0, at(r.sent)) }})
			if r.acked >= 0 {
				script = append(script, known{r.acked, func() {
					a.Acked(Ack{Index: 0, Connectivity: r.kind, Version: r.version, Sent: at(r.sent), Acked: at(r.acked)})
				}})
				if r.acked <= sent {
					acked = max(acked, r.version)
				}
			}
		}
		slices.SortStableFunc(script, func(a, b known) int { return a.ms - b.ms })
		for _, k := range script {
			if k.ms <= arrived {
				k.do()
			}
		}
		var shown, older state
		for _, s := range twin {
			if s.ms <= served {
				shown = s
			}
			if s.version < acked {
				older = s
			}
		}
		there := shown.kind == "wifi"
		switch got := judged(a, onType("wifi"), at(sent), shown.version, there); got {
		case "missing", "extra", "stale":
			t.Fatalf("a true answer, %+v, is called %s; twin %+v, reports %+v, sent %d, served %d, arrived %d", shown, got, twin, reports, sent, served, arrived)
		}
		all := &Query{Name: "all", Rows: Rows{Whole: true, Holds: func(DeviceState) bool { return true }}}
		if older.version > 0 {
			if got := judged(a, all, at(sent), older.version, true); got != "stale" {
				t.Fatalf("version %d after the acknowledgement of %d is called %q; want stale", older.version, acked, got)
			}
		}
	})
}

// Tags are judged only when they were the same since before the query was sent.
func TestChecksOfTags(t *testing.T) {
	a, _ := audit(1, AuditOptions{})
	a.ack(0, 2, at(0))
	q := &Query{Name: "q", Rows: Rows{Whole: true, UsesTags: true, Holds: func(s DeviceState) bool { return len(s.Tags) > 0 }}}
	if got := judged(a, q, at(100), 2, true); got != "extra" {
		t.Errorf("without tags it is %q; want extra", got)
	}
	a.Tagging("robots")
	if got := judged(a, q, at(100), 2, true); got != "unjudged" {
		t.Errorf("while tags are written it is %q; want unjudged", got)
	}
	before := time.Now()
	a.Tagged("robots", json.RawMessage(`{"plant":"A"}`))
	if got := judged(a, q, before.Add(-time.Second), 2, true); got != "unjudged" {
		t.Errorf("of a query from before the tags it is %q; want unjudged", got)
	}
	if got := judged(a, q, time.Now(), 2, true); got != "ok" {
		t.Errorf("with tags it is %q; want ok", got)
	}
	a.TagsUnknown()
	if got := judged(a, q, time.Now(), 2, true); got != "unjudged" {
		t.Errorf("when others write tags it is %q; want unjudged", got)
	}
}

func TestSample(t *testing.T) {
	o := AuditOptions{Recorder: metrics.NewRecorder(metrics.Options{}), Sample: 10, Seed: 4, Groups: []AuditGroup{
		{Name: "a", First: 5, IDs: ids(30)}, {Name: "b", First: 100, IDs: []string{"x", "y"}}, {Name: "c", First: 200, IDs: ids(70)},
	}}
	first, second := NewAudit(o), NewAudit(o)
	if n, of := first.Sampled(); n != 10 || of != 102 || !slices.Equal(first.IDs(), second.IDs()) {
		t.Errorf("sampled %d of %d, %v and %v; want 10 of 102, the same twice", n, of, first.IDs(), second.IDs())
	}
	o.Seed = 5
	if slices.Equal(first.IDs(), NewAudit(o).IDs()) {
		t.Error("another seed gives the same sample")
	}
	o.Sample = 1000
	seen := make(map[int]bool)
	for _, w := range NewAudit(o).watched {
		seen[w.index] = true
		if g := map[bool]string{w.index >= 200: "c", w.index >= 100 && w.index < 200: "b", w.index < 100: "a"}[true]; g != w.group {
			t.Errorf("device %d is in group %s; want %s", w.index, w.group, g)
		}
	}
	if len(seen) != 102 || !seen[5] || !seen[34] || !seen[101] || !seen[269] {
		t.Errorf("%d devices; want all 102", len(seen))
	}
}

// Rows are read in every form that a query may give them.
func TestRows(t *testing.T) {
	for _, tt := range []struct {
		rows    Rows
		item    string
		id      string
		version int64
	}{
		{Rows{Whole: true}, `{"deviceId":"dev-0","version":9,"properties":{"reported":{"$version":4}}}`, "dev-0", 4},
		{Rows{Whole: true}, `{"etag":"x","deviceId":"dev-0","properties":{"reported":{"$version":4}}}`, "dev-0", 4},
		{Rows{Whole: true}, `{"deviceId":"dev-7","properties":{"reported":{"$version":4}}}`, "dev-7", 0},
		{Rows{Whole: true}, `{"deviceId":"dev\u002d0","properties":{"reported":{"$version":4}}}`, "dev-0", 4},
		{Rows{Device: "id", Version: "v"}, `{"id":"dev-0","v":4}`, "dev-0", 4},
		{Rows{Device: "id"}, `{"id":"dev-0","v":4}`, "dev-0", 0},
		{Rows{Device: "id", Version: "v"}, `{"n":4}`, "", 0},
		{Rows{Device: "id"}, `null`, "", 0},
	} {
		a, _ := audit(1, AuditOptions{})
		c := a.Watch(&Query{Rows: tt.rows}, at(0)).(*check)
		id, version := c.read(json.RawMessage(tt.item))
		if id != tt.id || version != tt.version {
			t.Errorf("%s: %q at version %d; want %q at %d", tt.item, id, version, tt.id, tt.version)
		}
	}
	a, _ := audit(1, AuditOptions{})
	if w := a.Watch(&Query{}, at(0)); w != nil {
		t.Errorf("a query whose rows tell no device is watched: %+v", w)
	}
}

func TestProbesNameEveryDeviceOnce(t *testing.T) {
	a, _ := audit(2000, AuditOptions{Sample: 1500})
	all := ""
	for _, q := range a.Probes(time.Second) {
		if len(q.SQL) > maxQuery {
			t.Errorf("a query has %d characters; at most %d are allowed", len(q.SQL), maxQuery)
		}
		all += q.SQL
	}
	for _, id := range a.IDs() {
		if n := strings.Count(all, "'"+id+"'"); n != 1 {
			t.Errorf("%s is asked for %d times; want once", id, n)
		}
	}
}

// lagged shows what it was told of a device after a while.
type lagged struct {
	lag   time.Duration
	since time.Time
	fail  error
}

func (l *lagged) Query(string, int) Pager { return &laggedPager{l, true} }

type laggedPager struct {
	*lagged
	more bool
}

func (p *laggedPager) More() bool { return p.more }

func (p *laggedPager) Next(context.Context) ([]json.RawMessage, error) {
	p.more = false
	if time.Since(p.since) < p.lag {
		return nil, p.fail
	}
	return []json.RawMessage{[]byte(`{"deviceId":"dev-0","version":2}`)}, p.fail
}

// Probing measures the lag, up to the time between two probes; after the run the audit asks on until all is shown.
func TestProbing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, rec := audit(1, AuditOptions{})
		service := &lagged{lag: 2 * time.Second, since: time.Now()}
		a.ack(0, 2, time.Now())
		probes := a.Probes(300 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		a.Run(ctx, service, probes)
		if n := a.Pending(); n != 1 {
			t.Fatalf("%d wait after a second; want 1", n)
		}
		a.Settle(t.Context(), service, probes)
		x := rec.Snapshot().Find(metrics.OpFreshness, "robots")
		if got := x.Response[metrics.OK].Maximum(); x.Count(metrics.OK) != 1 || got < 2*time.Second || got > 2300*time.Millisecond {
			t.Errorf("freshness = %v; want 2s and up to 300ms", got)
		}
	})
}

// A service that throttles is left alone for as long as it asks, and what was due is counted.
func TestProbesYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, rec := audit(1, AuditOptions{})
		busy := *iothub.ErrThrottled
		busy.RetryAfter = 10 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), 60500*time.Millisecond)
		defer cancel()
		a.Run(ctx, &lagged{fail: &busy}, a.Probes(time.Second))
		x := rec.Snapshot().Find(metrics.OpQuery, ProbeName)
		if x.Scheduled() != 61 || x.Count(metrics.Throttled) != 7 || x.Dropped[metrics.DropOther] != 54 {
			t.Errorf("%d scheduled, %d throttled, %v dropped; want 61, 7, 54", x.Scheduled(), x.Count(metrics.Throttled), x.Dropped)
		}
	})
}

// What the audit costs: a report of a device that it does not watch, one that it does, and a page of a
// thousand whole twins of which two hundred are watched.
func BenchmarkAudit(b *testing.B) {
	const twin = `{"deviceId":%q,"etag":"AAAAAAAAAAE=","deviceEtag":"NTU3","status":"enabled","statusUpdateTime":"0001-01-01T00:00:00Z","connectionState":"Connected","lastActivityTime":"2026-01-01T00:00:00Z","cloudToDeviceMessageCount":0,"authenticationType":"sas","x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"modelId":"","version":12,"tags":{"location":{"region":"US","plant":"Redmond43"}},"properties":{"desired":{"$metadata":{"$lastUpdated":"2026-01-01T00:00:00Z"},"$version":1},"reported":{"connectivity":{"type":"cellular"},"$metadata":{"$lastUpdated":"2026-01-01T00:00:00Z","connectivity":{"$lastUpdated":"2026-01-01T00:00:00Z","type":{"$lastUpdated":"2026-01-01T00:00:00Z"}}},"$version":%d}},"capabilities":{"iotEdge":false}}`
	report := func(b *testing.B, index func(a *Audit) int) {
		a, _ := audit(100_000, AuditOptions{})
		i := index(a)
		b.ReportAllocs()
		for n := int64(1); b.Loop(); n++ {
			now := at(int(n))
			a.Sending(i, now)
			a.Acked(Ack{Index: i, Version: n, Connectivity: "wifi", Sent: now, Acked: now})
			if w := a.byIndex[i]; w != nil {
				w.show(n, now)
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
		a, _ := audit(1000, AuditOptions{Sample: 200})
		var page []json.RawMessage
		for _, id := range ids(1000) {
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
