package compare_test

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/report"
	"github.com/twinfleet/twinfleet/internal/report/compare"
	"github.com/twinfleet/twinfleet/metrics"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// world is what a run meets: latencies around a median, with a tail, and days that are a little better or worse.
type world struct {
	median   time.Duration
	perTick  int
	failures int // of the whole run
	seconds  int
}

func (w world) run(seed uint64) *report.History {
	chance := rand.New(rand.NewPCG(seed, 1))
	began := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	rec := metrics.NewRecorder(metrics.Options{})
	s := rec.Series(metrics.OpTwinReport, "robots")
	h := &report.History{Whole: true, Run: &report.Run{Name: "world", Started: began, Ended: began.Add(time.Duration(w.seconds) * time.Second), Outcome: report.Passed, Seed: 42}}
	day, weather := 1+0.02*chance.NormFloat64(), 0.0
	last := rec.Snapshot()
	last.At = began
	rec.SetStage("hold")
	for second := range w.seconds {
		at := began.Add(time.Duration(second) * time.Second)
		weather = 0.8*weather + 0.04*chance.NormFloat64() // what slows one second slows the next
		for range w.perTick {
			took := float64(w.median) * day * math.Exp(weather+0.3*chance.NormFloat64())
			s.Start(at, at).End(at.Add(time.Duration(took)), metrics.OK)
		}
		if second < w.failures {
			s.Start(at, at).End(at.Add(w.median), metrics.Failed)
		}
		now := rec.Snapshot()
		now.At = at.Add(time.Second)
		h.Samples = append(h.Samples, report.Sample{At: time.Duration(second+1) * time.Second, Window: now.Sub(last)})
		last = now
	}
	h.Run.Totals = last
	return h
}

const runs = 40

// Runs of one thing compare as no change 19 times of 20, or better.
func TestSameRunsAreTheSame(t *testing.T) {
	w := world{median: 10 * time.Millisecond, perTick: 20, seconds: 60}
	wrong := 0
	for n := range uint64(runs) {
		if worse := compare.Compare(w.run(2*n), w.run(2*n+1), compare.Options{}).Regressions(); len(worse) > 0 {
			wrong++
		}
	}
	t.Logf("%d of %d pairs of equal runs compare as a regression", wrong, runs)
	if wrong > runs/20 {
		t.Errorf("%d of %d pairs of equal runs compare as a regression", wrong, runs)
	}
}

// What is 30 % slower compares as a regression 19 times of 20, or better, in a world with weather.
func TestSlowerRunsAreWorse(t *testing.T) {
	w := world{median: 10 * time.Millisecond, perTick: 20, seconds: 60}
	slow := w
	slow.median = w.median * 13 / 10
	missed := 0
	for n := range uint64(runs) {
		c := compare.Compare(w.run(2*n), slow.run(2*n+1), compare.Options{})
		found := false
		for _, r := range c.Regressions() {
			found = found || r.Figure == "p50"
		}
		if !found {
			missed++
		}
		for _, r := range compare.Compare(slow.run(2*n+1), w.run(2*n), compare.Options{}).Rows {
			if r.Verdict == compare.Worse {
				t.Fatalf("the faster run is worse: %+v", r)
			}
		}
	}
	t.Logf("%d of %d pairs with 30 %% more latency were missed", missed, runs)
	if missed > runs/20 {
		t.Errorf("%d of %d pairs with 30 %% more latency were missed", missed, runs)
	}
}

func TestRules(t *testing.T) {
	base := world{median: 10 * time.Millisecond, perTick: 20, seconds: 60}
	for _, tt := range []struct {
		name   string
		change func(*world)
		o      compare.Options
		worse  string // the figures, space separated
	}{
		{"below the floor", func(w *world) { w.median = 13 * time.Millisecond }, compare.Options{Floor: 10 * time.Millisecond}, ""},
		{"within what is allowed", func(w *world) { w.median = 13 * time.Millisecond }, compare.Options{MaxRegression: 0.6}, ""},
		{"half the rate", func(w *world) { w.perTick = 10 }, compare.Options{}, "rate"},
		{"a few errors", func(w *world) { w.failures = 4 }, compare.Options{}, ""},
		{"more than a few", func(w *world) { w.failures = 30 }, compare.Options{}, "errors"},
		{"too short to tell", func(w *world) { w.median, w.seconds = 13*time.Millisecond, 3 }, compare.Options{}, ""},
	} {
		before, after := base, base
		tt.change(&after)
		before.seconds = after.seconds
		var figures []string
		for _, r := range compare.Compare(before.run(1), after.run(2), tt.o).Regressions() {
			figures = append(figures, r.Figure)
		}
		if got := strings.Join(figures, " "); got != tt.worse {
			t.Errorf("%s: worse are %q; want %q", tt.name, got, tt.worse)
		}
	}
}

func TestGolden(t *testing.T) {
	before := world{median: 10 * time.Millisecond, perTick: 20, seconds: 60}
	after := before
	after.median, after.failures = 13*time.Millisecond, 30
	var b bytes.Buffer
	for _, all := range []bool{false, true} {
		fmt.Fprintf(&b, "all: %v\n", all)
		other := after.run(2)
		other.Run.Seed = 43
		if err := compare.Compare(before.run(1), other, compare.Options{}).Write(&b, report.Style{}, all); err != nil {
			t.Fatal(err)
		}
	}
	const path = "testdata/comparison.golden"
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(path); err != nil || !bytes.Equal(want, b.Bytes()) {
		t.Errorf("%v\n%s", err, b.Bytes())
	}
}
