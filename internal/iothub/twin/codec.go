package twin

import (
	"encoding/binary"
	"fmt"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/codec"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/limits"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/section"
)

// codecVersion is the first byte of an encoded twin. It changes with the encoding.
const codecVersion = 2

// withoutScopes is the encoding of hubs that knew no scopes; it is read still.
const withoutScopes = 1

// AppendBinary appends the twin with its metadata and versions for keeping on disk.
// Whether the device is connected is left out: after a restart it is not.
func (t *Twin) AppendBinary(dst []byte) []byte {
	dst = append(dst, codecVersion)
	for _, s := range []string{
		t.DeviceID, t.ModuleID, t.DeviceETag, t.Status, t.StatusReason,
		t.AuthType, t.PrimaryThumbprint, t.SecondaryThumbprint, t.ModelID,
	} {
		dst = codec.AppendText(dst, s)
	}
	dst = binary.AppendUvarint(dst, t.ETag)
	dst = binary.AppendVarint(dst, t.Version)
	dst = binary.AppendVarint(dst, int64(t.C2DCount))
	dst = binary.AppendVarint(dst, int64(timestamp.Of(t.StatusUpdated)))
	dst = binary.AppendVarint(dst, int64(timestamp.Of(t.LastActivity)))
	edge := byte(0)
	if t.IoTEdge {
		edge = 1
	}
	if t.configured() {
		edge |= flagConfigured
	}
	dst = append(dst, edge)
	dst = codec.AppendText(dst, t.Scope)
	dst = binary.AppendUvarint(dst, uint64(len(t.ParentScopes)))
	for _, s := range t.ParentScopes {
		dst = codec.AppendText(dst, s)
	}
	for _, s := range []*section.Section{t.Tags, t.Desired, t.Reported} {
		dst = s.AppendBinary(dst)
	}
	if t.configured() {
		dst = t.appendConfigurations(dst)
	}
	return dst
}

// DecodeBinary reads what AppendBinary wrote and returns it with the bytes that follow.
// Damaged bytes give an error that matches [codec.ErrDamaged]. Words come from the interner,
// which may be nil.
func DecodeBinary(b []byte, in *jsonparse.Interner) (t *Twin, rest []byte, err error) {
	d := codec.Reader{Rest: b}
	version := d.Byte()
	if version != codecVersion && version != withoutScopes {
		return nil, nil, fmt.Errorf("%w: unknown encoding %d", codec.ErrDamaged, version)
	}
	t = &Twin{}
	for _, field := range []*string{
		&t.DeviceID, &t.ModuleID, &t.DeviceETag, &t.Status, &t.StatusReason,
		&t.AuthType, &t.PrimaryThumbprint, &t.SecondaryThumbprint, &t.ModelID,
	} {
		*field = in.Text(d.Bytes())
	}
	t.ETag = d.Uvarint()
	t.Version = d.Varint()
	t.C2DCount = int(d.Varint())
	t.StatusUpdated = timestamp.Ticks(d.Varint()).Time()
	t.LastActivity = timestamp.Ticks(d.Varint()).Time()
	flags := d.Byte()
	t.IoTEdge = flags&1 != 0
	if version != withoutScopes {
		t.Scope = in.Text(d.Bytes())
		for n := d.Uvarint(); n > 0 && d.Err == nil; n-- {
			t.ParentScopes = append(t.ParentScopes, in.Text(d.Bytes()))
		}
	}
	for kind, field := range []**section.Section{&t.Tags, &t.Desired, &t.Reported} {
		*field = section.Decode(&d, limits.SectionKind(kind), in)
	}
	if d.Err == nil && flags&flagConfigured != 0 {
		t.decodeConfigurations(&d, in)
	}
	if d.Err != nil {
		return nil, nil, d.Err
	}
	return t, d.Rest, nil
}
