package threshold

import (
	"slices"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
)

const ms = time.Millisecond

var epoch = time.Unix(1_700_000_000, 0)

// observe gives a series one operation that was answered after a time.
func observe(s *metrics.Series, service time.Duration, o metrics.Outcome) {
	s.Start(epoch, epoch).End(epoch.Add(service), o)
}

// parse reads a threshold on connections.
func parse(t *testing.T, expr string) Threshold {
	t.Helper()
	x, err := Parse("connect", expr)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestThresholds(t *testing.T) {
	r := metrics.NewRecorder(metrics.Options{})
	s := r.Series(metrics.OpTwinReport, "robots")
	for i := range 100 {
		o := metrics.OK
		switch {
		case i < 3:
			o = metrics.Failed
		case i < 8:
			o = metrics.Throttled
		}
		observe(s, time.Duration(i+1)*ms, o)
	}
	observe(r.Series(metrics.OpTwinReport, "other"), 10*time.Second, metrics.OK)
	snapshot := r.Snapshot()
	snapshot.Elapsed = 10 * time.Second
	for _, tt := range []struct {
		selector, expr string
		pass, noData   bool
		observed       string
	}{
		{"twin_report{group=robots}", "p(95) < 95.5ms", true, false, "p(95) = 95.04ms"},
		{"twin_report{group=robots}", "p(95)<95ms", false, false, "p(95) = 95.04ms"},
		{"twin_report{group=robots}", "p(100, from=sent) <= 101ms", true, false, "p(100) = 100ms"},
		{"twin_report", "max > 9s", true, false, "max = 10s"},
		{"twin_report{group=robots}", "error_rate < 3%", false, false, "error_rate = 3% (3 of 100)"},
		{"twin_report{group=robots}", "error_rate <= 3%", true, false, "error_rate = 3% (3 of 100)"},
		{"twin_report{group=robots}", "throttled_rate < 6%", true, false, "throttled_rate = 5% (5 of 100)"},
		{"twin_report{group=robots}", "rate >= 9.2/s", true, false, "rate = 9.2/s"},
		{"twin_report", "count == 93", true, false, "count = 93 ok of 101"},
		{"twin_report{group=nobody}", "p(50) < 1s", false, true, "no data"},
		{"telemetry", "count > 0", false, false, "count = 0"},
		{"query{name=redmond}", "avg < 1s", false, true, "no data"},
	} {
		threshold, err := Parse(tt.selector, tt.expr)
		if err != nil {
			t.Error(err)
			continue
		}
		v := threshold.Evaluate(snapshot)
		if v.Pass != tt.pass || v.NoData != tt.noData || v.Observed != tt.observed {
			t.Errorf("%s = %+v; want pass %v, no data %v, %s", threshold, v, tt.pass, tt.noData, tt.observed)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("twin_report", "p(95) < 250ms")
	f.Add("query{name=redmond}", "p(99.9, from=sent) >= 1h")
	f.Add("connect{group=}", "error_rate == 100%")
	r := metrics.NewRecorder(metrics.Options{})
	for _, o := range []metrics.Outcome{metrics.OK, metrics.OK, metrics.Timeout} {
		observe(r.Series(metrics.OpTwinReport, "robots"), 7*ms, o)
	}
	s := r.Snapshot()
	f.Fuzz(func(t *testing.T, selector, expr string) {
		threshold, err := Parse(selector, expr)
		if err != nil {
			return
		}
		if v := threshold.Evaluate(s); v.Observed == "" || (v.NoData && v.Pass) {
			t.Errorf("%q %q = %+v", selector, expr, v)
		}
	})
}

// A threshold that asks for failures is told from one that failures happen to meet.
func TestWantsFailure(t *testing.T) {
	r := metrics.NewRecorder(metrics.Options{})
	now := time.Now()
	s := r.Series(metrics.OpConnect, "g")
	for range 10 {
		s.Start(now, now).End(now.Add(ms), metrics.Refused)
	}
	s.Start(now, now).End(now.Add(2*time.Second), metrics.Timeout)
	r.Series(metrics.OpConnect, "other").Drop(now, metrics.DropOther)
	var got []string
	for _, expr := range []string{
		"error_rate > 99%", "error_rate <= 100%", "error_rate < 1%", "count == 0", "count > 5", "count < 100",
		"p(99) < 10s", "p(99) > 1s", "max < 1ms", "throttled_rate < 1%",
	} {
		if parse(t, expr).WantsFailure(r.Snapshot()) {
			got = append(got, expr)
		}
	}
	r.DeviceGauge("g", "backoff").Add(10)
	for _, expr := range []string{"connected == 0", "connected_rate <= 99%", "connected_rate >= 0%"} {
		x, err := Parse(string(OfDevices), expr)
		if err != nil {
			t.Fatal(err)
		}
		if x.WantsFailure(r.Snapshot()) {
			got = append(got, expr)
		}
	}
	if want := []string{"error_rate > 99%", "count == 0", "p(99) > 1s", "connected == 0", "connected_rate <= 99%"}; !slices.Equal(got, want) {
		t.Errorf("failures are asked for by %q; want %q", got, want)
	}
}

func TestScopeString(t *testing.T) {
	x := parse(t, "p(95) < 1s")
	x.Scope = Scope{Stage: "hold", Window: 30 * time.Second, For: 10 * time.Second}
	if got, want := x.String(), "connect: p(95) < 1s (stage hold, every 30s, for 10s)"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
}

// What is missing of deliveries is a number, and a share of those that ended; where more came after all than was missing before, there is none.
func TestMissing(t *testing.T) {
	r := metrics.NewRecorder(metrics.Options{})
	s := r.Series(metrics.OpDelivery, "sensors")
	for i := range 10 {
		observe(s, ms, []metrics.Outcome{metrics.OK, metrics.Timeout}[i%2])
	}
	of := func(expr string, over *metrics.Snapshot) string {
		x, err := Parse("delivery", expr)
		if err != nil {
			t.Fatal(err)
		}
		if !x.OfMissing() || !x.OfLosses() || x.OfCopies() {
			t.Errorf("%s is of something else", expr)
		}
		return x.Evaluate(over).Observed
	}
	copies := s.Copies(time.Now())
	copies.Missing(4)
	before := r.Snapshot()
	copies.Came(1, 0)
	copies.Missing(-1) // one came after all
	after := r.Snapshot()
	for _, tt := range [][2]string{
		{of("missing == 0", before), "missing = 4 of 10"},
		{of("missing == 0", after), "missing = 3 of 10"},
		{of("missing_rate < 1%", after), "missing_rate = 30% (3 of 10)"},
		{of("missing == 0", after.Sub(before)), "no data"}, // none ended meanwhile
	} {
		if tt[0] != tt[1] {
			t.Errorf("%s; want %s", tt[0], tt[1])
		}
	}
	if n := after.Sub(before).Find(metrics.OpDelivery, "sensors").Missing; n != -1 {
		t.Errorf("it grew by %d", n)
	}
}
