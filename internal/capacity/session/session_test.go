//go:build !race

package session_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/answer"
	"github.com/twinfleet/twinfleet/internal/capacity/journal"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/session"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

const served = `
name: served
seed: 5
target: {transport: memory}
fleet: {client: lean, groups: [{name: robots, count: 20, in_flight: 1000, reported: {connectivity: {type: cellular}}}]}
stages:
  - {name: up, duration: 1s, devices: 100%}
  - {name: hold, duration: 1m, report_rate: 10/s, hub: {service: {servers: 1, time: 20ms, distribution: fixed}}}
thresholds: {twin_report: ["p(90) < 100ms"]}
`

func options(root string) session.Options {
	return session.Options{
		Load: func(set []string) (*scenario.Scenario, error) {
			return scenario.Decode("served.yaml", []byte(served), scenario.Options{Set: set})
		},
		Vary: trial.ReportRate, Root: root, Version: "test", Trial: trial.Options{Hold: 10 * time.Second},
		Start: func(o engine.Options) trial.Engine {
			o.AllowSaturated = true
			return engine.New(o)
		},
	}
}

// Interrupted twenty times at any moment, politely, at once, or so that the journal is cut in the middle of a line, and gone on with each time, a
// search comes to the answer of one that was left alone, and makes no finished trial twice.
func TestInterruptedTwentyTimes(t *testing.T) {
	var whole *answer.Answer
	synctest.Test(t, func(t *testing.T) {
		s, err := session.New(options(t.TempDir()))
		if err != nil {
			t.Fatal(err)
		}
		if whole, err = s.Run(t.Context()); err != nil || whole.End != search.Found || whole.Held < 47 || whole.Held > 50 {
			t.Fatalf("%+v, %v; 50/s is what it serves", whole, err)
		}
	})
	root, r := t.TempDir(), rand.New(rand.NewPCG(11, 20))
	made := make(map[int]int) // trials that were finished, by number
	interrupted, cut := 0, 0
	for {
		var a *answer.Answer
		var dir string
		synctest.Test(t, func(t *testing.T) {
			var now atomic.Pointer[engine.Engine]
			o := options(root)
			o.Start = func(x engine.Options) trial.Engine {
				x.AllowSaturated = true
				e := engine.New(x)
				now.Store(e)
				return e
			}
			s, err := session.New(o)
			if err != nil {
				t.Fatal(err)
			}
			known := s.Known()
			ctx, cancel := context.WithCancel(t.Context())
			if interrupted < 20 {
				after, polite := time.Duration(r.Float64()*float64(50*time.Second)), r.IntN(2) == 0
				stop := time.AfterFunc(after, func() {
					if e := now.Load(); polite && e != nil {
						e.Stop()
					}
					if !polite || now.Load() == nil {
						cancel()
					}
				})
				defer stop.Stop()
			}
			a, err = s.Run(ctx)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			for i := known; i < len(a.Trials); i++ {
				made[a.Trials[i].Number]++
			}
			dir = s.Dir()
		})
		if a.End != search.Stopped {
			if a.End != whole.End || a.Held != whole.Held || a.Missed != whole.Missed || len(a.Trials) != len(whole.Trials) {
				t.Errorf("%+v; left alone it was %+v", a.Answer, whole.Answer)
			}
			break
		}
		interrupted++
		if n := len(a.Trials); n > 0 && r.IntN(3) == 0 { // as if it had been killed while it wrote the last one
			cut++
			made[a.Trials[n-1].Number]--
			file := filepath.Join(dir, journal.Name)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			last := strings.LastIndex(strings.TrimSuffix(string(text), "\n"), "\n") + 1
			if err := os.WriteFile(file, text[:last+r.IntN(len(text)-last)], 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("interrupted %d times, cut %d times, %d trials", interrupted, cut, len(made))
	if interrupted < 20 || cut == 0 {
		t.Errorf("interrupted %d times, cut %d times; want 20 and some", interrupted, cut)
	}
	for number, n := range made {
		if n != 1 {
			t.Errorf("trial %d was made %d times", number, n)
		}
	}
	for _, name := range []string{session.JSON, session.Markdown, session.HTML} {
		found, err := filepath.Glob(filepath.Join(root, "*", name))
		if err != nil || len(found) != 1 {
			t.Errorf("%d files %s, %v; want 1", len(found), name, err)
		}
	}
}

// A search that has its answer is not gone on with, and its time bounds it.
func TestForBoundsTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := t.TempDir()
		o := options(root)
		o.For = 2 * time.Minute
		s, err := session.New(o)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		a, err := s.Run(t.Context())
		if took := time.Since(began); err != nil || a.End != search.Stopped || took > o.For+time.Minute || len(a.Trials) < 2 {
			t.Errorf("%s after %s with %d trials, %v", a.End, took, len(a.Trials), err)
		}
		if s, err = session.New(options(root)); err != nil || s.Known() != len(a.Trials) {
			t.Fatalf("goes on from %d trials, %v; want %d", s.Known(), err, len(a.Trials))
		}
		if b, err := s.Run(t.Context()); err != nil || b.End != search.Found {
			t.Errorf("%+v, %v", b, err)
		}
		if s, err = session.New(options(root)); err != nil || s.Known() != 0 {
			t.Errorf("goes on from %d trials of a search that is over, %v", s.Known(), err)
		}
	})
}

func TestWhatCannotBeSearched(t *testing.T) {
	for _, x := range []struct {
		name   string
		change func(*session.Options)
		set    string
		want   error
		text   string
	}{
		{"no thresholds", nil, "thresholds={}", trial.ErrNoThresholds, `write, for example, thresholds: {twin_report: ["p(99) < 500ms", "error_rate < 0.1%"]}`},
		{"nothing to vary", func(o *session.Options) { o.Vary = trial.MethodRate }, "", trial.ErrNothingToVary, "give it one under service.methods"},
		{"no start", func(o *session.Options) { o.Vary = trial.ReportRate }, "stages[1].report_rate=0/s", session.ErrNoStart, "--from 10/s"},
		{"bounds the wrong way round", func(o *session.Options) { o.From, o.To = 20, 10 }, "", session.ErrNoStart, "--to 10/s is below"},
	} {
		o := options("")
		if x.change != nil {
			x.change(&o)
		}
		load := o.Load
		o.Load = func(set []string) (*scenario.Scenario, error) {
			if x.set != "" {
				set = append([]string{x.set}, set...)
			}
			return load(set)
		}
		_, err := session.New(o)
		if !errors.Is(err, x.want) || !strings.Contains(err.Error(), x.text) {
			t.Errorf("%s: %v", x.name, err)
		}
	}
}
