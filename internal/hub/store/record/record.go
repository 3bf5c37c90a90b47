// Package record is what the hub keeps of one device: its identity, its keys, its twin.
package record

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/codec"
)

// formatVersion is the first byte of a record on disk. It changes with the encoding.
const formatVersion = 2

// withoutManager is the format of hubs that knew no modules; it is read still.
const withoutManager = 1

// ticksOf1970 is 1970 in ticks of 100 ns since year 1, which generation ids count.
const ticksOf1970 = 621355968000000000

// Record is what is kept of one device or module. The twin holds the members of the identity that documents show in both.
type Record struct {
	Twin       *twin.Twin             // Never nil, and never changed: a write replaces it.
	Keys       registry.SymmetricKeys // Empty unless the device authenticates by them.
	Generation uint64                 // New for every device made, also under an old id.
	StateAt    int64                  // Nanoseconds since 1970 when the device connected or disconnected last; 0 for never.
	ManagedBy  string                 // Who manages a module; empty for nobody.
}

// GenerationAt is the generation of a device made at a time.
func GenerationAt(t time.Time) uint64 { return uint64(ticksOf1970 + t.UnixNano()/100) }

// Made is when the device was made, as its generation says.
func (r *Record) Made() time.Time { return time.Unix(0, (int64(r.Generation)-ticksOf1970)*100).UTC() }

// AppendBinary appends the record: version, generation, time of the last connection, keys, manager, twin.
func (r *Record) AppendBinary(dst []byte) []byte {
	dst = append(dst, formatVersion)
	dst = binary.AppendUvarint(dst, r.Generation)
	dst = binary.AppendVarint(dst, r.StateAt)
	for _, key := range []sas.Key{r.Keys.Primary, r.Keys.Secondary} {
		dst = codec.AppendText(dst, key.Base64())
	}
	dst = codec.AppendText(dst, r.ManagedBy)
	return r.Twin.AppendBinary(dst)
}

// Decode reads a record. Its device is not connected, and no cloud-to-device message waits for it. Words come from
// the interner, which may be nil. The error of damaged bytes matches [codec.ErrDamaged] and never holds a key.
func Decode(b []byte, in *jsonparse.Interner) (Record, error) {
	d := codec.Reader{Rest: b}
	version := d.Byte()
	if version != formatVersion && version != withoutManager {
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
	if version != withoutManager {
		if r.ManagedBy = string(d.Bytes()); d.Err != nil {
			return Record{}, fmt.Errorf("%w: no manager", codec.ErrDamaged)
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
