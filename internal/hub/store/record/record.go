// Package record is what the hub keeps of one device: its identity, its keys, its twin.
package record

import (
	"encoding/binary"
	"fmt"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/codec"
)

// formatVersion is the first byte of a record on disk. It changes with the encoding.
const formatVersion = 1

// Record is what is kept of one device. The twin holds the members of the identity that documents show in both.
type Record struct {
	Twin       *twin.Twin             // Never nil, and never changed: a write replaces it.
	Keys       registry.SymmetricKeys // Empty unless the device authenticates by them.
	Generation uint64                 // New for every device made, also under an old id.
	StateAt    int64                  // Nanoseconds since 1970 when the device connected or disconnected last; 0 for never.
}

// AppendBinary appends the record: version, generation, time of the last connection, keys, twin.
func (r *Record) AppendBinary(dst []byte) []byte {
	dst = append(dst, formatVersion)
	dst = binary.AppendUvarint(dst, r.Generation)
	dst = binary.AppendVarint(dst, r.StateAt)
	for _, key := range []sas.Key{r.Keys.Primary, r.Keys.Secondary} {
		dst = codec.AppendText(dst, key.Base64())
	}
	return r.Twin.AppendBinary(dst)
}

// Decode reads a record. Its device is not connected, and no cloud-to-device message waits for it. Words come from
// the interner, which may be nil. The error of damaged bytes matches [codec.ErrDamaged] and never holds a key.
func Decode(b []byte, in *jsonparse.Interner) (Record, error) {
	d := codec.Reader{Rest: b}
	if d.Byte() != formatVersion {
		return Record{}, fmt.Errorf("%w: unknown record", codec.ErrDamaged)
	}
	r := Record{Generation: d.Uvarint()}
	if d.Err != nil {
		return Record{}, fmt.Errorf("%w: no generation", codec.ErrDamaged)
	}
	if r.StateAt = d.Varint(); d.Err != nil {
		return Record{}, fmt.Errorf("%w: no connection time", codec.ErrDamaged)
	}
	for _, key := range []*sas.Key{&r.Keys.Primary, &r.Keys.Secondary} {
		text := d.Bytes()
		if d.Err != nil {
			return Record{}, fmt.Errorf("%w: no keys", codec.ErrDamaged)
		}
		if key.UnmarshalText(text) != nil {
			return Record{}, fmt.Errorf("%w: a key is not base64", codec.ErrDamaged)
		}
	}
	t, rest, err := twin.DecodeBinary(d.Rest, in)
	if err != nil {
		return Record{}, err
	}
	if len(rest) != 0 {
		return Record{}, fmt.Errorf("%w: %d bytes too many", codec.ErrDamaged, len(rest))
	}
	t.C2DCount = 0
	r.Twin = t
	return r, nil
}
