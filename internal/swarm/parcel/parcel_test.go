package parcel_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/internal/swarm/parcel"
	"github.com/twinfleet/twinfleet/scenario"
)

const text = `
name: travels
target: {hub: "${HUB}"}
fleet:
  groups:
    - {name: robots, count: 20, identity: {key: "${KEY}"}, reported: {connectivity: {type: wifi}, every: 2s}}
    - {name: arms, count: 10, telemetry: {every: 1s, payload_file: rows.csv}}
    - {name: legs, count: 10, telemetry: {every: 1s, payload: "{{ data b }} {{ walk 20 3 }} {{ uuid }}", data: rows.csv, payload_size: 80B}}
    - {name: feet, count: 10, telemetry: {every: 1s, payload_bytes: {file: frame.bin}}}
stages: [{name: hold, duration: 6s, devices: 100%}]
`

// here is a machine with what the scenario asks for.
func here() scenario.Options {
	return scenario.Options{
		Set: []string{"seed=77"}, Devices: 300,
		Lookup: func(name string) (string, bool) {
			value, ok := map[string]string{
				"HUB": "HostName=h.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey=aHVzaC1odXNo", "KEY": "aHVzaC1odXNo", "OTHER": "private",
			}[name]
			return value, ok
		},
		ReadFile: func(name string) ([]byte, error) {
			if text, ok := map[string]string{"rows.csv": "a,b\n1,2\n3,4\n", "frame.bin": "\x00\xff"}[name]; ok {
				return []byte(text), nil
			}
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		},
	}
}

// A scenario reads elsewhere as it does here, where neither its variables nor its files are; what it does not ask for stays here.
func TestParcel(t *testing.T) {
	want, p, err := parcel.Pack("travels.yaml", []byte(text), here())
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	there, err := parcel.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := there.Open()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Fleet.Groups[0], want.Fleet.Groups[0]) || string(got.Source) != string(want.Source) || got.Seed != 77 || got.Devices() != 300 {
		t.Errorf("it reads as\n%s\nwant\n%s", got.Source, want.Source)
	}
	if got.Fleet.Groups[1].Telemetry.Rows == nil {
		t.Error("its rows did not travel")
	}
	for i := range got.Fleet.Groups {
		send := func(s *scenario.Scenario) []byte {
			c := &payload.Context{Index: 5, Seq: 4, Rand: rand.New(rand.NewPCG(1, 1)), Chance: 7}
			if source := s.Fleet.Groups[i].Telemetry.Source(); source != nil {
				return source.Append(nil, c)
			}
			return nil
		}
		if a, b := send(want), send(got); !bytes.Equal(a, b) {
			t.Errorf("devices of group %d send %q here and %q there", i, a, b)
		}
	}
	if _, ok := there.Env["OTHER"]; ok {
		t.Error("a variable travels that the scenario does not name")
	}
	if said := fmt.Sprint(there) + fmt.Sprintf("%+v %#v", there, there); strings.Contains(said, "aHVzaC1odXNo") {
		t.Errorf("it is printed with a secret: %s", said)
	}
}

// What overrides keys elsewhere comes after what overrode them here.
func TestOpenWithOthers(t *testing.T) {
	_, p, err := parcel.Pack("travels.yaml", []byte(text), here())
	if err != nil {
		t.Fatal(err)
	}
	sc, err := p.Open("seed=78")
	if err != nil || sc.Seed != 78 {
		t.Errorf("seed %d, %v; want 78", sc.Seed, err)
	}
}

// A mistake of the scenario is told as scenario.Decode tells it.
func TestMistake(t *testing.T) {
	_, _, err := parcel.Pack("bad.yaml", []byte("fleet: {}"), scenario.Options{})
	_, want := scenario.Decode("bad.yaml", []byte("fleet: {}"), scenario.Options{})
	if err == nil || err.Error() != want.Error() {
		t.Errorf("%v; want %v", err, want)
	}
}

// More than travels to agents is refused.
func TestTooLarge(t *testing.T) {
	o := here()
	o.ReadFile = func(string) ([]byte, error) {
		return []byte("a\n" + strings.Repeat(strings.Repeat("1", 1000)+"\n", parcel.MaxFiles/1000)), nil
	}
	if _, _, err := parcel.Pack("travels.yaml", []byte(text), o); !errors.Is(err, parcel.ErrTooLarge) && !strings.Contains(fmt.Sprint(err), "bytes") {
		t.Errorf("%v; want that it is too large", err)
	}
}

// Bytes that are no parcel are refused.
func FuzzDecode(f *testing.F) {
	_, p, err := parcel.Pack("travels.yaml", []byte(text), here())
	if err != nil {
		f.Fatal(err)
	}
	b, err := p.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parcel.Decode(b); err == nil {
			_ = p.String()
		} else if !errors.Is(err, parcel.ErrFormat) {
			t.Error(err)
		}
	})
}
