package disk

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/twinfleet/twinfleet/internal/hub/store/record"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// TestFailure: once a write has failed nothing more is acknowledged.
func TestFailure(t *testing.T) {
	d, err := Open(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d.Start()
	durable := 0
	op := Operation{ID: "d", State: &record.Record{Twin: twin.New("d")}, Then: func() { durable++ }}
	if err := d.Add(op).Wait(t.Context()); err != nil || durable != 1 {
		t.Fatalf("a write: %v, %d durable", err, durable)
	}
	if err := d.db.Close(); err != nil { // From now on the library refuses.
		t.Fatal(err)
	}
	if err := d.Add(op).Wait(t.Context()); !errors.Is(err, iothub.ErrServer) {
		t.Errorf("a write that failed: %v; want ServerError", err)
	}
	if err := d.Add(op).Wait(t.Context()); !errors.Is(err, iothub.ErrServer) || !errors.Is(d.Failed(), iothub.ErrServer) || durable != 1 {
		t.Errorf("a write after it: %v, the disk %v; %d durable", err, d.Failed(), durable)
	}
	if err := d.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := d.Add(op).Wait(t.Context()); !errors.Is(err, iothub.ErrServiceUnavailable) {
		t.Errorf("a write after Close: %v; want ServiceUnavailable", err)
	}
}

// TestWaitEndsWithItsContext: a write whose caller goes away is not waited for.
func TestWaitEndsWithItsContext(t *testing.T) {
	b := &Batch{done: make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait = %v; want DeadlineExceeded", err)
	}
	close(b.done)
	if err := b.Wait(t.Context()); err != nil {
		t.Errorf("Wait = %v", err)
	}
}

// A disk that fails for a time, such as one that is full, refuses writes meanwhile; afterwards it holds what was refused, and takes
// writes again. Who asked to be told is told then, in the order of the changes.
func TestRecovery(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		d, err := Open(dir, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		var full atomic.Bool
		d.update = func(do func(*bbolt.Tx) error) error {
			if full.Load() {
				return syscall.ENOSPC
			}
			return d.db.Update(do)
		}
		d.Start()
		var told []string
		add := func(id string) *Batch {
			return d.Add(Operation{ID: id, State: &record.Record{Twin: twin.New(id)}, Then: func() { told = append(told, id) }})
		}
		if err := d.Put("b", "kept", []byte("1")).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		full.Store(true)
		for _, b := range []*Batch{d.Put("b", "kept", nil), add("x")} {
			if err := b.Wait(t.Context()); !errors.Is(err, iothub.ErrServer) {
				t.Errorf("a write on a full disk: %v", err)
			}
		}
		time.Sleep(time.Minute)
		for _, b := range []*Batch{add("y"), d.Put("b", "late", []byte("2"))} {
			if err := b.Wait(t.Context()); !errors.Is(err, iothub.ErrServer) || d.Failed() == nil {
				t.Errorf("a write while the disk is full: %v, the disk %v", err, d.Failed())
			}
		}
		if len(told) != 0 {
			t.Errorf("%v were told of", told)
		}
		full.Store(false)
		time.Sleep(2 * lastRetry)
		if err := add("z").Wait(t.Context()); err != nil || d.Failed() != nil {
			t.Errorf("a write afterwards: %v, the disk %v", err, d.Failed())
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(told, []string{"x", "y", "z"}) {
			t.Errorf("%v were told of", told)
		}
		if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "no space left") || !strings.Contains(log.String(), "takes changes") {
			t.Errorf("the log says:\n%s", &log)
		}
		if got := contents(t, dir); got != "late=2 x y z" {
			t.Errorf("the file holds %q", got)
		}
	})
}

// contents opens a data file and tells what is in it: the rows of bucket b, and the devices.
func contents(t *testing.T, dir string) string {
	t.Helper()
	d, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	err = errors.Join(
		d.Rows(t.Context(), "b", func(key string, value []byte) error {
			all = append(all, key+"="+string(value))
			return nil
		}),
		d.Load(t.Context(), nil, func(r record.Record) { all = append(all, r.Twin.DeviceID) }),
		d.Abandon(),
	)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

// Rows are kept by bucket and key, beside the devices and apart from them.
func TestRows(t *testing.T) {
	dir := t.TempDir()
	d, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d.Start()
	d.Put("b", "2", []byte("two"))
	d.Put("b", "1", nil)
	d.Put("b", "1", []byte("one"))
	d.Put("b", "3", []byte("three"))
	d.Put("b", "3", nil)
	d.Put("c", "2", []byte("other"))
	d.Add(Operation{ID: "1", State: &record.Record{Twin: twin.New("1")}})
	if err := d.Put("b", "4", []byte{}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, dir); got != "1=one 2=two 4= 1" {
		t.Errorf("%q", got)
	}
	if d, err = Open(dir, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	if err := d.Rows(t.Context(), "c", func(string, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v; want the error of who is told", err)
	}
	if err := errors.Join(d.Rows(t.Context(), "none", nil), d.Abandon()); err != nil {
		t.Error(err)
	}
}

// A file that is no data file is an error that says what to do; an empty one is a hub's that ended before it began.
func TestBrokenFiles(t *testing.T) {
	for name, text := range map[string]string{"null": "null", "zeros": strings.Repeat("\x00", 1<<16), "words": strings.Repeat("words ", 1<<12)} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, FileName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, dir); got != "" {
		t.Errorf("an empty file holds %q", got)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v, %v; want the file alone", left, err)
	}
}
