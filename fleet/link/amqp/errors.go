package amqp

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/amqp"
)

// What the driver finds at targets that do not speak AMQP 1.0, or badly.
const (
	ErrNotAMQP    link.ProtocolError = "the target does not speak AMQP"
	ErrSpeaksHTTP link.ProtocolError = "the target speaks HTTP, not AMQP"
	ErrSpeaksTLS  link.ProtocolError = "the target speaks TLS, not plain AMQP"
	ErrSASL       link.ProtocolError = "the target asks for SASL, which devices of an IoT Hub do without"
	ErrVersion    link.ProtocolError = "the target speaks another version of AMQP than 1.0"
	ErrNoOpen     link.ProtocolError = "the target closed the connection before OPEN"
	ErrViolation  link.ProtocolError = "the target broke the AMQP protocol"
	ErrFrameSize  link.ProtocolError = "the target sent a frame over 64 KiB"
	ErrTooLarge   link.ProtocolError = "the target sent a message over 1 MiB"
	ErrNoTransfer link.ProtocolError = "the target sent messages that it has no credit for"
	ErrNoOutcome  link.ProtocolError = "the target settled a message without an outcome"
)

// endedError is how something ended that the target ended without a condition.
type endedError string

const (
	errClosed   endedError = "the target closed the connection"
	errEnded    endedError = "the target ended the session"
	errDetached endedError = "the target detached a link"
	errRejected endedError = "the target rejected the message"
	errReleased endedError = "the target released the message"
)

func (e endedError) Error() string  { return string(e) }
func (e endedError) Reason() string { return string(e) }

// ended is why something ended: the condition that the target gave, or that it gave none.
func ended(e *amqp.Error, otherwise endedError) error {
	if e == nil || e.Condition == "" {
		return otherwise
	}
	return &link.RefusedError{Condition: e.Condition}
}

// violation is how the target broke the protocol; condition is what it is told.
type violation struct {
	condition string
	err       error
}

func (v *violation) Error() string { return v.err.Error() }
func (v *violation) Unwrap() error { return v.err }

func breach(condition, format string, args ...any) error {
	return &violation{condition, fmt.Errorf("%w: "+format, append([]any{ErrViolation}, args...)...)}
}

// broken is why reading ended, and the condition that the target is told when it is to blame.
func broken(err error) (condition string, why error) {
	var v *violation
	switch {
	case errors.As(err, &v):
		return v.condition, v.err
	case errors.Is(err, amqp.ErrFrameSize):
		return amqp.FramingError, errors.Join(ErrFrameSize, err)
	case errors.Is(err, amqp.ErrDecode):
		return amqp.DecodeError, errors.Join(ErrViolation, err)
	}
	return "", err
}

var (
	// errOver is why a connection is over that this side ended.
	errOver = fmt.Errorf("%w: it was closed", link.ErrLost)
	// errSilent is why a connection ends on which nothing comes any more.
	errSilent = fmt.Errorf("%w: %w", link.ErrIdle, os.ErrDeadlineExceeded)
	// errFull is why a message is not sent: it is waited for all the same, as one would that the target has not read.
	errFull = fmt.Errorf("the target does not read, or gives no credit: %w", context.DeadlineExceeded)
	// errUnacknowledged is why a message is not sent: it is waited for all the same, as one would that the target does not settle.
	errUnacknowledged = fmt.Errorf("the target settles nothing: %w", context.DeadlineExceeded)
	// errSuperseded is why a token is not waited for any more.
	errSuperseded = fmt.Errorf("no answer to the token before the next one: %w", context.DeadlineExceeded)

	errNoLink    = errors.New("the device has not subscribed to what the message is for")
	errTopic     = errors.New("the topic is none that a device sends to over AMQP")
	errQoS       = errors.New("AMQP has no quality of service 2")
	errOversized = link.UnsupportedError("not sent: larger than the target takes on this link")
	errCut       = fmt.Errorf("%w: %w", link.ErrLost, link.ErrCut)
	errNoRoom    = errors.New("the target has no room for more links on this connection")
)
