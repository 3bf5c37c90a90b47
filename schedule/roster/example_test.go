package roster_test

import (
	"fmt"

	"github.com/twinfleet/twinfleet/schedule/roster"
)

// Three devices of group 0 and two of group 1 start in a given order; the last to come is the first to go.
func ExampleRoster() {
	r := roster.New([]int{3, 0, 4, 1, 2}, []int{0, 0, 0, 1, 1})
	for range 3 {
		r.Move(roster.Everyone, true)
	}
	fmt.Println(r.Active(), r.ActiveOf(0), r.ActiveOf(1))
	r.Move(roster.Everyone, false)
	fmt.Println(r.Active(), r.ActiveOf(0), r.ActiveOf(1))
	// Output:
	// 3 1 2
	// 2 1 1
}
