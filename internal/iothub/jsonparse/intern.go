package jsonparse

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
)

const (
	internSlots  = 4096 // Bounds the memory of an Interner: slots times the longest text, about 300 KB.
	internLength = 40   // Longer strings are hardly ever said twice.
)

// Interner lets documents that say the same words share the memory of those words.
// It is a table of fixed size that forgets: a word may be stored twice, and nothing
// is kept alive for long. It also keeps the scratch memory of parsing. It may be used
// by any number of goroutines. A nil Interner shares nothing.
type Interner struct {
	seed    maphash.Seed
	slots   [internSlots]atomic.Pointer[string]
	parsers sync.Pool // Of *parser: their scratch memory is larger than most documents.
}

// parser returns a parser for a text. It must be given back by release.
func (in *Interner) parser(b []byte) *parser {
	if in != nil {
		if p, ok := in.parsers.Get().(*parser); ok {
			p.in = b
			return p
		}
	}
	return &parser{in: b, interner: in, stack: make([]jsonvalue.Member, 0, 16)}
}

// release keeps a parser for the next text, unless it has grown large.
func (in *Interner) release(p *parser) {
	const large = 1 << 8
	if in == nil || cap(p.stack) > large || cap(p.buf) > 32*large {
		return
	}
	clear(p.stack[:cap(p.stack)])
	*p = parser{interner: in, stack: p.stack[:0], buf: p.buf[:0]}
	in.parsers.Put(p)
}

// NewInterner returns an empty table.
func NewInterner() *Interner {
	return &Interner{seed: maphash.MakeSeed()}
}

// Text returns b as a string that shares no memory with b.
func (in *Interner) Text(b []byte) string {
	if in == nil || len(b) > internLength || len(b) == 0 {
		return string(b)
	}
	slot := &in.slots[maphash.Bytes(in.seed, b)%internSlots]
	if p := slot.Load(); p != nil && *p == string(b) {
		return *p
	}
	s := string(b)
	slot.Store(&s)
	return s
}
