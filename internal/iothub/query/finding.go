package query

import (
	"math"

	"github.com/RoaringBitmap/roaring/v2"
)

// finding is what indexes found, as a set that is never put together as a whole: to fill a page a
// part of it is enough, and the part does not grow with the fleet.
type finding interface {
	// within is the members of the set that are in part, as a bitmap that may be changed. Part is not.
	within(part *roaring.Bitmap) *roaring.Bitmap
	// size is at least how many members there are.
	size() int
}

// windowSize is how many numbers of twins are looked at together: those of one container of a bitmap.
const windowSize = 1 << 16

// search is what a finding is wanted for.
type search struct {
	among int  // how many twins there are to choose from without it
	all   bool // all that is found will be looked at, not a page of it
}

// most is how many twins a range may have to be worth reading. For a page of a hundred, a range of n
// twins costs about n steps through its index to read; without it a hundred are found among m in
// about 100·m/n looks at twins, each as long as two steps. The two are equal at n = 15·√m or so, which
// keeps either below some milliseconds for a million twins.
func (s search) most() int {
	if s.all {
		return s.among / 4
	}
	return max(1000, int(15*math.Sqrt(float64(s.among))))
}

// anyOf is the union of bitmaps.
type anyOf []*roaring.Bitmap

func (f anyOf) within(part *roaring.Bitmap) *roaring.Bitmap {
	if len(f) == 1 {
		return roaring.And(part, f[0])
	}
	out := roaring.New()
	for _, m := range f {
		out.Or(roaring.And(part, m))
	}
	return out
}

func (f anyOf) size() int {
	n := 0
	for _, m := range f {
		n += int(m.GetCardinality())
	}
	return n
}

// allOf is the intersection of findings, the smallest first; there is at least one.
type allOf []finding

func (f allOf) within(part *roaring.Bitmap) *roaring.Bitmap {
	for _, each := range f {
		if part = each.within(part); part.IsEmpty() {
			break
		}
	}
	return part
}

func (f allOf) size() int { return f[0].size() }

// eitherOf is the union of two findings.
type eitherOf struct{ x, y finding }

func (f eitherOf) within(part *roaring.Bitmap) *roaring.Bitmap {
	out := f.x.within(part)
	out.Or(f.y.within(part))
	return out
}

func (f eitherOf) size() int { return f.x.size() + f.y.size() }
