// Package metadata is when the parts of a section were written: $metadata in documents.
package metadata

import (
	"encoding/binary"
	"strconv"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonstring"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/codec"
)

// Node is the metadata of one node of a document.
type Node struct {
	At      timestamp.Ticks // When the node was written last.
	Version int64           // Of the write that stamped the node; 0 outside desired and where nothing was written yet.
	By      *Origin         // The configuration that wrote the node; nil for none. Never changed.
	Kids    []Node          // In the order of the members of the object they describe; a scalar or an array has none.
}

// Value makes the metadata document of a node, which describes an object or, without members, anything else.
func (m *Node) Value(o jsonvalue.Map) jsonvalue.Value {
	members := make([]jsonvalue.Member, 0, 2+len(m.Kids))
	members = append(members, jsonvalue.Member{Key: KeyLastUpdated, Value: jsonvalue.StringValue(m.At.String())})
	if m.Version != 0 {
		members = append(members, jsonvalue.Member{Key: KeyLastUpdatedVersion, Value: jsonvalue.IntValue(m.Version)})
	}
	if m.By != nil {
		members = append(members, jsonvalue.Member{Key: KeyLastUpdatedBy, Value: jsonvalue.StringValue(m.By.ID)},
			jsonvalue.Member{Key: KeyLastUpdatedByDigest, Value: jsonvalue.StringValue(m.By.Digest)})
	}
	for i := range m.Kids {
		members = append(members, jsonvalue.Member{Key: o.Members()[i].Key, Value: m.Kids[i].Value(o.Members()[i].Value.Map())})
	}
	return jsonvalue.ObjectValue(members...)
}

// AppendJSON appends the metadata document of a node.
func (m *Node) AppendJSON(dst []byte, o jsonvalue.Map) []byte {
	dst = append(dst, `{"$lastUpdated":"`...)
	dst = m.At.Append(dst)
	dst = append(dst, '"')
	if m.Version != 0 {
		dst = append(dst, `,"$lastUpdatedVersion":`...)
		dst = strconv.AppendInt(dst, m.Version, 10)
	}
	if m.By != nil {
		dst = append(dst, `,"$lastUpdatedBy":`...)
		dst = jsonstring.Append(dst, m.By.ID)
		dst = append(dst, `,"$lastUpdatedByDigest":`...)
		dst = jsonstring.Append(dst, m.By.Digest)
	}
	for i := range m.Kids {
		dst = append(dst, ',')
		dst = jsonstring.Append(dst, o.Members()[i].Key)
		dst = append(dst, ':')
		dst = m.Kids[i].AppendJSON(dst, o.Members()[i].Value.Map())
	}
	return append(dst, '}')
}

// Field finds a path below the metadata of a node.
func (m *Node) Field(o jsonvalue.Map, path []string) jsonvalue.Value {
	for len(path) > 0 {
		switch path[0] {
		case KeyLastUpdated:
			return jsonvalue.StringValue(m.At.String()).Path(path[1:]...)
		case KeyLastUpdatedVersion:
			if m.Version == 0 {
				return jsonvalue.Value{}
			}
			return jsonvalue.IntValue(m.Version).Path(path[1:]...)
		case KeyLastUpdatedBy, KeyLastUpdatedByDigest:
			return m.By.field(path[0]).Path(path[1:]...)
		}
		i := o.Find(path[0])
		if i < 0 {
			return jsonvalue.Value{}
		}
		m, o, path = &m.Kids[i], o.Members()[i].Value.Map(), path[1:]
	}
	return m.Value(o)
}

// AppendBinary appends the node and those below it, in the order of the document.
func (m *Node) AppendBinary(dst []byte) []byte {
	dst = binary.AppendVarint(dst, int64(m.At))
	dst = binary.AppendVarint(dst, m.Version)
	for i := range m.Kids {
		dst = m.Kids[i].AppendBinary(dst)
	}
	return dst
}

// Decode reads the metadata of a value and, if below is set, of what is below it. It is sound if the
// reader has no error afterwards.
func Decode(d *codec.Reader, v jsonvalue.Value, below bool) Node {
	m := Node{At: timestamp.Ticks(d.Varint()), Version: d.Varint()}
	members := v.Map().Members()
	if !below || len(members) == 0 || d.Err != nil {
		return m
	}
	m.Kids = make([]Node, 0, len(members))
	for i := range members {
		m.Kids = append(m.Kids, Decode(d, members[i].Value, true))
	}
	return m
}

// The names of metadata in documents. No property may have such a name.
const (
	KeyMetadata            = "$metadata"            // beside the properties of a section
	KeyVersion             = "$version"             // of the section
	KeyLastUpdated         = "$lastUpdated"         // of a node: its time
	KeyLastUpdatedVersion  = "$lastUpdatedVersion"  // of a node of desired: its version
	KeyLastUpdatedBy       = "$lastUpdatedBy"       // of a leaf that a configuration wrote: its id
	KeyLastUpdatedByDigest = "$lastUpdatedByDigest" // and which state of it
)
