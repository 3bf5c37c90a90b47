package plan

import (
	"github.com/RoaringBitmap/roaring/v2"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// Source is the twins that queries read, numbered from 0. A number stays with its twin while the
// twin exists, so that a page can go on where the one before it ended. It is safe for concurrent use.
type Source interface {
	// Len is how many twins there are.
	Len() int
	// Max is above every number in use.
	Max() uint32
	// At is the twin with a number, or nil when the number is free.
	At(ord uint32) *twin.Twin
	// ByID finds a twin by its device id.
	ByID(id string) (ord uint32, t *twin.Twin, ok bool)
	// Lookup is an index over a path such as tags, location, plant. It may build one at its first
	// call, and returns nil when there can be none.
	Lookup(path []string) Index
}

// Index finds the numbers of twins by the value at a path. Only strings, numbers and booleans are
// indexed. A bitmap that is returned belongs to the caller; nil stands for none.
type Index interface {
	// Equal finds the twins whose value has the kind and content of v.
	Equal(v jsonvalue.Value) *roaring.Bitmap
	// Range finds the twins whose value has the kind of the bounds and lies between them. At least
	// one bound is given; strings compare by their bytes. It gives up, and returns false, when there
	// are more than most.
	Range(low, high Bound, most int) (*roaring.Bitmap, bool)
}

// Bound is one end of a range. The zero value is no bound.
type Bound struct {
	Value jsonvalue.Value // Undefined for no bound
	Open  bool            // the value itself is outside
}
