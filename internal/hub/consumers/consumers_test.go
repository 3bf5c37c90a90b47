package consumers_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/hub/consumers"
)

func TestNames(t *testing.T) {
	listed, err := consumers.New("Dashboard", "a.b_c-1")
	if err != nil {
		t.Fatal(err)
	}
	var free consumers.Groups
	for _, c := range []struct {
		name         string
		listed, free bool
	}{
		{"$Default", true, true},
		{"$default", true, true},
		{"dashboard", true, true},
		{"A.B_C-1", true, true},
		{"other", false, true},
		{"", false, false},
		{"$other", false, false},
		{"a/b", false, false},
		{"é", false, false},
		{strings.Repeat("x", 50), false, true},
		{strings.Repeat("x", 51), false, false},
	} {
		if listed.Exists(c.name) != c.listed || free.Exists(c.name) != c.free {
			t.Errorf("%q: %t with a list, %t without", c.name, listed.Exists(c.name), free.Exists(c.name))
		}
		if _, err := listed.Attach(consumers.Reader{Group: c.name}); (err == nil) != c.listed || err != nil && !errors.Is(err, consumers.ErrNoGroup) {
			t.Errorf("%q: %v", c.name, err)
		}
	}
	if _, err := consumers.New("a b"); !errors.Is(err, consumers.ErrName) {
		t.Errorf("a name that no group can have: %v", err)
	}
}

// Who may read beside whom, and what the others hear of it.
func TestEpochs(t *testing.T) {
	const none = -1
	for _, c := range []struct {
		name   string
		there  []int // epochs
		comes  int
		refuse error
		text   string
		ended  int
	}{
		{"alone", nil, none, nil, "", 0},
		{"beside four without epoch", []int{none, none, none, none}, none, nil, "", 0},
		{"the sixth", []int{none, none, none, none, none}, none, consumers.ErrTooMany, "allowed receivers per partition in a consumer group which is 5", 0},
		{"without an epoch beside one with", []int{3}, none, consumers.ErrStolen, "created with epoch of '3', and so non-epoch receiver is not allowed", 0},
		{"a lower epoch", []int{3}, 2, consumers.ErrStolen, "a higher epoch '3' already exists. Receiver 'new' with epoch 2 cannot", 0},
		{"the same epoch", []int{3}, 3, nil, "", 1},
		{"a higher epoch", []int{3}, 4, nil, "", 1},
		{"an epoch among five without", []int{none, none, none, none, none}, 0, nil, "", 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			var g consumers.Groups
			var told []string
			for i, epoch := range c.there {
				_, err := g.Attach(consumers.Reader{
					Group: "$Default", Name: fmt.Sprint("old-", i), Epoch: int64(epoch), HasEpoch: epoch != none,
					Stolen: func(why error) {
						if !errors.Is(why, consumers.ErrStolen) || !strings.Contains(why.Error(), fmt.Sprint("New receiver 'new' with higher epoch of '", c.comes, "'")) {
							t.Errorf("told %v", why)
						}
						told = append(told, fmt.Sprint(i))
						g.Readers() // no lock is held
					},
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			r := consumers.Reader{Group: "$DEFAULT", Name: "new", Epoch: int64(c.comes), HasEpoch: c.comes != none}
			elsewhere := r
			elsewhere.Partition = 1
			other := r
			other.Group = "other"
			for _, r := range []consumers.Reader{elsewhere, other} {
				if a, err := g.Attach(r); err != nil {
					t.Errorf("at another place: %v", err)
				} else {
					a.Detach()
				}
			}
			a, err := g.Attach(r)
			if !errors.Is(err, c.refuse) || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v", err)
			}
			if len(told) != c.ended {
				t.Errorf("%v were told; want %d", told, c.ended)
			}
			want := len(c.there) - c.ended
			if err == nil {
				want++
			}
			if n := g.Readers(); n != want {
				t.Errorf("%d readers; want %d", n, want)
			}
			if err == nil {
				a.Detach()
				a.Detach()
				if n := g.Readers(); n != want-1 {
					t.Errorf("%d readers after one has gone; want %d", n, want-1)
				}
			}
		})
	}
}

// Readers that come and go at the same time are never more than may be, and each that is ended is told once.
func TestManyAtOnce(t *testing.T) {
	var g consumers.Groups
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 200 {
				var mu sync.Mutex
				told := 0
				a, err := g.Attach(consumers.Reader{
					Group: "$Default", Epoch: int64(i), HasEpoch: w%2 == 0,
					Stolen: func(error) {
						mu.Lock()
						defer mu.Unlock()
						if told++; told > 1 {
							t.Error("told twice")
						}
					},
				})
				if n := g.Readers(); n > consumers.MaxReaders {
					t.Errorf("%d readers", n)
				}
				if err == nil {
					a.Detach()
				}
			}
		})
	}
	wg.Wait()
	if n := g.Readers(); n != 0 {
		t.Errorf("%d readers are left", n)
	}
}

// Whatever comes: nobody is beside a reader with an epoch, and there are at most five.
func TestRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var g consumers.Groups
		var there []*consumers.Attached
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			if len(there) > 0 && rapid.IntRange(0, 3).Draw(t, "leave") == 0 {
				i := rapid.IntRange(0, len(there)-1).Draw(t, "who")
				there[i].Detach()
				there = slices.Delete(there, i, i+1)
				continue
			}
			r := consumers.Reader{Group: "g", Epoch: rapid.Int64Range(0, 3).Draw(t, "epoch"), HasEpoch: rapid.Bool().Draw(t, "has epoch")}
			ended := 0
			for i := range there {
				there[i].Stolen = func(error) { ended++ }
			}
			a, err := g.Attach(r)
			highest := int64(-1)
			for _, other := range there {
				if other.HasEpoch {
					highest = max(highest, other.Epoch)
				}
			}
			may := r.HasEpoch && r.Epoch >= highest || !r.HasEpoch && highest < 0 && len(there) < consumers.MaxReaders
			if (err == nil) != may {
				t.Fatalf("%+v beside %d, the highest epoch %d: %v", r, len(there), highest, err)
			}
			if err != nil {
				continue
			}
			if r.HasEpoch {
				if ended != len(there) {
					t.Fatalf("%d of %d were told", ended, len(there))
				}
				there = nil
			}
			there = append(there, a)
			if n := g.Readers(); n != len(there) {
				t.Fatalf("%d readers; want %d", n, len(there))
			}
		}
	})
}
