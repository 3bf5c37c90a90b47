package section

import (
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/limits"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/metadata"
)

// MergePatch applies a JSON merge-patch (RFC 7386) and returns the outcome: objects are
// merged member by member, null deletes, anything else replaces. It keeps no metadata
// and checks no limits: a device keeps its own copy of a section with it. An Undefined
// patch changes nothing.
func MergePatch(base, patch jsonvalue.Value) jsonvalue.Value {
	switch patch.Kind() {
	case jsonvalue.Undefined:
		return base
	case jsonvalue.Object:
		var m merger
		merged, _ := m.object(base.Map(), nil, patch.Map())
		return merged.Value()
	default:
		return patch
	}
}

// MergePatch applies a patch written at some time and returns the next section, whose
// version is one more. Every node the patch names is stamped, and so are the objects
// above it; the others keep their stamps. A patch that would break a limit changes
// nothing: the error is a [*limits.Error].
func (s *Section) Merge(patch jsonvalue.Value, now time.Time) (*Section, error) {
	if err := limits.Check(s.kind, patch); err != nil {
		return nil, err
	}
	m := s.merger(now)
	m.size = int(s.size)
	root, kids := m.object(s.root, s.meta.Kids, patch.Map())
	return s.next(&m, root, kids)
}

// Replace puts a whole document in the place of the section. The delta is what a device
// must merge into the old document to have the new one: the new document, with null for
// every member that is gone. Nulls in the document itself are left out. Errors are
// [*limits.Error].
func (s *Section) Replace(doc jsonvalue.Value, now time.Time) (next *Section, delta jsonvalue.Value, err error) {
	if err := limits.Check(s.kind, doc); err != nil {
		return nil, jsonvalue.Value{}, err
	}
	m := s.merger(now)
	root, kids := m.object(jsonvalue.Map{}, nil, doc.Map())
	next, err = s.next(&m, root, kids)
	if err != nil {
		return nil, jsonvalue.Value{}, err
	}
	return next, difference(s.root, root), nil
}

// merger starts the write that makes the next version of the section.
func (s *Section) merger(now time.Time) merger {
	m := merger{at: timestamp.Of(now), stamps: s.kind != limits.Tags}
	if s.kind == limits.Desired {
		m.version = s.version + 1
	}
	return m
}

// next makes the section out of what a merge left, unless it has grown too large.
func (s *Section) next(m *merger, root jsonvalue.Map, kids []metadata.Node) (*Section, error) {
	if err := limits.CheckSize(s.kind, m.size); err != nil {
		return nil, err
	}
	return &Section{
		kind: s.kind, root: root, version: s.version + 1, size: int32(m.size),
		meta: metadata.Node{At: m.at, Version: m.version, Kids: kids},
	}, nil
}

// merger is one write. It shares with the old document what the patch does not name.
type merger struct {
	at      timestamp.Ticks
	version int64 // Stamped beside the time, unless 0.
	stamps  bool  // Whether there is metadata at all.
	size    int   // Follows the computed size of the section.
}

// usualMembers is how many members an object and its patch have together, nearly always: for them a merge needs
// no scratch memory of its own.
const usualMembers = 32

// object merges the members of a patch into an object and returns the new one. Members
// keep their places and new ones come last, so the kids of the metadata stay in step.
func (m *merger) object(base jsonvalue.Map, kids []metadata.Node, patch jsonvalue.Map) (jsonvalue.Map, []metadata.Node) {
	olds, news := base.Members(), patch.Members()
	var few [usualMembers]int32
	touched, grown := m.match(base, patch, few[:])
	if grown <= 0 {
		for i := range olds {
			m.drop(&olds[i])
		}
		return jsonvalue.Map{}, nil
	}
	members := make([]jsonvalue.Member, 0, grown)
	var stamps []metadata.Node
	if m.stamps {
		stamps = make([]metadata.Node, 0, grown)
	}
	for i := range olds {
		old := &olds[i]
		by := touched[i]
		switch {
		case by == 0:
			members = append(members, *old)
			if m.stamps {
				stamps = append(stamps, kids[i])
			}
		case news[by-1].Value.Kind() == jsonvalue.Null:
			m.drop(old)
		default:
			var under []metadata.Node
			if m.stamps {
				under = kids[i].Kids
			}
			v, stamp := m.value(old.Value, under, news[by-1].Value)
			members = append(members, jsonvalue.Member{Key: old.Key, Value: v})
			if m.stamps {
				stamps = append(stamps, stamp)
			}
		}
	}
	added := touched[len(olds):]
	for i := range news {
		p := &news[i]
		if added[i] == 0 {
			continue
		}
		m.size += limits.SizeOfText(p.Key)
		v, stamp := m.value(jsonvalue.Value{}, nil, p.Value)
		members = append(members, jsonvalue.Member{Key: p.Key, Value: v})
		if m.stamps {
			stamps = append(stamps, stamp)
		}
	}
	return jsonvalue.MapOf(members), stamps
}

// match finds out what a patch does to an object. In the first part of the result, one
// entry for each member of the object, stands 1 + the place in the patch that names it;
// in the second, one for each member of the patch, 1 where it is new. It also returns how
// many members there will be.
func (m *merger) match(base, patch jsonvalue.Map, scratch []int32) (touched []int32, grown int) {
	news := patch.Members()
	n, k := base.Len(), len(news)
	if n+k > len(scratch) {
		scratch = make([]int32, n+k)
	}
	touched, grown = scratch[:n+k], n
	names := base.Index(k)
	for i := range news {
		p := &news[i]
		at := names.Find(p.Key)
		switch {
		case at >= 0:
			touched[at] = int32(i + 1)
			if p.Value.Kind() == jsonvalue.Null {
				grown--
			}
		case p.Value.Kind() != jsonvalue.Null:
			touched[n+i] = 1
			grown++
		}
	}
	return touched, grown
}

// value merges one value into an old one, Undefined where there was none.
func (m *merger) value(old jsonvalue.Value, kids []metadata.Node, patch jsonvalue.Value) (jsonvalue.Value, metadata.Node) {
	stamp := metadata.Node{At: m.at, Version: m.version}
	if patch.Kind() != jsonvalue.Object {
		m.size += limits.SizeOf(patch) - limits.SizeOf(old)
		return patch, stamp
	}
	if old.Kind() != jsonvalue.Object {
		m.size -= limits.SizeOf(old)
		kids = nil
	}
	merged, kids := m.object(old.Map(), kids, patch.Map())
	stamp.Kids = kids
	return merged.Value(), stamp
}

// drop takes a deleted member off the size.
func (m *merger) drop(old *jsonvalue.Member) {
	m.size -= limits.SizeOfText(old.Key) + limits.SizeOf(old.Value)
}

// difference returns the merge-patch from one object to another that names every member
// of the other, with null for what is gone.
func difference(from, to jsonvalue.Map) jsonvalue.Value {
	olds, news := from.Members(), to.Members()
	members := make([]jsonvalue.Member, 0, max(len(olds), len(news)))
	targets := to.Index(len(olds))
	for i := range olds {
		old := &olds[i]
		v := jsonvalue.NullValue()
		if at := targets.Find(old.Key); at >= 0 {
			v = news[at].Value
			if v.Kind() == jsonvalue.Object && old.Value.Kind() == jsonvalue.Object {
				v = difference(old.Value.Map(), v.Map())
			}
		}
		members = append(members, jsonvalue.Member{Key: old.Key, Value: v})
	}
	sources := from.Index(len(news))
	for i := range news {
		if sources.Find(news[i].Key) < 0 {
			members = append(members, news[i])
		}
	}
	return jsonvalue.ObjectValue(members...)
}
