// Package engine is the server side of AMQP 1.0: headers, the security layer, connections, sessions, links, credit and windows,
// deliveries large and small, heartbeats. It knows nothing of what links lead to: for that it asks its user, by the interfaces User and
// Handler. What comes from the wire is bounded before anything is kept of it, and every mistake of a peer is answered where the standard
// says: on its link, its session or its connection.
//
// To add what links lead to, implement Handler, and return it from User.Attach for the addresses that are its own. Nothing here needs
// to change for it.
package engine

import (
	"net"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/stream"
)

// User knows what is behind one connection. Plain, External, Opened and Attach are called one at a time; they may wait when Options.Patient says
// so. None is called with a lock of the connection held.
type User interface {
	// Plain checks a user name and a password of SASL PLAIN. With an error the peer is refused, and is not told why.
	Plain(user, password string) error
	// External checks the client certificate of the connection, for SASL EXTERNAL. An error refuses the peer.
	External() error
	// Opened tells that the connection is open.
	Opened()
	// Attach says what a link leads to that the peer attaches. An error refuses the link: the peer is told of an *amqp.Error, and for
	// any other of amqp:internal-error. What a points to is the connection's again when it returns. The link has no credit yet.
	Attach(l *Link, a *amqp.Attach) (Grant, error)
	// Alarm is called when the time given to Conn.Wake has come. It must not wait, and is called beside all others.
	Alarm()
	// Ended tells, after all else, that the connection is over and why.
	Ended(why error)
}

// Grant is how a link is attached.
type Grant struct {
	Handler Handler // required
	// Credit is how many deliveries a sending peer may have under way: sent, and not answered by Link.Settle or Link.Forget. It is
	// granted anew when half is used. None when 0; of no meaning for a peer that receives.
	Credit uint32
	// SndSettleMode and RcvSettleMode are answered where the peer asks for none; amqp.ModeUnset for none. What it asks for it gets.
	SndSettleMode, RcvSettleMode uint8
}

// Handler is what a link leads to. Its methods are called without a lock, and but for Detached one at a time for all links of a
// connection. They may wait when Options.Patient says so. Embed Ignore for those that have no meaning.
type Handler interface {
	// Deliver takes a delivery of a peer that sends, whole; of one that receives it is never called. Each is to be answered once by Link.Settle or Link.Forget, then or later,
	// also one that the peer has settled: that gives its credit back.
	Deliver(d Delivery)
	// Credit tells that Link.Credit has changed. When it returns without using the credit of a peer that drains, that is used up.
	Credit()
	// Outcome tells what became of a delivery that was sent unsettled. When it returns the delivery is settled on both sides: a peer in
	// second mode is answered with the state that is returned.
	Outcome(o Outcome) amqp.State
	// Detached tells, once, that the link is over, whoever ended it. It may come while another method is under way.
	Detached()
}

// Ignore is a Handler to embed, which does nothing. It answers no delivery: the Handler of a peer that sends has a Deliver of its own.
type Ignore struct{}

// Deliver implements Handler.
func (Ignore) Deliver(Delivery) {}

// Credit implements Handler.
func (Ignore) Credit() {}

// Outcome implements Handler.
func (Ignore) Outcome(o Outcome) amqp.State { return o.State }

// Detached implements Handler.
func (Ignore) Detached() {}

// Delivery is one that a peer sent.
type Delivery struct {
	ID      uint32 // of the session
	Format  uint32 // of the message: amqp.FormatMessage, amqp.FormatBatch
	Settled bool   // by the peer, who waits for no outcome
	Payload []byte // valid until Deliver returns
}

// Outcome is what became of a delivery that was sent.
type Outcome struct {
	ID    uint32
	Tag   string     // that was given to Link.Send
	State amqp.State // accepted, rejected, released, modified, or none: then the peer settled without a word
}

// Options of a Server.
type Options struct {
	// User makes the User of a connection, once, when it begins. It must not call the connection. Required.
	User func(*Conn) User
	// Patient, see stream.Options: with it User and Handler may wait.
	Patient func() bool
	// Before is called before what has come is looked at, where it may wait; nil for nothing.
	Before func()
	// External says whether SASL EXTERNAL is offered.
	External bool
}

// What a Server says of itself in its open (recorded from the service), and the bounds of what it takes.
const (
	maxFrame       = 64 << 10               // bytes of a frame
	channelMax     = 8191                   // the highest channel
	handleMax      = 262143                 // the highest handle
	idleTimeOut    = 240 * time.Second      // of silence, after which a peer is given up
	window         = 5000                   // transfers that a peer may send, by session
	maxMessage     = 1 << 20                // bytes of a delivery
	maxAssembled   = 4 << 20                // bytes of deliveries that have come in part, by connection
	maxOfStrangers = 32 << 10               // likewise, of a peer that has not shown who it is: a token is smaller
	maxUnsettled   = 10000                  // deliveries that were sent and not settled, by session
	maxPosted      = 256                    // deliveries that wait for credit, by link
	minIdleTimeOut = 100 * time.Millisecond // of a peer, which hears more often than half of it
	openTimeout    = 10 * time.Second       // until a connection is open
	namelessTime   = 60 * time.Second       // until Conn.Identified
	closeTimeout   = 5 * time.Second        // for a peer to answer a close
	firstLinks     = 16                     // until Conn.SetLimits
	firstSessions  = 16                     // likewise
	moreRefused    = 64                     // links beyond the limit that are refused one by one, before the connection is
)

// Server serves connections.
type Server struct {
	opts   Options
	stream *stream.Server
}

// New makes a Server.
func New(o Options) *Server {
	if o.Patient == nil {
		o.Patient = func() bool { return false }
	}
	return &Server{opts: o, stream: stream.New(stream.Options{Patient: o.Patient})}
}

func (s *Server) handler(sc *stream.Conn) stream.Handler {
	c := &Conn{server: s, stream: sc, began: time.Now(), limits: limits{firstLinks, firstSessions}}
	c.user = s.opts.User(c)
	return c
}

// Take serves a connection and closes it at its end. It returns at once, unless only a goroutine can wait for what comes.
func (s *Server) Take(nc net.Conn) { s.stream.Take(nc, s.handler) }

// Accept is Take in a goroutine of the Server's; it returns at once.
func (s *Server) Accept(nc net.Conn) { s.stream.Accept(nc, s.handler) }

// Go runs do in a goroutine for which Close waits. It is called on behalf of a connection that is not over yet.
func (s *Server) Go(do func()) { s.stream.Go(do) }

// Connections is how many connections there are.
func (s *Server) Connections() int { return s.stream.Connections() }

// Disconnect closes all connections with an error, as peers see it, and returns when they have been told, or a second has gone by.
func (s *Server) Disconnect(why *amqp.Error) {
	s.stream.Each(func(h stream.Handler) { h.(*Conn).Close(why) })
	s.stream.Flush(time.Second)
}

// Close ends all connections without a word and waits for their goroutines.
func (s *Server) Close() { s.stream.Close() }
