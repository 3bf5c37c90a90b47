package keyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/regular"
)

// Out is a file of device connection strings that grows as devices are made. It holds keys: its owner alone may
// read it. A file that was cut short, by a kill in the middle of a line, is continued.
type Out struct {
	path string
	file *os.File
	rows map[string]connstring.Device
	all  []string // ids in the order of the file
}

// Open opens a file, or makes it, and reads what it holds.
func Open(path string) (*Out, error) {
	if err := regular.Check(path, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening the file of devices: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the file of devices: %w", err)
	}
	o := &Out{path: path, file: f, rows: make(map[string]connstring.Device)}
	if err := o.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("continuing %s: %w", path, err), f.Close())
	}
	return o, nil
}

func (o *Out) read() error {
	if err := o.file.Chmod(0o600); err != nil {
		return err
	}
	b, err := os.ReadFile(o.path)
	if err != nil {
		return err
	}
	whole := b[:bytes.LastIndexByte(b, '\n')+1]
	if len(bytes.TrimSpace(whole)) > 0 {
		if whole[0] != '{' {
			return errors.New("it holds no JSON lines as twinfleet provision writes them; give another file")
		}
		rows, err := Parse(whole)
		if err != nil {
			return err
		}
		o.keep(rows)
	}
	if err := o.file.Truncate(int64(len(whole))); err != nil {
		return err
	}
	_, err = o.file.Seek(int64(len(whole)), 0)
	return err
}

func (o *Out) keep(rows []connstring.Device) {
	for _, r := range rows {
		o.rows[r.DeviceID] = r
		o.all = append(o.all, r.DeviceID)
	}
}

// Has reports whether the file holds a device.
func (o *Out) Has(id string) bool {
	_, ok := o.rows[id]
	return ok
}

// Add writes devices at the end.
func (o *Out) Add(rows []connstring.Device) error {
	var b []byte
	for _, r := range rows {
		b = AppendRow(b, r)
	}
	if _, err := o.file.Write(b); err != nil {
		return fmt.Errorf("writing the file of devices: %w", err)
	}
	o.keep(rows)
	return nil
}

// Sort puts the devices into an order, and those that are not in it after them: the rows of a file are a
// scenario's devices in that order. The file is replaced as a whole or not at all.
func (o *Out) Sort(order []string) error {
	var b []byte
	done := make(map[string]bool, len(order))
	for _, ids := range [][]string{order, o.all} {
		for _, id := range ids {
			if r, ok := o.rows[id]; ok && !done[id] {
				b = AppendRow(b, r)
				done[id] = true
			}
		}
	}
	f, err := os.CreateTemp(filepath.Dir(o.path), filepath.Base(o.path)+".*") // with mode 0600
	if err != nil {
		return fmt.Errorf("sorting the file of devices: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sorting the file of devices: %w", err)
	}
	if err := os.Rename(f.Name(), o.path); err != nil {
		return fmt.Errorf("sorting the file of devices: %w", err)
	}
	return nil
}

// Close closes the file.
func (o *Out) Close() error { return o.file.Close() }
