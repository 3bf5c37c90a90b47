// Package convert is what messages and errors of the hub are in AMQP.
package convert

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

// NewTrackingID is an id under which an error could be asked about, as the service gives one.
func NewTrackingID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, by its own documentation
	return hex.EncodeToString(b[:])
}

// UUID is the text of a uuid, in lower case.
func UUID(id [16]byte) string {
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	for _, i := range []int{8, 13, 18, 23} {
		b[i] = '-'
	}
	return string(b[:])
}

// Text is an id, or the value of a property, as text: Microsoft's client for Node.js has ids that look like UUIDs for UUIDs. It is empty
// for null and for what has no text: lists and their like.
func Text(v amqp.Value) string {
	switch v.Kind() {
	case amqp.String, amqp.Symbol, amqp.Binary:
		return string(v.Bytes())
	case amqp.UUID:
		id, _ := v.UUID()
		return UUID(id)
	case amqp.Bool:
		b, _ := v.Bool()
		return strconv.FormatBool(b)
	case amqp.Ubyte, amqp.Ushort, amqp.Uint, amqp.Ulong:
		n, _ := v.Uint()
		return strconv.FormatUint(n, 10)
	case amqp.Byte, amqp.Short, amqp.Int, amqp.Long:
		n, _ := v.Int()
		return strconv.FormatInt(n, 10)
	case amqp.Float, amqp.Double:
		f, _ := v.Float()
		return strconv.FormatFloat(f, 'g', -1, 64)
	case amqp.Timestamp:
		t, _ := v.Time()
		return t.Format("2006-01-02T15:04:05.000Z")
	default:
		return ""
	}
}

// Bag is the properties of the application, or annotations, in their order.
func Bag(m amqp.Value) topics.Bag {
	var bag topics.Bag
	for key, value := range m.Pairs() {
		bag = append(bag, topics.Property{Name: Text(key), Value: Text(value), HasValue: true})
	}
	return bag
}

// Conditions of Microsoft's own.
const (
	ArgumentError      = "com.microsoft:argument-error"
	MessageLockLost    = "com.microsoft:message-lock-lost"
	PreconditionFailed = "com.microsoft:precondition-failed"
	ContainerThrottled = "com.microsoft:device-container-throttled"
	TrackingID         = "com.microsoft:tracking-id" // of an error's info
)

// lockLost is the code of a message whose lock is another's, or nobody's.
const lockLost = 412002

// Error is an error of the hub as AMQP has it; nil for nil. What is no error of the hub's contract is told as an internal one, without
// its text.
func Error(err error) *amqp.Error {
	if err == nil {
		return nil
	}
	if own := (*amqp.Error)(nil); errors.As(err, &own) {
		return own
	}
	e := iothub.AsError(err)
	out := &amqp.Error{Condition: condition(e), Description: e.Message}
	if e.TrackingID != "" {
		b, start := amqp.BeginMap(nil)
		b = amqp.AppendString(amqp.AppendSymbol(b, TrackingID), e.TrackingID)
		out.Info = amqp.EndMap(b, start, 1)
	}
	return out
}

// condition sorts an error as the service's own front does (iotedge, AmqpErrorMapper).
func condition(e *iothub.Error) string {
	switch {
	case e.Code == iothub.ErrConnectionForceClosed.Code:
		return amqp.InternalError
	case e.Code == lockLost:
		return MessageLockLost
	case e.Code == iothub.ErrArgumentInvalid.Code, e.Code == iothub.ErrArgumentNull.Code, e.Code == iothub.ErrFormat.Code:
		return ArgumentError
	}
	switch e.Status {
	case http.StatusBadRequest, http.StatusMethodNotAllowed:
		return amqp.NotAllowed
	case http.StatusUnauthorized:
		return amqp.UnauthorizedAccess
	case http.StatusForbidden:
		if e.Code == iothub.ErrDeviceDisabled.Code {
			return amqp.UnauthorizedAccess
		}
		return amqp.LimitExceeded
	case http.StatusNotFound:
		return amqp.NotFound
	case http.StatusPreconditionFailed:
		return PreconditionFailed
	case http.StatusRequestEntityTooLarge:
		return amqp.MessageSizeExceeded
	case http.StatusTooManyRequests:
		return ContainerThrottled
	}
	return amqp.InternalError
}

// Rejected is the outcome of a message that an error refused.
func Rejected(err error) amqp.State { return amqp.State{Code: amqp.Rejected, Error: Error(err)} }

// DeviceOf reads an address such as /devices/{id}/modules/{module}/messages/devicebound: the key of whom it names, and what follows, in
// lower case. Ids are percent-encoded, each by itself. ok is false for what names nobody.
func DeviceOf(address string) (device, module, rest string, ok bool) {
	if _, after, absolute := strings.Cut(address, "://"); absolute {
		_, address, _ = strings.Cut(after, "/")
	}
	parts := strings.Split(strings.Trim(address, "/"), "/")
	if len(parts) < 3 || !strings.EqualFold(parts[0], "devices") {
		return "", "", "", false
	}
	device, ok = decode(parts[1])
	parts = parts[2:]
	if ok && len(parts) > 2 && strings.EqualFold(parts[0], "modules") {
		module, ok = decode(parts[1])
		parts = parts[2:]
	}
	return device, module, strings.ToLower(strings.Join(parts, "/")), ok
}

// decode decodes an id, which has no slash.
func decode(s string) (string, bool) {
	id, err := url.PathUnescape(s)
	return id, err == nil && id != "" && !strings.Contains(id, "/")
}
