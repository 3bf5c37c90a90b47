package link

import "fmt"

// codeText is what a code means: 1 to 5 in a CONNACK of MQTT 3.1.1, from 128 the reason codes of MQTT 5 (section 2.4), which brokers
// send also to clients of the older version. Empty for a code that neither defines.
func codeText(code byte) string {
	switch code {
	case 1:
		return "unacceptable protocol version"
	case 2:
		return "identifier rejected"
	case 3, 0x88:
		return "server unavailable"
	case 4, 0x86:
		return "bad user name or password"
	case 5, 0x87:
		return "not authorized"
	case 0x80:
		return "unspecified error"
	case 0x81:
		return "malformed packet"
	case 0x82:
		return "protocol error"
	case 0x83:
		return "implementation specific error"
	case 0x84:
		return "unsupported protocol version"
	case 0x85:
		return "client identifier not valid"
	case 0x89:
		return "server busy"
	case 0x8a:
		return "banned"
	case 0x8b:
		return "server shutting down"
	case 0x8c:
		return "bad authentication method"
	case 0x8d:
		return "keep alive timeout"
	case 0x8e:
		return "session taken over"
	case 0x8f:
		return "topic filter invalid"
	case 0x90:
		return "topic name invalid"
	case 0x91:
		return "packet identifier in use"
	case 0x92:
		return "packet identifier not found"
	case 0x93:
		return "receive maximum exceeded"
	case 0x94:
		return "topic alias invalid"
	case 0x95:
		return "packet too large"
	case 0x96:
		return "message rate too high"
	case 0x97:
		return "quota exceeded"
	case 0x98:
		return "administrative action"
	case 0x99:
		return "payload format invalid"
	case 0x9a:
		return "retain not supported"
	case 0x9b:
		return "QoS not supported"
	case 0x9c:
		return "use another server"
	case 0x9d:
		return "server moved"
	case 0x9e:
		return "shared subscriptions not supported"
	case 0x9f:
		return "connection rate exceeded"
	case 0xa0:
		return "maximum connect time"
	case 0xa1:
		return "subscription identifiers not supported"
	case 0xa2:
		return "wildcard subscriptions not supported"
	}
	return ""
}

// withCode says what a code means, and the code.
func withCode(what string, code byte, kind string) string {
	if text := codeText(code); text != "" {
		what += ": " + text
	}
	return fmt.Sprintf("%s (%s code %d)", what, kind, code)
}

// throttles reports whether a reason code of MQTT 5 says that the target sheds load, or has a quota that is used up.
func throttles(code byte) bool {
	switch code {
	case 0x88, 0x89, 0x96, 0x97, 0x9f:
		return true
	}
	return false
}

// DisconnectedError is why a connection ended that the target ended with a DISCONNECT (MQTT 5 section 3.14).
type DisconnectedError struct {
	Code   byte   // the reason code; 0 says no more than that the target has ended it
	Server string // the other server that it names, with reason codes 156 and 157; empty for none
	Words  string // its reason string, as it is: it may hold anything; empty for none
}

// Error says what the reason code means.
func (e *DisconnectedError) Error() string {
	if e.Code == 0 {
		return "the target disconnected"
	}
	return withCode("the target disconnected", e.Code, "reason")
}

// Reason is what the reason code means, of a bounded set: package metrics/reason shows it.
func (e *DisconnectedError) Reason() string { return e.Error() }

// Throttled reports whether the target sheds load, or has a quota that is used up: the device is not to blame.
func (e *DisconnectedError) Throttled() bool { return throttles(e.Code) }

// TakenOver reports whether another connection has the client's id.
func (e *DisconnectedError) TakenOver() bool { return e.Code == 0x8e }

// UnsupportedError is why something is not sent that the target said, when it took the connection, that it does not take (MQTT 5 section
// 3.2.2.3). The connection goes on.
type UnsupportedError string

// What a target may not take.
const (
	ErrTooLarge    UnsupportedError = "not sent: larger than the target's Maximum Packet Size"
	ErrQoS         UnsupportedError = "not sent: above the target's Maximum QoS"
	ErrRetain      UnsupportedError = "not sent: the target does not retain messages"
	ErrWildcard    UnsupportedError = "not sent: the target does not take wildcards in topic filters"
	ErrShared      UnsupportedError = "not sent: the target has no shared subscriptions"
	ErrIdentifiers UnsupportedError = "not sent: the target has no subscription identifiers"
)

// Error is the text itself.
func (e UnsupportedError) Error() string { return string(e) }

// Reason is the text, which is of a bounded set: package metrics/reason shows it.
func (e UnsupportedError) Reason() string { return string(e) }
