package fleet

import (
	"context"
	"errors"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/fleet/redirect"
)

// Redirecting is a Target that may name another server for a device (MQTT 5 section 4.11), to which devices go then.
type Redirecting interface {
	// Redirects reports whether devices follow it.
	Redirects() bool
	// Redirected is Link for a connection to the server that a reference names, and which server that is, host:port: of several, a device takes
	// one. It is an error when the reference names none.
	Redirected(index int, id, reference string) (o link.Options, server string, err error)
}

// follower makes a device's connections, where its target sends it: being sent on belongs to the connection.
type follower struct {
	link.Driver
	device *device
	target Redirecting
}

// driver makes the device's connections.
func (d *device) driver() link.Driver {
	if t, ok := d.fleet.cfg.Target.(Redirecting); ok && t.Redirects() {
		return follower{d.group.driver, d, t}
	}
	return d.group.driver
}

// Connect implements link.Driver. A device that was sent to another server goes there until that one does not have it.
func (f follower) Connect(ctx context.Context, o link.Options) (link.Conn, error) {
	d, at := f.device, redirect.Place{Options: o}
	way := redirect.Way{
		To:      func(reference string) (redirect.Place, error) { return f.to(reference, o) },
		Connect: func(o link.Options) (link.Conn, error) { return f.Driver.Connect(ctx, o) },
	}
	if reference := d.server.Load(); reference != nil {
		if next, err := way.To(*reference); err == nil {
			at = next
		}
	}
	conn, at, err := way.Follow(at)
	if err != nil {
		d.server.Store(nil)
		return nil, err
	}
	if at.Reference != "" {
		d.server.Store(&at.Reference)
		d.movedTo(at.Server)
	}
	return conn, nil
}

// to is a connection to the server of a reference, otherwise as another.
func (f follower) to(reference string, as link.Options) (redirect.Place, error) {
	there, server, err := f.target.Redirected(f.device.index, f.device.id, reference)
	as.Dial, as.Host, as.Username, as.Password = there.Dial, there.Host, there.Username, there.Password
	return redirect.Place{Reference: reference, Server: server, Options: as}, err
}

// movedTo tells where a device is that its target sent to another server, once for each time that it is another.
func (d *device) movedTo(server string) {
	if last := d.moved.Swap(&server); last == nil || *last != server {
		d.contradict(Contradiction{Kind: Redirected, Detail: server})
	}
}

// sentAway notes that the target ended a connection and named another server, where the next one goes.
func (d *device) sentAway(why error) {
	var told *link.DisconnectedError
	if errors.As(why, &told) && told.Server != "" {
		d.server.Store(&told.Server)
	}
}
