package takeover

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }

// A server that says so is believed at once, and of each device once.
func TestCertain(t *testing.T) {
	var d Detector
	for i, want := range []Kind{Certain, None, Certain} {
		if got := d.Lost([]int{4, 4, 5}[i], at(0), at(float64(i)), Taken); got != want {
			t.Errorf("loss %d: %d; want %d", i, got, want)
		}
	}
}

// step is what becomes of a device's connection: it ends, or could not be made.
type step struct {
	device          int
	connected, lost float64
	why             Why
	failed          bool
}

func guess(steps []step) bool {
	var d Detector
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(a.lost, b.lost) })
	for _, x := range steps {
		if x.failed {
			d.Failed(x.device)
			continue
		}
		if d.Lost(x.device, at(x.connected), at(x.lost), x.why) == Likely {
			return true
		}
	}
	return false
}

// Devices that are cut one by one, soon after they have connected, after times that differ, are another client's too. Everything else that cuts
// connections is no reason to say so.
func TestLikely(t *testing.T) {
	lives := []float64{0.3, 1.1, 0.6, 2.4}
	alternate := func(devices, cycles int, change func(x *step)) (steps []step) {
		for c := range cycles {
			for i := range devices {
				from := float64(c)*5 + float64(i)*0.4
				x := step{device: i, connected: from, lost: from + lives[(i+c)%len(lives)], why: Ended}
				if change != nil {
					change(&x)
				}
				steps = append(steps, x)
			}
		}
		return steps
	}
	for name, tt := range map[string]struct {
		steps []step
		want  bool
	}{
		"two runs in turn": {alternate(5, 4, nil), true},
		"two runs that are back after their first pause": {
			alternate(5, 4, func(x *step) { x.lost = x.connected + 0.1 + float64(x.device)*0.0005 }), true,
		},
		"two devices":         {alternate(2, 20, nil), false},
		"two cycles":          {alternate(50, 2, nil), false},
		"long lives":          {alternate(5, 9, func(x *step) { x.connected -= 60 }), false},
		"a network that cuts": {alternate(5, 9, func(x *step) { x.why = Other }), false},
		"a server that restarts": {alternate(9, 9, func(x *step) {
			x.lost = x.connected - float64(x.device)*0.4 + 4
		}), false},
		"a server that ends connections by a rule": {alternate(9, 9, func(x *step) { x.lost = x.connected + 2 }), false},
		"a server that is away between": {func() (steps []step) {
			for _, x := range alternate(9, 9, nil) {
				steps = append(steps, x, step{device: x.device, lost: x.lost, failed: true})
			}
			return steps
		}(), false},
		"a server that ends connections at once": {alternate(9, 9, func(x *step) { x.lost = x.connected + 0.003 }), false},
		"rarely":                                 {alternate(5, 9, func(x *step) { x.connected, x.lost = x.connected*20, x.connected*20+x.lost-x.connected }), false},
	} {
		if got := guess(tt.steps); got != tt.want {
			t.Errorf("%s: %v; want %v", name, got, tt.want)
		}
	}
}

// However many devices a server that restarts has, and whenever it does, nobody is taken for another client.
func TestRestartsAreNoTakeover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		devices := rapid.IntRange(3, 200).Draw(t, "devices")
		var steps []step
		now := 0.0
		for range rapid.IntRange(1, 30).Draw(t, "restarts") {
			now += rapid.Float64Range(0.2, 20).Draw(t, "after")
			for i := range devices {
				back := now - rapid.Float64Range(0.1, 0.2).Draw(t, "back")
				steps = append(steps, step{device: i, connected: back, lost: now + float64(i)*0.0001, why: Ended})
			}
		}
		if guess(steps) {
			t.Fatal("another client was seen")
		}
	})
}
