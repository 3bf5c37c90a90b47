// Package iothub is the errors of Azure IoT Hub, as devices, the service side and the embedded hub know
// them. The packages below it are the rest of the contract: none opens a connection or keeps state, but
// for the client in service.
package iothub

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Error is an error as the service reports it, on REST and on MQTT. Two errors are the same to
// errors.Is when their codes are equal.
type Error struct {
	Status     int               // HTTP status, and the status in an MQTT topic
	Code       int               // for example 404001 (troubleshoot-error-codes)
	Name       string            // for example DeviceNotFound; the iothub-errorcode header
	Message    string            // text for people; never a secret
	TrackingID string            // given by the service
	Info       map[string]string // further details of some errors
	RetryAfter time.Duration     // 0 when the service gave none
}

// The errors of the service (troubleshoot-error-codes; numbers as services return them).
var (
	ErrInvalidOperation      = &Error{Status: 400, Code: 400003, Name: "InvalidOperation", Message: "BadRequest"}
	ErrArgumentInvalid       = &Error{Status: 400, Code: 400004, Name: "ArgumentInvalid", Message: "BadRequest"}
	ErrArgumentNull          = &Error{Status: 400, Code: 400005, Name: "ArgumentNull", Message: "BadRequest"}
	ErrFormat                = &Error{Status: 400, Code: 400006, Name: "IotHubFormatError", Message: "BadRequest"}
	ErrDefinedMultipleTimes  = &Error{Status: 400, Code: 400011, Name: "DeviceDefinedMultipleTimes", Message: "BadRequest"}
	ErrDeserialization       = &Error{Status: 400, Code: 400012, Name: "DeserializationError", Message: "BadRequest"}
	ErrBulkFailed            = &Error{Status: 400, Code: 400013, Name: "BulkRegistryOperationFailure", Message: "BadRequest"}
	ErrUnauthorizedAccess    = &Error{Status: 401, Code: 401002, Name: "IotHubUnauthorizedAccess", Message: "Unauthorized"}
	ErrUnauthorized          = &Error{Status: 401, Code: 401003, Name: "IotHubUnauthorized", Message: "Unauthorized"}
	ErrQuotaExceeded         = &Error{Status: 403, Code: 403002, Name: "IotHubQuotaExceeded", Message: "Total number of messages on IotHub exceeded the allocated quota"}
	ErrMaximumQueueDepth     = &Error{Status: 403, Code: 403004, Name: "DeviceMaximumQueueDepthExceeded", Message: "Device queue is full"}
	ErrNotInTier             = &Error{Status: 403, Code: 403010, Name: "OperationNotAvailableInCurrentTier", Message: "The operation is not available in the hub's tier"}
	ErrDeviceDisabled        = &Error{Status: 403, Code: 403012, Name: "DeviceDisabled", Message: "Device is disabled"}
	ErrDeviceNotFound        = &Error{Status: 404, Code: 404001, Name: "DeviceNotFound", Message: "Device not found"}
	ErrModuleNotFound        = &Error{Status: 404, Code: 404010, Name: "ModuleNotFound", Message: "Module not found"}
	ErrDeviceNotOnline       = &Error{Status: 404, Code: 404103, Name: "DeviceNotOnline", Message: "Timed out waiting for device to connect."}
	ErrJobNotFound           = &Error{Status: 404, Code: 404002, Name: "JobNotFound", Message: "Job not found"}
	ErrDeviceExists          = &Error{Status: 409, Code: 409001, Name: "DeviceAlreadyExists", Message: "Conflict"}
	ErrJobExists             = &Error{Status: 409, Code: 409004, Name: "JobAlreadyExists", Message: "Conflict"}
	ErrPreconditionFailed    = &Error{Status: 412, Code: 412001, Name: "PreconditionFailed", Message: "Precondition failed"}
	ErrMessageTooLarge       = &Error{Status: 413, Code: 413001, Name: "MessageTooLarge", Message: "The message is too large"}
	ErrTooManyDevices        = &Error{Status: 413, Code: 413002, Name: "TooManyDevices", Message: "At most 100 devices in one call"}
	ErrTooManyRequests       = &Error{Status: 429, Code: 429000, Name: "GenericTooManyRequests", Message: throttledText}
	ErrThrottled             = &Error{Status: 429, Code: 429001, Name: "ThrottlingException", Message: throttledText}
	ErrThrottleBacklogFull   = &Error{Status: 429, Code: 429002, Name: "ThrottleBacklogLimitExceeded", Message: throttledText}
	ErrThrottleBacklogWait   = &Error{Status: 429, Code: 429003, Name: "ThrottlingBacklogTimeout", Message: throttledText}
	ErrTooManyJobs           = &Error{Status: 429, Code: 429004, Name: "ThrottlingMaxActiveJobCountExceeded", Message: "Too many active jobs"}
	ErrDeviceThrottled       = &Error{Status: 429, Code: 429005, Name: "DeviceThrottlingLimitExceeded", Message: throttledText}
	ErrServer                = &Error{Status: 500, Code: 500001, Name: "ServerError", Message: "Internal server error"}
	ErrGenericTimeout        = &Error{Status: 500, Code: 500008, Name: "GenericTimeout", Message: "The operation timed out"}
	ErrServiceUnavailable    = &Error{Status: 503, Code: 503001, Name: "ServiceUnavailable", Message: "Service unavailable"}
	ErrServerBusy            = &Error{Status: 503, Code: 503005, Name: "ServerBusy", Message: "Server busy"}
	ErrMethodTimeout         = &Error{Status: 504, Code: 504101, Name: "GatewayTimeout", Message: "Timed out waiting for the response from device."}
	ErrConnectionForceClosed = &Error{Status: 400, Code: 400027, Name: "ConnectionForcefullyClosedOnNewConnection", Message: "Connection closed by a newer one of the same device"}
)

const throttledText = "The request has been throttled. Wait 10 seconds and try again."

// Error says the name, the message and the tracking id.
func (e *Error) Error() string {
	text := e.Name
	if e.Code != 0 {
		text = strconv.Itoa(e.Code) + " " + text
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.TrackingID != "" {
		text += " (tracking id " + e.TrackingID + ")"
	}
	return text
}

// maxReason bounds what a target can write into a report.
const maxReason = 80

// Reason is the code and the name, without what differs from call to call: package metrics/reason shows it.
func (e *Error) Reason() string {
	if e.Code == 0 && e.Name == "" {
		return "status " + strconv.Itoa(e.Status)
	}
	text := e.Name
	if e.Code != 0 {
		text = strings.TrimSpace(strconv.Itoa(e.Code) + " " + e.Name)
	}
	return text[:min(len(text), maxReason)]
}

// Is reports whether target is an *Error with the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// With is a copy of the error with its own message.
func (e *Error) With(format string, a ...any) *Error {
	c := *e
	c.Message = fmt.Sprintf(format, a...)
	return &c
}

// WithInfo is a copy of the error with one more detail.
func (e *Error) WithInfo(name, value string) *Error {
	c := *e
	c.Info = map[string]string{name: value}
	for k, v := range e.Info {
		c.Info[k] = v
	}
	return &c
}

// AsError finds the service's error in err; an error of another kind becomes ErrServer.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return ErrServer
}

// Throttled reports whether err says that the target shed load: any 429 error.
func Throttled(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusTooManyRequests
}

// Known are all errors of the service.
func Known() []*Error {
	return []*Error{
		ErrInvalidOperation, ErrArgumentInvalid, ErrArgumentNull, ErrFormat, ErrDefinedMultipleTimes, ErrDeserialization, ErrBulkFailed,
		ErrUnauthorizedAccess, ErrUnauthorized, ErrQuotaExceeded, ErrMaximumQueueDepth, ErrNotInTier, ErrDeviceDisabled,
		ErrDeviceNotFound, ErrModuleNotFound, ErrDeviceNotOnline, ErrJobNotFound, ErrDeviceExists, ErrJobExists, ErrPreconditionFailed,
		ErrMessageTooLarge, ErrTooManyDevices, ErrTooManyRequests, ErrThrottled, ErrThrottleBacklogFull, ErrThrottleBacklogWait,
		ErrTooManyJobs, ErrDeviceThrottled, ErrServer, ErrGenericTimeout, ErrServiceUnavailable, ErrServerBusy, ErrMethodTimeout,
		ErrConnectionForceClosed,
	}
}

// Complete adds the name that belongs to the code, or the code that belongs to the name.
func (e *Error) Complete() {
	if e.Code == 0 || e.Name == "" {
		for _, known := range Known() {
			if known.Code == e.Code || (e.Code == 0 && known.Name == e.Name) {
				e.Code, e.Name = known.Code, known.Name
				break
			}
		}
	}
	if e.Name == "" {
		e.Name = strings.ReplaceAll(http.StatusText(e.Status), " ", "")
	}
}

// CodeOf is the code of an error by its name, in any case; 0 for an unknown name.
func CodeOf(name string) int {
	for _, known := range Known() {
		if strings.EqualFold(known.Name, name) {
			return known.Code
		}
	}
	return 0
}
