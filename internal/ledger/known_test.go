package ledger

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/judge"
	"github.com/twinfleet/twinfleet/report"
)

// follower notes what it is told, in order.
type follower struct {
	report.Funcs
	told []string
	last *report.Run
}

func (f *follower) Known(r *report.Run) {
	f.told, f.last = append(f.told, "known"), r
}

// What becomes known of a run is told before what follows it, once a second at most, and only when it has changed; at the beginning of a
// stage at once.
func TestKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &follower{}
		f.OnEvent = func(report.Event) { f.told = append(f.told, "event") }
		f.OnSample = func(report.Sample) { f.told = append(f.told, "sample") }
		l := &Ledger{}
		l.Observe(f, report.Funcs{}) // one who does not follow is not told
		if err := l.Begin(time.Now(), report.Run{Name: "one"}); err != nil {
			t.Fatal(err)
		}
		sample := func() { l.Sample(report.Sample{Window: &metrics.Snapshot{}}) }
		want := func(what string, told ...string) {
			t.Helper()
			if len(f.told) != len(told) {
				t.Errorf("%s: told %v; want %v", what, f.told, told)
				return
			}
			for i := range told {
				if f.told[i] != told[i] {
					t.Errorf("%s: told %v; want %v", what, f.told, told)
				}
			}
			f.told = nil
		}
		l.Tell(report.Event{})
		want("nothing has changed since the beginning", "event")
		l.Write(func(r *report.Run) { r.Target = "hub\x1b[31m" })
		l.Tell(report.Event{})
		want("the target", "known", "event")
		if f.last.Target == "" || f.last.Target == "hub\x1b[31m" || f.last == l.Whole() {
			t.Errorf("told of the target %q: it must be there, clean, and a copy", f.last.Target)
		}
		l.Write(func(r *report.Run) { r.Jobs = append(r.Jobs, report.Job{Name: "j"}) })
		sample()
		want("within the same second", "sample")
		time.Sleep(time.Second)
		sample()
		want("a second later", "known", "sample")
		sample()
		want("nothing new", "sample")
		l.Write(func(r *report.Run) { r.Jobs[0].Name = "another" })
		l.Enter("hold", time.Now())
		l.Tell(report.Event{Kind: report.KindStage})
		want("a stage begins with all that is known", "known", "event")
		if was := f.last; was.Jobs[0].Name != "another" {
			t.Errorf("%+v", was.Jobs)
		}
		l.Whole().Jobs[0].Name = "changed"
		if f.last.Jobs[0].Name != "another" {
			t.Error("what was told changes with the record")
		}
		l.End()
	})
}

// A sample keeps how thresholds stood with it.
func TestJudged(t *testing.T) {
	var got report.Sample
	l := &Ledger{}
	l.Observe(report.Funcs{OnSample: func(s report.Sample) { got = s }})
	if err := l.Begin(time.Now(), report.Run{}); err != nil {
		t.Fatal(err)
	}
	value := 3.0
	l.Sample(report.Sample{Window: &metrics.Snapshot{}, Standing: &report.Standing{Thresholds: []judge.State{{Value: &value}, {Pending: true}}}})
	if len(got.Judged) != 2 || got.Judged[0].Value == nil || *got.Judged[0].Value != 3 || !got.Judged[0].Missed || got.Judged[1].Missed {
		t.Errorf("%+v", got.Judged)
	}
	l.End()
}
