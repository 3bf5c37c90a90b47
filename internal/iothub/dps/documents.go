package dps

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
)

// The states of a registration.
const (
	StatusUnassigned = "unassigned" // nothing has been decided
	StatusAssigning  = "assigning"  // ask again
	StatusAssigned   = "assigned"   // AssignedHub and DeviceID say where
	StatusFailed     = "failed"     // ErrorCode and ErrorMessage say why
	StatusDisabled   = "disabled"   // the enrollment is
)

// How a registration came to its hub (concepts-device-reprovision).
const (
	SubstatusInitial  = "initialAssignment"
	SubstatusMigrated = "deviceDataMigrated" // with the twin of the hub before
	SubstatusReset    = "deviceDataReset"    // with the enrollment's initial twin
)

// RegisterRequest is the body of a registration. All members may be absent, and the body too.
type RegisterRequest struct {
	RegistrationID string          `json:"registrationId,omitempty"` // as in the user name, but for case
	Payload        json.RawMessage `json:"payload,omitempty"`        // for a custom allocation; any JSON (how-to-send-additional-data)
	CSR            string          `json:"csr,omitempty"`            // a PKCS #10 request, base64 of DER; from CSRSince on
}

// ParseRegister reads the body of a registration, which may be empty or white space. A member that is not known is
// refused, as the service does. The error is ErrDeserialization.
func ParseRegister(body []byte) (RegisterRequest, error) {
	var r RegisterRequest
	if len(bytes.TrimSpace(body)) == 0 {
		return r, nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return RegisterRequest{}, ErrDeserialization
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return RegisterRequest{}, ErrDeserialization
	}
	return r, nil
}

// Operation is the body of an answer below status 300.
type Operation struct {
	OperationID string             `json:"operationId"`                 // to poll with; empty when nothing is going on
	Status      string             `json:"status"`                      // StatusUnassigned to StatusDisabled
	State       *RegistrationState `json:"registrationState,omitempty"` // nil while it is being assigned, mostly
}

// RegistrationState is what the service knows of a registration.
type RegistrationState struct {
	X509           *struct{}       `json:"x509,omitempty"` // not nil for a device that showed a certificate
	RegistrationID string          `json:"registrationId"`
	Created        *timestamp.Time `json:"createdDateTimeUtc,omitempty"`     // of the registration
	AssignedHub    string          `json:"assignedHub,omitempty"`            // host name, with a port when it is not the usual one
	DeviceID       string          `json:"deviceId,omitempty"`               // at that hub
	Status         string          `json:"status"`                           // as in Operation
	Substatus      string          `json:"substatus,omitempty"`              // of StatusAssigned
	Updated        *timestamp.Time `json:"lastUpdatedDateTimeUtc,omitempty"` // of the last assignment
	ErrorCode      int             `json:"errorCode,omitempty"`              // of StatusFailed, such as 400207
	ErrorMessage   string          `json:"errorMessage,omitempty"`           // of StatusFailed
	ETag           string          `json:"etag,omitempty"`                   // base64 of a quoted GUID
	Payload        json.RawMessage `json:"payload,omitempty"`                // what a custom allocation returned; any JSON
	Chain          []string        `json:"issuedCertificateChain,omitempty"` // for a CSR: base64 of DER, leaf first
	Profile        string          `json:"connectionProfile,omitempty"`      // the kind of hub, ProfileClassic; from ProfileSince on
}

// ProfileClassic is the connection profile of hubs that speak MQTT 3.1.1; ProfileSince is the first api-version whose
// registration states have one.
const (
	ProfileClassic = "classic"
	ProfileSince   = "2026-11-02-preview"
)

// The errors of the service. They are written as errorbody.MQTT writes errors, over HTTP too.
var (
	ErrRegistration         = failure(400004, "InvalidRegistrationId", "Invalid RegistrationId.")
	ErrArgument             = failure(400001, "BadRequest", "Bad request.")
	ErrDeserialization      = failure(400012, "DeserializationError", "Deserialization error.")
	ErrAllocation           = failure(400207, "CustomAllocationFailed", "Custom allocation failed.")
	ErrUnauthorized         = failure(401000, "Unauthorized", "Unauthorized")
	ErrUnauthorizedHTTP     = failure(401002, "Unauthorized", "Unauthorized")
	ErrForbidden            = failure(401003, "Unauthorized", "Unauthorized")
	ErrNotFound             = failure(404000, "NotFound", "Not found.")
	ErrEnrollmentNotFound   = failure(404201, "EnrollmentNotFound", "Enrollment not found.")
	ErrRegistrationNotFound = failure(404202, "RegistrationNotFound", "Registration not found.")
	ErrOperationNotFound    = failure(404203, "OperationNotFound", "Operation not found.")
	ErrMethod               = failure(405000, "MethodNotAllowed", "Method not allowed.")
	ErrExists               = failure(409200, "EnrollmentExists", "Enrollment already exists.")
	ErrPrecondition         = failure(412001, "PreconditionFailed", "Precondition failed.")
	ErrThrottled            = failure(429001, "ThrottlingException", "The request has been throttled.")
	ErrServer               = failure(500001, "ServerError", "Internal server error.")
)

// failure is an error of the service; its status is the first three digits of its code.
func failure(code int, name, message string) *iothub.Error {
	return &iothub.Error{Status: code / 1000, Code: code, Name: name, Message: message}
}

// AsError finds the service's error in err; an error of another kind becomes ErrServer.
func AsError(err error) *iothub.Error {
	var e *iothub.Error
	if errors.As(err, &e) {
		return e
	}
	return ErrServer
}

// RegisterPath is the path of a registration over HTTP, a PUT; the query is api-version=….
func RegisterPath(idScope, registrationID string) string {
	return fmt.Sprintf("/%s/registrations/%s/register", idScope, registrationID)
}

// OperationPath is the path of a poll over HTTP, a GET; the query is api-version=….
func OperationPath(idScope, registrationID, operationID string) string {
	return fmt.Sprintf("/%s/registrations/%s/operations/%s", idScope, registrationID, operationID)
}
