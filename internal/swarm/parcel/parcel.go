// Package parcel is a scenario as it travels: its text with all that reading it took from the machine, so that it reads the same elsewhere.
package parcel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/twinfleet/twinfleet/scenario"
)

// Parcel is a scenario's text, and what reading it asks for. It has the scenario's secrets: it travels sealed. What devices of a broker prove
// themselves with is not in it, as far as files have it: each agent is handed that of its own devices.
type Parcel struct {
	File     string            `json:"file"`               // its name, for messages
	Text     []byte            `json:"text"`               // as it was written
	Set      []string          `json:"set,omitempty"`      // scenario.Options has this and the following two
	Counts   []string          `json:"counts,omitempty"`   // overrides too: devices of groups that a file counts which is not here
	Devices  int               `json:"devices,omitempty"`  // 0 for those of the text
	Duration time.Duration     `json:"duration,omitempty"` // likewise
	Env      map[string]string `json:"env,omitempty"`      // variables that were asked for and are set
	Files    map[string][]byte `json:"files,omitempty"`    // by name, as they were asked for
}

// MaxFiles is how many bytes of files, and of text, a Parcel holds: it goes to every agent.
const MaxFiles = 64 << 20

// ErrTooLarge is returned for a scenario whose files have more than MaxFiles bytes.
var ErrTooLarge = errors.New("the scenario and the files that it names have more bytes than travel to agents")

// ErrFormat is returned for bytes that are no Parcel.
var ErrFormat = errors.New("not a scenario as it travels")

// Pack reads a scenario and packs it. Errors are those of scenario.Decode, or ErrTooLarge.
func Pack(file string, text []byte, o scenario.Options) (*scenario.Scenario, *Parcel, error) {
	p := &Parcel{File: file, Text: text, Set: o.Set, Devices: o.Devices, Duration: o.Duration, Env: make(map[string]string), Files: make(map[string][]byte)}
	var mu sync.Mutex
	lookup, read := o.Lookup, o.ReadFile
	if lookup == nil {
		lookup = os.LookupEnv
	}
	if read == nil {
		read = scenario.ReadNamed
	}
	o.Lookup = func(name string) (string, bool) {
		value, ok := lookup(name)
		if ok {
			mu.Lock()
			defer mu.Unlock()
			p.Env[name] = value
		}
		return value, ok
	}
	o.ReadFile = func(name string) ([]byte, error) {
		b, err := read(name)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			p.Files[name] = b
		}
		return b, err
	}
	if o.ReadSecret == nil {
		o.ReadSecret = read
	}
	sc, err := scenario.Decode(file, text, o)
	if err != nil {
		return nil, nil, err
	}
	for i := range sc.Fleet.Groups {
		if n := sc.Fleet.Groups[i].Identity.Counted; n > 0 {
			p.Counts = append(p.Counts, fmt.Sprintf("fleet.groups[%d].count=%d", i, n))
		}
	}
	size := len(text)
	for _, b := range p.Files {
		size += len(b)
	}
	if size > MaxFiles {
		return nil, nil, fmt.Errorf("%w: %d; at most %d do", ErrTooLarge, size, MaxFiles)
	}
	return sc, p, nil
}

// Open reads the scenario, from nothing but the Parcel. more overrides keys, after those of Set.
func (p *Parcel) Open(more ...string) (*scenario.Scenario, error) {
	return scenario.Decode(p.File, p.Text, scenario.Options{
		Set: slices.Concat(p.Set, p.Counts, more), Devices: p.Devices, Duration: p.Duration, Handed: true,
		Lookup: func(name string) (string, bool) {
			value, ok := p.Env[name]
			return value, ok
		},
		ReadFile: func(name string) ([]byte, error) {
			if b, ok := p.Files[name]; ok {
				return b, nil
			}
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		},
	})
}

// String says nothing of what is in it.
func (p *Parcel) String() string { return "parcel of " + p.File }

// GoString is String.
func (p *Parcel) GoString() string { return p.String() }

// Encode writes the Parcel, compressed.
func (p *Parcel) Encode() ([]byte, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("packing the scenario: %w", err)
	}
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	if err == nil {
		_, err = w.Write(text)
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("packing the scenario: %w", err)
	}
	return out.Bytes(), nil
}

// Decode reads what Encode wrote. Errors match ErrFormat.
func Decode(b []byte) (*Parcel, error) {
	const most = 2 * MaxFiles // files in JSON are a third longer
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(most))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	defer r.Close()
	text, err := r.DecodeAll(b, nil)
	p := new(Parcel)
	if err == nil {
		err = json.Unmarshal(text, p)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return p, nil
}
