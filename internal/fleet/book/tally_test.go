package book

import (
	"testing"

	"pgregory.net/rapid"
)

// A tally is a map of counts, and keeps nothing of turns that count nothing.
func TestTallyIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var got tally
		want := make(map[int64]int)
		turn := rapid.SampledFrom([]int64{0, 1, 63, 64, 65, 1 << 40})
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				at, n := turn.Draw(t, "turn"), rapid.IntRange(0, 40).Draw(t, "n")
				got.add(at, n)
				want[at] += n
			},
			"take": func(t *rapid.T) {
				at := turn.Draw(t, "turn")
				if had := got.take(at); had != (want[at] > 0) {
					t.Fatalf("turn %d: %v, there were %d", at, had, want[at])
				}
				want[at] = max(0, want[at]-1)
			},
			"take all": func(t *rapid.T) {
				for at, n := range want {
					for range n {
						if !got.take(at) {
							t.Fatalf("turn %d has less than %d", at, n)
						}
					}
				}
				clear(want)
				if len(got) != 0 {
					t.Fatalf("%d pages are left", len(got))
				}
			},
		})
	})
}
