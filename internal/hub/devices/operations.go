package devices

import (
	"bytes"
	"context"
	"errors"

	"github.com/twinfleet/twinfleet/internal/hub/calls"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

// Limits of what devices send.
const (
	MaxMessage = 256 << 10 // bytes of a message, or of all of a batch, as Batch.Size counts them (iot-hub-devguide-quotas-throttling)
	MaxBatch   = 500       // messages of a batch (iot-hub-devguide-quotas-throttling)
	MaxModelID = 2048      // bytes of a model id that a twin keeps: more than a digital twin's model may have (DTDL v2)
)

// TooLarge is the error for messages of so many bytes.
func TooLarge(size int64) error {
	return iothub.ErrMessageTooLarge.With("Message size is %d bytes which is greater than the max size %d bytes allowed.", size, MaxMessage)
}

// Admit waits until an operation of a class may go on, or returns the error for the device. bytes is the size that metering counts.
// The operations of the Table that have a class ask for themselves; a front asks for tier.ClassConnect.
func (t *Table) Admit(ctx context.Context, class tier.Class, bytes int) error {
	if t.opts.Admit == nil {
		return nil
	}
	return t.opts.Admit(ctx, class, bytes)
}

// Limits reports whether Admit may wait or refuse. Who waited to connect is checked once more: see Still.
func (t *Table) Limits() bool { return t.opts.Admit != nil }

// Active tells that a device sent something.
func (t *Table) Active(client string) { t.opts.Backend.Active(client) }

// ModelID takes the model that a device names when it connects, and returns when it is kept.
func (t *Table) ModelID(ctx context.Context, client, model string) error {
	return t.opts.Backend.ModelID(ctx, client, model)
}

// Telemetry takes messages that a device sent at once, all of them or none: they count as one operation of their size together. When it
// returns they may be acknowledged. Errors: iothub.ErrMessageTooLarge, those of admission, which a throttle may delay, and the backend's.
func (t *Table) Telemetry(ctx context.Context, client string, b Batch) error {
	if b.Size > MaxMessage {
		return TooLarge(int64(b.Size))
	}
	if err := t.Admit(ctx, tier.ClassTelemetry, b.Size); err != nil {
		return err
	}
	return t.opts.Backend.Telemetry(ctx, client, b)
}

// Will takes the will of a device that went. Nobody is left to be told of an error.
func (t *Table) Will(client string, b Batch) {
	b.Will = true
	if err := t.opts.Backend.Telemetry(t.ctx, client, b); err != nil {
		t.log.Warn("the will of a device is lost", "device", client, "error", err)
	}
}

// Twin is the device's view of its twin, as JSON. Errors are those of admission and the backend's.
func (t *Table) Twin(ctx context.Context, client string) ([]byte, error) {
	body, err := t.opts.Backend.DeviceTwin(client)
	if err != nil {
		return nil, err
	}
	return body, t.Admit(ctx, tier.ClassTwinRead, len(body))
}

// Report merges a patch into the reported properties, if their version is expect or expect is negative, and returns the new version.
// arrays says whether the client may use arrays. Errors are those of admission and the backend's.
func (t *Table) Report(ctx context.Context, client string, patch []byte, expect int64, arrays bool) (int64, error) {
	if err := t.Admit(ctx, tier.ClassTwinUpdate, len(patch)); err != nil {
		return 0, err
	}
	return t.opts.Backend.Report(ctx, client, patch, expect, arrays)
}

// TwinOperation carries out a twin operation of a device, do, with its request: when its service is over, or now and by the caller
// when no model of that is set. payload is copied where it must be kept. An error of do is returned, or given to failed.
func (t *Table) TwinOperation(ctx context.Context, client string, payload []byte, do func(payload []byte) error, failed func(error)) error {
	if t.faults.Idle() {
		return do(payload)
	}
	payload = bytes.Clone(payload)
	later := func() {
		t.faults.Wait(ctx)
		if err := do(payload); err != nil {
			failed(err)
		}
	}
	if t.faults.Enter(client, later) {
		return nil
	}
	return do(payload)
}

// NotifyDesired tells a connected device or module of changed desired properties; an absent one will read
// its twin when it comes. The payload is the change, with its $version. It reports whether there was
// someone to tell, and waits for nobody: the store may call it.
func (t *Table) NotifyDesired(client string, payload []byte, version int64) bool {
	o := t.lookup(client)
	return o != nil && o.Listens(Desired) && o.Desired(payload, version)
}

// InvokeMethod calls a direct method of a device or a module and waits for the answer until ctx ends. It returns
// iothub.ErrDeviceNotOnline for a device that is not connected or does not listen to methods,
// iothub.ErrMethodTimeout when ctx ended first, and iothub.ErrMessageTooLarge for what cannot be sent. The name must be usable as
// one level of a topic.
func (t *Table) InvokeMethod(ctx context.Context, client, name string, payload []byte) (int, []byte, error) {
	o := t.lookup(client)
	if o == nil || !o.Listens(Methods) {
		return 0, nil, iothub.ErrDeviceNotOnline
	}
	id := t.lastCall.Add(1)
	var answer <-chan calls.Answer
	t.existing(client, func(d *state) {
		if d.outlet == o {
			answer = d.calls.Begin(id)
		}
	})
	if answer == nil {
		return 0, nil, iothub.ErrDeviceNotOnline
	}
	defer func() { t.existing(client, func(d *state) { d.calls.End(id) }) }()
	if err := o.Call(id, name, payload); err != nil {
		var known *iothub.Error
		if errors.As(err, &known) {
			return 0, nil, known
		}
		return 0, nil, iothub.ErrDeviceNotOnline
	}
	select {
	case a := <-answer:
		return a.Status, a.Payload, a.Err
	case <-ctx.Done():
		return 0, nil, iothub.ErrMethodTimeout
	}
}

// Answer gives a device's answer to the call that waits for it, if it came by the outlet that the call went to. A late one is dropped.
// Its payload is the Table's to keep.
func (t *Table) Answer(client string, o Outlet, id uint64, a calls.Answer) {
	t.existing(client, func(d *state) {
		if d.outlet == o {
			d.calls.Answer(id, a)
		}
	})
}
