package disk

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

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
