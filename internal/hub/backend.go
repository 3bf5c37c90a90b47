package hub

import (
	"context"
	"strconv"

	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/policy"
	"github.com/twinfleet/twinfleet/internal/hub/rest"
	"github.com/twinfleet/twinfleet/internal/hub/store"
	"github.com/twinfleet/twinfleet/internal/hub/traffic"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// backend is the hub as its device side sees it.
type backend Hub

var _ devices.Backend = (*backend)(nil)

func (b *backend) Credentials(id string) (registry.Credentials, error) {
	return b.store.Credentials(id)
}

func (b *backend) DeviceTwin(id string) ([]byte, error) {
	t, err := b.store.Twin(id)
	(*Hub)(b).tell(traffic.TwinRead, id, "", nil, err)
	if err != nil {
		return nil, err
	}
	return t.AppendDeviceJSON(nil), nil
}

func (b *backend) Report(ctx context.Context, id string, patch []byte, expect int64, arrays bool) (int64, error) {
	version, err := b.report(ctx, id, patch, expect, arrays)
	(*Hub)(b).tell(traffic.Report, id, "", patch, err)
	return version, err
}

func (b *backend) report(ctx context.Context, id string, patch []byte, expect int64, arrays bool) (int64, error) {
	v, err := b.store.ParseValue(patch)
	if err != nil {
		return 0, iothub.ErrArgumentInvalid.With("Provided json is not valid: %v", err)
	}
	if !arrays && v.HasArray() {
		return 0, iothub.ErrArgumentInvalid.With("Provided json is not a valid 'tags' or 'properties' object: arrays are not supported.")
	}
	return b.store.Report(ctx, id, v, expect)
}

func (b *backend) Connected(id string, connected bool) {
	b.store.SetConnected(id, connected)
	kind := traffic.Disconnect
	if connected {
		kind = traffic.Connect
	}
	(*Hub)(b).tell(kind, id, "", nil, nil)
}
func (b *backend) Active(id string)             { b.store.Touch(id) }
func (b *backend) QueueLength(id string, n int) { b.store.SetC2DCount(id, n) }

func (b *backend) ModelID(ctx context.Context, id, model string) error {
	return b.store.SetModelID(ctx, id, model)
}

// Telemetry counts messages, and keeps them for those who read them.
func (b *backend) Telemetry(ctx context.Context, id string, batch devices.Batch) error {
	b.telemetry.Add(uint64(batch.Count))
	if batch.Will {
		b.wills.Add(uint64(batch.Count))
	}
	if !b.tap.On() && !b.events.On() {
		return nil
	}
	all := batch.Messages()
	for i := range all {
		(*Hub)(b).tell(traffic.Telemetry, id, "", all[i].Payload, nil)
	}
	return (*Hub)(b).keepEvents(ctx, id, batch.Auth, all)
}

// services is the hub as its service side and its jobs see it.
type services Hub

var _ rest.Devices = (*services)(nil)

func (s *services) InvokeMethod(ctx context.Context, id, name string, payload []byte) (int, []byte, error) {
	status, answer, err := s.devices.InvokeMethod(ctx, id, name, payload)
	if s.tap.On() {
		text := name
		if err == nil {
			text += " → " + strconv.Itoa(status)
		}
		(*Hub)(s).tell(traffic.Method, id, text, payload, err)
	}
	return status, answer, err
}

// Send sends a message to a device or a module, whatever its sender speaks: it is admitted, and metered when it is queued.
func (s *services) Send(ctx context.Context, id string, m c2d.Message) error {
	h := (*Hub)(s)
	if err := h.admitService(ctx, tier.ClassC2D, 1); err != nil {
		return err
	}
	err := h.devices.Send(id, m)
	h.tell(traffic.Message, id, "", m.Payload, err)
	if err == nil {
		h.meter(m.Size())
	}
	return err
}

func (s *services) Purge(id string) int { return s.devices.Purge(id) }

func (s *services) PatchTwin(ctx context.Context, id string, tags, desired jsonvalue.Value, ifMatch string) (*twin.Twin, error) {
	return s.store.PatchTwin(ctx, id, tags, desired, ifMatch)
}

func (s *services) ParseValue(b []byte) (jsonvalue.Value, error) { return s.store.ParseValue(b) }

// notifyDesired tells a device of changed desired properties. What reaches it is metered
// (iot-hub-devguide-pricing).
func (h *Hub) notifyDesired(id string, delta []byte, version int64) {
	if h.devices.NotifyDesired(id, delta, version) {
		h.tell(traffic.Desired, id, "", delta, nil)
		h.meter(len(delta))
		return
	}
	h.tell(traffic.Desired, id, "nobody listens; the device will read its twin when it comes", delta, nil)
}

// gone ends the connection of a device that was deleted or disabled. It is called by the store and
// must not block it.
func (h *Hub) gone(id string, reason store.GoneReason) {
	if h.devices == nil {
		return
	}
	if reason == store.GoneDeleted {
		if h.uploads != nil {
			h.uploads.Forget(id)
		}
		h.devices.Forget(id)
		return
	}
	h.devices.Disconnect(id, iothub.ErrDeviceDisabled)
}

func (h *Hub) devicePolicy(name string) (primary, secondary sas.Key, ok bool) {
	p, ok := h.policies[name]
	return p.Primary, p.Secondary, ok && p.Rights&policy.DeviceConnect != 0
}
