package record

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// full is a disk on which no room is left after some bytes.
type full struct{ room int }

func (f *full) Write(b []byte) (int, error) {
	n := min(len(b), f.room)
	f.room -= n
	if n < len(b) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (f *full) Close() error { return nil }

func newWriter(t *testing.T) *Writer {
	t.Helper()
	w, err := Create(t.TempDir(), &report.Run{Name: "example"}, []byte("name: example\n"))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// sample is a line of some 100 bytes.
func sample() report.Sample { return report.Sample{Window: &metrics.Snapshot{}} }

func TestDiskFull(t *testing.T) {
	for room := 0; room < 400; room += 50 {
		w := newWriter(t)
		if err := w.file.Close(); err != nil {
			t.Fatal(err)
		}
		w.file = &full{room}
		for range 10 {
			w.Sample(sample())
		}
		if err := w.Err(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("with room for %d bytes: %v while the run goes on", room, err)
		}
		if err := w.End(&report.Run{}); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("with room for %d bytes: %v at the end", room, err)
		}
	}
}

// Writing to a file that was removed succeeds; the record is gone all the same.
func TestRecordRemoved(t *testing.T) {
	for name, remove := range map[string]func(w *Writer) error{
		"the folder":          func(w *Writer) error { return os.RemoveAll(w.Dir()) },
		"all of them":         func(w *Writer) error { return os.RemoveAll(filepath.Dir(w.Dir())) },
		"the file":            func(w *Writer) error { return os.Remove(filepath.Join(w.Dir(), File)) },
		"the folder, renamed": func(w *Writer) error { return os.Rename(w.Dir(), w.Dir()+"-old") },
		"replaced": func(w *Writer) error {
			path := filepath.Join(w.Dir(), File)
			return errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWriter(t)
			w.Sample(sample())
			if err := errors.Join(w.Err(), remove(w)); err != nil {
				t.Fatal(err)
			}
			w.Sample(sample())
			if err := w.Err(); !errors.Is(err, ErrGone) {
				t.Errorf("%v after a second", err)
			}
			if err := w.End(&report.Run{}); !errors.Is(err, ErrGone) {
				t.Errorf("%v at the end", err)
			}
			w = newWriter(t)
			if err := remove(w); err != nil {
				t.Fatal(err)
			}
			if err := w.End(&report.Run{}); !errors.Is(err, ErrGone) {
				t.Errorf("%v when it goes at the end", err)
			}
		})
	}
}

// A record that nobody touched is whole.
func TestRecordStays(t *testing.T) {
	w := newWriter(t)
	w.Sample(sample())
	if err := w.End(&report.Run{}); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(w.Dir(), File)); err != nil || bytes.Count(b, []byte("\n")) != 3 {
		t.Errorf("%v\n%s", err, b)
	}
}
