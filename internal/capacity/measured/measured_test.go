package measured

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/buy"
	trials "github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/internal/planning/span"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// count is operations of one kind in a second.
type count struct {
	op    metrics.Operation
	group string
	n     int
}

// history is a run of stages, each with so many devices and operations a second.
func history(stages ...struct {
	name    string
	seconds int
	from,
	to int
	does []count
},
) *report.History {
	epoch := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	h := &report.History{Whole: true, Run: &report.Run{Name: "x", Target: "embedded hub", Devices: 100, Started: epoch}}
	at := 0
	totals := &metrics.Snapshot{At: epoch}
	for _, s := range stages {
		begin, stage := at, &metrics.Snapshot{At: epoch}
		for i := range s.seconds {
			rec := metrics.NewRecorder(metrics.Options{})
			for _, c := range s.does {
				for range c.n {
					rec.Series(c.op, c.group).Start(epoch, epoch).End(epoch, metrics.OK)
				}
			}
			w := rec.Snapshot()
			at++
			active := s.from + (s.to-s.from)*(i+1)/s.seconds
			w.At, w.Elapsed, w.Stage = epoch.Add(time.Duration(at)*time.Second), time.Second, s.name
			w.Devices = []metrics.DeviceCount{{Group: "a", State: "connected", Count: active}, {Group: "a", State: "waiting", Count: 100 - active}}
			h.Samples = append(h.Samples, report.Sample{At: time.Duration(at) * time.Second, Window: w})
			stage, totals = stage.Merge(w), totals.Merge(w)
		}
		h.Run.Stages = append(h.Run.Stages, report.Stage{Name: s.name, From: time.Duration(begin) * time.Second, To: time.Duration(at) * time.Second, Totals: stage})
	}
	totals.Queries = []metrics.QueryCount{{Query: "q", Results: 50, Pages: 10, Runs: 10}}
	h.Run.Totals = totals
	return h
}

type stage = struct {
	name    string
	seconds int
	from,
	to int
	does []count
}

func example() *report.History {
	return history(
		stage{"ramp", 10, 0, 100, []count{{metrics.OpConnect, "a", 10}, {metrics.OpTwinGet, "a", 10}}},
		stage{"hold", 30, 100, 100, []count{{metrics.OpTwinReport, "a", 10}, {metrics.OpTwinReport, "b", 5}, {metrics.OpTelemetry, "a", 20}, {metrics.OpQuery, "q", 1}, {metrics.OpMethod, "m", 2}, {metrics.OpSubscribe, "a", 1}}},
		stage{"short", 3, 100, 100, nil},
		stage{"down", 40, 100, 10, nil},
	)
}

// What devices did in the steady stage is what each of a larger fleet does; queries are asked as often, and find more.
func TestOf(t *testing.T) {
	r, err := Of(example(), 10_000)
	if err != nil {
		t.Fatal(err)
	}
	if r.Stage != "hold" || r.Active != 100 || r.Seconds != 30 || r.Devices != 10_000 {
		t.Fatalf("%+v", r)
	}
	want := map[string]Rate{
		"twin_report": {Measured: 15, PerDevice: 0.15, Scaled: 1500, Peak: 1500}, "telemetry": {Measured: 20, PerDevice: 0.2, Scaled: 2000, Peak: 2000},
		"query": {Measured: 1, Scaled: 1, Peak: 1, Pages: 5, Rows: 5000}, "method": {Measured: 2, PerDevice: 0.02, Scaled: 200, Peak: 200},
	}
	if len(r.Measured) != len(want) {
		t.Errorf("%d operations: %+v", len(r.Measured), r.Measured)
	}
	for _, x := range r.Measured {
		w := want[x.Operation]
		for name, pair := range map[string][2]float64{
			"measured": {x.Measured, w.Measured}, "per device": {x.PerDevice, w.PerDevice}, "scaled": {x.Scaled, w.Scaled}, "peak": {x.Peak, w.Peak},
			"pages": {x.Pages, w.Pages}, "rows": {x.Rows, w.Rows},
		} {
			if math.Abs(pair[0]-pair[1]) > 1e-9 {
				t.Errorf("%s: %s is %v; want %v", x.Operation, name, pair[0], pair[1])
			}
		}
	}
	n := r.Need()
	steady := make(map[string][2]float64)
	for _, c := range n.Classes {
		steady[c.Class] = [2]float64{c.SteadyLeast, c.Steady}
	}
	if got := steady[plan.ClassQueries]; got != [2]float64{1, 5} {
		t.Errorf("queries: %v", got)
	}
	if got := steady[plan.ClassUpdates]; got != [2]float64{1500, 1500} {
		t.Errorf("updates: %v", got)
	}
	// 1,500 reports, 2,000 messages, 2 × 200 of methods a second; a query of 5,000 twins is 5 pages of 269 messages of 4 KB, or one
	if least, most := n.Messages(4<<10, false), n.Messages(4<<10, true); least != 86400*(1500+2000+400+1) || most != 86400*(1500+2000+400+1345) {
		t.Errorf("%v to %v messages a day", least/86400, most/86400)
	}
	if text := strings.Join(r.Unknown(), "\n"); !strings.Contains(text, "latency with 10,000 devices: that of 100") || !strings.Contains(text, "what queries find") || !strings.Contains(text, "direct methods") {
		t.Errorf("%s", text)
	}
}

// The size of the fleet is the run's own unless another is asked for, and a larger one is never cheaper.
func TestSizes(t *testing.T) {
	m, err := buy.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	last := 0.0
	for _, devices := range []int{0, 150, 300, 1000, 3000} {
		r, err := Of(example(), devices)
		if err != nil {
			t.Fatal(err)
		}
		if devices == 0 && r.Devices != 100 {
			t.Errorf("%d devices; want the run's own, 100", r.Devices)
		}
		n := r.Need()
		o, ok := m.Cheapest(&n)
		if !ok || o.PerMonth < last {
			t.Errorf("%d devices: %+v; fewer cost %v", devices, o, last)
		}
		last = o.PerMonth
	}
}

// Of a run that only comes online its last state is taken; one without a stage that tells is refused.
func TestWithoutSteadyStage(t *testing.T) {
	r, err := Of(history(stage{"up", 20, 0, 100, []count{{metrics.OpTwinReport, "a", 5}}}), 0)
	if err != nil || r.Stage != "up" || r.Active < 45 || r.Active > 60 {
		t.Errorf("%+v, %v", r, err)
	}
	for name, h := range map[string]*report.History{
		"short":      history(stage{"s", 4, 100, 100, nil}),
		"no devices": history(stage{"s", 10, 0, 0, nil}),
		"no stages":  history(),
	} {
		if _, err := Of(h, 0); !errors.Is(err, ErrNoSteady) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Of the stages of a run the last longest in which devices and load stay is taken; those of a capacity trial that only prepare are not,
// and their names are those that the trials have.
func TestSteadyStage(t *testing.T) {
	reports := func(n int) []count { return []count{{metrics.OpTwinReport, "a", n}} }
	trial := []stage{{"connect", 10, 0, 100, reports(100)}, {"gather", 60, 100, 100, nil}, {"drain", 90, 100, 100, reports(80)}, {"rest", 60, 100, 100, nil}}
	for _, x := range []struct {
		name   string
		stages []stage
		want   string
		rate   float64
	}{
		{"trial", append(slices.Clone(trial), stage{"settle", 30, 100, 100, reports(40)}, stage{"hold", 30, 100, 100, reports(40)}), "hold", 40},
		{"trial that settled for long", append(slices.Clone(trial), stage{"settle", 40, 100, 100, reports(40)}, stage{"hold", 30, 100, 100, reports(41)}), "hold", 41},
		{"the last of two", []stage{{"a", 30, 100, 100, reports(10)}, {"b", 30, 100, 100, reports(20)}}, "b", 20},
		{"the longer of two", []stage{{"a", 31, 100, 100, reports(10)}, {"b", 30, 100, 100, reports(20)}}, "a", 10},
		{"names alone", []stage{{"drain", 40, 100, 100, reports(10)}, {"hold", 30, 100, 100, reports(20)}}, "drain", 10},
	} {
		r, err := Of(history(x.stages...), 0)
		if err != nil || r.Stage != x.want || len(r.Measured) != 1 || math.Abs(r.Measured[0].Measured-x.rate) > 1e-9 {
			t.Errorf("%s: %+v, %v; want stage %s", x.name, r, err, x.want)
		}
	}
	// a load that rises: two halves that differ
	h := history(stage{"rises", 20, 100, 100, reports(5)}, stage{"more", 20, 100, 100, reports(50)}, stage{"even", 15, 100, 100, reports(30)})
	h.Run.Stages[0].To, h.Run.Stages[0].Totals = h.Run.Stages[1].To, h.Run.Stages[0].Totals.Merge(h.Run.Stages[1].Totals)
	h.Run.Stages = append(h.Run.Stages[:1], h.Run.Stages[2])
	if r, err := Of(h, 0); err != nil || r.Stage != "even" {
		t.Errorf("a load that rises: %+v, %v", r, err)
	}
	prepares := span.Preparing(slices.Values(append(trials.Preparing(), trials.Hold)))
	for _, name := range trials.Preparing() {
		if !prepares(name) {
			t.Errorf("stage %s of a trial is taken", name)
		}
	}
	if prepares(trials.Hold) {
		t.Error("the stage that a trial is about is not taken")
	}
}
