package link

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
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
	ErrSubProtocol   ProtocolError = "the target chose another sub-protocol of WebSocket than was asked for"
	ErrUpgradeSize   ProtocolError = "the target answered the WebSocket upgrade with more than 64 KiB"
	ErrNotMQTT5      ProtocolError = "the target does not speak MQTT 5; write target.mqtt: 3.1.1"
	ErrNoConnack5    ProtocolError = "the target closed the connection before CONNACK, as one may that does not speak MQTT 5; try target.mqtt: 3.1.1"
	ErrPacketMaximum ProtocolError = "the target sent a packet over the maximum that it was told"
	ErrReceiveMax    ProtocolError = "the target sent more messages at once than it was told that it may"
	ErrTopicAlias    ProtocolError = "the target used a topic alias that there is not"
	ErrAuth          ProtocolError = "the target wants an extended authentication that it was not offered"
)

// EndedError is why this side ended a connection that was of no use any more. package metrics/reason shows it.
type EndedError string

// What drivers find at connections that say nothing, or take nothing, and what is done to those that several share.
const (
	ErrSilent EndedError = "the target did not answer a PINGREQ in time"
	ErrIdle   EndedError = "nothing came from the target in the idle time-out"
	ErrUnread EndedError = "the target does not read what is sent to it"
	ErrCut    EndedError = "it was cut with all who share it"
)

// Error is the text itself.
func (e EndedError) Error() string { return string(e) }

// Reason is the text, which is of a bounded set.
func (e EndedError) Reason() string { return string(e) }

// Stranger is who began its answer with bytes of another protocol than the driver's: which of the errors is tls when they are an alert of TLS,
// http when they are an answer of HTTP, else other.
func Stranger(answer []byte, tls, http, other ProtocolError) ProtocolError {
	switch string(answer[:min(len(answer), 2)]) {
	case "\x15\x03": // an alert (RFC 8446 section 5.1)
		return tls
	case "HT":
		return http
	default:
		return other
	}
}

// Error is the text itself.
func (e ProtocolError) Error() string { return string(e) }

// Reason is the text, which is of a bounded set.
func (e ProtocolError) Reason() string { return string(e) }

// RefusedError is a connection, a token or a message that the target refused: with a return code of MQTT, a condition of AMQP, or a
// status, of HTTP or of an answer over AMQP. One of the three is set.
type RefusedError struct {
	// Code is of a CONNACK (MQTT 3.1.1 section 3.2.2.3): 1 to 255, of which 1 to 5 have a meaning, and those from 128 that of MQTT 5
	// (section 2.4); or with Message of a PUBACK, PUBREC or PUBCOMP, from 128. 0 for none.
	Code      byte
	Message   bool   // Code is of a message, over MQTT 5, that was refused alone: the connection goes on
	Condition string // error condition, such as amqp:not-found (AMQP 1.0 section 2.8.15), as the target wrote it; empty for none
	Status    int    // 300 to 599, as HTTP has it; 0 for none
	// Server is the other server that the target names (MQTT 5 section 3.2.2.3.16), with reason codes 156 and 157; empty for none.
	Server string
	Words  string // its reason string over MQTT 5, as it is: it may hold anything; empty for none
}

// The return codes of CONNACK that say more than that the connection was refused.
const (
	codeUnavailable    = 3 // a hub that sheds load
	codeBadCredentials = 4
	codeNotAuthorized  = 5
)

// Error says what the refusal means.
func (e *RefusedError) Error() string {
	switch {
	case e.Condition != "":
		return "refused " + conditionText(e.Condition)
	case e.Status != 0:
		return statusText(e.Status)
	}
	if e.Message {
		return withCode("message refused", e.Code, "reason")
	}
	return withCode("connection refused", e.Code, "return")
}

// Reason is what the refusal means, of a bounded set: package metrics/reason shows it.
func (e *RefusedError) Reason() string { return e.Error() }

// Throttled reports whether the target sheds load, or has a quota that is used up: the device is not to blame.
func (e *RefusedError) Throttled() bool {
	switch {
	case e.Condition != "":
		return meaningOf(e.Condition) == sheds
	case e.Status != 0:
		return e.Status == http.StatusTooManyRequests
	}
	return e.Code == codeUnavailable || throttles(e.Code)
}

// Identity reports whether the target would not have the identity: it does not know the device, or not its credentials.
func (e *RefusedError) Identity() bool {
	switch {
	case e.Condition != "":
		return meaningOf(e.Condition) == identity
	case e.Status != 0:
		return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden || e.Status == http.StatusNotFound
	}
	switch e.Code {
	case codeBadCredentials, codeNotAuthorized, 0x85, 0x86, 0x87, 0x8a, 0x8c:
		return true
	}
	return false
}

// Failure reports whether it is neither load nor identity, but something that went wrong: a fault of the target, or of what it was sent.
// A return code of MQTT never says so.
func (e *RefusedError) Failure() bool { return e.Code == 0 && !e.Throttled() && !e.Identity() }

// AstrayError is a connection that servers sent on, one to the next, until nobody followed any more (MQTT 5 section 4.11). It counts as what the
// last of them said.
type AstrayError struct {
	Circle  bool          // it came by a server for the second time
	Refused *RefusedError // what the last server said
}

// Error says how the connection went.
func (e *AstrayError) Error() string {
	if e.Circle {
		return "servers send devices in circles: " + e.Refused.Error()
	}
	return "servers send devices on and on: " + e.Refused.Error()
}

// Reason is the text, which is of a bounded set: package metrics/reason shows it.
func (e *AstrayError) Reason() string { return e.Error() }

// Unwrap is what the last server said.
func (e *AstrayError) Unwrap() error { return e.Refused }

// meaning is what an error condition is about.
type meaning uint8

const (
	unknown  meaning = iota // no condition that is known: the target's own words
	sheds                   // the target sheds load, or has a quota that is used up
	identity                // it would not have the identity
	wrong                   // anything else
)

// meaningOf sorts the conditions that hubs send: those of AMQP 1.0 (sections 2.8.15 to 2.8.18) and of IoT Hub, as its SDKs know them
// (azure-iot-sdk-csharp AmqpIotErrorAdapter, azure-iot-sdk-node amqp_common_errors).
func meaningOf(condition string) meaning {
	switch condition {
	case "com.microsoft:device-container-throttled", "amqp:resource-limit-exceeded", "com.microsoft:quota-exceeded":
		return sheds
	case "amqp:unauthorized-access", "amqp:not-found":
		return identity
	case "amqp:connection:forced", "amqp:connection:framing-error", "amqp:connection:redirect", "amqp:decode-error", "amqp:frame-size-too-small",
		"amqp:illegal-state", "amqp:internal-error", "amqp:invalid-field", "amqp:link:detach-forced", "amqp:link:message-size-exceeded",
		"amqp:link:redirect", "amqp:link:stolen", "amqp:link:transfer-limit-exceeded", "amqp:not-allowed", "amqp:not-implemented",
		"amqp:precondition-failed", "amqp:resource-deleted", "amqp:resource-locked", "amqp:session:errant-link", "amqp:session:handle-in-use",
		"amqp:session:unattached-handle", "amqp:session:window-violation", "com.microsoft:argument-error", "com.microsoft:argument-out-of-range",
		"com.microsoft:device-already-exists", "com.microsoft:iot-hub-not-found-error", "com.microsoft:iot-hub-suspended",
		"com.microsoft:link-creation-conflict", "com.microsoft:message-lock-lost", "com.microsoft:precondition-failed", "com.microsoft:timeout":
		return wrong
	}
	return unknown
}

// conditionText names a condition that is known; others are the target's own words.
func conditionText(name string) string {
	if meaningOf(name) == unknown {
		return "with a condition that is not known"
	}
	return "with " + name
}

// statusText names a status; one that HTTP does not have is the target's own.
func statusText(status int) string {
	if status < 300 || status > 599 {
		return "refused with a status that is none"
	}
	return fmt.Sprintf("refused with status %d", status)
}

// subscriptionFailure is the return code of MQTT 3.1.1 for a topic filter that is refused (section 3.9.3).
const subscriptionFailure = 128

// SubscriptionError is a SUBACK with a return code other than a granted quality of service. It is ErrSubscription.
type SubscriptionError struct {
	Code  byte   // 128 is a failure; others from there on are those of MQTT 5, and the rest none that the protocol knows
	Words string // the target's reason string over MQTT 5, as it is: it may hold anything; empty for none
}

// Error names the return code, where it says more than that the filter was refused.
func (e *SubscriptionError) Error() string {
	switch {
	case e.Code == subscriptionFailure:
		return ErrSubscription.Error()
	case e.Code < subscriptionFailure:
		return fmt.Sprintf("%s (return code %d)", ErrSubscription, e.Code)
	}
	return withCode(ErrSubscription.Error(), e.Code, "return")
}

// Reason is the return code: package metrics/reason shows it.
func (e *SubscriptionError) Reason() string { return e.Error() }

// Unwrap is ErrSubscription.
func (e *SubscriptionError) Unwrap() error { return ErrSubscription }

// LoweredError says that all filters of a SUBSCRIBE hold, and at least one of them with a lower quality of service than was asked for, as
// a target may grant it (MQTT 3.1.1 section 3.8.4, MQTT 5 section 3.8.4).
type LoweredError struct {
	Asked, Granted byte // QoS, of the first such filter
	Most           byte // QoS, the highest that was granted for a filter of the SUBSCRIBE
}

// Error names both.
func (e *LoweredError) Error() string {
	return fmt.Sprintf("the target granted QoS %d where QoS %d was asked for", e.Granted, e.Asked)
}

// Reason is Error: package metrics/reason shows it.
func (e *LoweredError) Reason() string { return e.Error() }

// Granted is how a SUBSCRIBE ended, whose filters asked for and got so much in their order: nil when all was granted as asked for.
func Granted(asked, codes []byte) error {
	for _, code := range codes {
		if code > 2 {
			return &SubscriptionError{Code: code}
		}
	}
	for i, code := range codes {
		if code < asked[i] {
			return &LoweredError{Asked: asked[i], Granted: code, Most: slices.Max(codes)}
		}
	}
	return nil
}

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
// before it ends ctx, and with words of the transport's own. An error that knows itself who did not answer in time, such as a proxy, stays.
func ConnectError(ctx context.Context, err error) error {
	var own interface{ Reason() string }
	switch {
	case !errors.Is(ctx.Err(), context.Canceled) && errors.As(err, &own) && errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("connecting: %w", err)
	case ctx.Err() != nil:
		return fmt.Errorf("connecting: %w", context.Cause(ctx))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("connecting: %w", context.DeadlineExceeded)
	}
	return err
}

// LostBecause is the error of an operation whose connection is over, by why it is: how the target broke the protocol, or that it was
// lost. Nil for one that is not over.
func LostBecause(over error) error {
	var broken ProtocolError
	switch {
	case over == nil, errors.Is(over, ErrLost):
		return over
	case errors.As(over, &broken):
		return broken
	}
	return errors.Join(ErrLost, over)
}
