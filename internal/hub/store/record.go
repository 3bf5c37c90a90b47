package store

import (
	"encoding/binary"
	"fmt"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/codec"
)

// recordVersion is the first byte of a record on disk. It changes with the encoding.
const recordVersion = 1

// stored is the part of a record that is kept on disk.
type stored struct {
	twin       *twin.Twin
	keys       registry.SymmetricKeys
	generation uint64
	stateAt    int64
}

// appendBinary appends the record: version, generation, time of the last connection, keys,
// twin.
func (r *stored) appendBinary(dst []byte) []byte {
	dst = append(dst, recordVersion)
	dst = binary.AppendUvarint(dst, r.generation)
	dst = binary.AppendVarint(dst, r.stateAt)
	for _, key := range []sas.Key{r.keys.Primary, r.keys.Secondary} {
		text := key.Base64()
		dst = binary.AppendUvarint(dst, uint64(len(text)))
		dst = append(dst, text...)
	}
	return r.twin.AppendBinary(dst)
}

// decodeRecord reads a record. Its device is not connected, and no cloud-to-device message
// waits for it. The error of damaged bytes matches codec.ErrDamaged and never holds a key.
func decodeRecord(b []byte, in *jsonparse.Interner) (*record, error) {
	if len(b) == 0 || b[0] != recordVersion {
		return nil, fmt.Errorf("%w: unknown record", codec.ErrDamaged)
	}
	b = b[1:]
	rec := &record{}
	var ok bool
	if rec.generation, b, ok = uvarint(b); !ok {
		return nil, fmt.Errorf("%w: no generation", codec.ErrDamaged)
	}
	stateAt, size := binary.Varint(b)
	if size <= 0 {
		return nil, fmt.Errorf("%w: no connection time", codec.ErrDamaged)
	}
	rec.stateAt, b = stateAt, b[size:]
	for _, key := range []*sas.Key{&rec.keys.Primary, &rec.keys.Secondary} {
		n, rest, ok := uvarint(b)
		if !ok || n > uint64(len(rest)) {
			return nil, fmt.Errorf("%w: no keys", codec.ErrDamaged)
		}
		if key.UnmarshalText(rest[:n]) != nil {
			return nil, fmt.Errorf("%w: a key is not base64", codec.ErrDamaged)
		}
		b = rest[n:]
	}
	t, rest, err := twin.DecodeBinary(b, in)
	if err != nil {
		return nil, err
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("%w: %d bytes too many", codec.ErrDamaged, len(rest))
	}
	t.C2DCount = 0
	rec.twin = t
	return rec, nil
}

// uvarint reads a number and returns what follows it.
func uvarint(b []byte) (n uint64, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 {
		return 0, nil, false
	}
	return n, b[size:], true
}
