package payload

import (
	"encoding/binary"
	"slices"
)

// Bytes is the same payload for every message, as it is. Its zero value is an empty one.
type Bytes []byte

// Append appends the bytes.
func (x Bytes) Append(dst []byte, _ *Context) []byte { return append(dst, x...) }

// Mean is how many bytes there are.
func (x Bytes) Mean() int { return len(x) }

// Random is payloads of so many bytes, from 0, by the context's chance.
type Random int

// Append appends bytes that are drawn anew.
func (x Random) Append(dst []byte, c *Context) []byte {
	n := len(dst) + int(x)
	dst = slices.Grow(dst, int(x)+7)
	for len(dst) < n {
		dst = binary.LittleEndian.AppendUint64(dst, c.Rand.Uint64())
	}
	return dst[:n]
}

// Mean is how many bytes there are.
func (x Random) Mean() int { return int(x) }

// Zeros is payloads of so many bytes, from 0, which are all 0.
type Zeros int

// Append appends the bytes.
func (x Zeros) Append(dst []byte, _ *Context) []byte { return padded(dst, int(x), 0) }

// Mean is how many bytes there are.
func (x Zeros) Mean() int { return int(x) }

// padded appends a byte n times.
func padded(dst []byte, n int, b byte) []byte {
	if n <= 0 {
		return dst
	}
	dst = slices.Grow(dst, n)
	end := dst[len(dst) : len(dst)+n]
	for i := range end {
		end[i] = b
	}
	return dst[:len(dst)+n]
}
