package book_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/audience"
	"github.com/twinfleet/twinfleet/internal/fleet/book"
)

func begin() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// A message for two subscribers reaches one in time, and one too late: until then it counts as missing.
func Example() {
	b := book.Book[string]{Anyone: 2}
	b.Expect(book.Message[string]{Turn: 0, Deadline: begin().Add(time.Second), Value: "operation"})
	b.Acked(0, begin())
	fmt.Printf("%+v\n", b.Arrived(0, 11, begin(), 2))
	fmt.Printf("%+v %+v\n", b.Sweep(begin().Add(time.Second), nil, nil), b.Take())
	fmt.Printf("%+v %+v\n", b.Arrived(0, 12, begin().Add(2*time.Second), 2), b.Take())
	// Output:
	// {Verdict:1 Ends:true Value:operation OutOfOrder:false}
	// [{Turn:0 Value:operation Copies:1 Why:1 Missing:true}] {Duplicates:0 Late:0 Missing:1 OutOfOrder:0}
	// {Verdict:2 Ends:false Value: OutOfOrder:false} {Duplicates:0 Late:1 Missing:-1 OutOfOrder:0}
}

// keeper tells a book what happens, as times pass by numbers.
type keeper struct {
	t    *testing.T
	book book.Book[int]
	sum  book.Counts
}

func (k *keeper) arrives(turn int64, subscriber, second int, want book.Verdict, outOfOrder bool) {
	k.t.Helper()
	if a := k.book.Arrived(turn, subscriber, begin().Add(time.Duration(second)*time.Second), 2); a.Verdict != want || a.OutOfOrder != outOfOrder {
		k.t.Errorf("copy of %d for %d is %+v; want %d, out of order %v", turn, subscriber, a, want, outOfOrder)
	}
}

func (k *keeper) counts(want book.Counts) {
	k.t.Helper()
	c := k.book.Take()
	k.sum = book.Counts{
		Duplicates: k.sum.Duplicates + c.Duplicates, Late: k.sum.Late + c.Late, Missing: k.sum.Missing + c.Missing,
		OutOfOrder: k.sum.OutOfOrder + c.OutOfOrder,
	}
	if k.sum != want {
		k.t.Errorf("%+v, want %+v", k.sum, want)
	}
}

func (k *keeper) ends(got []book.Ended[int], want ...book.Ended[int]) {
	k.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		k.t.Errorf("%+v ended, want %+v", got, want)
	}
}

// send expects a message, due a second after it was sent, and has it acknowledged.
func (k *keeper) send(turn int64, second int, a *audience.Audience, absent ...int) {
	k.book.Expect(book.Message[int]{Turn: turn, Audience: a, Absent: absent, Deadline: begin().Add(time.Duration(second+1) * time.Second), Value: int(turn)})
	k.book.Acked(turn, begin())
}

// first is the audience of a topic "t" and these subscribers, by their index.
func first(filters ...[]string) *audience.Audience {
	var all []audience.Subscriber
	for i, f := range filters {
		all = append(all, audience.Subscriber{Index: i, Filters: f})
	}
	return audience.New(all).Of("t", -1)
}

// A first copy of what was sent before something that the subscriber has is out of order; what comes twice never is, and each subscriber has
// an order of its own.
func TestOrder(t *testing.T) {
	k := &keeper{t: t, book: book.Book[int]{Anyone: 2}}
	for turn := range int64(4) {
		k.send(turn, 0, nil)
	}
	k.arrives(0, 1, 0, book.First, false)
	k.arrives(2, 1, 0, book.First, false)
	k.arrives(1, 1, 0, book.First, true)
	k.arrives(1, 1, 0, book.Duplicate, false)
	k.arrives(2, 1, 0, book.Duplicate, false)
	k.arrives(3, 1, 0, book.First, false)
	k.arrives(1, 2, 0, book.First, false)
	k.arrives(0, 2, 3, book.Late, true)
	k.counts(book.Counts{Duplicates: 2, Late: 1, OutOfOrder: 2})
	k.ends(k.book.GiveUp(), book.Ended[int]{Turn: 2, Value: 2, Copies: 1, Why: book.GivenUp}, book.Ended[int]{Turn: 3, Value: 3, Copies: 1, Why: book.GivenUp})
	k.arrives(3, 2, 0, book.Unawaited, false)
	k.arrives(2, 2, 0, book.Unawaited, true)
	k.counts(book.Counts{Duplicates: 2, Late: 1, OutOfOrder: 3})
}

// A message that the target acknowledges when its time is up is missing from then on, as far as its copies have not come.
func TestLateAcknowledgements(t *testing.T) {
	k := &keeper{t: t, book: book.Book[int]{Anyone: 3}}
	k.book.Expect(book.Message[int]{Turn: 0, Deadline: begin().Add(time.Second)})
	k.arrives(0, 0, 0, book.First, false)
	k.book.Sweep(begin().Add(time.Minute), nil, nil)
	k.arrives(0, 1, 60, book.Late, false)
	k.counts(book.Counts{Late: 1})
	k.book.Acked(0, begin())
	k.book.Acked(0, begin())
	k.counts(book.Counts{Late: 1, Missing: 1})
	k.arrives(0, 2, 60, book.Late, false)
	k.book.Acked(0, begin())
	k.counts(book.Counts{Late: 2})
}

// A copy of one member of a group is a duplicate of the other's, unless he may have it for himself.
func TestGroups(t *testing.T) {
	k := &keeper{t: t}
	k.send(0, 0, first([]string{"$share/g/t"}, []string{"$share/g/t"}))
	k.arrives(0, 1, 0, book.First, false)
	k.arrives(0, 0, 0, book.Duplicate, false)
	k.arrives(0, 2, 0, book.Stranger, false)
	k.send(1, 0, first([]string{"$share/g/t", "t", "#"}, []string{"$share/g/t"}))
	k.arrives(1, 0, 0, book.First, false)
	k.arrives(1, 0, 0, book.First, false)   // for the group, or for himself once more
	k.arrives(1, 1, 0, book.Further, false) // the latter
	k.arrives(1, 1, 0, book.Duplicate, false)
	k.counts(book.Counts{Duplicates: 2})
	k.send(2, 0, first([]string{"$share/g/t", "$share/h/t"}, []string{"$share/g/t"}))
	k.arrives(2, 0, 0, book.First, false)
	k.arrives(2, 1, 0, book.First, false) // g's: what came before was h's
	k.arrives(2, 1, 0, book.Duplicate, false)
	k.counts(book.Counts{Duplicates: 3})
}

// A subscriber that is not there misses what comes; what it gets all the same is no duplicate. A group misses it when all its members do.
func TestAbsence(t *testing.T) {
	k := &keeper{t: t}
	a := first([]string{"t", "$share/g/t"}, []string{"t", "$share/g/t"})
	k.send(0, 0, a, 1)
	k.arrives(0, 1, 0, book.First, false) // it is the group's
	k.arrives(0, 1, 0, book.Unawaited, false)
	k.arrives(0, 1, 0, book.Duplicate, false)
	k.arrives(0, 0, 0, book.First, false)
	k.counts(book.Counts{Duplicates: 1})
	// Whoever of a group left may have been the one that was sent it.
	one := func(how book.Presence) func(int, int, time.Time) book.Presence {
		return func(s int, _ int, _ time.Time) book.Presence {
			if s == 1 {
				return how
			}
			return book.There
		}
	}
	k.send(3, 0, a)
	k.ends(k.book.Sweep(begin().Add(time.Minute), one(book.Left), nil),
		book.Ended[int]{Turn: 3, Value: 3, Copies: 2, Why: book.Absent}, book.Ended[int]{Turn: 3, Value: 3, Copies: 1, Why: book.TimedOut, Missing: true})
	k.counts(book.Counts{Duplicates: 1, Missing: 1})
	// Whoever was gone before was not sent it: what a group lacks is lost.
	k.send(4, 0, a)
	k.ends(k.book.Sweep(begin().Add(time.Minute), one(book.Gone), nil),
		book.Ended[int]{Turn: 4, Value: 4, Copies: 1, Why: book.Absent}, book.Ended[int]{Turn: 4, Value: 4, Copies: 2, Why: book.TimedOut, Missing: true})
	k.counts(book.Counts{Duplicates: 1, Missing: 3})
	k.send(5, 0, a)
	k.ends(k.book.Sweep(begin().Add(time.Minute), func(int, int, time.Time) book.Presence { return book.Gone }, nil), book.Ended[int]{Turn: 5, Value: 5, Copies: 3, Why: book.Absent})
}

// Of a message for anyone no more is missing than there were subscribers who have it not: who was away may be the one that lacks it.
func TestAbsentFromAnyone(t *testing.T) {
	two, group := first([]string{"t"}, []string{"t"}), first([]string{"t"}, []string{"$share/g/t"}, []string{"$share/g/t"})
	timedOut := func(n int) book.Ended[int] { return book.Ended[int]{Copies: n, Why: book.TimedOut, Missing: true} }
	absent := func(n int) book.Ended[int] { return book.Ended[int]{Copies: n, Why: book.Absent} }
	for _, tt := range []struct {
		name   string
		anyone int
		has    []int
		how    []book.Presence
		all    *audience.Audience
		want   []book.Ended[int]
	}{
		{"nobody was away", 2, nil, []book.Presence{book.There, book.There}, two, []book.Ended[int]{timedOut(2)}},
		{"one was away", 2, nil, []book.Presence{book.There, book.Left}, two, []book.Ended[int]{absent(1), timedOut(1)}},
		{"who was away has it", 2, []int{1}, []book.Presence{book.There, book.Left}, two, []book.Ended[int]{timedOut(1)}},
		{"who was away has it not", 2, []int{0}, []book.Presence{book.There, book.Gone}, two, []book.Ended[int]{absent(1)}},
		{"all were away", 2, nil, []book.Presence{book.Gone, book.Left}, two, []book.Ended[int]{absent(2)}},
		{"others are there", 1, nil, []book.Presence{book.There, book.Left}, two, []book.Ended[int]{timedOut(1)}},
		{"not all are known", 3, nil, []book.Presence{book.Left, book.Left}, two, []book.Ended[int]{timedOut(3)}},
		{"none is known", 2, nil, []book.Presence{book.Left, book.Left}, nil, []book.Ended[int]{timedOut(2)}},
		{"one of a group left", 2, []int{0}, []book.Presence{book.There, book.There, book.Left}, group, []book.Ended[int]{absent(1)}},
		{"one of a group was gone", 2, []int{0}, []book.Presence{book.There, book.There, book.Gone}, group, []book.Ended[int]{timedOut(1)}},
		{"a group has it", 2, []int{1}, []book.Presence{book.There, book.There, book.Left}, group, []book.Ended[int]{timedOut(1)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := keeper{t: t, book: book.Book[int]{Anyone: tt.anyone}}
			k.send(0, 0, nil)
			for _, s := range tt.has {
				k.arrives(0, s, 0, book.First, false)
			}
			k.ends(k.book.Sweep(begin().Add(time.Minute), func(s int, _ int, _ time.Time) book.Presence { return tt.how[s] },
				func() *audience.Audience { return tt.all }), tt.want...)
		})
	}
}

// More is lost than is kept: of what is forgotten as many copies are late as were missing, and no other is counted.
func TestMoreIsLostThanIsKept(t *testing.T) {
	for _, c := range []struct {
		name     string
		anyone   int
		audience *audience.Audience
	}{{"anyone", 2, nil}, {"audience", 0, first([]string{"t"}, []string{"#"})}} {
		t.Run(c.name, func(t *testing.T) {
			k := &keeper{t: t, book: book.Book[int]{Anyone: c.anyone}}
			const many = 3000
			for turn := range int64(many) {
				k.send(turn, 0, c.audience)
				k.book.Sweep(begin().Add(time.Minute), nil, nil)
			}
			k.counts(book.Counts{Missing: 2 * many})
			for turn := range int64(many) {
				k.arrives(turn, 0, 60, book.Late, false)
				if turn%2 == 0 {
					k.arrives(turn, 1, 60, book.Late, false)
				}
			}
			k.counts(book.Counts{Late: many * 3 / 2, Missing: many / 2})
			k.arrives(0, 1, 60, book.Unknown, false)
			k.arrives(many-1, 0, 60, book.Duplicate, false)
			k.counts(book.Counts{Duplicates: 1, Late: many * 3 / 2, Missing: many / 2})
		})
	}
}

// When some are forgotten, what was sent last is known as before; and whoever is a stranger is one, whatever is forgotten.
func TestTheOldestIsForgotten(t *testing.T) {
	k, a := &keeper{t: t}, first([]string{"t"}, []string{"#"})
	k.book.Most = 8
	for turn := range int64(100) {
		k.send(turn, 0, a)
		k.arrives(turn, 0, 0, book.First, false)
		k.book.Sweep(begin().Add(time.Minute), nil, nil)
		for back := range min(turn+1, 4) {
			k.arrives(turn-back, 0, 60, book.Duplicate, false)
		}
	}
	k.counts(book.Counts{Missing: 100, Duplicates: 1 + 2 + 3 + 97*4})
	k.arrives(0, 2, 60, book.Stranger, false)
	k.counts(book.Counts{Missing: 100, Duplicates: 1 + 2 + 3 + 97*4})
	k.arrives(0, 1, 60, book.Late, false)
	k.counts(book.Counts{Missing: 99, Late: 1, Duplicates: 1 + 2 + 3 + 97*4})
}

// However few messages are kept, what is lost and what comes late is counted, as long as nothing comes twice.
func TestWhatIsForgottenIsCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all [][]string
		for range rapid.IntRange(1, 5).Draw(t, "subscribers") {
			all = append(all, []string{"t"})
		}
		a := first(all...)
		var few, many book.Book[int]
		few.Most = rapid.IntRange(1, 6).Draw(t, "kept")
		left := map[[2]int]bool{}
		turns := rapid.IntRange(1, 60).Draw(t, "messages")
		for turn := range turns {
			acked := rapid.Bool().Draw(t, "acked")
			for _, b := range []*book.Book[int]{&few, &many} {
				b.Expect(book.Message[int]{Turn: int64(turn), Audience: a, Deadline: begin().Add(time.Duration(turn) * time.Second)})
				if acked {
					b.Acked(int64(turn), begin())
				}
			}
			for s := range all {
				left[[2]int{turn, s}] = acked
			}
			for range rapid.IntRange(0, 2*len(all)).Draw(t, "copies") {
				at := [2]int{rapid.IntRange(0, turn).Draw(t, "of"), rapid.IntRange(0, len(all)-1).Draw(t, "for")}
				if !left[at] {
					continue
				}
				delete(left, at)
				for _, b := range []*book.Book[int]{&few, &many} {
					b.Arrived(int64(at[0]), at[1], begin().Add(time.Duration(turn)*time.Second), len(all))
				}
			}
			for _, b := range []*book.Book[int]{&few, &many} {
				b.Sweep(begin().Add(time.Duration(turn)*time.Second), nil, nil)
			}
		}
		got, want := few.Take(), many.Take()
		if got.OutOfOrder, want.OutOfOrder = 0, 0; got != want {
			t.Fatalf("%+v; want %+v", got, want)
		}
	})
}

// What is kept of messages with very many subscribers is bounded by these.
func TestLargeAudiences(t *testing.T) {
	const many = 20_000
	all := make([]audience.Subscriber, many)
	for i := range all {
		all[i] = audience.Subscriber{Index: i, Filters: []string{"#"}}
	}
	k, a := &keeper{t: t}, audience.New(all).Of("t", -1)
	for turn := range int64(10) {
		k.send(turn, 0, a)
		k.book.Sweep(begin().Add(time.Minute), nil, nil)
	}
	for s := range many {
		for turn := range int64(10) {
			k.arrives(turn, s, 60, book.Late, false)
		}
		k.arrives(9, 0, 60, book.Duplicate, false) // nothing that came late was forgotten
	}
	k.counts(book.Counts{Late: 10 * many, Duplicates: many})
}
