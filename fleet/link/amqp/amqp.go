// Package amqp drives devices of an IoT Hub over AMQP 1.0, as Microsoft's SDKs do: OPEN and BEGIN without SASL, the token on $cbs unless
// the device has a certificate, a link for telemetry, and those of twins, direct methods and messages of the cloud when they are
// subscribed to. Devices may share a connection, as behind a gateway. As with package lean nothing waits, and where the system tells of
// what comes a connection has no goroutine.
//
// Topics are those of the hub over MQTT. What AMQP has no word for is left out: wills, retained messages, sessions that go on.
package amqp

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/nowait"
	"github.com/twinfleet/twinfleet/internal/timers"
)

const farewellTime = time.Second // for the other side's CLOSE, after which nobody waits

// Driver makes connections. Make it with New.
type Driver struct {
	timers  *timers.Set
	pollers *nowait.Pollers
	shared  *shared
}

var (
	_ link.Driver  = Driver{}
	_ link.Sharing = Driver{}
)

// New is a Driver.
func New() Driver {
	return Driver{new(timers.Set), new(nowait.Pollers), &shared{of: make(map[int]*slot)}}
}

// Sharing implements link.Sharing: it can.
func (Driver) Sharing() bool { return true }

// shared are the connections that several devices have, by link.Options.Connection.
type shared struct {
	mu sync.Mutex
	of map[int]*slot
}

// slot is a connection that is there, or on its way.
type slot struct {
	dialled chan struct{} // closed when one of the following is set
	conn    *conn
	err     error
}

// forget takes a connection off that is over.
func (s *shared) forget(number int, old *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[number] == old {
		delete(s.of, number)
	}
}

// Connect makes a connection, or a part of one: it returns when the hub has taken the token and the link for telemetry. A token that is
// refused is a *link.RefusedError with the status, and a link that is, or a connection, one with the condition.
func (d Driver) Connect(ctx context.Context, o link.Options) (link.Conn, error) {
	ctx, cancel := link.Connecting(ctx)
	defer cancel()
	x := newDevice(o)
	if err := d.join(ctx, o, x); err != nil {
		return nil, link.ConnectError(ctx, err)
	}
	var err error
	select {
	case err = <-x.ready:
	case <-ctx.Done():
		err = context.Cause(ctx)
		x.giveUp(err)
	}
	if err != nil {
		return nil, link.ConnectError(ctx, err)
	}
	return x, nil
}

// join gives a device its connection, which is dialled when there is none.
func (d Driver) join(ctx context.Context, o link.Options, x *device) error {
	if o.Connection <= 0 {
		c, err := d.dial(ctx, o, nil)
		if err == nil {
			c.begin(x)
		}
		return err
	}
	for {
		d.shared.mu.Lock()
		s, mine := d.shared.of[o.Connection], false
		if s == nil {
			s, mine = &slot{dialled: make(chan struct{})}, true
			d.shared.of[o.Connection] = s
		}
		d.shared.mu.Unlock()
		if mine {
			forget := func() { d.shared.forget(o.Connection, s) }
			if s.conn, s.err = d.dial(ctx, o, forget); s.err != nil {
				forget()
			} else {
				s.conn.begin(x)
			}
			close(s.dialled)
			return s.err
		}
		select {
		case <-s.dialled:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		switch {
		case s.err == nil && s.conn.add(x):
			return nil
		case s.err == nil: // it is over, or about to be
			d.shared.forget(o.Connection, s)
		case !errors.Is(s.err, context.DeadlineExceeded) && !errors.Is(s.err, context.Canceled):
			return s.err
		}
	}
}

// dial opens a transport, on which nothing is said yet.
func (d Driver) dial(ctx context.Context, o link.Options, forget func()) (*conn, error) {
	nc, err := o.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &conn{pollers: d.pollers, host: o.Host, idle: o.KeepAlive, shares: o.Connection > 0, forget: forget, peerFrame: minFrame}
	c.wire.Begin(nc, link.Bottom(nc), c)
	d.timers.Init(&c.beating, c.beat)
	return c, nil
}
