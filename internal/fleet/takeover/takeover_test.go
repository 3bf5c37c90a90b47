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
		if got := d.Lost(Loss{Index: []int{4, 4, 5}[i], Connected: at(0), At: at(float64(i)), Why: Taken}); got != want {
			t.Errorf("loss %d: %d; want %d", i, got, want)
		}
	}
}

// step is what becomes of a device's connection: it ends, or could not be made.
type step struct {
	device          int
	connected, lost float64
	why             Why
	failed, busy    bool
	others          int
}

func guess(steps []step) Kind {
	var d Detector
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(a.lost, b.lost) })
	for _, x := range steps {
		if x.failed {
			d.Failed(x.device)
			continue
		}
		if found := d.Lost(Loss{x.device, at(x.connected), at(x.lost), x.why, x.busy, x.others}); found != None {
			return found
		}
	}
	return None
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
		want  Kind
	}{
		"two runs in turn": {alternate(5, 4, nil), Likely},
		"two runs that are back after their first pause": {
			alternate(5, 4, func(x *step) { x.lost = x.connected + 0.1 + float64(x.device)*0.0005 }), Likely,
		},
		"two devices, not often": {alternate(2, 9, nil), None},
		"two cycles":             {alternate(50, 2, nil), None},
		"long lives":             {alternate(5, 9, func(x *step) { x.connected -= 60 }), None},
		"a network that cuts":    {alternate(5, 9, func(x *step) { x.why = Other }), None},
		"a server that restarts": {alternate(9, 9, func(x *step) {
			x.lost = x.connected - float64(x.device)*0.4 + 4
		}), None},
		"one device of many":                                {alternate(1, 10, nil), Alone},
		"two devices of many":                               {alternate(2, 10, nil), Alone},
		"one device, in turn":                               {alternate(1, 10, func(x *step) { x.lost = x.connected + 0.1 }), Alone},
		"one device, not often":                             {alternate(1, 9, nil), None},
		"one device that a server ends by a rule":           {alternate(1, 90, func(x *step) { x.lost = x.connected + 2 }), None},
		"one device that a server ends at once":             {alternate(1, 90, func(x *step) { x.lost = x.connected + (x.lost-x.connected)/1000 }), None},
		"one device that is ended because of what it sends": {alternate(1, 90, func(x *step) { x.busy = true }), None},
		"one device that may be":                            {alternate(1, 90, func(x *step) { x.busy = int(x.connected/5)%3 > 0 }), None},
		"one device that sends now and then":                {alternate(1, 20, func(x *step) { x.busy = int(x.connected/5)%5 == 0 }), Alone},
		"two devices of many, in step": {alternate(2, 10, func(x *step) {
			from := x.connected - 0.4*float64(x.device)
			x.connected, x.lost, x.others = from, from+0.1+float64(x.device)/1000, 18
		}), Alone},
		"two devices behind a proxy that cuts": {alternate(2, 90, func(x *step) {
			x.connected, x.lost = x.connected-0.4*float64(x.device), x.connected-0.4*float64(x.device)+lives[int(x.connected/5)%4]
		}), None},
		"devices that are ended because of what they send": {alternate(9, 90, func(x *step) { x.busy = true }), None},
		"devices that mostly are":                          {alternate(9, 90, func(x *step) { x.busy = (int(x.connected/5)+x.device)%4 > 0 }), None},
		"two runs whose devices send a lot":                {alternate(9, 9, func(x *step) { x.busy = (int(x.connected/5)+x.device)%2 > 0 }), Likely},
		"a server that ends connections by a rule":         {alternate(9, 9, func(x *step) { x.lost = x.connected + 2 }), None},
		"a server that is away between": {func() (steps []step) {
			for _, x := range alternate(9, 9, nil) {
				steps = append(steps, x, step{device: x.device, lost: x.lost, failed: true})
			}
			return steps
		}(), None},
		"a server that ends connections at once": {alternate(9, 9, func(x *step) { x.lost = x.connected + 0.003 }), None},
		"rarely":                                 {alternate(5, 9, func(x *step) { x.connected, x.lost = x.connected*20, x.connected*20+x.lost-x.connected }), None},
	} {
		if got := guess(tt.steps); got != tt.want {
			t.Errorf("%s: %d; want %d", name, got, tt.want)
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
		if guess(steps) != None {
			t.Fatal("another client was seen")
		}
	})
}
