package twin

import "time"

// Merge applies a JSON merge-patch (RFC 7386) and returns the outcome: objects are
// merged member by member, null deletes, anything else replaces. It keeps no metadata
// and checks no limits: a device keeps its own copy of a section with it. An Undefined
// patch changes nothing.
func Merge(base, patch Value) Value {
	switch patch.Kind() {
	case Undefined:
		return base
	case Object:
		var m merger
		n, _ := m.object(objectNode(base), nil, patch.node)
		return Value{node: n}
	default:
		return patch
	}
}

// objectNode returns the node of an object, and the empty one for every other kind.
func objectNode(v Value) *node {
	if v.Kind() == Object {
		return v.node
	}
	return emptyObject
}

// Merge applies a patch written at some time and returns the next section, whose
// version is one more. Every node the patch names is stamped, and so are the objects
// above it; the others keep their stamps. A patch that would break a limit changes
// nothing: the error is a [*LimitError].
func (s *Section) Merge(patch Value, now time.Time) (*Section, error) {
	c := checker{section: s.kind}
	if err := c.document(patch); err != nil {
		return nil, err
	}
	m := s.merger(now)
	m.size = int(s.size)
	root, kids := m.object(s.root, s.meta.kids, patch.node)
	return s.next(&m, root, kids)
}

// Replace puts a whole document in the place of the section. The delta is what a device
// must merge into the old document to have the new one: the new document, with null for
// every member that is gone. Nulls in the document itself are left out. Errors are
// [*LimitError].
func (s *Section) Replace(doc Value, now time.Time) (next *Section, delta Value, err error) {
	c := checker{section: s.kind}
	if err := c.document(doc); err != nil {
		return nil, Value{}, err
	}
	m := s.merger(now)
	root, kids := m.object(emptyObject, nil, doc.node)
	next, err = s.next(&m, root, kids)
	if err != nil {
		return nil, Value{}, err
	}
	return next, difference(s.root, root), nil
}

// merger starts the write that makes the next version of the section.
func (s *Section) merger(now time.Time) merger {
	m := merger{at: instantOf(now), stamps: s.kind != Tags}
	if s.kind == Desired {
		m.version = s.version + 1
	}
	return m
}

// next makes the section out of what a merge left, unless it has grown too large.
func (s *Section) next(m *merger, root *node, kids []meta) (*Section, error) {
	c := checker{section: s.kind}
	if err := c.size(m.size); err != nil {
		return nil, err
	}
	return &Section{
		kind: s.kind, root: root, version: s.version + 1, size: int32(m.size),
		meta: meta{at: m.at, version: m.version, kids: kids},
	}, nil
}

// merger is one write. It shares with the old document what the patch does not name.
type merger struct {
	at      instant
	version int64 // Stamped beside the time, unless 0.
	stamps  bool  // Whether there is metadata at all.
	size    int   // Follows the computed size of the section.
}

// object merges the members of a patch into an object and returns the new one. Members
// keep their places and new ones come last, so the kids of the metadata stay in step.
func (m *merger) object(base *node, kids []meta, patch *node) (*node, []meta) {
	var few [2 * walkLimit]int32
	touched, grown := m.match(base, patch, few[:])
	if grown <= 0 {
		for i := range base.members {
			m.drop(&base.members[i])
		}
		return emptyObject, nil
	}
	members := make([]Member, 0, grown)
	var stamps []meta
	if m.stamps {
		stamps = make([]meta, 0, grown)
	}
	for i := range base.members {
		old := &base.members[i]
		by := touched[i]
		switch {
		case by == 0:
			members = append(members, *old)
			if m.stamps {
				stamps = append(stamps, kids[i])
			}
		case patch.members[by-1].Value.Kind() == Null:
			m.drop(old)
		default:
			var under []meta
			if m.stamps {
				under = kids[i].kids
			}
			v, stamp := m.value(old.Value, under, patch.members[by-1].Value)
			members = append(members, Member{old.Key, v})
			if m.stamps {
				stamps = append(stamps, stamp)
			}
		}
	}
	added := touched[len(base.members):]
	for i := range patch.members {
		p := &patch.members[i]
		if added[i] == 0 {
			continue
		}
		m.size += sizeOfText(p.Key)
		v, stamp := m.value(Value{}, nil, p.Value)
		members = append(members, Member{p.Key, v})
		if m.stamps {
			stamps = append(stamps, stamp)
		}
	}
	return &node{kind: Object, members: members}, stamps
}

// match finds out what a patch does to an object. In the first part of the result, one
// entry for each member of the object, stands 1 + the place in the patch that names it;
// in the second, one for each member of the patch, 1 where it is new. It also returns how
// many members there will be.
func (m *merger) match(base, patch *node, scratch []int32) (touched []int32, grown int) {
	n, k := len(base.members), len(patch.members)
	if n+k > len(scratch) {
		scratch = make([]int32, n+k)
	}
	touched, grown = scratch[:n+k], n
	names := index(base, k)
	for i := range patch.members {
		p := &patch.members[i]
		at := names.find(p.Key)
		switch {
		case at >= 0:
			touched[at] = int32(i + 1)
			if p.Value.Kind() == Null {
				grown--
			}
		case p.Value.Kind() != Null:
			touched[n+i] = 1
			grown++
		}
	}
	return touched, grown
}

// value merges one value into an old one, Undefined where there was none.
func (m *merger) value(old Value, kids []meta, patch Value) (Value, meta) {
	stamp := meta{at: m.at, version: m.version}
	if patch.Kind() != Object {
		m.size += sizeOf(patch) - sizeOf(old)
		return patch, stamp
	}
	if old.Kind() != Object {
		m.size -= sizeOf(old)
		kids = nil
	}
	n, kids := m.object(objectNode(old), kids, patch.node)
	stamp.kids = kids
	return Value{node: n}, stamp
}

// drop takes a deleted member off the size.
func (m *merger) drop(old *Member) {
	m.size -= sizeOfText(old.Key) + sizeOf(old.Value)
}

// difference returns the merge-patch from one object to another that names every member
// of the other, with null for what is gone.
func difference(from, to *node) Value {
	members := make([]Member, 0, max(len(from.members), len(to.members)))
	targets := index(to, len(from.members))
	for i := range from.members {
		old := &from.members[i]
		v := NullValue()
		if at := targets.find(old.Key); at >= 0 {
			v = to.members[at].Value
			if v.Kind() == Object && old.Value.Kind() == Object {
				v = difference(old.Value.node, v.node)
			}
		}
		members = append(members, Member{old.Key, v})
	}
	sources := index(from, len(to.members))
	for i := range to.members {
		if sources.find(to.members[i].Key) < 0 {
			members = append(members, to.members[i])
		}
	}
	return ObjectValue(members...)
}

// names finds the members of one object by name, many times over.
type names struct {
	node   *node
	places map[string]int // nil where a walk is quicker.
}

// index prepares for so many lookups in an object.
func index(n *node, lookups int) names {
	if len(n.members) <= walkLimit || lookups <= walkLimit {
		return names{node: n}
	}
	places := make(map[string]int, len(n.members))
	for i := range n.members {
		places[n.members[i].Key] = i
	}
	return names{node: n, places: places}
}

// find returns the place of a member, or -1.
func (s names) find(key string) int {
	if s.places == nil {
		return Value{node: s.node}.find(key)
	}
	if i, ok := s.places[key]; ok {
		return i
	}
	return -1
}
