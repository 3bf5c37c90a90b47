package hub

import (
	"context"

	"github.com/twinfleet/twinfleet/internal/hub/consumers"
	"github.com/twinfleet/twinfleet/internal/hub/eventlog"
	"github.com/twinfleet/twinfleet/internal/hub/events"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

// freePartitions is how many partitions the messages of a free hub are in; those of others are in four.
const freePartitions = 2

// openEvents makes what keeps telemetry for those who read it, with what is kept from before.
func (h *Hub) openEvents(ctx context.Context) (err error) {
	if h.consumers, err = consumers.New(h.opts.ConsumerGroups...); err != nil {
		return err
	}
	o := eventlog.Options{
		Bytes: h.opts.TelemetryLog, Retention: h.opts.TelemetryRetention, Always: h.opts.TelemetryAlways, Keeper: h.keeper(), Logger: h.log,
	}
	if tier.Tier(h.opts.Tier) == tier.F1 {
		o.Partitions = freePartitions
	}
	if h.events, err = eventlog.New(o); err != nil {
		return err
	}
	return h.events.Load(ctx)
}

// Events are the messages of devices, for those who read them.
func (h *Hub) Events() *eventlog.Log { return h.events }

// Consumers are the groups of those who read the messages of devices.
func (h *Hub) Consumers() *consumers.Groups { return h.consumers }

// keepEvents keeps messages that a device or a module sent at once, for those who read them, and returns when they outlive the program.
// Who sent them is filled in. Of messages that the disk does not take all together, a reader may see the first ones: their sender sends all of them again.
func (h *Hub) keepEvents(ctx context.Context, id string, auth events.Auth, batch []events.Message) error {
	if !h.events.On() {
		return nil
	}
	device, module := entity.Split(id)
	origin := h.store.Origin(id)
	var waits []func(context.Context) error
	for i := range batch {
		m := &batch[i]
		m.DeviceID, m.ModuleID, m.GenerationID, m.ModelID, m.Auth = device, module, origin.GenerationID, origin.ModelID, auth
		durable := h.events.Append(device, m.Size(), func(b []byte, at eventlog.Position) []byte {
			return m.Append(b, at.Sequence, at.Offset, at.Enqueued)
		})
		if durable != nil {
			waits = append(waits, durable)
		}
	}
	for _, wait := range waits {
		if err := wait(ctx); err != nil {
			return err
		}
	}
	return nil
}
