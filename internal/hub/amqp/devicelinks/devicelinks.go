// Package devicelinks is the links of devices and modules over AMQP: telemetry, cloud-to-device messages, the twin, direct methods
// (iot-hub-amqp-support, and the SDKs). What devices do it carries out in devices.Table, of which the links of one identity on one
// connection are an outlet.
package devicelinks

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/address"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/condition"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/peer"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/events"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

// credit is how many deliveries a device may have under way on a link (recorded).
const credit = 1000

// Kinds are the links of devices and modules.
func Kinds(t *devices.Table) []peer.Kind {
	const sends, receives = true, false // what the device does
	kind := func(sending bool, path []string, make func(*unit, peer.Request) (link, error)) peer.Kind {
		return peer.Kind{
			Sends: sending,
			Match: func(a address.Address) bool {
				_, rest, ok := a.Device()
				return ok && rest.Is(path...)
			},
			Attach: func(p *peer.Peer, r peer.Request) (engine.Grant, error) { return attach(t, p, r, make) },
		}
	}
	telemetry, messages := []string{"messages", "events"}, []string{"messages", "devicebound"}
	methods, twin := []string{"methods", "devicebound"}, []string{"twin"}
	return []peer.Kind{
		kind(sends, telemetry, newTelemetry),
		kind(receives, telemetry, newInputs),
		kind(receives, messages, newMessages),
		kind(sends, twin, newTwinRequests),
		kind(receives, twin, newTwinAnswers),
		kind(receives, methods, newMethodCalls),
		kind(sends, methods, newMethodAnswers),
	}
}

// link is one of a unit's.
type link interface {
	engine.Handler
	base() *common
}

// common is what all links of a unit have.
type common struct {
	engine.Ignore
	unit *unit
	link *engine.Link
	auth events.Auth // how the identity showed who it is when it attached
	pair string      // the correlation of the two links of a pair
	snd  uint8       // the settle modes that the service has for this kind (recorded)
	rcv  uint8
}

func (b *common) base() *common { return b }

// Detached implements engine.Handler.
func (b *common) Detached() { b.unit.remove(b) }

// unit is the links of one identity on one connection: its outlet. It has one as long as it has links, and is over with the last of them.
type unit struct {
	table  *devices.Table
	peer   *peer.Peer
	client string

	mu     sync.Mutex // protects the following fields; of others only links of the engine are called with it held
	links  []link
	over   bool
	queue  []work // what is to be done, in order
	queued int    // bytes of it, with what is being done
	room   *sync.Cond
	busy   bool // a goroutine does it
}

var _ devices.Outlet = (*unit)(nil)

type unitsKey struct{}

// units are those of a connection, by client id.
type units struct {
	mu sync.Mutex
	of map[string]*unit
}

func unitsOf(p *peer.Peer) *units {
	return p.Value(unitsKey{}, func() any { return &units{of: map[string]*unit{}} }).(*units)
}

// attach attaches a link to the unit of its identity, which is made with the first.
func attach(t *devices.Table, p *peer.Peer, r peer.Request, make func(*unit, peer.Request) (link, error)) (engine.Grant, error) {
	client, _, _ := r.Address.Device()
	proof, err := p.AsDevice(r.Link, client)
	if err != nil {
		return engine.Grant{}, err
	}
	all := unitsOf(p)
	all.mu.Lock()
	u := all.of[client]
	all.mu.Unlock()
	var l link
	if u != nil {
		l, err = u.add(r, proof.Auth, make)
	}
	if u == nil || l == nil && err == nil { // there is none, or it is over
		if err := t.Admit(p.Context(), tier.ClassConnect, 0); err != nil {
			return engine.Grant{}, err
		}
		u = &unit{table: t, peer: p, client: client}
		u.room = sync.NewCond(&u.mu)
		if l, err = u.add(r, proof.Auth, make); err != nil {
			return engine.Grant{}, err
		}
		all.mu.Lock()
		all.of[client] = u
		all.mu.Unlock()
		// While it waited its token may have expired; whoever ends the identity from here on finds the unit.
		err = t.Attach(client, u, func() error {
			_, err := p.AsDevice(r.Link, client)
			return err
		})
		if err != nil {
			u.remove(l.base())
		}
	}
	if err == nil {
		if model := r.Property("com.microsoft:model-id"); model != "" && len(model) <= devices.MaxModelID {
			if err = t.ModelID(p.Context(), client, model); err != nil {
				u.remove(l.base())
			}
		}
	}
	if err != nil {
		return engine.Grant{}, err
	}
	b := l.base()
	return engine.Grant{Handler: l, Credit: credit, SndSettleMode: b.snd, RcvSettleMode: b.rcv}, nil
}

// add adds a link; it is nil, without an error, when the unit is over.
func (u *unit) add(r peer.Request, auth events.Auth, make func(*unit, peer.Request) (link, error)) (link, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over {
		return nil, nil
	}
	if len(u.links) >= peer.MaxLinks {
		return nil, &amqp.Error{Condition: amqp.LimitExceeded, Description: fmt.Sprintf("an identity has at most %d links", peer.MaxLinks)}
	}
	l, err := make(u, r)
	if err != nil {
		return nil, err
	}
	b := l.base()
	b.unit, b.link, b.auth = u, r.Link, auth
	u.links = append(u.links, l)
	return l, nil
}

// remove takes a link away, and the unit with the last.
func (u *unit) remove(b *common) {
	u.mu.Lock()
	i := slices.IndexFunc(u.links, func(l link) bool { return l.base() == b })
	if i < 0 {
		u.mu.Unlock()
		return
	}
	l := u.links[i]
	u.links = slices.Delete(u.links, i, i+1)
	last := len(u.links) == 0
	u.over = u.over || last
	u.mu.Unlock()
	if _, messages := l.(*messages); messages && !last {
		u.table.Release(u.client, u)
	}
	if last {
		all := unitsOf(u.peer)
		all.mu.Lock()
		if all.of[u.client] == u {
			delete(all.of, u.client)
		}
		all.mu.Unlock()
		u.table.Detach(u.client, u)
	}
}

// Close implements devices.Outlet.
func (u *unit) Close(reason error) {
	why := condition.Gone(reason)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over {
		return
	}
	u.over = true
	for _, l := range u.links {
		l.base().link.Detach(why)
	}
}

// Listens implements devices.Outlet.
func (u *unit) Listens(kind devices.Kind) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over {
		return false
	}
	return slices.ContainsFunc(u.links, func(l link) bool {
		switch l := l.(type) {
		case *twinAnswers:
			return kind == devices.TwinResponses || kind == devices.Desired && l.notified
		case *methodCalls:
			return kind == devices.Methods && l.link.Credit() > 0
		case *messages:
			return kind == l.kind && l.link.Credit() > 0
		}
		return false
	})
}

// each calls do with the links of a type that a unit has now, without a lock.
func each[T link](u *unit, do func(T)) {
	u.mu.Lock()
	var all []T
	for _, l := range u.links {
		if l, ok := l.(T); ok {
			all = append(all, l)
		}
	}
	u.mu.Unlock()
	for _, l := range all {
		do(l)
	}
}

// mostQueued is how many bytes wait to be served of what a device has sent, before its connection waits.
const mostQueued = 1 << 20

// serve has a delivery served by do: now, or where it may wait behind those before it in a goroutine of the unit's, so that no identity of a
// connection waits for another.
func (u *unit) serve(d engine.Delivery, do func(d engine.Delivery)) {
	u.table.Active(u.client)
	u.mu.Lock()
	if !u.busy && !u.peer.Waits() {
		u.mu.Unlock()
		do(d)
		return
	}
	d.Payload = bytes.Clone(d.Payload)
	for u.queued > mostQueued {
		u.room.Wait()
	}
	w := work{d, do}
	u.queued += w.size()
	u.queue = append(u.queue, w)
	if !u.busy {
		u.busy = true
		u.peer.Conn().Server().Go(u.work)
	}
	u.mu.Unlock()
}

// work is a delivery that waits, and what serves it.
type work struct {
	delivery engine.Delivery
	do       func(engine.Delivery)
}

// size is what the delivery counts for among those that wait.
func (w *work) size() int { return len(w.delivery.Payload) + 1 }

// work does what is queued until nothing is.
func (u *unit) work() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for len(u.queue) > 0 {
		w := u.queue[0]
		u.queue[0] = work{}
		u.queue = u.queue[1:]
		u.mu.Unlock()
		w.do(w.delivery)
		u.mu.Lock()
		u.queued -= w.size()
		u.room.Signal()
	}
	u.queue, u.busy = nil, false
}

func (u *unit) context() context.Context { return u.peer.Context() }

// settle answers a delivery, unless answers are to be lost.
func (b *common) settle(d engine.Delivery, s amqp.State) {
	if b.unit.peer.Faults().Dropping() {
		b.link.Forget(d)
		return
	}
	b.link.Settle(d, s)
}

func accepted() amqp.State { return amqp.State{Code: amqp.Accepted} }

func rejected(err error) amqp.State { return amqp.State{Code: amqp.Rejected, Error: condition.Of(err)} }
