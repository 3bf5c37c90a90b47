package paging

import (
	"encoding/base64"
	be "encoding/binary"
	"errors"
	"hash/fnv"
)

// ErrContinuation is returned for a continuation that another query or nobody gave.
var ErrContinuation = errors.New("the continuation token does not belong to this query")

// Position is where a page begins. The zero Position is the start.
type Position struct {
	At    uint64 // The number of its first row.
	Given uint64 // Items of the pages before it.
}

// tokenLength is the bytes of a continuation: a sum over all that it belongs to, and the position.
const tokenLength = 24

// sum binds a position to the text of its query, and not to the size of its pages: clients that want 150 items
// ask for 100 and then for 50 (az iot hub query).
func sum(text string, p Position) uint64 {
	h := fnv.New64a()
	b := be.BigEndian.AppendUint64(nil, p.At)
	b = be.BigEndian.AppendUint64(b, p.Given)
	_, _ = h.Write(b) // Never fails.
	_, _ = h.Write([]byte(text))
	return h.Sum64()
}

// Encode makes the continuation of a query, by its text, at a position.
func Encode(text string, p Position) string {
	b := be.BigEndian.AppendUint64(make([]byte, 0, tokenLength), sum(text, p))
	b = be.BigEndian.AppendUint64(b, p.At)
	b = be.BigEndian.AppendUint64(b, p.Given)
	return base64.RawURLEncoding.EncodeToString(b)
}

// Decode returns the start for no token, and ErrContinuation for one that Encode did not write for this query.
func Decode(text, token string) (Position, error) {
	if token == "" {
		return Position{}, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) != tokenLength {
		return Position{}, ErrContinuation
	}
	p := Position{be.BigEndian.Uint64(b[8:]), be.BigEndian.Uint64(b[16:])}
	if be.BigEndian.Uint64(b) != sum(text, p) {
		return Position{}, ErrContinuation
	}
	return p, nil
}
