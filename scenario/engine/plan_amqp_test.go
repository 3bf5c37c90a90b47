package engine

import (
	"context"

	"github.com/twinfleet/twinfleet/fleet/link"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// over is the driver of a transport.
func (h *instant) over(x spec.DeviceTransport) link.Driver {
	if x.IsAMQP() {
		return sharing{h}
	}
	return h
}

// sharing is an instant target over AMQP: tokens are renewed on connections, and several devices share one.
type sharing struct{ *instant }

func (sharing) Sharing() bool { return true }

func (s sharing) Connect(ctx context.Context, o link.Options) (link.Conn, error) {
	c, err := s.instant.Connect(ctx, o)
	return sharedConn{c.(*instantConn)}, err
}

type sharedConn struct{ *instantConn }

func (c sharedConn) Renew(done func(error)) { done(nil) }

// Cut cuts the connection for all who share it, at once.
func (c sharedConn) Cut() {
	c.hub.mu.Lock()
	var others []*instantConn
	for _, o := range c.hub.open {
		if !c.closed && o != c.instantConn && c.options.Connection > 0 && o.options.Connection == c.options.Connection {
			others = append(others, o)
			o.leave()
		}
	}
	c.hub.mu.Unlock()
	c.Abort()
	for _, o := range others {
		o.over(link.ErrLost)
	}
}
