package roster_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/schedule/roster"
)

// actives are the places whose devices are active.
func actives(r *roster.Roster, of int) (places []int) {
	for place := range of {
		if r.IsActive(place) {
			places = append(places, place)
		}
	}
	return places
}

// inOrder is a roster whose devices start by their index.
func inOrder(groups []int) *roster.Roster {
	order := make([]int, len(groups))
	for i := range order {
		order[i] = i
	}
	return roster.New(order, groups)
}

// Two groups of which every third place is of the second.
//
//	place 0 1 2 3 4 5
//	group 0 0 1 0 0 1
func TestRoster(t *testing.T) {
	for _, x := range []struct {
		name string
		do   func(r *roster.Roster)
		want []int
	}{
		{"nobody", func(*roster.Roster) {}, nil},
		{"the first three", func(r *roster.Roster) { r.Bring(3) }, []int{0, 1, 2}},
		{"more than there are", func(r *roster.Roster) { r.Bring(10) }, []int{0, 1, 2, 3, 4, 5}},
		{"all of a group", func(r *roster.Roster) { r.BringGroups([]int{-1, 2}) }, []int{2, 5}},
		{"the others then come in order", func(r *roster.Roster) { r.BringGroups([]int{-1, 2}); r.Bring(4) }, []int{0, 1, 2, 5}},
		{"who comes last goes first, whatever its group", func(r *roster.Roster) { r.BringGroups([]int{1, 2}); r.Bring(2) }, []int{0, 2}},
		{"groups up and down at once", func(r *roster.Roster) { r.Bring(5); r.BringGroups([]int{1, 2}) }, []int{0, 2, 5}},
		{"a group that there is not", func(r *roster.Roster) { r.BringGroups([]int{0, 0, 7}) }, nil},
	} {
		r := inOrder([]int{0, 0, 1, 0, 0, 1})
		x.do(r)
		if got := actives(r, 6); !slices.Equal(got, x.want) || r.Active() != len(x.want) || r.ActiveOf(0)+r.ActiveOf(1) != len(x.want) {
			t.Errorf("%s: %v are active, %d by number; want %v", x.name, got, r.Active(), x.want)
		}
	}
}

// Each group has its own line, and they are walked side by side.
func TestMovesOfGroups(t *testing.T) {
	r := inOrder([]int{0, 0, 1, 0, 0, 1})
	r.BringGroups([]int{4, 0})
	got := r.Moves([]int{2, 1}, 8*time.Second)
	want := []roster.Move{{2 * time.Second, 0, false}, {4 * time.Second, 1, true}, {6 * time.Second, 0, false}}
	if !slices.Equal(got, want) {
		t.Errorf("%v; want %v", got, want)
	}
}

// However groups and totals take turns, numbers are as asked, and what a group has are its first.
func TestRosterKeepsItsOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		groups := rapid.SliceOfN(rapid.IntRange(0, 3), 1, 30).Draw(rt, "groups")
		r := inOrder(groups)
		counts := make([]int, 4)
		for _, g := range groups {
			counts[g]++
		}
		for range rapid.IntRange(1, 6).Draw(rt, "stages") {
			if rapid.Bool().Draw(rt, "by group") {
				goals := []int{-1, -1, -1, -1}
				for g := range goals {
					goals[g] = rapid.IntRange(-1, counts[g]).Draw(rt, "goal")
				}
				r.BringGroups(goals)
				for g, n := range goals {
					if n >= 0 && r.ActiveOf(g) != n {
						rt.Fatalf("%d of group %d; want %d", r.ActiveOf(g), g, n)
					}
				}
			} else {
				n := rapid.IntRange(0, len(groups)).Draw(rt, "devices")
				if r.Bring(n); r.Active() != n {
					rt.Fatalf("%d are active; want %d", r.Active(), n)
				}
			}
			over := make([]bool, 4)
			for place, g := range groups {
				if r.IsActive(place) && over[g] {
					rt.Fatalf("%v of groups %v: there is one before them", actives(r, len(groups)), groups)
				}
				over[g] = over[g] || !r.IsActive(place)
			}
		}
	})
}
