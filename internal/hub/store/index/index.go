// Package index finds twins by the value at one path.
package index

import (
	"cmp"
	"math"
	"slices"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/google/btree"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/query/plan"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// Index finds twins by the scalar at one path: for every value that occurs, in order, the
// ordinals of the twins that have it.
type Index struct {
	path []string

	mu   sync.RWMutex // Protects the tree and the postings in it.
	tree *btree.BTreeG[*posting]
}

// scalar is a value as the index orders it: booleans before numbers before strings.
type scalar struct {
	kind jsonvalue.Kind
	num  float64 // Of a number; 0 or 1 for a boolean.
	text string  // Of a string.
}

// posting is one value and the twins that have it. Many paths have values that few twins
// share, so a short list comes before a bitmap.
type posting struct {
	key  scalar
	few  []uint32        // In order, while many is nil.
	many *roaring.Bitmap // Once there are more than fewLimit.
}

const (
	fewLimit   = 16
	treeDegree = 32
)

// New makes an empty index over a path of [twin.Twin.Field].
func New(path []string) *Index {
	return &Index{
		path: slices.Clone(path),
		tree: btree.NewG(treeDegree, func(a, b *posting) bool { return a.key.compare(b.key) < 0 }),
	}
}

// compare orders scalars.
func (a scalar) compare(b scalar) int {
	if c := cmp.Compare(a.kind, b.kind); c != 0 {
		return c
	}
	if a.kind == jsonvalue.String {
		return cmp.Compare(a.text, b.text)
	}
	return cmp.Compare(a.num, b.num)
}

// scalarOf returns a value as the index has it; false for what is not indexed.
func scalarOf(v jsonvalue.Value) (scalar, bool) {
	switch v.Kind() {
	case jsonvalue.Bool:
		if v.Bool() {
			return scalar{kind: jsonvalue.Bool, num: 1}, true
		}
		return scalar{kind: jsonvalue.Bool}, true
	case jsonvalue.Number:
		return scalar{kind: jsonvalue.Number, num: v.Num() + 0}, true // -0 becomes 0, which it equals.
	case jsonvalue.String:
		return scalar{kind: jsonvalue.String, text: v.Str()}, true
	default:
		return scalar{}, false
	}
}

// field returns what a twin has at the path; nothing for no twin.
func (x *Index) field(t *twin.Twin) (scalar, bool) {
	if t == nil {
		return scalar{}, false
	}
	return scalarOf(t.Field(x.path...))
}

// Update enters a change of one twin, from old to new; nil is no twin. To enter the same
// state twice does no harm.
func (x *Index) Update(ord uint32, old, new *twin.Twin) {
	if old != nil && new != nil && x.untouched(old, new) {
		return
	}
	before, had := x.field(old)
	after, has := x.field(new)
	if had == has && before == after {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if had {
		x.remove(before, ord)
	}
	if has {
		x.insert(after, ord)
	}
}

// untouched reports whether two states of a twin share the whole section of the path.
func (x *Index) untouched(old, new *twin.Twin) bool {
	switch {
	case x.path[0] == "tags":
		return old.Tags == new.Tags
	case len(x.path) > 1 && x.path[0] == "properties" && x.path[1] == "reported":
		return old.Reported == new.Reported
	case len(x.path) > 1 && x.path[0] == "properties" && x.path[1] == "desired":
		return old.Desired == new.Desired
	default:
		return false
	}
}

// insert adds a twin to a value; the index is locked.
func (x *Index) insert(key scalar, ord uint32) {
	p, ok := x.tree.Get(&posting{key: key})
	if !ok {
		p = &posting{key: key}
		x.tree.ReplaceOrInsert(p)
	}
	p.add(ord)
}

// remove takes a twin off a value; the index is locked.
func (x *Index) remove(key scalar, ord uint32) {
	p, ok := x.tree.Get(&posting{key: key})
	if ok && p.remove(ord) {
		x.tree.Delete(p)
	}
}

func (p *posting) add(ord uint32) {
	if p.many != nil {
		p.many.Add(ord)
		return
	}
	i, found := slices.BinarySearch(p.few, ord)
	if found {
		return
	}
	if len(p.few) < fewLimit {
		p.few = slices.Insert(p.few, i, ord)
		return
	}
	p.many = roaring.BitmapOf(p.few...)
	p.many.SetCopyOnWrite(true) // A clone shares what neither side changes: its cost does not grow with the fleet.
	p.many.Add(ord)
	p.few = nil
}

// remove reports whether nothing is left.
func (p *posting) remove(ord uint32) bool {
	if p.many != nil {
		p.many.Remove(ord)
		return p.many.IsEmpty()
	}
	if i, found := slices.BinarySearch(p.few, ord); found {
		p.few = slices.Delete(p.few, i, i+1)
	}
	return len(p.few) == 0
}

// Equal returns the ordinals of the twins that have a value, as a bitmap of the caller's
// own; nil for none and for a value that is no boolean, number or string.
func (x *Index) Equal(v jsonvalue.Value) *roaring.Bitmap {
	key, ok := scalarOf(v)
	if !ok {
		return nil
	}
	x.mu.Lock() // To clone marks what is shared in the original too.
	defer x.mu.Unlock()
	p, ok := x.tree.Get(&posting{key: key})
	if !ok {
		return nil
	}
	if p.many != nil {
		return p.many.Clone()
	}
	return roaring.BitmapOf(p.few...)
}

// Range returns the ordinals of the twins whose value lies between the bounds and has their
// kind; one bound may be missing. The bitmap is the caller's own; nil for none, for no
// bound, and for bounds of different kinds. It gives up, and returns false, when there are more than most.
func (x *Index) Range(low, high plan.Bound, most int) (*roaring.Bitmap, bool) {
	lo, hasLow := scalarOf(low.Value)
	hi, hasHigh := scalarOf(high.Value)
	if hasLow != low.Value.IsDefined() || hasHigh != high.Value.IsDefined() || !hasLow && !hasHigh || hasLow && hasHigh && lo.kind != hi.kind {
		return nil, true
	}
	kind := lo.kind
	if !hasLow {
		kind = hi.kind
		lo = scalar{kind: kind} // Only strings are not below it.
		if kind == jsonvalue.Number {
			lo.num = math.Inf(-1)
		}
	}
	// Values that few twins have come in no order of ordinals: to sort them once costs less than to
	// put each in its place.
	var few []uint32
	var many []*roaring.Bitmap
	n := 0
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.tree.AscendGreaterOrEqual(&posting{key: lo}, func(p *posting) bool {
		if p.key.kind != kind {
			return false
		}
		if hasHigh {
			if c := p.key.compare(hi); c > 0 || c == 0 && high.Open {
				return false
			}
		}
		if hasLow && low.Open && p.key.compare(lo) == 0 {
			return true
		}
		if p.many != nil {
			many = append(many, p.many)
			n += int(p.many.GetCardinality())
		} else {
			few = append(few, p.few...)
			n += len(p.few)
		}
		return n <= most
	})
	switch {
	case n > most:
		return nil, false
	case n == 0:
		return nil, true
	}
	slices.Sort(few)
	found := roaring.BitmapOf(few...)
	for _, m := range many {
		found.Or(m)
	}
	return found, true
}
