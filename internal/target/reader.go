package target

import (
	"context"
	"errors"
	"net"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/eventhub"
)

// errNoReader is returned by a target without the service side of one hub.
var errNoReader = errors.New("nobody can read the messages of a target without a service side, or of several hubs")

// Reader is a reader of the messages that devices send, with the rights of the service side; a hub elsewhere needs a policy with
// ServiceConnect.
func (t *Target) Reader(o eventhub.Options) (*eventhub.Reader, error) {
	if t.service.Key.IsZero() {
		return nil, errNoReader
	}
	at := t.places[0]
	o.Host, o.Addr, o.Policy, o.Key = at.amqp.Host, at.amqp.Addr, t.service.Policy, t.service.Key
	o.Group = t.sc.Target.ConsumerGroup
	o.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
		dial := at.reach(addr)
		if at.amqp.TLS {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			dial = link.TLS(dial, clientTLS(host, at.roots))
		}
		return dial(ctx)
	}
	return eventhub.New(o)
}
