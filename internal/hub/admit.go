package hub

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

// operations counts what the hub has served, by class; also without a tier.
type operations map[tier.Class]*atomic.Uint64

func newOperations() operations {
	o := make(operations)
	for _, class := range tier.Classes() {
		o[class] = new(atomic.Uint64)
	}
	return o
}

// snapshot is the counts as they are now.
func (o operations) snapshot() map[tier.Class]uint64 {
	out := make(map[tier.Class]uint64, len(o))
	for class, n := range o {
		out[class] = n.Load()
	}
	return out
}

// admit waits until n operations of a class may go on.
func (h *Hub) admit(ctx context.Context, class tier.Class, n float64) error {
	err := h.limiter.Admit(ctx, class, n)
	switch {
	case err == nil:
		h.served[class].Add(1)
	case errors.Is(err, iothub.ErrQuotaExceeded):
		h.quotaUsedUp()
	}
	return err
}

// quotaUsedUp drops all connections, once a day: with its quota the real hub drops them too, and
// refuses new ones until midnight UTC (iot-hub-devguide-quotas-throttling).
func (h *Hub) quotaUsedUp() {
	today := time.Now().UTC().Unix() / int64(24*time.Hour/time.Second)
	if h.dropped.Swap(today) != today {
		h.log.Warn("the tier's daily quota is used up; connections end until midnight UTC")
		h.devices.DisconnectAll(iothub.ErrQuotaExceeded)
	}
}

// admitDevice admits and meters an operation of a device. What a device is told of a throttled twin
// operation is 429001; its telemetry cannot be refused, and its connection ends for 429002
// (troubleshoot-error-codes).
func (h *Hub) admitDevice(ctx context.Context, class tier.Class, bytes int) error {
	switch class {
	case tier.ClassConnect, tier.ClassC2DReceive, tier.ClassFileUpload: // none is a message (iot-hub-devguide-pricing)
		return h.admit(ctx, class, 1)
	case tier.ClassTelemetry:
		return h.admitMetered(ctx, class, bytes, iothub.ErrThrottleBacklogFull)
	default:
		return h.admitMetered(ctx, class, bytes, iothub.ErrThrottled)
	}
}

func (h *Hub) admitMetered(ctx context.Context, class tier.Class, bytes int, shed *iothub.Error) error {
	err := h.admit(ctx, class, 1)
	if iothub.Throttled(err) {
		return shed.With("%s", iothub.AsError(err).Message)
	}
	if err == nil {
		h.meter(bytes)
	}
	return err
}

// meter counts an operation that was served against the day's messages.
func (h *Hub) meter(bytes int) {
	if h.limiter.Meter(bytes) {
		h.quotaUsedUp()
	}
}

// admitService admits a request of the service side, which is metered when its answer is known. n
// is devices for the registry and bytes of payload for direct methods, else 1.
func (h *Hub) admitService(ctx context.Context, class tier.Class, n int) error {
	switch class {
	case tier.ClassRegistry:
	case tier.ClassTwinRead:
		class, n = tier.ClassServiceTwinRead, 1
	case tier.ClassTwinUpdate:
		class, n = tier.ClassServiceTwinUpdate, 1
	case tier.ClassMethod:
		n = max(1, (n+tier.MethodBytes-1)/tier.MethodBytes) // started blocks of the request's payload
	default:
		n = 1
	}
	return h.admit(ctx, class, float64(n))
}

// admitJob lets a job go on with its next device. A job waits its turn; only its end or the quota stops it.
func (h *Hub) admitJob(ctx context.Context) error {
	err := h.limiter.Queue(ctx, tier.ClassJobDevice, 1)
	if err == nil {
		h.served[tier.ClassJobDevice].Add(1)
	}
	return err
}
