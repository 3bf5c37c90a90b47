// Package etag is the entity tags of twins and identities, and the conditions on them.
package etag

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
)

// ErrMalformed is the error of a text that is no twin ETag.
var ErrMalformed = errors.New("not a twin ETag")

// OfTwin writes a twin's ETag as documents have it: base64 of eight bytes, so that
// 1 is "AAAAAAAAAAE=".
func OfTwin(n uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return base64.StdEncoding.EncodeToString(b[:])
}

// ParseTwin reads what OfTwin writes. Any other text is ErrMalformed.
func ParseTwin(s string) (uint64, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != 8 {
		return 0, ErrMalformed
	}
	return binary.BigEndian.Uint64(b), nil
}

// AppendTwin appends OfTwin without an allocation.
func AppendTwin(dst []byte, n uint64) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return base64.StdEncoding.AppendEncode(dst, b[:])
}
