package fleet_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics"
)

// Every subscriber whose filters match gets a message, a shared group gets one, filters that overlap bring further copies that are no duplicates, and
// the account says so whatever the broker does.
func TestDeliveriesToEverySubscriber(t *testing.T) {
	all := func(filters ...string) (out []link.Filter) {
		for _, f := range filters {
			out = append(out, link.Filter{Topic: f, QoS: 1})
		}
		return out
	}
	for name, tt := range map[string]struct {
		filters map[string][]link.Filter // by board
		each    uint64                   // deliveries of a message, of two sensors
		copies  func(n string) int       // of a message, by its end
		lost    bool
		twice   bool
	}{
		"two that match, one that does not": {filters: map[string][]link.Filter{"0": all("t/#"), "1": all("t/#"), "2": all("u/#")}, each: 2},
		"a shared group":                    {filters: map[string][]link.Filter{"0": all("$share/a/t/#"), "1": all("$share/a/t/#"), "2": all("t/#")}, each: 2},
		"two shared groups":                 {filters: map[string][]link.Filter{"0": all("$share/a/t/#"), "1": all("$share/b/t/#"), "2": all("$share/b/t/#")}, each: 2},
		"overlaps":                          {filters: map[string][]link.Filter{"0": all("t/#", "#"), "1": all("$share/a/t/#", "t/#"), "2": all("u")}, each: 3},
		"one lost":                          {filters: map[string][]link.Filter{"0": all("t/#"), "1": all("$share/a/t/#"), "2": all("$share/a/t/#")}, each: 2, copies: func(n string) int { return min(1, len(n)) }, lost: true},
		"each twice":                        {filters: map[string][]link.Filter{"0": all("t/#"), "1": all("t/#"), "2": all("u")}, each: 2, copies: func(string) int { return 2 }, twice: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(link.V5, func(id string) []link.Filter { return tt.filters[strings.TrimPrefix(id, "boards-")] })
				if tt.copies != nil {
					n := 0
					b.copies = func(link.Message) int {
						n++
						return tt.copies(strings.Repeat("x", n%5)) // each fifth is lost
					}
				}
				f, rec := keptFleet(t, b, 2, 3, func(s, _ *fleet.Group) { s.Telemetry.Deliveries = -1 })
				to(t, f, 5, 0)
				time.Sleep(20 * time.Second)
				f.Stop(t.Context())
				s := rec.Snapshot()
				balanced(t, s)
				x, sent, d := s.Find(metrics.OpDelivery, "sensors"), s.Find(metrics.OpTelemetry, "sensors").Started(), f.Deliveries()[0]
				if x.Scheduled() != tt.each*sent || x.DroppedTotal() > 0 || x.Count(metrics.OK)+x.Count(metrics.Timeout) != x.Started() {
					t.Errorf("%d deliveries of %d messages; want %d of each: %d ok, %d timed out, dropped %v", x.Scheduled(), sent, tt.each, x.Count(metrics.OK),
						x.Count(metrics.Timeout), x.Dropped)
				}
				if lost := x.Count(metrics.Timeout); lost != d.Missing || (lost > 0) != tt.lost || tt.lost && lost != tt.each*sent/5 {
					t.Errorf("%d lost of %d, %+v", lost, x.Started(), d)
				}
				if want := map[bool]uint64{true: tt.each * sent}[tt.twice]; d.Duplicates != want || d.OutOfOrder != 0 {
					t.Errorf("%+v; want %d duplicates", d, want)
				}
			})
		})
	}
}

// A subscriber that is away while a message is under way, and for which nothing is kept, may have missed it: that is not the broker's loss. One that
// is not there is waited for by nobody.
func TestDeliveriesToWhoIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(link.V5, boards)
		f, rec := keptFleet(t, b, 1, 2, func(s, _ *fleet.Group) { s.Telemetry.Deliveries = -1 })
		b.latency = 400 * time.Millisecond // a message is under way for 800 ms of each second
		to(t, f, 3, 0)
		time.Sleep(10 * time.Second)
		for range 4 {
			b.drop("boards-1")
			time.Sleep(5300 * time.Millisecond)
		}
		f.Stop(t.Context())
		s := rec.Snapshot()
		balanced(t, s)
		x, d := s.Find(metrics.OpDelivery, "sensors"), f.Deliveries()[0]
		if x.Count(metrics.Unanswered) == 0 || x.Dropped[metrics.DropNotConnected] == 0 || x.Count(metrics.Timeout) != 0 || d.Missing != 0 {
			t.Errorf("%d unanswered, dropped %v, %d timed out, %+v", x.Count(metrics.Unanswered), x.Dropped, x.Count(metrics.Timeout), d)
		}
		for _, e := range s.Errors {
			if e.Operation == metrics.OpDelivery && e.Reason != "its subscriber was not connected all the time" {
				t.Errorf("%+v", e)
			}
		}
	})
}
