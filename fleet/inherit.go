package fleet

import (
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
)

// mayInherit reports whether the device may find a session from before the run: over MQTT 5 its first connection says that it wants none, and 3.1.1
// has no word for that. One that was taken over from another fleet finds that of this run.
func (d *device) mayInherit() bool { return d.group.Kept && !d.five && !d.kept && d.adopted == nil }

// begin311 connects with a session that is kept, and begins with none: where the target had one from before, with other subscriptions perhaps, the
// device ends it, which takes a connection that is not measured, and connects once more.
func (d *device) begin311(o link.Options, intended time.Time) (link.Conn, error) {
	var stale atomic.Bool // what comes is of that session
	stale.Store(true)
	o.Handler = func(m link.Message) {
		if !stale.Load() {
			d.received(m)
		}
	}
	conn, err := d.dial(d.fleet.ctx, d.driver(), o, d.group.connect, intended)
	if err != nil {
		return nil, err
	}
	if c, ok := conn.(link.Greeted); !ok || !c.Greeting().Present {
		stale.Store(false)
		return conn, nil
	}
	if !d.inherited && !d.unsure {
		d.count(func(t *tally) { t.inherited.Add(1) })
	}
	d.inherited = true
	hangUp(conn)
	if err := d.wipe(d.fleet.ctx); err != nil {
		d.fleet.log.Info("a session from before the run could not be ended", "device", d.id, "error", err)
		now := time.Now()
		d.endConnecting(d.group.connect.Start(now, now), err)
		return nil, err
	}
	d.keeps = new(link.Session) // what the other left in it is of no use
	o.Session, o.Handler = d.keeps, d.received
	return d.dial(d.fleet.ctx, d.driver(), o, d.group.connect, time.Now())
}

// hangUp ends a connection that was never used, and returns when nothing is left of it.
func hangUp(conn link.Conn) {
	over := make(chan struct{})
	conn.Serve(func(error) { close(over) })
	conn.Close()
	<-over
}
