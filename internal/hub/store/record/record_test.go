package record

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/codec"
)

// FuzzDecode feeds the reader of records with anything: it refuses, or gives a record
// that is written as it was read.
func FuzzDecode(f *testing.F) {
	key, err := sas.ParseKey("AAECAwQFBgc=")
	if err != nil {
		f.Fatal(err)
	}
	state := Record{Twin: twin.New("d"), Keys: registry.SymmetricKeys{Primary: key}, Generation: 639029198450000006, StateAt: 5}
	f.Add(state.AppendBinary(nil))
	f.Add((&Record{Twin: twin.New("")}).AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := Decode(b, nil)
		if err != nil {
			return
		}
		first := rec.AppendBinary(nil)
		second, err := Decode(first, nil)
		if err != nil {
			t.Fatalf("%x was written as %x, which is not read back: %v", b, first, err)
		}
		if !bytes.Equal(second.AppendBinary(nil), first) {
			t.Fatalf("%x is not written as it was read", first)
		}
	})
}

func TestDamageNeverShowsKeys(t *testing.T) {
	key := sas.NewKey()
	state := Record{Twin: twin.New("d"), Keys: registry.SymmetricKeys{Primary: key}}
	text := state.AppendBinary(nil)
	for n := range text {
		_, err := Decode(text[:n], nil)
		if !errors.Is(err, codec.ErrDamaged) || strings.Contains(err.Error(), key.Base64()) {
			t.Fatalf("%d bytes of %d: %v", n, len(text), err)
		}
	}
	if _, err := Decode(append(text, 0), nil); !errors.Is(err, codec.ErrDamaged) {
		t.Errorf("a byte too many: %v", err)
	}
}
