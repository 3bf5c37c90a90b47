package rotation_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/fleet/rotation"
)

// The rotation deals as a walk over all devices would.
func TestRotationIsAWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{1, 2, 63, 64, 65, 4095, 4096, 4097, 9000}).Draw(t, "size")
		r, in, last := rotation.New(size), make(map[int]bool), -1
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			i := rapid.IntRange(0, size-1).Draw(t, "index")
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				r.Set(i, true)
				in[i] = true
			case 1:
				r.Set(i, false)
				delete(in, i)
			default:
				want := -1
				for k := 1; k <= size && want < 0; k++ {
					if x := (last + k) % size; in[x] {
						want = x
					}
				}
				got := -1
				if ok := r.Next(func(i int) { got = i }); ok != (want >= 0) || got != want {
					t.Fatalf("next = %d, %v; want %d", got, ok, want)
				}
				if want >= 0 {
					last = want
				}
			}
			if r.Size() != len(in) {
				t.Fatalf("size = %d; want %d", r.Size(), len(in))
			}
		}
	})
}

// Nearly all devices being away does not make dealing slower.
func BenchmarkRotationOneOfAMillion(b *testing.B) {
	r := rotation.New(1_000_000)
	r.Set(999_999, true)
	for b.Loop() {
		r.Next(func(int) {})
	}
}
