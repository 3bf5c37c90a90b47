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
		e := &ear{mind: time.Hour}
		if got := e.presence(at(0), at(5), at(1)); got != book.Gone {
			t.Errorf("one that never listened: %d", got)
		}
		for _, x := range []struct {
			open bool
			at   int
		}{{true, 10}, {true, 11}, {false, 20}, {false, 21}, {true, 25}, {false, 40}, {true, 45}} {
			e.turns(x.open, at(x.at))
		}
		for _, x := range []struct {
			sent, by, owed int // owed is never when it is 0
			want           book.Presence
		}{
			{2, 8, 0, book.Gone},
			{2, 12, 0, book.Gone},
			{10, 12, 0, book.There},
			{12, 19, 0, book.There},
			{12, 20, 0, book.Left},
			{12, 20, 20, book.There},
			{12, 20, 21, book.Left},
			{12, 30, 0, book.Left},
			{12, 30, 13, book.There},
			{12, 50, 21, book.Left},
			{20, 22, 21, book.Left},
			{22, 23, 0, book.Gone},
			{22, 30, 0, book.Gone},
			{22, 30, 23, book.Gone},
			{22, 50, 0, book.Left},
			{22, 50, 40, book.Gone},
			{25, 30, 0, book.There},
			{25, 39, 0, book.There},
			{41, 60, 0, book.Gone},
			{45, 60, 0, book.There},
		} {
			var owed time.Time
			if x.owed != 0 {
				owed = at(x.owed)
			}
			if got := e.presence(at(x.sent), at(x.by), owed); got != x.want {
				t.Errorf("sent at %d, to come by %d, owed at %d: %d; want %d", x.sent, x.by, x.owed, got, x.want)
			}
		}
		e.unsure = time.Second // somebody else's clock tells when it left
		if e.presence(at(12), at(20), at(20)) != book.Left || e.presence(at(12), at(20), at(19)) != book.There {
			t.Error("what is not known of clocks is held against the target, or more is excused")
		}
		e.unsure = 0
		e.keeps(at(100), at(80)) // it leaves at 80, and the target forgets it at 100
		time.Sleep(99 * time.Second)
		if !e.hears() || e.presence(at(98), at(105), at(99)) != book.There {
			t.Error("it is forgotten before its time")
		}
		time.Sleep(time.Second)
		for _, told := range []bool{false, true} {
			if told {
				e.turns(false, at(100))
			}
			if e.hears() || e.presence(at(101), at(105), at(102)) != book.Gone || e.presence(at(90), at(95), at(91)) != book.There {
				t.Errorf("told %v: it is not forgotten", told)
			}
			// What was sent while it was away was kept for it, and is forgotten; what it should have had before it left is lost.
			if e.presence(at(98), at(105), at(99)) != book.Left || e.presence(at(79), at(105), at(81)) != book.Left || e.presence(at(79), at(105), at(80)) != book.There {
				t.Errorf("told %v: what was sent before it was forgotten", told)
			}
		}
	})
}

// However often a subscriber comes and goes, what it has in mind is bounded, and what it forgets is not held against the target.
func TestManyAbsences(t *testing.T) {
	e, began := &ear{mind: time.Hour}, time.Now()
	const many = 3 * mostAbsences
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
		if got := e.presence(sent, sent.Add(100*time.Millisecond), sent.Add(time.Millisecond)); got != want {
			t.Errorf("the %d-th time: %d; want %d", i, got, want)
		}
	}
}

// Absences are kept in mind while messages from before them are waited for, and no longer.
func TestAbsencesAreForgotten(t *testing.T) {
	e, began := &ear{mind: 10 * time.Second}, time.Now()
	for i := range 100 {
		e.turns(true, began.Add(time.Duration(2*i)*time.Second))
		e.turns(false, began.Add(time.Duration(2*i+1)*time.Second))
		sent := began.Add(time.Duration(2*i-8) * time.Second)
		if got := e.presence(sent, sent.Add(9*time.Second), sent.Add(10*time.Millisecond)); i > 4 && got != book.There {
			t.Errorf("round %d: %d", i, got)
		}
	}
	if n := len(e.away); n > 7 {
		t.Errorf("%d absences", n)
	}
}
