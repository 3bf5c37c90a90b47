package layout

import (
	"fmt"
	"strings"
	"testing"
)

func rows(name string, n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprint(name, i))
	}
	return out
}

// Each section gets its least first, then what it likes to have, then the rest in their order; what is left out is counted.
func TestLinesShareTheRoom(t *testing.T) {
	all := []Section{
		{Head: "A", Rows: rows("a", 6), Least: 1, First: 2},
		{Head: "none"},
		{Rows: rows("b", 3), Least: 1, First: 1, Plain: true},
		{Head: "C", Rows: rows("c", 4), Least: 1, First: 1, Last: true},
	}
	more := func(n int) string { return fmt.Sprintf("+%d", n) }
	for room, want := range map[int]string{
		2:  "A a0",
		5:  "A a0 b0 C c3",
		6:  "A a0 +5 b0 C c3",
		9:  "A a0 a1 a2 a3 +2 b0 C c3",
		12: "A a0 a1 a2 a3 a4 a5 b0 b1 b2 C c3",
		18: "A a0 a1 a2 a3 a4 a5 b0 b1 b2 C c0 c1 c2 c3",
		19: " A a0 a1 a2 a3 a4 a5  b0 b1 b2  C c0 c1 c2 c3",
	} {
		if got := strings.Join(Lines(all, room, more), " "); got != want {
			t.Errorf("in %d lines: %q; want %q", room, got, want)
		}
	}
	// What is idle goes first, and comes back where it was.
	all[0].Idle = []bool{true, false, true, false, true, true}
	for room, want := range map[int]string{
		6:  "A a1 +5 b0 C c3",
		8:  "A a0 a1 a3 +3 b0 C c3",
		12: "A a0 a1 a2 a3 a4 a5 b0 b1 b2 C c3",
	} {
		if got := strings.Join(Lines(all, room, more), " "); got != want {
			t.Errorf("in %d lines, some of them idle: %q; want %q", room, got, want)
		}
	}
	if all[0].given != 0 {
		t.Error("the sections were changed")
	}
}
