package twin

import (
	"strconv"
	"time"
)

// SectionKind tells the three sections of a twin apart.
type SectionKind uint8

// The sections of a twin.
const (
	Tags     SectionKind = iota // Written and read by the service alone; no metadata.
	Desired                     // Written by the service; metadata with versions.
	Reported                    // Written by the device; metadata.
)

// String is the name of the section in documents.
func (k SectionKind) String() string {
	switch k {
	case Desired:
		return "desired"
	case Reported:
		return "reported"
	default:
		return "tags"
	}
}

// maxSize is the largest computed size of the section.
func (k SectionKind) maxSize() int {
	switch k {
	case Desired:
		return MaxDesiredSize
	case Reported:
		return MaxReportedSize
	default:
		return MaxTagsSize
	}
}

// The names of metadata in documents. No property may have such a name.
const (
	keyMetadata           = "$metadata"
	keyVersion            = "$version"
	keyLastUpdated        = "$lastUpdated"
	keyLastUpdatedVersion = "$lastUpdatedVersion"
)

// Section is one of the three parts of a twin: a document, its metadata and its
// version. A Section never changes; [Section.Merge] and [Section.Replace] make the next one.
type Section struct {
	root    *node // Always an object.
	meta    meta
	version int64
	size    int32
	kind    SectionKind
}

// meta is the metadata of one node of the document. The kids stand in the order of the
// members of the object they describe; a scalar or an array has none.
type meta struct {
	at      instant
	version int64 // Of the write that stamped the node; 0 outside desired and where nothing was written yet.
	kids    []meta
}

// The sections of a new twin. They never change.
var (
	freshTags     = &Section{kind: Tags, root: emptyObject, version: 1, meta: meta{at: never}}
	freshDesired  = &Section{kind: Desired, root: emptyObject, version: 1, meta: meta{at: never}}
	freshReported = &Section{kind: Reported, root: emptyObject, version: 1, meta: meta{at: never}}
)

// NewSection returns the section of a new twin: empty, version 1, never updated.
func NewSection(kind SectionKind) *Section {
	switch kind {
	case Desired:
		return freshDesired
	case Reported:
		return freshReported
	default:
		return freshTags
	}
}

// Kind says which of the three sections it is.
func (s *Section) Kind() SectionKind { return s.kind }

// Value returns the document without metadata.
func (s *Section) Value() Value { return Value{node: s.root} }

// Version returns $version. Tags have none of their own in documents, but count too.
func (s *Section) Version() int64 { return s.version }

// LastUpdated returns when the section was last written, and the zero time for never.
func (s *Section) LastUpdated() time.Time { return s.meta.at.time() }

// Size returns the size that the limits are about, in bytes as the guide counts them:
// names and strings by their characters without control characters, numbers as 8,
// booleans as 4; metadata is free.
func (s *Section) Size() int { return int(s.size) }

// Metadata returns $metadata as a document; tags have none. It is made on demand.
func (s *Section) Metadata() Value {
	if s.kind == Tags {
		return Value{}
	}
	return s.meta.value(s.root)
}

// value makes the metadata document of a node.
func (m *meta) value(n *node) Value {
	members := make([]Member, 0, 2+len(m.kids))
	members = append(members, Member{keyLastUpdated, StringValue(m.at.String())})
	if m.version != 0 {
		members = append(members, Member{keyLastUpdatedVersion, IntValue(m.version)})
	}
	for i := range m.kids {
		members = append(members, Member{n.members[i].Key, m.kids[i].value(n.members[i].Value.node)})
	}
	return ObjectValue(members...)
}

// AppendJSON appends the section as a JSON object: its members, then $metadata and
// $version if wanted. Tags have neither.
func (s *Section) AppendJSON(dst []byte, withMetadata, withVersion bool) []byte {
	dst = append(dst, '{')
	dst = appendMembers(dst, s.root.members)
	if s.kind == Tags {
		return append(dst, '}')
	}
	comma := len(s.root.members) > 0
	if withMetadata {
		dst = appendName(dst, keyMetadata, comma)
		dst = s.meta.appendJSON(dst, s.root)
		comma = true
	}
	if withVersion {
		dst = appendName(dst, keyVersion, comma)
		dst = strconv.AppendInt(dst, s.version, 10)
	}
	return append(dst, '}')
}

// appendJSON appends the metadata document of a node.
func (m *meta) appendJSON(dst []byte, n *node) []byte {
	dst = append(dst, `{"$lastUpdated":"`...)
	dst = m.at.append(dst)
	dst = append(dst, '"')
	if m.version != 0 {
		dst = append(dst, `,"$lastUpdatedVersion":`...)
		dst = strconv.AppendInt(dst, m.version, 10)
	}
	for i := range m.kids {
		dst = append(dst, ',')
		dst = appendString(dst, n.members[i].Key)
		dst = append(dst, ':')
		dst = m.kids[i].appendJSON(dst, n.members[i].Value.node)
	}
	return append(dst, '}')
}

// appendName appends a name that needs no escapes, and its colon.
func appendName(dst []byte, name string, comma bool) []byte {
	if comma {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}

// value makes the section as queries see it: members, $metadata and $version. Tags are
// their members alone.
func (s *Section) document() Value {
	if s.kind == Tags {
		return s.Value()
	}
	members := make([]Member, 0, len(s.root.members)+2)
	members = append(members, s.root.members...)
	members = append(members, Member{keyMetadata, s.Metadata()}, Member{keyVersion, IntValue(s.version)})
	return ObjectValue(members...)
}

// field looks up a path below the section, metadata included.
func (s *Section) field(path []string) Value {
	if len(path) == 0 {
		return s.document()
	}
	if s.kind != Tags {
		switch path[0] {
		case keyVersion:
			return IntValue(s.version).Path(path[1:]...)
		case keyMetadata:
			return s.meta.field(s.root, path[1:])
		}
	}
	return s.Value().Path(path...)
}

// field looks up a path below the metadata of a node.
func (m *meta) field(n *node, path []string) Value {
	for len(path) > 0 {
		switch path[0] {
		case keyLastUpdated:
			return StringValue(m.at.String()).Path(path[1:]...)
		case keyLastUpdatedVersion:
			if m.version == 0 {
				return Value{}
			}
			return IntValue(m.version).Path(path[1:]...)
		}
		i := Value{node: n}.find(path[0])
		if i < 0 {
			return Value{}
		}
		m, n, path = &m.kids[i], n.members[i].Value.node, path[1:]
	}
	return m.value(n)
}
