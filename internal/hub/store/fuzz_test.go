package store

import (
	"bytes"
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// FuzzDecodeRecord feeds the reader of records with anything: it refuses, or gives a record
// that is written again as it was read.
func FuzzDecodeRecord(f *testing.F) {
	key, err := sas.ParseKey("AAECAwQFBgc=")
	if err != nil {
		f.Fatal(err)
	}
	state := stored{twin: twin.New("d"), keys: registry.SymmetricKeys{Primary: key}, generation: 639029198450000006, stateAt: 5}
	f.Add(state.appendBinary(nil))
	f.Add((&stored{twin: twin.New("")}).appendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := decodeRecord(b, nil)
		if err != nil {
			return
		}
		again := stored{twin: rec.twin, keys: rec.keys, generation: rec.generation, stateAt: rec.stateAt}
		first := again.appendBinary(nil)
		second, err := decodeRecord(first, nil)
		if err != nil {
			t.Fatalf("%x was written as %x, which is not read back: %v", b, first, err)
		}
		again.twin = second.twin
		if !bytes.Equal(again.appendBinary(nil), first) {
			t.Fatalf("%x is not written as it was read", first)
		}
	})
}
