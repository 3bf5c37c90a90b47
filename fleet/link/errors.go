package link

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// ErrLost is why operations end whose connection ended first.
var ErrLost = errors.New("the connection was lost")

// ErrSubscription is returned when the other side refused a topic filter.
var ErrSubscription = errors.New("a topic filter was refused")

// ProtocolError is how the other side broke the protocol. package metrics/reason shows it.
type ProtocolError string

// What drivers and transports find at targets that are no MQTT brokers, or broken ones.
const (
	ErrNotMQTT       ProtocolError = "the target does not speak MQTT"
	ErrSpeaksHTTP    ProtocolError = "the target speaks HTTP, not MQTT"
	ErrSpeaksTLS     ProtocolError = "the target speaks TLS, not plain MQTT"
	ErrNoConnack     ProtocolError = "the target closed the connection before CONNACK"
	ErrViolation     ProtocolError = "the target broke the MQTT protocol"
	ErrPacketSize    ProtocolError = "the target sent a packet over 4 MiB"
	ErrSuback        ProtocolError = "the target's SUBACK does not fit the SUBSCRIBE"
	ErrTLSClosed     ProtocolError = "the target closed the connection in the TLS handshake"
	ErrUpgradeClosed ProtocolError = "the target closed the connection in the WebSocket handshake"
	ErrUpgrade       ProtocolError = "the target did not answer the WebSocket upgrade as HTTP does"
	ErrUpgradeSize   ProtocolError = "the target answered the WebSocket upgrade with more than 64 KiB"
)

// Error is the text itself.
func (e ProtocolError) Error() string { return string(e) }

// Reason is the text, which is of a bounded set.
func (e ProtocolError) Reason() string { return string(e) }

// RefusedError is a CONNACK with a return code other than 0 (MQTT 3.1.1 section 3.2.2.3).
type RefusedError struct {
	Code byte // 1 to 255; 1 to 5 have a meaning
}

// Error says what the return code means.
func (e *RefusedError) Error() string {
	text := connackText(e.Code)
	if text == "" {
		return fmt.Sprintf("connection refused (return code %d)", e.Code)
	}
	return fmt.Sprintf("connection refused: %s (return code %d)", text, e.Code)
}

// Reason is what the return code means: package metrics/reason shows it.
func (e *RefusedError) Reason() string { return e.Error() }

// connackText is what a return code means: 1 to 5 in MQTT 3.1.1, from 128 in MQTT 5 (section 3.2.2.2), which
// brokers send also to clients of the older version. Empty for a code that neither defines.
func connackText(code byte) string {
	switch code {
	case 1:
		return "unacceptable protocol version"
	case 2:
		return "identifier rejected"
	case 3:
		return "server unavailable"
	case 4:
		return "bad user name or password"
	case 5:
		return "not authorized"
	case 128:
		return "unspecified error"
	case 129:
		return "malformed packet"
	case 130:
		return "protocol error"
	case 131:
		return "implementation specific error"
	case 132:
		return "unsupported protocol version"
	case 133:
		return "client identifier not valid"
	case 134:
		return "bad user name or password"
	case 135:
		return "not authorized"
	case 136:
		return "server unavailable"
	case 137:
		return "server busy"
	case 138:
		return "banned"
	case 140:
		return "bad authentication method"
	case 144:
		return "topic name invalid"
	case 149:
		return "packet too large"
	case 151:
		return "quota exceeded"
	case 153:
		return "payload format invalid"
	case 154:
		return "retain not supported"
	case 155:
		return "QoS not supported"
	case 156:
		return "use another server"
	case 157:
		return "server moved"
	case 159:
		return "connection rate exceeded"
	}
	return ""
}

// subscriptionFailure is the return code of MQTT 3.1.1 for a topic filter that is refused (section 3.9.3).
const subscriptionFailure = 128

// SubscriptionError is a SUBACK with a return code other than a granted quality of service. It is ErrSubscription.
type SubscriptionError struct {
	Code byte // 128 is a failure; others are none that the protocol knows
}

// Error names the return code, where it says more than that the filter was refused.
func (e *SubscriptionError) Error() string {
	if e.Code == subscriptionFailure {
		return ErrSubscription.Error()
	}
	return fmt.Sprintf("%s (return code %d)", ErrSubscription, e.Code)
}

// Reason is the return code: package metrics/reason shows it.
func (e *SubscriptionError) Reason() string { return e.Error() }

// Unwrap is ErrSubscription.
func (e *SubscriptionError) Unwrap() error { return ErrSubscription }

// UpgradeError is the answer to a WebSocket upgrade that is none.
type UpgradeError struct {
	Status int // of HTTP; 101 would have been right
}

// Error names the HTTP status.
func (e *UpgradeError) Error() string {
	return fmt.Sprintf("the WebSocket upgrade was refused with %d", e.Status)
}

// Reason names the HTTP status: package metrics/reason shows it.
func (e *UpgradeError) Reason() string { return e.Error() }

// ConnectError is the error of a connection that was not to be had within ctx. The deadline of ctx may end a call of the transport
// before it ends ctx, and with words of the transport's own.
func ConnectError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("connecting: %w", context.Cause(ctx))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("connecting: %w", context.DeadlineExceeded)
	}
	return err
}
