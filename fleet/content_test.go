package fleet_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// The n-th report and the n-th message of a device are the same with one seed, however often
// connections are lost; with another seed they are others.
func TestContentFollowsFromTheSeed(t *testing.T) {
	run := func(seed uint64, disturb func(*hub, *fleet.Fleet)) (h *hub) {
		synctest.Test(t, func(t *testing.T) {
			h = newHub()
			chain := chance.NewChain(weights(t, "cellular wifi", 60, 40), map[string]chance.Weighted[string]{
				"cellular": weights(t, "cellular wifi", 90, 10), "wifi": weights(t, "wifi cellular", 70, 30),
			})
			f, rec := newFleet(t, h, seed, 20, fleet.Group{
				Report: fleet.Reporting{Types: chain, Every: time.Second, Extra: compile(t, map[string]any{"speed": "{{ uniform 0 120 }}", "n": "{{ seq }}"})},
				Telemetry: fleet.Telemetry{Every: 700 * time.Millisecond, QoS: 1, Payload: compile(t, map[string]any{
					"t": "{{ normal 21 3 }}", "s": `{{ pick "a" "b" }}`,
					"n": "{{ seq }}", "id": "{{ uuid }}", "w": "{{ walk 20 0.5 0 40 }}", "i": "{{ int 1 1000 }} {{ bool }} {{ hex 5 }} {{ index }} {{ group }}",
				})},
				Backoff: schedule.ExponentialBackoff(),
			})
			to(t, f, 20, time.Second)
			for range 30 {
				disturb(h, f)
				time.Sleep(time.Second)
			}
			f.Stop(t.Context())
			balanced(t, rec.Snapshot())
		})
		return h
	}
	calm := run(42, func(*hub, *fleet.Fleet) {})
	round := 0
	broken := run(42, func(h *hub, f *fleet.Fleet) {
		round++
		switch round % 5 {
		case 1:
			h.drop()
		case 2:
			h.stall(1500 * time.Millisecond)
		case 3:
			f.Storm(0.5, time.Second, round)
		case 4:
			h.drop(fmt.Sprintf("robots-%03d", round%20))
		}
	})
	other := run(43, func(*hub, *fleet.Fleet) {})
	differ := 0
	for id := range calm.reports {
		a, b := calm.reports[id], broken.reports[id]
		if n := min(len(a), len(b)); n < 15 {
			t.Errorf("%s: only %d reports to compare", id, n)
		}
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Fatalf("report %d of %s: %s and %s", i, id, a[i], b[i])
			}
			if i < len(other.told().reports[id]) && other.told().reports[id][i] != a[i] {
				differ++
			}
		}
		x, y := calm.messages[id], broken.messages[id]
		if n := min(len(x), len(y)); n < 15 {
			t.Errorf("%s: only %d messages to compare", id, n)
		}
		for i := range min(len(x), len(y)) {
			if string(x[i].Payload) != string(y[i].Payload) {
				t.Fatalf("message %d of %s: %s and %s", i, id, x[i].Payload, y[i].Payload)
			}
		}
	}
	if differ < 300 {
		t.Errorf("another seed changes %d reports only", differ)
	}
}
