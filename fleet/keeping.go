package fleet

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
)

// needsKeeping reports whether the group's devices ask for what only a driver has that is link.Keeping.
func (g *Group) needsKeeping() bool { return g.Kept }

// ask fills in what a device of the group asks for when it connects.
func (d *device) ask(o *link.Options) {
	g := d.group
	o.Connection = d.connection()
	if make := g.Will.Message; make != nil {
		m := make(d.who)
		o.Will, o.WillDelay = &m, g.Will.Delay
	}
	c := &g.Connect
	o.ReceiveMaximum, o.MaximumPacket, o.TopicAliases, o.Aliases = c.ReceiveMaximum, c.MaximumPacket, c.TopicAliases, c.TopicAliases
	if c.User != nil {
		o.User = c.User(d.who)
	}
	if !g.Kept {
		return
	}
	if d.keeps == nil {
		d.keeps = new(link.Session)
	}
	// The first connection of a run begins with nothing where it can say so, and have the session kept all the same.
	o.Session, o.SessionExpiry, o.CleanSession = d.keeps, c.SessionExpiry, o.Version == link.V5 && !d.kept
}

// resumes notes what the target said of the device's session, and reports whether subscriptions are as they were.
func (d *device) resumes() bool {
	if !d.group.Kept {
		return false
	}
	before := d.kept
	d.kept = true
	if c, ok := d.conn.(link.Greeted); !ok || !before || !c.Greeting().Present {
		d.everSubscribed = false // until it has subscribed anew, whatever becomes of this connection
	}
	return d.everSubscribed
}

// expires is when the target forgets the session of a connection that ends now; the zero time when it does not.
func (d *device) expires(now time.Time) time.Time {
	if c, ok := d.conn.(link.Greeted); ok {
		if e := c.Greeting().Expiry; e < link.MaxExpiry {
			return now.Add(e)
		}
	}
	return time.Time{}
}

// farewell ends the connection, and with it the session of a device that is there no more.
func (d *device) farewell() {
	if end, ok := d.conn.(link.Ender); ok && d.group.Kept && d.fleet.finished() && d.five {
		d.bade = true
		end.End()
		return
	}
	d.conn.Close()
}

// underWayForGood ends what was sent and is under way from one connection to the next, when there is no next one.
func (d *device) underWayForGood() {
	if d.keeps != nil {
		d.keeps.Forget()
	}
}

const (
	mostWipes = 64            // sessions that are ended at once
	inVain    = 4 * mostWipes // tries in a row, after which a target that takes no connections is left alone
	mostEnds  = time.Minute   // for all of them
)

// wipe ends the sessions that the target keeps of devices that have stopped, which takes a connection each. When ctx ends, or the target takes none
// of many connections, those that are left stay.
func (f *Fleet) wipe(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, mostEnds)
	defer cancel()
	var all sync.WaitGroup
	var failed atomic.Int64 // in a row
	room := make(chan struct{}, mostWipes)
	for i := range f.devices {
		d := f.devices[i].Load()
		if d == nil || !d.kept && (!d.inherited || d.everArrived) {
			continue
		}
		if failed.Load() >= inVain {
			f.remain.Add(1)
			continue
		}
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			f.remain.Add(1)
			continue
		}
		all.Go(func() {
			defer func() { <-room }()
			if err := d.wipe(ctx); err == nil {
				d.kept = false
				failed.Store(0)
			} else {
				failed.Add(1)
				f.remain.Add(1)
				f.log.Info("a session is left at the target", "device", d.id, "error", err)
			}
		})
	}
	all.Wait()
}

// wipe connects with a clean session, and leaves.
func (d *device) wipe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(d.group.Timeout, 10*time.Second))
	defer cancel()
	o := d.fleet.cfg.Target.Link(d.index, d.id)
	o.CleanSession, o.KeepAlive, o.Timeout, o.Handler = true, d.group.KeepAlive, d.group.Timeout, func(link.Message) {}
	conn, err := d.driver().Connect(ctx, o)
	if err != nil {
		return err
	}
	hangUp(conn)
	return nil
}

// Kept is how many sessions are left at the target when Stop has returned: those of devices that could not end them.
func (f *Fleet) Kept() int { return int(f.remain.Load()) }
