// Package uuid is universally unique identifiers and their text (RFC 9562).
package uuid

import (
	"crypto/rand"
	"encoding/hex"
)

// UUID is an identifier, in the order of its text.
type UUID [16]byte

// New makes a random UUID, of version 4.
func New() (u UUID) {
	rand.Read(u[:]) // never fails, by its own documentation
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return u
}

// String is the text: 8-4-4-4-12 hexadecimal digits, in lower case.
func (u UUID) String() string {
	b := make([]byte, 0, 36)
	for i, part := range [][]byte{u[:4], u[4:6], u[6:8], u[8:10], u[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return string(b)
}

// Parse reads what String has written, in either case; false for anything else.
func Parse(s string) (u UUID, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, false
	}
	b, err := hex.DecodeString(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:])
	if err != nil {
		return u, false
	}
	return UUID(b), true
}
