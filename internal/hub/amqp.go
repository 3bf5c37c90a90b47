package hub

import (
	"slices"

	"github.com/twinfleet/twinfleet/internal/hub/amqp/cbs"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/devicelinks"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/peer"
	"github.com/twinfleet/twinfleet/internal/hub/policy"
)

// waits says that operations of devices may wait: for a disk, or for a tier's limits.
func (h *Hub) waits() bool { return h.limiter != nil || h.opts.DataDir != "" }

// amqpFront serves AMQP: each kind of link is one registration.
func (h *Hub) amqpFront() *peer.Front {
	return peer.New(peer.Options{
		Identities: h.devices, Faults: h.devices.Faults(), Logger: h.log, Waits: h.waits(), TokenGrace: h.opts.TokenGrace,
		Policy: func(name string) (policy.Policy, bool) {
			p, ok := h.policies[name]
			return p, ok
		},
		Kinds: slices.Concat(cbs.Kinds(), devicelinks.Kinds(h.devices)),
	})
}
