// Package condition says the errors of IoT Hub in AMQP's words: the conditions that device SDKs read (edge hub's AmqpErrorMapper; the SDKs'
// own tables are its inverse).
package condition

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/address"
	"github.com/twinfleet/twinfleet/internal/iothub"
)

// The conditions of the service.
const (
	ArgumentError      = "com.microsoft:argument-error"
	MessageLockLost    = "com.microsoft:message-lock-lost"
	PreconditionFailed = "com.microsoft:precondition-failed"
	Throttled          = "com.microsoft:device-container-throttled"
	LinkConflict       = "com.microsoft:link-creation-conflict"
	Timeout            = "com.microsoft:timeout"
	DeviceExists       = "com.microsoft:device-already-exists"
)

// takenOver is what a device reads whose links another connection has taken over (409002 in the service's logs).
const takenOver = "Another AMQP Client has opened a Receive Link"

// Of is an error as a peer reads it. One that is an *amqp.Error stays; what is none of the service's own is amqp:internal-error without
// its text.
func Of(err error) *amqp.Error {
	var own *amqp.Error
	if errors.As(err, &own) {
		return own
	}
	if errors.Is(err, address.ErrMalformed) {
		return New(ArgumentError, address.ErrMalformed.Error())
	}
	var e *iothub.Error
	if !errors.As(err, &e) {
		return New(amqp.InternalError, "")
	}
	return New(of(e), e.Message)
}

func of(e *iothub.Error) string {
	switch e.Code {
	case iothub.ErrQuotaExceeded.Code, iothub.ErrMaximumQueueDepth.Code:
		return amqp.LimitExceeded
	case iothub.ErrDeviceDisabled.Code:
		return amqp.UnauthorizedAccess
	case iothub.ErrInvalidOperation.Code, iothub.ErrInvalidProtocol.Code:
		return amqp.NotAllowed
	case iothub.ErrMessageLockLost.Code:
		return MessageLockLost
	case iothub.ErrMessageTooLarge.Code:
		return amqp.MessageSizeExceeded
	case iothub.ErrConnectionForceClosed.Code:
		return amqp.InternalError
	}
	switch e.Status {
	case 400:
		return ArgumentError
	case 401:
		return amqp.UnauthorizedAccess
	case 403, 405:
		return amqp.NotAllowed
	case 404:
		return amqp.NotFound
	case 409:
		return DeviceExists
	case 412:
		return PreconditionFailed
	case 413:
		return amqp.MessageSizeExceeded
	case 429:
		return Throttled
	case 504:
		return Timeout
	}
	return amqp.InternalError
}

// Gone is why the links of an identity end from this side: another connection took over, it was disabled or deleted.
func Gone(err error) *amqp.Error {
	switch {
	case errors.Is(err, iothub.ErrConnectionForceClosed):
		return New(amqp.InternalError, takenOver)
	case errors.Is(err, iothub.ErrDeviceNotFound), errors.Is(err, iothub.ErrModuleNotFound):
		return New(amqp.UnauthorizedAccess, iothub.AsError(err).Message)
	}
	return Of(err)
}

// TooLarge is why a link ends that takes no message as large as the next one: to leave it out would be to lose it without a word.
func TooLarge(bytes int) *amqp.Error {
	return New(amqp.MessageSizeExceeded, fmt.Sprintf("a message of %d bytes is more than the link takes", bytes))
}

// Unauthorized is a refusal.
func Unauthorized(text string) *amqp.Error { return New(amqp.UnauthorizedAccess, text) }

// New is an error with a tracking id, as the service writes it.
func New(name, text string) *amqp.Error {
	b, start := amqp.BeginMap(nil)
	b = amqp.AppendString(amqp.AppendSymbol(b, "com.microsoft:tracking-id"), TrackingID())
	return &amqp.Error{Condition: name, Description: text, Info: amqp.EndMap(b, start, 1)}
}

// TrackingID is a random id, in the form of the service.
func TrackingID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, by its own documentation
	return fmt.Sprintf("%s-G:0-TimeStamp:%s", strings.ToUpper(hex.EncodeToString(b[:])), time.Now().UTC().Format("01/02/2006 15:04:05"))
}

// Undecodable is the error for a message that is none.
func Undecodable(err error) *amqp.Error {
	return &amqp.Error{Condition: amqp.DecodeError, Description: err.Error()}
}
