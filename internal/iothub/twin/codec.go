package twin

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// codecVersion is the first byte of an encoded twin. It changes with the encoding.
const codecVersion = 1

// ErrEncoding is the error of bytes that AppendBinary did not write.
var ErrEncoding = errors.New("damaged twin record")

// AppendBinary appends the twin with its metadata and versions for keeping on disk.
// Whether the device is connected is left out: after a restart it is not.
func (t *Twin) AppendBinary(dst []byte) []byte {
	dst = append(dst, codecVersion)
	for _, s := range []string{
		t.DeviceID, t.ModuleID, t.DeviceETag, t.Status, t.StatusReason,
		t.AuthType, t.PrimaryThumbprint, t.SecondaryThumbprint, t.ModelID,
	} {
		dst = appendBytes(dst, s)
	}
	dst = binary.AppendUvarint(dst, t.ETag)
	dst = binary.AppendVarint(dst, t.Version)
	dst = binary.AppendVarint(dst, int64(t.C2DCount))
	dst = binary.AppendVarint(dst, int64(instantOf(t.StatusUpdated)))
	dst = binary.AppendVarint(dst, int64(instantOf(t.LastActivity)))
	edge := byte(0)
	if t.IoTEdge {
		edge = 1
	}
	dst = append(dst, edge)
	for _, s := range []*Section{t.Tags, t.Desired, t.Reported} {
		dst = s.appendBinary(dst)
	}
	return dst
}

// appendBinary appends the version, the document as JSON, and the metadata, node after
// node in the order of the document.
func (s *Section) appendBinary(dst []byte) []byte {
	dst = binary.AppendVarint(dst, s.version)
	text := s.Value().AppendJSON(nil)
	dst = binary.AppendUvarint(dst, uint64(len(text)))
	dst = append(dst, text...)
	return s.meta.appendBinary(dst)
}

func (m *meta) appendBinary(dst []byte) []byte {
	dst = binary.AppendVarint(dst, int64(m.at))
	dst = binary.AppendVarint(dst, m.version)
	for i := range m.kids {
		dst = m.kids[i].appendBinary(dst)
	}
	return dst
}

func appendBytes(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// DecodeBinary reads what AppendBinary wrote and returns it with the bytes that follow.
// Damaged bytes give an error that matches [ErrEncoding]. Words come from the interner,
// which may be nil.
func DecodeBinary(b []byte, in *Interner) (t *Twin, rest []byte, err error) {
	d := decoder{in: b, interner: in}
	if v := d.byte(); v != codecVersion {
		return nil, nil, fmt.Errorf("%w: unknown encoding %d", ErrEncoding, v)
	}
	t = &Twin{}
	for _, field := range []*string{
		&t.DeviceID, &t.ModuleID, &t.DeviceETag, &t.Status, &t.StatusReason,
		&t.AuthType, &t.PrimaryThumbprint, &t.SecondaryThumbprint, &t.ModelID,
	} {
		*field = in.text(d.bytes())
	}
	t.ETag = d.uvarint()
	t.Version = d.varint()
	t.C2DCount = int(d.varint())
	t.StatusUpdated = instant(d.varint()).time()
	t.LastActivity = instant(d.varint()).time()
	t.IoTEdge = d.byte() == 1
	for kind, field := range []**Section{&t.Tags, &t.Desired, &t.Reported} {
		*field = d.section(SectionKind(kind))
	}
	if d.err != nil {
		return nil, nil, d.err
	}
	return t, d.in, nil
}

// decoder reads from the front of in until something does not fit; after that it gives zeros.
type decoder struct {
	in       []byte
	interner *Interner
	err      error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrEncoding, what)
	}
	d.in = nil
}

func (d *decoder) byte() byte {
	if len(d.in) == 0 {
		d.fail("too short")
		return 0
	}
	b := d.in[0]
	d.in = d.in[1:]
	return b
}

func (d *decoder) uvarint() uint64 {
	n, size := binary.Uvarint(d.in)
	if size <= 0 {
		d.fail("a number has no end")
		return 0
	}
	d.in = d.in[size:]
	return n
}

func (d *decoder) varint() int64 {
	n, size := binary.Varint(d.in)
	if size <= 0 {
		d.fail("a number has no end")
		return 0
	}
	d.in = d.in[size:]
	return n
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.in)) {
		d.fail("too short")
		return nil
	}
	b := d.in[:n]
	d.in = d.in[n:]
	return b
}

// section reads one section. An untouched one is the shared one of new twins.
func (d *decoder) section(kind SectionKind) *Section {
	s := &Section{kind: kind, version: d.varint(), root: emptyObject}
	text := d.bytes()
	if d.err != nil {
		return s
	}
	doc, err := d.interner.Parse(text)
	if err != nil || doc.Kind() != Object {
		d.fail("a section is no object")
		return s
	}
	s.root, s.size = doc.node, int32(sizeOf(doc))
	s.meta = d.meta(doc, kind != Tags)
	if fresh := NewSection(kind); d.err == nil && s.version == fresh.version && doc.Len() == 0 && s.meta.at == never {
		return fresh
	}
	return s
}

// meta reads the metadata of a value and of what is below it.
func (d *decoder) meta(v Value, below bool) meta {
	m := meta{at: instant(d.varint()), version: d.varint()}
	if !below || v.Kind() != Object || v.Len() == 0 || d.err != nil {
		return m
	}
	m.kids = make([]meta, 0, v.Len())
	for i := range v.node.members {
		m.kids = append(m.kids, d.meta(v.node.members[i].Value, true))
	}
	return m
}
