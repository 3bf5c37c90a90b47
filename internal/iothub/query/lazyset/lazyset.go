// Package lazyset is sets of numbers that are never put together as a whole.
package lazyset

import "github.com/RoaringBitmap/roaring/v2"

// Set is what indexes found, as a set that is never put together as a whole: to fill a page a
// part of it is enough, and the part does not grow with the fleet.
type Set interface {
	// Within is the members of the set that are in part, as a bitmap that may be changed. Part is not.
	Within(part *roaring.Bitmap) *roaring.Bitmap
	// Size is at least how many members there are.
	Size() int
}

// WindowSize is how many numbers of twins are read together: those of one container of a bitmap.
const WindowSize = 1 << 16

// AnyOf is the union of bitmaps.
type AnyOf []*roaring.Bitmap

// Within is the members in part, see [Set].
func (f AnyOf) Within(part *roaring.Bitmap) *roaring.Bitmap {
	if len(f) == 1 {
		return roaring.And(part, f[0])
	}
	out := roaring.New()
	for _, m := range f {
		out.Or(roaring.And(part, m))
	}
	return out
}

// Size is at least how many members there are.
func (f AnyOf) Size() int {
	n := 0
	for _, m := range f {
		n += int(m.GetCardinality())
	}
	return n
}

// AllOf is the intersection of findings, the smallest first; there is at least one.
type AllOf []Set

// Within is the members in part, see [Set].
func (f AllOf) Within(part *roaring.Bitmap) *roaring.Bitmap {
	for _, each := range f {
		if part = each.Within(part); part.IsEmpty() {
			break
		}
	}
	return part
}

// Size is at least how many members there are.
func (f AllOf) Size() int { return f[0].Size() }

// EitherOf is the union of two findings.
type EitherOf struct {
	X, Y Set // Whose members it has.
}

// Within is the members in part, see [Set].
func (f EitherOf) Within(part *roaring.Bitmap) *roaring.Bitmap {
	out := f.X.Within(part)
	out.Or(f.Y.Within(part))
	return out
}

// Size is at least how many members there are.
func (f EitherOf) Size() int { return f.X.Size() + f.Y.Size() }
