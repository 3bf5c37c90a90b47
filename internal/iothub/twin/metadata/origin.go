package metadata

import (
	"encoding/binary"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/codec"
)

// Origin is the configuration that wrote a leaf of desired properties. Leaves of many twins share one.
type Origin struct {
	ID     string // Of the configuration.
	Digest string // Which state of it: the ticks of its lastUpdatedTimeUtc, as the service writes them.
}

// Same reports whether two origins name the same state of the same configuration. Nil is the same as nil alone.
func (o *Origin) Same(other *Origin) bool {
	if o == nil || other == nil {
		return o == other
	}
	return *o == *other
}

// field is a member of $metadata; Undefined without an origin.
func (o *Origin) field(key string) jsonvalue.Value {
	switch {
	case o == nil:
		return jsonvalue.Value{}
	case key == KeyLastUpdatedBy:
		return jsonvalue.StringValue(o.ID)
	default:
		return jsonvalue.StringValue(o.Digest)
	}
}

// AppendOrigins appends which nodes have which origin: the origins, then for each node that has one how many
// nodes stand before it since the last, in the order of the document, and its origin.
func (m *Node) AppendOrigins(dst []byte) []byte {
	var origins []Origin
	var marks []byte
	count, gap := 0, 0
	var walk func(n *Node)
	walk = func(n *Node) {
		if n.By != nil {
			at := -1
			for i := range origins {
				if origins[i] == *n.By {
					at = i
				}
			}
			if at < 0 {
				at, origins = len(origins), append(origins, *n.By)
			}
			marks = binary.AppendUvarint(marks, uint64(gap))
			marks = binary.AppendUvarint(marks, uint64(at))
			count, gap = count+1, 0
		}
		gap++
		for i := range n.Kids {
			walk(&n.Kids[i])
		}
	}
	walk(m)
	dst = binary.AppendUvarint(dst, uint64(len(origins)))
	for _, o := range origins {
		dst = codec.AppendText(codec.AppendText(dst, o.ID), o.Digest)
	}
	dst = binary.AppendUvarint(dst, uint64(count))
	return append(dst, marks...)
}

// DecodeOrigins reads what AppendOrigins wrote into a node just decoded. Its words are made by text.
func (m *Node) DecodeOrigins(d *codec.Reader, text func([]byte) string) {
	var origins []*Origin
	for range d.Uvarint() {
		o := &Origin{ID: text(d.Bytes()), Digest: text(d.Bytes())}
		if d.Err != nil {
			return
		}
		origins = append(origins, o)
	}
	left := d.Uvarint()
	gap, by := uint64(0), uint64(0)
	next := func() {
		if gap, by = d.Uvarint(), d.Uvarint(); d.Err == nil && by >= uint64(len(origins)) {
			d.Fail("a node of no origin")
		}
	}
	if left > 0 {
		next()
	}
	var walk func(n *Node)
	walk = func(n *Node) {
		if left == 0 || d.Err != nil {
			return
		}
		if gap == 0 {
			n.By = origins[by]
			if left--; left > 0 {
				next()
			}
		}
		if left > 0 && d.Err == nil {
			if gap == 0 {
				d.Fail("two origins of one node")
				return
			}
			gap--
		}
		for i := range n.Kids {
			walk(&n.Kids[i])
		}
	}
	walk(m)
	if left > 0 {
		d.Fail("more origins than nodes")
	}
}
