package jsonvalue

// Map is the handle of an object, in one word: what keeps many objects keeps them as Maps. The zero Map is
// the empty object.
type Map struct{ node *node }

// MapOf returns the object with the members in the order given. The rules of [ObjectValue] hold.
func MapOf(members []Member) Map {
	if len(members) == 0 {
		return Map{}
	}
	return Map{&node{kind: Object, members: members}}
}

// Map returns the handle of an object, and that of the empty one for every other kind.
func (v Value) Map() Map {
	if v.node == nil || v.node.kind != Object {
		return Map{}
	}
	return Map{v.node}
}

// Value returns the object as a value.
func (m Map) Value() Value {
	if m.node == nil {
		return Value{node: emptyObject}
	}
	return Value{node: m.node}
}

// Members returns the members in their order. The slice is the object's own: it must not be changed.
func (m Map) Members() []Member {
	if m.node == nil {
		return nil
	}
	return m.node.members
}

// Len returns the number of members.
func (m Map) Len() int { return len(m.Members()) }

// Find returns the place of a member, or -1. Objects of twins are small: a walk beats a table, and needs no
// memory.
func (m Map) Find(key string) int {
	members := m.Members()
	for i := range members {
		if members[i].Key == key {
			return i
		}
	}
	return -1
}

// walkLimit is the number of names up to which a walk is quicker than a table. Above it tables keep the work
// from growing with the square of the size.
const walkLimit = 16

// Index finds the members of one object by name, many times over.
type Index struct {
	of     Map
	places map[string]int // nil where a walk is quicker.
}

// Index prepares for so many lookups.
func (m Map) Index(lookups int) Index {
	members := m.Members()
	if len(members) <= walkLimit || lookups <= walkLimit {
		return Index{of: m}
	}
	places := make(map[string]int, len(members))
	for i := range members {
		places[members[i].Key] = i
	}
	return Index{of: m, places: places}
}

// Find returns the place of a member, or -1.
func (x Index) Find(key string) int {
	if x.places == nil {
		return x.of.Find(key)
	}
	if i, ok := x.places[key]; ok {
		return i
	}
	return -1
}
