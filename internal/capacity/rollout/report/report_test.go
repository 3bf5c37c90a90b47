package report_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/answer"
	"github.com/twinfleet/twinfleet/internal/capacity/rollout/advise"
	"github.com/twinfleet/twinfleet/internal/capacity/rollout/exercise"
	told "github.com/twinfleet/twinfleet/internal/capacity/rollout/report"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/report/color"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// whole is the answer of a study that found everything.
func whole() *told.Answer {
	up := func(n int, rate float64, phase search.Phase, v search.Verdict, why string) exercise.Record {
		r := exercise.Record{Asked: exercise.Asked{Number: n, Part: exercise.BringUp, Phase: phase, Devices: 2000, Rate: rate, Seed: 7 + uint64(n)}, Verdict: v, Why: why, Up: 2000 / rate, Seconds: 2000/rate + 1}
		if v == search.Missed {
			r.Limit, r.Class = trial.ByThrottle, "connections"
		}
		return r
	}
	storm := func(n int, part exercise.Part, devices int, backoff string, seed uint64, t99, all float64, throttled uint64) exercise.Record {
		r := exercise.Record{
			Asked: exercise.Asked{Number: n, Part: part, Devices: devices, Rate: 200, Backoff: backoff, Seed: seed}, Verdict: search.Held, Back99: t99, BackAll: all, Seconds: all + 15,
			Throttled: throttled, Peak: 100, Attempts: 1 + float64(throttled)/float64(devices), Clean: true, BurstOf: "connections", Burst: 1000, LeftOver: 44, Every: 5,
			Returns: []int{devices / 2, devices / 2}, Dir: "20260101-000000-site",
		}
		if throttled > 0 {
			r.Verdict, r.Limit, r.Class, r.Why = search.Missed, trial.ByThrottle, "connections", "operations were throttled"
		}
		return r
	}
	a := &told.Answer{
		Scenario: "site", Target: "embedded hub", Tier: "S1, 1 unit", Devices: 2000, Seed: 7, Version: "test", Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), End: search.Found, Own: "exponential",
		BringUp: told.BringUp{Answer: search.Answer{End: search.Found, Held: 200, Missed: 208.9, Confidence: 0.81, Confirmed: true}, Own: 100, Bound: 100},
		Trials: []exercise.Record{
			up(1, 100, search.Step, search.Held, ""), up(2, 200, search.Step, search.Held, ""), up(3, 208.9, search.Narrow, search.Missed, "connect: p(99) < 300ms (stage bring-up): p(99) = 527ms"),
			storm(4, exercise.Storm, 500, "", 7, 0.5, 0.5, 0), storm(5, exercise.Storm, 1000, "", 7, 4.9, 5, 0), storm(6, exercise.Storm, 2000, "", 7, 19.7, 19.9, 946),
			storm(7, exercise.Backoff, 2000, "steep", 7, 19.7, 19.9, 4068), storm(8, exercise.Backoff, 2000, "fixed", 7, 20.1, 20.4, 0), storm(9, exercise.Backoff, 2000, "none", 7, 19.7, 19.9, 23328),
			storm(10, exercise.Again, 2000, "fixed", 8, 20.2, 20.4, 0), storm(11, exercise.Again, 2000, "exponential", 8, 19.7, 19.9, 951),
		},
		Thresholds: []string{"connect: p(99) < 300ms (stage bring-up)", "connect: p(99) < 60s (stage storm)"}, Notes: []string{"the service side is left out: what it asks of the target comes on top"},
		Dir: "runs/capacity-site-rollout-20260102-030405",
	}
	a.Complete()
	v := advise.Of(a.Runs())
	a.Advice = &v
	return a
}

// The forms of an answer are what the golden files say, and a terminal of a hundred columns and forty lines shows all of it.
func TestForms(t *testing.T) {
	silent := whole() // the generator did not deliver the storm of the whole fleet
	silent.End, silent.Why = search.Generator, "stage storm: 900 of 2,000 connect operations started late"
	silent.Trials = silent.Trials[:6]
	silent.Trials[5].Verdict = search.Undelivered
	silent.Advice = nil
	below := whole()
	below.End, below.Why = search.Below, "connect: p(99) < 300ms (stage bring-up): p(99) = 2s"
	below.Trials, below.Advice = below.Trials[2:3], nil
	below.BringUp.Answer = search.Answer{End: search.Below, Missed: 208.9}
	gone := &told.Answer{Scenario: "site", Target: "broker 127.0.0.1:1", Devices: 10, Version: "test", End: answer.Unreachable, Why: "the target cannot be loaded: nothing listens at the target"}
	stopped := whole()
	stopped.End, stopped.Why, stopped.Trials, stopped.Advice = search.Stopped, "stopped", stopped.Trials[:5], nil
	room := whole() // the hubs cannot have the fleet
	room.End, room.Why = search.Generator, "the target has too little room: in 1 process the embedded hub has room for 960 of 2,000 connections; --hubs 3 has it for all"
	room.Trials, room.Advice = room.Trials[:1], nil
	room.Trials[0].Verdict, room.Trials[0].Limit, room.Trials[0].Why = search.Undelivered, trial.ByTarget, room.Why
	room.BringUp.Answer = search.Answer{End: search.Generator, Over: 100}
	larger := whole() // nor a larger one, whose storm was asked for
	larger.End, larger.Why = search.Generator, "the target has too little room: in 3 processes the embedded hub has room for 2,880 of 4,000 connections; --hubs 5 has it for all"
	larger.Trials[6] = larger.Trials[5]
	larger.Trials[6].Devices, larger.Trials[6].Verdict, larger.Trials[6].Limit, larger.Trials[6].Why = 4000, search.Undelivered, trial.ByTarget, larger.Why
	for name, a := range map[string]*told.Answer{"whole": whole(), "generator": silent, "room": room, "larger": larger, "below": below, "unreachable": gone, "stopped": stopped} {
		a.Complete()
		for form, write := range map[string]func(b *bytes.Buffer) error{
			"txt":  func(b *bytes.Buffer) error { return a.Text(b, color.Style{}) },
			"md":   func(b *bytes.Buffer) error { return a.Markdown(b) },
			"json": func(b *bytes.Buffer) error { return a.Write(b) },
			"html": func(b *bytes.Buffer) error { return a.HTML(b, "") },
		} {
			if name != "whole" && form != "txt" {
				continue
			}
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+"."+form)
			if *update {
				if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.Bytes(), want) {
				t.Errorf("%s is not what it was; -update writes it anew:\n%s", file, b.String())
			}
			if form == "txt" {
				lines := strings.Split(b.String(), "\n")
				if len(lines) > 40 {
					t.Errorf("%s has %d lines", file, len(lines))
				}
				for i, line := range lines {
					if n := len([]rune(line)); n > 100 {
						t.Errorf("%s:%d has %d columns", file, i+1, n)
					}
				}
			}
		}
	}
}

// A row that the generator did not deliver gives way to the trial that follows; the storm of the whole fleet counts for its back-off.
func TestRows(t *testing.T) {
	a := whole()
	again := a.Trials[5]
	a.Trials[5].Verdict = search.Undelivered
	a.Trials = append(a.Trials, again)
	a.Complete()
	if len(a.Storms) != 3 || a.Storms[2].Verdict != search.Missed || len(a.Backoffs) != 6 || a.Backoffs[0].Backoff != "exponential" || a.Backoffs[0].Verdict != search.Missed {
		t.Errorf("%+v\n%+v", a.Storms, a.Backoffs)
	}
	a.Own = "" // groups differ: their storm is nobody's
	a.Complete()
	if len(a.Backoffs) != 5 || a.Storms[0].Backoff != told.Mixed {
		t.Errorf("%+v", a.Backoffs)
	}
}
