// Package section is the three parts of a twin, each a document with its metadata and version, and the writes
// that make the next one: the merge-patch and the replacement.
//
// A section is immutable. A write makes a new one that shares with the old one whatever it did not touch, so a
// snapshot costs nothing and may be read by any number of goroutines.
package section

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonstring"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/codec"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/limits"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/metadata"
)

// Section is one of the three parts of a twin: a document, its metadata and its
// version. A Section never changes; [Section.Merge] and [Section.Replace] make the next one.
type Section struct {
	root    jsonvalue.Map
	meta    metadata.Node
	version int64
	size    int32
	kind    limits.SectionKind
}

// The sections of a twin that was never written. They never change.
var (
	freshTags     = &Section{kind: limits.Tags, version: 1, meta: metadata.Node{At: timestamp.Never}}
	freshDesired  = &Section{kind: limits.Desired, version: 1, meta: metadata.Node{At: timestamp.Never}}
	freshReported = &Section{kind: limits.Reported, version: 1, meta: metadata.Node{At: timestamp.Never}}
)

// Created returns the section with which a twin begins: version 1, a document, and a stamp of the creation at every
// node; the zero time stands for never. A written version above 0 is stamped beside it. An Undefined document is an
// empty one. Errors are [*limits.Error].
func Created(kind limits.SectionKind, doc jsonvalue.Value, at time.Time, written int64) (*Section, error) {
	if !doc.IsDefined() {
		doc = jsonvalue.ObjectValue()
	}
	if err := limits.Check(kind, doc); err != nil {
		return nil, err
	}
	m := merger{at: timestamp.Of(at), version: written, stamps: kind != limits.Tags}
	root, kids := m.object(jsonvalue.Map{}, nil, doc.Map())
	if err := limits.CheckSize(kind, m.size); err != nil {
		return nil, err
	}
	return &Section{
		kind: kind, root: root, version: 1, size: int32(m.size),
		meta: metadata.Node{At: m.at, Version: m.version, Kids: kids},
	}, nil
}

// New returns the section of a new twin: empty, version 1, never updated.
func New(kind limits.SectionKind) *Section {
	switch kind {
	case limits.Desired:
		return freshDesired
	case limits.Reported:
		return freshReported
	default:
		return freshTags
	}
}

// Kind says which of the three sections it is.
func (s *Section) Kind() limits.SectionKind { return s.kind }

// Value returns the document without metadata.
func (s *Section) Value() jsonvalue.Value { return s.root.Value() }

// Version returns $version. Tags have none of their own in documents, but count too.
func (s *Section) Version() int64 { return s.version }

// LastUpdated returns when the section was last written, and the zero time for never.
func (s *Section) LastUpdated() time.Time { return s.meta.At.Time() }

// Size returns the size that the limits are about, in bytes as the guide counts them:
// names and strings by their characters without control characters, numbers as 8,
// booleans as 4; metadata is free.
func (s *Section) Size() int { return int(s.size) }

// Metadata returns $metadata as a document; tags have none. It is made on demand.
func (s *Section) Metadata() jsonvalue.Value {
	if s.kind == limits.Tags {
		return jsonvalue.Value{}
	}
	return s.meta.Value(s.root)
}

// AppendJSON appends the section as a JSON object: its members, then $metadata and
// $version if wanted. Tags have neither.
func (s *Section) AppendJSON(dst []byte, withMetadata, withVersion bool) []byte {
	dst = append(dst, '{')
	dst = jsonvalue.AppendMembers(dst, s.root.Members())
	if s.kind == limits.Tags {
		return append(dst, '}')
	}
	comma := s.root.Len() > 0
	if withMetadata {
		dst = jsonstring.AppendName(dst, metadata.KeyMetadata, comma)
		dst = s.meta.AppendJSON(dst, s.root)
		comma = true
	}
	if withVersion {
		dst = jsonstring.AppendName(dst, metadata.KeyVersion, comma)
		dst = strconv.AppendInt(dst, s.version, 10)
	}
	return append(dst, '}')
}

// Document makes the section as queries see it: members, $metadata and $version. Tags are
// their members alone.
func (s *Section) Document() jsonvalue.Value {
	if s.kind == limits.Tags {
		return s.Value()
	}
	members := make([]jsonvalue.Member, 0, s.root.Len()+2)
	members = append(members, s.root.Members()...)
	members = append(members, jsonvalue.Member{Key: metadata.KeyMetadata, Value: s.Metadata()},
		jsonvalue.Member{Key: metadata.KeyVersion, Value: jsonvalue.IntValue(s.version)})
	return jsonvalue.ObjectValue(members...)
}

// Field finds a path below the section, metadata included.
func (s *Section) Field(path []string) jsonvalue.Value {
	if len(path) == 0 {
		return s.Document()
	}
	if s.kind != limits.Tags {
		switch path[0] {
		case metadata.KeyVersion:
			return jsonvalue.IntValue(s.version).Path(path[1:]...)
		case metadata.KeyMetadata:
			return s.meta.Field(s.root, path[1:])
		}
	}
	return s.Value().Path(path...)
}

// AppendBinary appends the version, the document as JSON, and the metadata, node after node in the order of the
// document.
func (s *Section) AppendBinary(dst []byte) []byte {
	dst = binary.AppendVarint(dst, s.version)
	text := s.Value().AppendJSON(nil)
	dst = binary.AppendUvarint(dst, uint64(len(text)))
	dst = append(dst, text...)
	return s.meta.AppendBinary(dst)
}

// Decode reads a section of some kind, whose words come from the interner. An untouched one is the shared one
// of new twins. The section is sound if the reader has no error afterwards.
func Decode(d *codec.Reader, kind limits.SectionKind, in *jsonparse.Interner) *Section {
	s := &Section{kind: kind, version: d.Varint()}
	text := d.Bytes()
	if d.Err != nil {
		return s
	}
	doc, err := in.Parse(text)
	if err != nil || doc.Kind() != jsonvalue.Object {
		d.Fail("a section is no object")
		return s
	}
	s.root, s.size = doc.Map(), int32(limits.SizeOf(doc))
	s.meta = metadata.Decode(d, doc, kind != limits.Tags)
	if fresh := New(kind); d.Err == nil && s.version == fresh.version && doc.Len() == 0 && s.meta.At == timestamp.Never {
		return fresh
	}
	return s
}
