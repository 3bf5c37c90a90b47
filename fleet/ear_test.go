package fleet

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/fleet/book"
)

// Whether a subscriber was there goes by all its absences, and not by the last alone.
func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		at := func(second int) time.Time { return began.Add(time.Duration(second) * time.Second) }
		e := new(ear)
		if got := e.presence(at(0), at(5)); got != book.Gone {
			t.Errorf("one that never listened: %d", got)
		}
		for _, x := range []struct {
			open bool
			at   int
		}{{true, 10}, {true, 11}, {false, 20}, {false, 21}, {true, 25}, {false, 40}, {true, 45}} {
			e.turns(x.open, at(x.at))
		}
		for _, x := range []struct {
			sent, by int
			want     book.Presence
		}{
			{2, 8, book.Gone},
			{2, 12, book.Gone},
			{10, 12, book.There},
			{12, 19, book.There},
			{12, 20, book.Left},
			{12, 30, book.Left},
			{20, 22, book.Left},
			{22, 23, book.Gone},
			{22, 30, book.Gone},
			{22, 50, book.Left},
			{25, 30, book.There},
			{25, 39, book.There},
			{41, 60, book.Gone},
			{45, 60, book.There},
		} {
			if got := e.presence(at(x.sent), at(x.by)); got != x.want {
				t.Errorf("sent at %d, to come by %d: %d; want %d", x.sent, x.by, got, x.want)
			}
		}
		e.until.set(at(100)) // the target forgets it then
		time.Sleep(99 * time.Second)
		if !e.hears() || e.presence(at(98), at(105)) != book.There {
			t.Error("it is forgotten before its time")
		}
		time.Sleep(time.Second)
		if e.hears() || e.presence(at(98), at(105)) != book.Left || e.presence(at(101), at(105)) != book.Gone || e.presence(at(90), at(95)) != book.There {
			t.Error("it is not forgotten")
		}
	})
}

// However often a subscriber comes and goes, what it has in mind is bounded, and what it forgets is not held against the target.
func TestManyAbsences(t *testing.T) {
	e, began := new(ear), time.Now()
	const many = 100
	for i := range many {
		e.turns(true, began.Add(time.Duration(2*i)*time.Second))
		e.turns(false, began.Add(time.Duration(2*i+1)*time.Second))
	}
	if len(e.away) != mostAbsences {
		t.Errorf("%d absences", len(e.away))
	}
	for i := range many {
		sent := began.Add(time.Duration(2*i)*time.Second + 100*time.Millisecond)
		want := book.There
		if i <= many-mostAbsences {
			want = book.Gone
		}
		if got := e.presence(sent, sent.Add(100*time.Millisecond)); got != want {
			t.Errorf("the %d-th time: %d; want %d", i, got, want)
		}
	}
}
