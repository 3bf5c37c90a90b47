// Package peer is who is at the other end of an AMQP connection: what it has shown of who it is, by tokens, SASL PLAIN or a certificate,
// and what its links lead to. Which links there are it knows by their kinds, of which each is one registration: see Kind.
package peer

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/address"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/faults"
	"github.com/twinfleet/twinfleet/internal/hub/policy"
)

// Kind is a kind of link. To add one, implement Attach and register it in Options.Kinds; its links are served by the engine.Handler that
// Attach grants.
type Kind struct {
	Sends bool // the client sends on it; else it receives
	// Match says whether an address is of this kind. Kinds are asked in their order.
	Match func(a address.Address) bool
	// Attach attaches a link, or refuses it with an error, which the client reads as condition.Of says it. Before it grants anything it
	// asks the Peer for a right: AsDevice or AsPolicy. It may wait where Options.Waits says so.
	Attach func(p *Peer, r Request) (engine.Grant, error)
}

// Request is a link that a client attaches.
type Request struct {
	Link    *engine.Link
	Attach  *amqp.Attach    // as it came; the connection's again when Kind.Attach returns
	Address address.Address // that the client sends to, or receives from
}

// Property is a property of the link by its name, as text; "" without one.
func (r Request) Property(name string) string {
	text, _ := r.Attach.Properties.Get(name).Text()
	return text
}

// Identities checks claims of devices and modules: a devices.Table.
type Identities interface {
	Authenticate(c devices.Claim) (devices.Proof, error)
}

// Options of a Front.
type Options struct {
	Identities Identities     // required
	Policies   policy.Set     // whose tokens are accepted
	Kinds      []Kind         // of links
	Faults     *faults.Switch // required
	Logger     *slog.Logger   // nil logs nothing
	// Waits says that kinds may wait: for a disk, or for a tier's limits.
	Waits bool
	// TokenGrace is how long after its token's expiry the links of an identity are detached; 5 min when 0.
	TokenGrace time.Duration
}

// Front serves AMQP connections. All its goroutines have ended when Close returns.
type Front struct {
	opts   Options
	server *engine.Server
	ctx    context.Context // ends when Close is called
	cancel context.CancelFunc
}

// New makes a Front.
func New(o Options) *Front {
	if o.TokenGrace == 0 {
		o.TokenGrace = 5 * time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Front{opts: o}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.server = engine.New(engine.Options{
		User:     func(c *engine.Conn) engine.User { return &Peer{front: f, conn: c} },
		Patient:  f.patient,
		Before:   func() { o.Faults.Wait(f.ctx) }, // while the hub stalls
		External: true,
	})
	return f
}

// patient reports whether what is called for a connection may wait.
func (f *Front) patient() bool { return f.opts.Waits || f.opts.Faults.Stalling() }

// Take serves a connection and closes it at its end. It returns at once, unless only a goroutine can wait for what comes.
func (f *Front) Take(nc net.Conn) {
	if f.opts.Faults.Refusing() {
		nc.Close()
		return
	}
	f.server.Take(nc)
}

// Accept is Take in a goroutine of the Front's; it returns at once.
func (f *Front) Accept(nc net.Conn) {
	if f.opts.Faults.Refusing() {
		nc.Close()
		return
	}
	f.server.Accept(nc)
}

// Connections is how many connections there are.
func (f *Front) Connections() int { return f.server.Connections() }

// Disconnect closes all connections with an error, as their clients see it, and returns when they have been told, or a second has gone by.
func (f *Front) Disconnect(why *amqp.Error) { f.server.Disconnect(why) }

// Close ends all connections, whose clients are told, and waits for their goroutines.
func (f *Front) Close() {
	f.cancel()
	f.server.Disconnect(&amqp.Error{Condition: amqp.ConnectionForced, Description: "the hub is closing"})
	f.server.Close()
}
