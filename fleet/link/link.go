// Package link is how a device talks: one small interface with drivers behind it, and the transports
// that drivers dial.
package link

import (
	"context"
	"net"
	"time"
)

// Message is an MQTT application message.
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
	ClientID     string        // differs from those of all other connections to the target
	Username     string        // none when empty
	Password     func() string // called once a connection, so that a token is fresh; nil for none
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
	// context.DeadlineExceeded. It returns a *RefusedError for a return code other than 0.
	Connect(ctx context.Context, o Options) (Conn, error)
}

// Blocking is a Driver that says whether Publish of its connections may wait. One that does not say it never does.
type Blocking interface{ Blocking() bool }

// Conn is one connection. It is safe for concurrent use.
type Conn interface {
	// Serve lets messages and acknowledgements arrive from now on, and does not wait. over is called once, when nothing is left of
	// the connection: with nil after Close or Abort, else with why it was lost. It must not block. Serve is called once.
	Serve(over func(error))
	// Subscribe asks for messages without waiting. done is called exactly once: when all filters are acknowledged, or with an
	// error; one that was refused is a *SubscriptionError. It must not block.
	Subscribe(done func(error), filters ...Filter)
	// Publish sends a message without waiting. done is called exactly once: when the message is
	// acknowledged (QoS 1, 2) or on its way (QoS 0), or with an error, ErrLost among them. It must not block.
	Publish(m Message, done func(error))
	// Close says DISCONNECT and ends the connection. It does not wait: over of Serve is called when that is done.
	Close()
	// Abort cuts the connection without a word, as a lost network does. It does not wait.
	Abort()
}
