package query

import (
	"encoding/base64"
	be "encoding/binary"
	"hash/fnv"
)

// position is where the next page begins: at the row with a number, after so many items.
type position struct{ at, given uint64 }

// tokenLength is the bytes of a continuation: a sum over all that it belongs to, and the position.
const tokenLength = 24

// sum binds a position to the text of its query and to the size of its pages.
func (q *Query) sum(p position, size int) uint64 {
	h := fnv.New64a()
	b := be.BigEndian.AppendUint64(nil, uint64(size))
	b = be.BigEndian.AppendUint64(b, p.at)
	b = be.BigEndian.AppendUint64(b, p.given)
	_, _ = h.Write(b) // Never fails.
	_, _ = h.Write([]byte(q.text))
	return h.Sum64()
}

func (q *Query) encode(p position, size int) string {
	b := be.BigEndian.AppendUint64(make([]byte, 0, tokenLength), q.sum(p, size))
	b = be.BigEndian.AppendUint64(b, p.at)
	b = be.BigEndian.AppendUint64(b, p.given)
	return base64.RawURLEncoding.EncodeToString(b)
}

// decode returns the start for no token, and ErrContinuation for one that encode did not write for
// this query and size.
func (q *Query) decode(token string, size int) (position, error) {
	if token == "" {
		return position{}, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) != tokenLength {
		return position{}, ErrContinuation
	}
	p := position{be.BigEndian.Uint64(b[8:]), be.BigEndian.Uint64(b[16:])}
	if be.BigEndian.Uint64(b) != q.sum(p, size) {
		return position{}, ErrContinuation
	}
	return p, nil
}
