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
	ErrInvalidProtocol       = failure(400001, "InvalidProtocolVersion", "BadRequest")
	ErrInvalidOperation      = failure(400003, "InvalidOperation", "BadRequest")
	ErrArgumentInvalid       = failure(400004, "ArgumentInvalid", "BadRequest")
	ErrArgumentNull          = failure(400005, "ArgumentNull", "BadRequest")
	ErrFormat                = failure(400006, "IotHubFormatError", "BadRequest")
	ErrDefinedMultipleTimes  = failure(400011, "DeviceDefinedMultipleTimes", "BadRequest")
	ErrDeserialization       = failure(400012, "DeserializationError", "BadRequest")
	ErrBulkFailed            = failure(400013, "BulkRegistryOperationFailure", "BadRequest")
	ErrBlobContainer         = failure(400008, "BlobContainerValidationError", "BadRequest")
	ErrUploadID              = failure(400015, "InvalidFileUploadCorrelationId", "BadRequest")
	ErrUploadExpired         = failure(400016, "ExpiredFileUploadCorrelationId", "BadRequest")
	ErrUploadStatus          = failure(400019, "InvalidFileUploadCompletionStatus", "BadRequest")
	ErrUploadBlob            = failure(400020, "InvalidStorageEndpointOrBlob", "BadRequest")
	ErrUnauthorizedAccess    = failure(401002, "IotHubUnauthorizedAccess", "Unauthorized")
	ErrUnauthorized          = failure(401003, "IotHubUnauthorized", "Unauthorized")
	ErrJobQuotaExceeded      = failure(403001, "JobQuotaExceeded", "Another import or export job is running")
	ErrQuotaExceeded         = failure(403002, "IotHubQuotaExceeded", "Total number of messages on IotHub exceeded the allocated quota")
	ErrMaximumQueueDepth     = failure(403004, "DeviceMaximumQueueDepthExceeded", "Device queue is full")
	ErrTooManyUploads        = failure(403006, "DeviceMaximumActiveFileUploadLimitExceeded", "Number of active file upload requests cannot exceed 10")
	ErrNotInTier             = failure(403010, "OperationNotAvailableInCurrentTier", "The operation is not available in the hub's tier")
	ErrDeviceDisabled        = failure(403012, "DeviceDisabled", "Device is disabled")
	ErrNotFound              = failure(404000, "GenericNotFound", "Not found")
	ErrDeviceNotFound        = failure(404001, "DeviceNotFound", "Device not found")
	ErrModuleNotFound        = failure(404010, "ModuleNotFound", "Module not found")
	ErrDeviceNotOnline       = failure(404103, "DeviceNotOnline", "Timed out waiting for device to connect.")
	ErrJobNotFound           = failure(404002, "JobNotFound", "Job not found")
	ErrNotInCurrentState     = failure(405001, "OperationNotAllowedInCurrentState", "The operation is not allowed in the current state")
	ErrDeviceExists          = failure(409001, "DeviceAlreadyExists", "Conflict")
	ErrJobExists             = failure(409004, "JobAlreadyExists", "Conflict")
	ErrModuleExists          = failure(409301, "ModuleAlreadyExistsOnDevice", "Conflict")
	ErrPreconditionFailed    = failure(412001, "PreconditionFailed", "Precondition failed")
	ErrMessageLockLost       = failure(412002, "DeviceMessageLockLost", "The lock of the message is lost")
	ErrMessageTooLarge       = failure(413001, "MessageTooLarge", "The message is too large")
	ErrTooManyDevices        = failure(413002, "TooManyDevices", "At most 100 devices in one call")
	ErrTooManyRequests       = failure(429000, "GenericTooManyRequests", throttledText)
	ErrThrottled             = failure(429001, "ThrottlingException", throttledText)
	ErrThrottleBacklogFull   = failure(429002, "ThrottleBacklogLimitExceeded", throttledText)
	ErrThrottleBacklogWait   = failure(429003, "ThrottlingBacklogTimeout", throttledText)
	ErrTooManyJobs           = failure(429004, "ThrottlingMaxActiveJobCountExceeded", "Too many active jobs")
	ErrDeviceThrottled       = failure(429005, "DeviceThrottlingLimitExceeded", throttledText)
	ErrServer                = failure(500001, "ServerError", "Internal server error")
	ErrGenericTimeout        = failure(500008, "GenericTimeout", "The operation timed out")
	ErrServiceUnavailable    = failure(503001, "ServiceUnavailable", "Service unavailable")
	ErrServerBusy            = failure(503005, "ServerBusy", "Server busy")
	ErrMethodTimeout         = failure(504101, "GatewayTimeout", "Timed out waiting for the response from device.")
	ErrConnectionForceClosed = failure(400027, "ConnectionForcefullyClosedOnNewConnection", "Connection closed by a newer one of the same device")
)

// Errors whose names are public and whose numbers are not: only the names go over the wire.
var (
	ErrInvalidConfigurationContent = failure(400901, "InvalidConfigurationContent", "BadRequest")
	ErrTooManyConfigurations       = failure(403901, "ConfigurationQuotaExceeded", "Too many configurations")
	ErrConfigurationNotFound       = failure(404901, "ConfigurationNotFound", "Configuration not found")
	ErrConfigurationExists         = failure(409901, "ConfigurationAlreadyExists", "Conflict")
)

// failure is an error of the service; its HTTP status is the first three digits of its code.
func failure(code int, name, message string) *Error {
	return &Error{Status: code / 1000, Code: code, Name: name, Message: message}
}

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
		ErrInvalidProtocol, ErrInvalidOperation, ErrArgumentInvalid, ErrArgumentNull, ErrFormat, ErrDefinedMultipleTimes, ErrDeserialization, ErrBulkFailed,
		ErrUnauthorizedAccess, ErrUnauthorized, ErrQuotaExceeded, ErrMaximumQueueDepth, ErrNotInTier, ErrDeviceDisabled,
		ErrNotFound, ErrDeviceNotFound, ErrModuleNotFound, ErrDeviceNotOnline, ErrJobNotFound, ErrNotInCurrentState, ErrDeviceExists, ErrModuleExists,
		ErrJobExists, ErrPreconditionFailed, ErrMessageLockLost,
		ErrUploadID, ErrUploadExpired, ErrUploadStatus, ErrUploadBlob, ErrTooManyUploads,
		ErrMessageTooLarge, ErrTooManyDevices, ErrTooManyRequests, ErrThrottled, ErrThrottleBacklogFull, ErrThrottleBacklogWait,
		ErrTooManyJobs, ErrDeviceThrottled, ErrServer, ErrGenericTimeout, ErrServiceUnavailable, ErrServerBusy, ErrMethodTimeout,
		ErrConnectionForceClosed, ErrBlobContainer, ErrJobQuotaExceeded, ErrInvalidConfigurationContent, ErrTooManyConfigurations,
		ErrConfigurationNotFound, ErrConfigurationExists,
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
