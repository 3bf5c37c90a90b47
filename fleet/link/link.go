// Package link is how a device talks: one small interface with drivers behind it, and the transports
// that drivers dial.
package link

import (
	"context"
	"net"
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
}

// Filter is a topic filter with the QoS that is asked for.
type Filter struct {
	Topic string // may have the wildcards + and #
	QoS   byte   // that is asked for
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
	Will         *Message      // is sent by the target when the connection is lost; nil for none
	// Dial opens the transport. Required.
	Dial func(ctx context.Context) (net.Conn, error)
	// Handler takes messages, one at a time, in the order of their arrival. It must not block, and
	// keeps nothing of a message. Required.
	Handler func(Message)
}

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

// Conn is one connection of one device. It is safe for concurrent use.
//
// Of a connection that several devices share it is the part of one of them: Close and Abort end that part and leave the others alone,
// and over of Serve is called when nothing is left of that part. What one of them is refused ends no other.
type Conn interface {
	// Serve lets messages and acknowledgements arrive from now on, and does not wait. over is called once, when nothing is left of
	// the connection: with nil after Close or Abort, else with why it was lost. It must not block. Serve is called once.
	Serve(over func(error))
	// Subscribe asks for messages without waiting. done is called exactly once: when all filters are acknowledged, or with an
	// error; one that was refused is a *SubscriptionError. It must not block.
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
