// Package link is how a device talks: one small interface with drivers behind it, and the transports
// that drivers dial.
package link

import (
	"context"
	"net"
	"sync"
	"time"
)

// Message is an application message. It is written as one of MQTT whatever carries it: a driver of another protocol translates the
// topics of IoT Hub, which package fleet/protocol/iothub writes, to what its protocol has for them, and what arrives back to the same
// topics.
type Message struct {
	Topic   string // without wildcards; of one that arrived, not to be kept after Handler returns
	Payload []byte // not changed, nor kept after Publish or Handler returns
	QoS     byte   // 0, 1 or 2
	Retain  bool   // of a message that is sent: keep it; of one that arrived: it was kept
	// Properties are those of MQTT 5; nil for none, and over any other protocol they are not sent.
	Properties *Properties
}

// Version is a version of MQTT. The zero value is 3.1.1.
type Version uint8

// The versions of MQTT.
const (
	V311 Version = iota
	V5
)

// UserProperty is a name and a value (MQTT 5 section 3.3.2.3.7). Names may repeat.
type UserProperty struct{ Name, Value string }

// Properties of a message (MQTT 5 section 3.3.2.3). Those of one that arrived are not to be kept after Handler returns, nor are their texts.
type Properties struct {
	User          []UserProperty // in their order
	ContentType   string         // none when empty
	ResponseTopic string         // none when empty
	Correlation   []byte         // of a request and its response; none when nil
	Expiry        time.Duration  // of the message, in whole seconds; 0 for never
	Text          bool           // the payload is UTF-8
	Subscriptions []uint32       // of a message that arrived: the identifiers (Filter.ID) of the filters that it came for
}

// Filter is a topic filter with the QoS that is asked for.
type Filter struct {
	Topic string // may have the wildcards + and #
	QoS   byte   // that is asked for
	// The following are of MQTT 5 alone.
	NoLocal           bool   // not for what this connection sends
	RetainAsPublished bool   // Message.Retain of what arrives is as its sender set it
	RetainHandling    byte   // kept messages: 0 with each SUBSCRIBE, 1 with the first, 2 not at all
	ID                uint32 // its subscription identifier, 1 to 268,435,455; 0 for none. All filters of one Subscribe have the same
}

// Options of one connection.
type Options struct {
	ClientID string // differs from those of all other connections to the target; of an IoT Hub, the device's id
	Username string // none when empty; of MQTT only
	// Password makes the password, or the token (SAS) of the device, afresh: it is called once a connection, once more for each
	// Renew, and by drivers without connections in the sense of their protocol (HTTPS) for each message. Nil for none: devices with
	// certificates. It is safe for concurrent use, and fast.
	Password func() string
	// Host is the name of the hub, as tokens name it: what OPEN, the audience of a token (host/devices/id) and the header Host
	// need. Empty for targets that speak MQTT only.
	Host string
	// Connection says which devices share a connection, for drivers that are Sharing: those of one driver with the same number above 0.
	// The first of them that connects dials, with its own Dial; who comes meanwhile waits for it, who comes later attaches to it,
	// and it is closed when the last has left. 0 is a connection of the device's own.
	Connection int
	// Timeout bounds the wait for an answer of the other side, for drivers that must not go on without it; 30 s when 0.
	Timeout      time.Duration
	KeepAlive    time.Duration // in whole seconds; 0 is none
	CleanSession bool          // ask the target to forget what was before
	// Session is that of the client, which outlives connections: the same in each Options of one client. Nil for a session that ends with
	// its connection; drivers that are not Keeping need nil.
	Session *Session
	Will    *Message // is sent by the target when the connection is lost; nil for none
	// The following are of MQTT 5 alone, and for drivers that are Keeping.
	Version        Version        // of MQTT; 3.1.1 when zero
	SessionExpiry  time.Duration  // how long the target keeps the session after the connection, in whole seconds; MaxExpiry for ever
	ReceiveMaximum uint16         // messages with QoS above 0 that the target may have unacknowledged; 65,535 when 0
	MaximumPacket  uint32         // bytes of a packet that the target may send; 4 MiB when 0
	TopicAliases   uint16         // topic aliases that the target may use; 0 for none
	Aliases        uint16         // topic aliases that this side uses, as far as the target takes them; 0 for none
	User           []UserProperty // of CONNECT
	WillDelay      time.Duration  // between the loss of the connection and the will, in whole seconds
	// Dial opens the transport. Required.
	Dial func(ctx context.Context) (net.Conn, error)
	// Handler takes messages, one at a time, in the order of their arrival. It must not block, and
	// keeps nothing of a message. Required.
	Handler func(Message)
}

// MaxExpiry is a SessionExpiry, or a longer one, that never comes (MQTT 5 section 3.1.2.11.2).
const MaxExpiry = (1<<32 - 1) * time.Second

// Driver makes connections. It is safe for concurrent use.
type Driver interface {
	// Connect dials and shakes hands, all of it in the time that ctx gives: past its deadline the error wraps
	// context.DeadlineExceeded. What the target refuses is a *RefusedError: a return code other than 0, a condition, a status.
	Connect(ctx context.Context, o Options) (Conn, error)
}

// Blocking is a Driver that says whether Publish of its connections may wait. One that does not say it never does.
type Blocking interface{ Blocking() bool }

// Sharing is a Driver that can have several devices on one connection: see Options.Connection. One that does not say it cannot.
type Sharing interface{ Sharing() bool }

// Keeping is a Driver that speaks MQTT 5 and keeps sessions between connections. One that does not say it does neither.
type Keeping interface{ Keeping() bool }

// Session is what a client has to remember of its session between connections (MQTT 3.1.1 section 3.1.2.4): what it sent with QoS above 0
// and has no acknowledgement of, and which messages with QoS 2 it has received. The zero value is that of a client that was never connected. A
// driver fills it. It is of one connection at a time.
//
// What was sent with QoS above 0 stays under way when its connection is lost: done of Publish is called when it is acknowledged on a later one, or
// with an error wrapping ErrLost when the target has no session any more, or by Forget.
type Session struct {
	mu    sync.Mutex
	state SessionState
}

// SessionState is a driver's, in a Session between two connections.
type SessionState interface {
	// Forget tells all who wait that the session is over.
	Forget(why error)
}

// Take gives the state that the connection before left, and leaves none; nil when there is none.
func (s *Session) Take() SessionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.state
	s.state = nil
	return x
}

// Leave keeps the state of a connection that is over.
func (s *Session) Leave(x SessionState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = x
}

// Forget ends the session on this side, between connections: what is under way ends with ErrLost.
func (s *Session) Forget() {
	if x := s.Take(); x != nil {
		x.Forget(ErrLost)
	}
}

// Greeting is what the target said when it took the connection.
type Greeting struct {
	Present  bool          // it has the client's session: subscriptions are as they were
	ClientID string        // that it gave a client that had none; empty when the client's own holds
	Expiry   time.Duration // how long it keeps the session after the connection: as asked for, unless it says otherwise
	QoS      byte          // the highest that it takes; 2 but for MQTT 5
	Retain   bool          // it keeps messages; true but for MQTT 5
	Shared   bool          // it has shared subscriptions; true but for MQTT 5, where it may say no
	Wildcard bool          // it has wildcards in filters; likewise
}

// Greeted is a Conn that tells what the target said when it took the connection.
type Greeted interface{ Greeting() Greeting }

// Ender is a Conn that can end with its session: the target is told to keep nothing of it (MQTT 5 section 3.14.2.2.2; in 3.1.1 only a
// connection with CleanSession does that). Over of Serve is told nil when that was said, and else, as to a target that does not read, why not.
type Ender interface{ End() }

// Conn is one connection of one device. It is safe for concurrent use.
//
// Of a connection that several devices share it is the part of one of them: Close and Abort end that part and leave the others alone,
// and over of Serve is called when nothing is left of that part. What one of them is refused ends no other.
type Conn interface {
	// Serve lets messages and acknowledgements arrive from now on, and does not wait. over is called once, when nothing is left of
	// the connection: with nil after Close or Abort, else with why it was lost. It must not block. Serve is called once.
	Serve(over func(error))
	// Subscribe asks for messages without waiting. done is called exactly once: when all filters are acknowledged, or with an
	// error; one that was refused is a *SubscriptionError, and a *LoweredError no failure. It must not block.
	Subscribe(done func(error), filters ...Filter)
	// Publish sends a message without waiting. done is called exactly once: when the message is
	// acknowledged (QoS 1, 2) or on its way (QoS 0), or with an error: a *RefusedError when the target would not have it, ErrLost
	// among others. It must not block.
	Publish(m Message, done func(error))
	// Close says DISCONNECT and ends the connection. It does not wait: over of Serve is called when that is done.
	Close()
	// Abort cuts the connection without a word, as a lost network does. It does not wait.
	Abort()
}

// Renewer is a Conn that renews the token of its device in band: without it a device whose token ends connects anew, as MQTT has it.
type Renewer interface {
	// Renew sends a fresh token, of Options.Password, without waiting. done is called exactly once: when the target has taken it, or
	// with an error, which is a *RefusedError when the target would not have it. It must not block. The connection goes on either way.
	Renew(done func(error))
}

// Cutter is a Conn that is part of a connection, and can cut all of it.
type Cutter interface {
	// Cut cuts the connection without a word, as a lost network does, for all who share it: all are off it before any of them is told.
	// It does not wait. Over of Serve is told nil by this part, and why it was lost by all others. When this part is over it does nothing.
	Cut()
}
