package fleet

import (
	"context"
	"errors"

	"github.com/twinfleet/twinfleet/fleet/link"
)

// Redirecting is a Target that may name another server for a device (MQTT 5 section 4.11), to which devices go then.
type Redirecting interface {
	// Redirects reports whether devices follow it.
	Redirects() bool
	// Redirected is Link for a connection to the server that a reference names. It is an error when the reference names none.
	Redirected(index int, id, reference string) (link.Options, error)
}

// mostHops is how often a connection is sent on, one server to the next: servers that name each other send devices round and round.
const mostHops = 3

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
	d, at := f.device, o
	if reference := d.server.Load(); reference != nil {
		if next, err := f.to(*reference, o); err == nil {
			at = next
		}
	}
	for hops := 0; ; hops++ {
		conn, err := f.Driver.Connect(ctx, at)
		var refused *link.RefusedError
		switch {
		case err == nil:
			return conn, nil
		case !errors.As(err, &refused) || refused.Server == "" || hops == mostHops:
			d.server.Store(nil)
			return nil, err
		}
		next, wrong := f.to(refused.Server, o)
		if wrong != nil {
			return nil, errors.Join(err, wrong)
		}
		d.server.Store(&refused.Server)
		at = next
	}
}

// to is a connection to the server of a reference, otherwise as another.
func (f follower) to(reference string, as link.Options) (link.Options, error) {
	there, err := f.target.Redirected(f.device.index, f.device.id, reference)
	as.Dial, as.Host, as.Username, as.Password = there.Dial, there.Host, there.Username, there.Password
	return as, err
}

// sentAway notes that the target ended a connection and named another server, where the next one goes.
func (d *device) sentAway(why error) {
	var told *link.DisconnectedError
	if errors.As(why, &told) && told.Server != "" {
		d.server.Store(&told.Server)
	}
}
