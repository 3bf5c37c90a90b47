package vain_test

import (
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/verdict/vain"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// A broker that acknowledged messages that never arrived fails a run, unless a threshold is about such losses, of all stages that have some, or a fault may be why.
func TestLost(t *testing.T) {
	stages := []report.Stage{{Name: "up", To: time.Second}, {Name: "hold", From: time.Second, To: time.Minute}, {Name: "rest", From: time.Minute, To: time.Hour}}
	rec := metrics.NewRecorder(metrics.Options{})
	s := rec.Series(metrics.OpDelivery, "sensors/alarms")
	began := time.Now()
	for i := range stages {
		now := began.Add(stages[i].From)
		rec.SetStageAt(stages[i].Name, now)
		now = now.Add(time.Millisecond)
		if stages[i].Name != "rest" {
			s.Start(now, now).End(now.Add(time.Second), metrics.Timeout)
		}
	}
	parse := func(stage string, x ...string) (all []threshold.Threshold) {
		for _, expr := range x {
			y, err := threshold.Parse("delivery", expr)
			if err != nil {
				t.Fatal(err)
			}
			y.Scope.Stage = stage
			all = append(all, y)
		}
		return all
	}
	other := parse("", "missing == 0")
	other[0].Group = "boards"
	own := parse("", "missing == 0")
	own[0].Group = "sensors"
	connect, err := threshold.Parse("connect", "error_rate < 1%")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		missing    uint64
		read       bool
		thresholds []threshold.Threshold
		storm      string
		fails      bool
	}{
		"none":                       {missing: 0},
		"some":                       {missing: 2, fails: true},
		"of a hub":                   {missing: 2, read: true},
		"missing":                    {missing: 2, thresholds: parse("", "missing < 10")},
		"a rate":                     {missing: 2, thresholds: parse("", "missing_rate < 10%")},
		"timeouts":                   {missing: 2, thresholds: parse("", "timeouts < 10")},
		"error_rate":                 {missing: 2, thresholds: parse("", "error_rate < 100%")},
		"success_rate":               {missing: 2, thresholds: parse("", "success_rate > 1%")},
		"its group's":                {missing: 2, thresholds: own},
		"another group's":            {missing: 2, thresholds: other, fails: true},
		"another operation's":        {missing: 2, thresholds: []threshold.Threshold{connect}, fails: true},
		"what says nothing of them":  {missing: 2, thresholds: parse("", "p(99) < 1h", "duplicates == 0", "out_of_order == 0", "count > 0", "unanswered == 0"), fails: true},
		"one stage of two":           {missing: 2, thresholds: parse("hold", "timeouts < 10"), fails: true},
		"a stage without any":        {missing: 2, thresholds: parse("rest", "timeouts < 10"), fails: true},
		"all stages":                 {missing: 2, thresholds: append(parse("hold", "timeouts < 10"), parse("up", "missing < 5")...)},
		"a storm after":              {missing: 2, storm: "rest", fails: true},
		"a storm before the last":    {missing: 2, storm: "up"},
		"a storm, and one before it": {missing: 2, storm: "hold", fails: true},
	} {
		sc := &scenario.Scenario{Thresholds: tt.thresholds}
		run := &report.Run{Totals: rec.Snapshot(), Deliveries: &report.Deliveries{Groups: []report.Copies{{Group: "sensors/alarms", Missing: tt.missing}}}}
		if tt.read {
			run.Deliveries.Reader = &report.Reading{}
		}
		for _, x := range stages {
			x.Totals = rec.StageSnapshot(x.Name)
			run.Stages = append(run.Stages, x)
			stage := scenario.Stage{Name: x.Name}
			if x.Name == tt.storm {
				stage.Storm = &scenario.Storm{}
			}
			sc.Stages = append(sc.Stages, stage)
		}
		got := (&vain.Evidence{Scenario: sc, Run: run}).Lost()
		if (len(got) > 0) != tt.fails || tt.fails && !strings.HasPrefix(got[0], "2 deliveries of sensors/alarms never arrived, though the broker acknowledged the messages: a threshold") {
			t.Errorf("%s: %q; want that it fails: %v", name, got, tt.fails)
		}
	}
}
