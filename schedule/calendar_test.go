package schedule

import (
	"slices"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/schedule/chance"
)

func TestCalendar(t *testing.T) {
	c, same, other := NewCalendar(42), NewCalendar(42), NewCalendar(43)
	ranks := make([]int, 100)
	for i := range 50 {
		ranks[i] = 1
	}
	order := c.Order(ranks)
	if !slices.Equal(order, same.Order(ranks)) || slices.Equal(order, other.Order(ranks)) {
		t.Error("the order must follow from the seed and nothing else")
	}
	for place, index := range order {
		if (place < 50) != (index >= 50) {
			t.Errorf("the device %d, of rank %d, is at place %d", index, ranks[index], place)
		}
	}
	if slices.Sort(order); order[0] != 0 || len(slices.Compact(order)) != 100 {
		t.Error("the order does not hold each device once")
	}
	if e := c.Reports(7, s, chance.Distribution{}, true); e.every != (Every{Period: s}) {
		t.Errorf("in step: %+v", e)
	}
	if a, b := c.Reports(7, s, chance.Distribution{}, false), c.Messages(7, s, chance.Distribution{}, false); a.every.Phase == b.every.Phase ||
		a != same.Reports(7, s, chance.Distribution{}, false) {
		t.Errorf("reports %+v, messages %+v", a, b)
	}
	for n := range int64(100) {
		if at := c.Renewal(3, n, time.Hour, time.Minute, 10*s); at > 59*time.Minute || at < 59*time.Minute-10*s {
			t.Errorf("renewal %d after %v", n, at)
		}
		churn := Churn{chance.Uniform(s, 2*s), chance.Uniform(3*s, 4*s)}
		if on, off := c.Session(churn, 3, n); on < s || on > 2*s || off < 3*s || off > 4*s {
			t.Errorf("session %d: %v on, %v off", n, on, off)
		}
	}
}

func TestStorm(t *testing.T) {
	c := NewCalendar(1)
	cuts := c.Storm(2, 10, nil, 0.75, s)
	seen := make(map[int]bool)
	for _, x := range cuts {
		if x.Place < 0 || x.Place >= 10 || seen[x.Place] || x.After < 0 || x.After >= s {
			t.Errorf("%+v", x)
		}
		seen[x.Place] = true
	}
	if len(cuts) != 8 || slices.Equal(cuts, c.Storm(3, 10, nil, 0.75, s)) || !slices.Equal(cuts, c.Storm(2, 10, nil, 0.75, s)) {
		t.Errorf("cuts %v", cuts)
	}
	odd := func(place int) bool { return place%2 == 1 }
	for _, x := range c.Storm(2, 10, odd, 1, s) {
		if !odd(x.Place) {
			t.Errorf("%+v is not among those that may be hit", x)
		}
	}
	if n := len(c.Storm(2, 10, odd, 0.8, s)); n != 4 {
		t.Errorf("%d of five are cut; want 4", n)
	}
	if n := len(c.Storm(0, 0, nil, 1, 0)); n != 0 {
		t.Errorf("%d cuts of nobody", n)
	}
}
