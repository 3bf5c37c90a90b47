package findings_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/findings"
)

// What makes deliveries other than they seem is said; where all is well, nothing is.
func TestDeliveries(t *testing.T) {
	for _, tt := range []struct {
		in   report.Deliveries
		want []string
	}{
		{report.Deliveries{Groups: []report.Copies{{Group: "robots"}}, Reader: &report.Reading{Messages: 7}}, nil},
		{report.Deliveries{Groups: []report.Copies{{Group: "robots", Duplicates: 1200, Late: 1}, {Group: "arms", Late: 2, Missing: 3}, {Group: "arms/alarms", OutOfOrder: 2}}}, []string{
			"robots: 1,200 further copies of messages came; a target that promises at least once may send one twice, and its readers must expect it",
			"robots: 1 message came after its time was up, and is among the time-outs of delivery",
			"arms: 3 messages were acknowledged, and never arrived",
			"arms: 2 messages came after their time was up, and are among the time-outs of delivery",
			"arms/alarms: 2 messages came after a later one of the same device",
		}},
		{report.Deliveries{Reader: &report.Reading{Losses: 2, Away: 3 * time.Second, Error: "the connection is lost: EOF", Restarts: 1, Missing: 1, Unreadable: 3}}, []string{
			"the reader of messages lost its connection 2 times and was away for 3.00s: what came meanwhile was read late, and may have timed out; the connection is lost: EOF",
			"the hub's log of messages began anew once: what was in it and not read is lost",
			"1 message was missing in the hub's log",
			"3 messages of the hub's log could not be read",
		}},
		{report.Deliveries{Groups: []report.Copies{{Group: "states", Retained: 1200}, {Group: "one", Retained: 1}}}, []string{
			"states: 1,200 retained copies came to who subscribed: they are no deliveries",
			"one: 1 retained copy came to who subscribed: it is no delivery",
		}},
	} {
		var got []string
		for _, f := range findings.Of(&report.Run{Deliveries: &tt.in, Totals: &metrics.Snapshot{}}) {
			if f.Mark != findings.Warn && !(f.Mark == findings.None && strings.Contains(f.Text, "retained")) {
				t.Errorf("%+v", f)
			}
			got = append(got, f.Text)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

// Sessions that could not be ended are told of, with what to do.
func TestSessionsLeft(t *testing.T) {
	all := findings.Of(&report.Run{SessionsLeft: 3, Totals: &metrics.Snapshot{}})
	if len(all) != 1 || all[0].Mark != findings.Warn || !strings.HasPrefix(all[0].Text, "3 sessions were left at the broker") {
		t.Errorf("%+v", all)
	}
}

// So are those that a broker had, and that were none of the run.
func TestSessionsInherited(t *testing.T) {
	all := findings.Of(&report.Run{Reach: []report.Reach{{Group: "a", Connected: 5}, {Group: "b", Connected: 5, Inherited: 1}}, Totals: &metrics.Snapshot{}})
	if len(all) != 1 || all[0].Mark != findings.Warn || all[0].Text != "b: the broker had sessions of 1 device that are none of this run, and were ended first" {
		t.Errorf("%+v", all)
	}
}
