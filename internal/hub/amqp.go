package hub

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/hub/amqp/cbs"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/devicelinks"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/peer"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/service"
	"github.com/twinfleet/twinfleet/internal/hub/c2d"
)

// waits says that operations of devices may wait: for a disk, or for a tier's limits.
func (h *Hub) waits() bool { return h.limiter != nil || h.opts.DataDir != "" }

// amqpFront serves AMQP: each kind of link is one registration.
func (h *Hub) amqpFront() *peer.Front {
	return peer.New(peer.Options{
		Identities: h.devices, Faults: h.devices.Faults(), Logger: h.log, Waits: h.waits(), TokenGrace: h.opts.TokenGrace,
		Policies: h.policies,
		Kinds: slices.Concat(cbs.Kinds(), devicelinks.Kinds(h.devices), service.Kinds(service.Options{
			Send: h.sendMessage, Feedback: h.feedback, Files: h.files, Name: h.EventHubName(), Log: h.events, Groups: h.consumers,
			At: h.at,
		})),
	})
}

// sendMessage sends a message to a device, as services do over AMQP. One for nobody counts for nothing.
func (h *Hub) sendMessage(ctx context.Context, client string, m c2d.Message) error {
	if _, err := h.store.Device(client); err != nil {
		return err
	}
	return (*services)(h).Send(ctx, client, m)
}

// EventHubName is the name of the Event-Hubs-compatible endpoint, the EntityPath of its connection string: the hub's own.
func (h *Hub) EventHubName() string {
	name, _, _ := strings.Cut(h.opts.HostName, ".")
	return name
}

// at is where the Event-Hubs-compatible endpoint is: at the hub's own host and port.
func (h *Hub) at() (host string, port int) {
	host, port = h.opts.HostName, amqpsPort
	if _, text, err := net.SplitHostPort(h.Addr()); err == nil {
		port, _ = strconv.Atoi(text) // of a TCP address
	}
	return host, port
}

// amqpsPort is the port of AMQP over TLS where no other is known.
const amqpsPort = 5671

// EventHubConnectionString is the one with which readers of Event Hubs find what devices send, of a shared access policy with the right
// ServiceConnect.
func (h *Hub) EventHubConnectionString(policy string) string {
	host, port := h.at()
	return fmt.Sprintf("Endpoint=sb://%s/;SharedAccessKeyName=%s;SharedAccessKey=%s;EntityPath=%s",
		net.JoinHostPort(host, strconv.Itoa(port)), policy, h.policies[policy].Primary.Base64(), h.EventHubName())
}
