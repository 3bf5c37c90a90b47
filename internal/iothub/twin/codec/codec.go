// Package codec is the elements of the binary records that keep twins on disk.
package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrDamaged is the error of bytes that nobody wrote as a record.
var ErrDamaged = errors.New("damaged twin record")

// AppendText appends a text with its length before it.
func AppendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// Reader reads from the front until something does not fit; after that it gives zeros.
type Reader struct {
	Rest []byte // What has not been read yet.
	Err  error  // The first thing that did not fit; it matches ErrDamaged.
}

// Fail notes what does not fit, unless something did not before.
func (d *Reader) Fail(what string) {
	if d.Err == nil {
		d.Err = fmt.Errorf("%w: %s", ErrDamaged, what)
	}
	d.Rest = nil
}

// Byte reads one byte.
func (d *Reader) Byte() byte {
	if len(d.Rest) == 0 {
		d.Fail("too short")
		return 0
	}
	b := d.Rest[0]
	d.Rest = d.Rest[1:]
	return b
}

// Uvarint reads what [binary.AppendUvarint] wrote.
func (d *Reader) Uvarint() uint64 {
	n, size := binary.Uvarint(d.Rest)
	if size <= 0 {
		d.Fail("a number has no end")
		return 0
	}
	d.Rest = d.Rest[size:]
	return n
}

// Varint reads what [binary.AppendVarint] wrote.
func (d *Reader) Varint() int64 {
	n, size := binary.Varint(d.Rest)
	if size <= 0 {
		d.Fail("a number has no end")
		return 0
	}
	d.Rest = d.Rest[size:]
	return n
}

// Bytes reads what AppendText wrote. The bytes are part of what is read from.
func (d *Reader) Bytes() []byte {
	n := d.Uvarint()
	if n > uint64(len(d.Rest)) {
		d.Fail("too short")
		return nil
	}
	b := d.Rest[:n]
	d.Rest = d.Rest[n:]
	return b
}
