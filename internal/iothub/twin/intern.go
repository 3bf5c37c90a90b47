package twin

import (
	"hash/maphash"
	"sync/atomic"
)

const (
	internSlots  = 4096 // Bounds the memory of an Interner: slots times the longest text, about 300 KB.
	internLength = 40   // Longer strings are hardly ever said twice.
)

// Interner lets documents that say the same words share the memory of those words.
// It is a table of fixed size that forgets: a word may be stored twice, and nothing
// is kept alive for long. It may be used by any number of goroutines. A nil Interner
// shares nothing.
type Interner struct {
	seed  maphash.Seed
	slots [internSlots]atomic.Pointer[string]
}

// NewInterner returns an empty table.
func NewInterner() *Interner {
	return &Interner{seed: maphash.MakeSeed()}
}

// text returns b as a string that shares no memory with b.
func (in *Interner) text(b []byte) string {
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
