package target

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twinfleet/twinfleet/internal/identity/provision"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/scenario"
)

const ofEveryKind = `
fleet:
  groups:
    - {name: robots, count: 5}
    - {name: gates, count: 5, identity: {key: Z3JvdXBrZXlncm91cGtleQ==}}
    - {name: doors, count: 5, identity: {x509: {thumbprint: true}}}
    - {name: homes, count: 5, identity: {x509: {}}}
    - {name: cars, count: 5, identity: {dps: {}}}
    - {name: ships, count: 5, identity: {dps: {x509: {}}}}
stages: [{name: s, devices: 1, duration: 1s}]
`

func decoded(t testing.TB, text string) *scenario.Scenario {
	t.Helper()
	sc, err := scenario.Decode("test.yaml", []byte(text), scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return sc
}

// ofAll are the identities of devices that prove themselves in every way, provisioned.
func ofAll(t testing.TB) (*scenario.Scenario, *Identities) {
	t.Helper()
	sc := decoded(t, ofEveryKind)
	aim, err := Open(t.Context(), Options{Scenario: sc, Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer aim.Close()
	ids, err := aim.Identities()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ids.Export([]int{0}); !errors.Is(err, ErrUnproven) {
		t.Errorf("what is not provisioned was exported: %v", err)
	}
	if err := ids.Provision(t.Context(), &provision.Provisioner{Registry: aim.Paced}); err != nil {
		t.Fatal(err)
	}
	return sc, ids
}

func same(a, b proof) bool {
	switch {
	case (a.cert == nil) != (b.cert == nil):
		return false
	case a.cert == nil:
		return a.key == b.key && !a.key.IsZero()
	}
	return slices.EqualFunc(a.cert.Certificate, b.cert.Certificate, bytes.Equal) && a.cert.PrivateKey.(*ecdsa.PrivateKey).Equal(b.cert.PrivateKey) &&
		a.cert.Leaf.Equal(b.cert.Leaf)
}

// What devices prove themselves with is the same in another process, for those that were exported, and no others.
func TestExport(t *testing.T) {
	sc, ids := ofAll(t)
	var even, odd []int
	for i := range ids.IDs {
		if i%2 == 0 {
			even = append(even, i)
		} else {
			odd = append(odd, i)
		}
	}
	first, err := ids.Export(even)
	if err != nil {
		t.Fatal(err)
	}
	second, err := ids.Export(odd)
	if err != nil {
		t.Fatal(err)
	}
	some, err := ImportIdentities(sc, first.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids.IDs {
		if here := i%2 == 0; here != (some.IDs[i] == id) || here != same(ids.proof(i), some.proof(i)) || !here && some.IDs[i] != "" {
			t.Errorf("device %d is %q here", i, some.IDs[i])
		}
		if some.Made(i) {
			t.Errorf("device %d was made here", i)
		}
	}
	// Those that are taken over come while the others run.
	var readers sync.WaitGroup
	readers.Go(func() {
		for _, i := range even {
			if !same(ids.proof(i), some.proof(i)) || some.IDs[i] != ids.IDs[i] {
				t.Errorf("device %d changed", i)
			}
		}
	})
	added, err := some.Import(second.Reveal())
	readers.Wait()
	if err != nil || !slices.Equal(added, odd) {
		t.Errorf("added %v, %v", added, err)
	}
	for i, id := range ids.IDs {
		if some.IDs[i] != id || !same(ids.proof(i), some.proof(i)) {
			t.Errorf("device %d is %q after all", i, some.IDs[i])
		}
	}
	if _, err := ids.Import(first.Reveal()); err == nil {
		t.Error("identities that were made took others")
	}
	if _, err := ids.Export([]int{len(ids.IDs)}); err == nil {
		t.Error("a device that is none was exported")
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "another version": append([]byte("TFI\x03"), first.Reveal()[4:]...),
		"cut off": first.Reveal()[:len(first.Reveal())-1], "too long": append(slices.Clone(first.Reveal()), 0),
	} {
		if _, err := ImportIdentities(sc, b); !errors.Is(err, ErrExport) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := decoded(t, "fleet: {groups: [{name: robots, count: 7}]}\nstages: [{name: s, devices: 1}]\n")
	if _, err := ImportIdentities(other, first.Reveal()); !errors.Is(err, ErrExport) {
		t.Errorf("another scenario: %v", err)
	}
	if x, err := some.Export(even); err != nil || !bytes.Equal(x.Reveal(), first.Reveal()) {
		t.Errorf("an export of what was imported differs: %v", err)
	}
}

// Keys are printed nowhere.
func TestExportShowsNothing(t *testing.T) {
	sc, ids := ofAll(t)
	x, err := ids.Export([]int{0, 5, 10})
	if err != nil {
		t.Fatal(err)
	}
	some, err := ImportIdentities(sc, x.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, log := range []*slog.Logger{slog.New(slog.NewTextHandler(&b, nil)), slog.New(slog.NewJSONHandler(&b, nil))} {
		log.Info("x", "export", x, "ids", ids, "some", some)
	}
	for _, v := range []any{x, &x, ids, some} {
		fmt.Fprintf(&b, "%v %+v %#v %s %d %x\n", v, v, v, v, v, v)
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(text)
	}
	for _, id := range []int{0, 5} {
		raw := ids.proof(id).key
		for _, secret := range []string{raw.Base64(), fmt.Sprintf("%x", []byte(raw.Base64())), fmt.Sprint([]byte(raw.Base64()))} {
			if strings.Contains(b.String(), secret) {
				t.Errorf("the key of device %d is shown", id)
			}
		}
	}
	if strings.Contains(b.String(), "PRIVATE") || strings.Contains(b.String(), fmt.Sprint(x.Reveal()[:8])) || strings.Contains(b.String(), fmt.Sprintf("%x", x.Reveal()[:8])) {
		t.Errorf("shown: %s", b.String())
	}
}

// What says that it has much, and has not, takes no memory for it.
func TestHostileExports(t *testing.T) {
	sc := decoded(t, "fleet: {groups: [{name: robots, count: 30}]}\nstages: [{name: s, devices: 1}]\n")
	for _, text := range []string{
		"\x1e\xff\xff\xff\xff\x0f", "\x1e\x00\x1e\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x1e\x00\x01\x00\x01d\x01\xff\x1f", "\x1e\x01\xff\xff\x03",
		"\x1e\x00\x01\x00\x01d\x02\x00\xff\x0f", "\x1e\x00\xff\xff\xff\x0f", "\x1e\x00\x01\x1e\x01d\x00", "\x1e\x00\x01\x00\x00\x00", "\x1e\x00\x01\x00\x01d\x01\x00",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := ImportIdentities(sc, []byte(exportForm+text))
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 64<<10 || !errors.Is(err, ErrExport) {
			t.Errorf("%q took %d bytes of memory: %v", text, took, err)
		}
	}
}

// Hostile bytes are an error, and what is taken can be written.
func FuzzImport(f *testing.F) {
	sc, ids := ofAll(f)
	for _, indexes := range [][]int{nil, {0}, {1, 6, 11, 16, 21, 26}} {
		x, err := ids.Export(indexes)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(x.Reveal())
	}
	f.Add([]byte(exportForm + "\x1e\xff\xff\xff\xff\x0f"))
	f.Add([]byte(exportForm + "\x1e\x00\x1e\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		some, err := ImportIdentities(sc, b)
		if err != nil {
			if !errors.Is(err, ErrExport) {
				t.Errorf("%v", err)
			}
			return
		}
		var indexes []int
		for i, id := range some.IDs {
			if id != "" {
				indexes = append(indexes, i)
			}
		}
		if _, err := some.Export(indexes); err != nil && !errors.Is(err, ErrUnproven) {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}

// What the identities of 50,000 of five million devices cost in the process that drives them.
func BenchmarkImport(b *testing.B) {
	sc := &scenario.Scenario{Fleet: scenario.Fleet{Groups: []scenario.Group{{Name: "robots", ID: "{group}-{index}", Count: 5_000_000}}}}
	ids := &Identities{sc: sc, IDs: make([]string, sc.Devices()), here: &imported{of: make(map[int]proof)}}
	var indexes []int
	for i := 0; i < sc.Devices(); i += 100 {
		indexes = append(indexes, i)
		ids.IDs[i] = sc.Fleet.Groups[0].DeviceID(i)
		ids.here.of[i] = proof{key: sas.NewKey()}
	}
	x, err := ids.Export(indexes)
	if err != nil {
		b.Fatal(err)
	}
	ids = nil
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var some *Identities
	for b.Loop() {
		if some, err = ImportIdentities(sc, x.Reveal()); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(len(x.Reveal()))/float64(len(indexes)), "B/device-exported")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB-held")
	runtime.KeepAlive(some)
}
