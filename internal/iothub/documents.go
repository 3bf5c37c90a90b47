package iothub

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Time is a time as the service writes it: UTC with seven fractional digits and Z. The zero Time is
// 0001-01-01T00:00:00Z, which stands for never.
type Time struct{ time.Time }

const timeLayout = "2006-01-02T15:04:05.0000000Z"

// AppendTime appends t as the service writes times, without quotes.
func AppendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, "0001-01-01T00:00:00Z"...)
	}
	return t.UTC().AppendFormat(dst, timeLayout)
}

// MarshalJSON writes the time as the service does.
func (t Time) MarshalJSON() ([]byte, error) {
	return append(AppendTime([]byte{'"'}, t.Time), '"'), nil
}

// UnmarshalJSON reads a time with or without fraction and zone; without a zone it is UTC.
func (t *Time) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("reading a time: %w", err)
	}
	if s == "" {
		*t = Time{}
		return nil
	}
	if !strings.HasSuffix(s, "Z") && !strings.Contains(s[min(10, len(s)):], "+") && strings.Count(s, "-") < 3 {
		s += "Z"
	}
	parsed, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return fmt.Errorf("reading a time: %w", err)
	}
	*t = Time{parsed.UTC()}
	return nil
}

// The ways a device proves who it is.
const (
	AuthSAS                  = "sas"
	AuthSelfSigned           = "selfSigned"
	AuthCertificateAuthority = "certificateAuthority"
)

// The states of an identity.
const (
	StatusEnabled  = "enabled"
	StatusDisabled = "disabled"
)

// SymmetricKeys are the two keys of a device; either serves.
type SymmetricKeys struct {
	Primary   Key `json:"primaryKey"`
	Secondary Key `json:"secondaryKey"`
}

// LogValue hides the keys, also from log handlers that write JSON.
func (SymmetricKeys) LogValue() slog.Value { return slog.StringValue(redacted) }

// Thumbprints are hex digests of a device's own certificates: SHA-1 (40 digits) or SHA-256 (64).
type Thumbprints struct {
	Primary   string `json:"primaryThumbprint"`
	Secondary string `json:"secondaryThumbprint"`
}

type nullableThumbprints struct {
	Primary   *string `json:"primaryThumbprint"`
	Secondary *string `json:"secondaryThumbprint"`
}

// MarshalJSON writes an absent thumbprint as null.
func (t Thumbprints) MarshalJSON() ([]byte, error) {
	var n nullableThumbprints
	if t.Primary != "" {
		n.Primary = &t.Primary
	}
	if t.Secondary != "" {
		n.Secondary = &t.Secondary
	}
	return json.Marshal(n)
}

// UnmarshalJSON reads null as no thumbprint.
func (t *Thumbprints) UnmarshalJSON(b []byte) error {
	var n nullableThumbprints
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	*t = Thumbprints{}
	if n.Primary != nil {
		t.Primary = *n.Primary
	}
	if n.Secondary != nil {
		t.Secondary = *n.Secondary
	}
	return nil
}

// Authentication is how a device proves who it is.
type Authentication struct {
	SymmetricKey SymmetricKeys `json:"symmetricKey"`
	Thumbprint   Thumbprints   `json:"x509Thumbprint"`
	Type         string        `json:"type"` // AuthSAS, AuthSelfSigned or AuthCertificateAuthority; may be absent in requests
}

// LogValue tells the type alone: the rest are keys, or digests that nobody reads.
func (a Authentication) LogValue() slog.Value { return slog.StringValue(a.Type) }

// Capabilities of a device.
type Capabilities struct {
	IoTEdge bool `json:"iotEdge"`
}

// Identity is a device's entry in the registry (iot-hub-devguide-identity-registry).
type Identity struct {
	DeviceID               string         `json:"deviceId"`
	GenerationID           string         `json:"generationId"` // new for every device made, also under an old id
	ETag                   string         `json:"etag"`
	ConnectionState        string         `json:"connectionState"` // Connected or Disconnected
	Status                 string         `json:"status"`
	StatusReason           *string        `json:"statusReason"` // at most 128 characters
	ConnectionStateUpdated Time           `json:"connectionStateUpdatedTime"`
	StatusUpdated          Time           `json:"statusUpdatedTime"`
	LastActivity           Time           `json:"lastActivityTime"`
	C2DMessages            int            `json:"cloudToDeviceMessageCount"`
	Authentication         Authentication `json:"authentication"`
	Capabilities           Capabilities   `json:"capabilities"`
}

// LogValue names the device without its keys.
func (i Identity) LogValue() slog.Value {
	return slog.GroupValue(slog.String("device", i.DeviceID), slog.String("status", i.Status), slog.Any("authentication", i.Authentication))
}

// MaxBulk is how many entries a bulk call may have (iot-hub-devguide-identity-registry).
const MaxBulk = 100

// The import modes of a bulk entry. They are matched without regard to case.
const (
	ImportCreate           = "create"
	ImportCreateOrUpdate   = "createOrUpdate"
	ImportUpdate           = "update"
	ImportUpdateIfMatch    = "updateIfMatchETag"
	ImportDelete           = "delete"
	ImportDeleteIfMatch    = "deleteIfMatchETag"
	ImportUpdateTwin       = "updateTwin"
	ImportUpdateTwinIfEtag = "updateTwinIfMatchETag"
)

// BulkProperties are the twin properties of a bulk entry.
type BulkProperties struct {
	Desired json.RawMessage `json:"desired,omitempty"`
}

// BulkEntry is one device of a bulk call.
type BulkEntry struct {
	ID             string          `json:"id"`
	ETag           string          `json:"eTag,omitempty"`
	ImportMode     string          `json:"importMode"`
	Status         string          `json:"status,omitempty"`
	StatusReason   *string         `json:"statusReason,omitempty"`
	Authentication *Authentication `json:"authentication,omitempty"`
	TwinETag       string          `json:"twinETag,omitempty"`
	Tags           json.RawMessage `json:"tags,omitempty"`
	Properties     *BulkProperties `json:"properties,omitempty"`
	Capabilities   *Capabilities   `json:"capabilities,omitempty"`
}

// LogValue names the device without its keys.
func (e BulkEntry) LogValue() slog.Value {
	return slog.GroupValue(slog.String("device", e.ID), slog.String("mode", e.ImportMode))
}

// NewBulkEntry is an entry for an enabled device with two symmetric keys.
func NewBulkEntry(mode, id string, primary, secondary Key) BulkEntry {
	return BulkEntry{
		ID: id, ImportMode: mode, Status: StatusEnabled,
		Authentication: &Authentication{Type: AuthSAS, SymmetricKey: SymmetricKeys{primary, secondary}},
	}
}

// BulkError is why one device of a bulk call failed.
type BulkError struct {
	DeviceID    string `json:"deviceId"`
	ErrorCode   int    `json:"errorCode"` // for example 409001; 0 for a name that is not known
	ErrorStatus string `json:"errorStatus"`
}

// UnmarshalJSON reads the code as a number or as a name: versions of the service differ.
func (e *BulkError) UnmarshalJSON(b []byte) error {
	type fields BulkError
	in := struct {
		*fields
		ErrorCode errorCode `json:"errorCode"`
	}{fields: (*fields)(e)}
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("reading an entry of a bulk result: %w", err)
	}
	e.ErrorCode = int(in.ErrorCode)
	return nil
}

// Err is the failure as an error of the service.
func (e BulkError) Err() *Error {
	err := &Error{Status: e.ErrorCode / 1000, Code: e.ErrorCode, Message: e.ErrorStatus}
	err.complete()
	return err
}

// BulkResult is the answer to a bulk call.
type BulkResult struct {
	IsSuccessful bool        `json:"isSuccessful"`
	Errors       []BulkError `json:"errors"`
	Warnings     []BulkError `json:"warnings"`
}

// RegistryStatistics counts the identities of a hub.
type RegistryStatistics struct {
	Total    int `json:"totalDeviceCount"`
	Enabled  int `json:"enabledDeviceCount"`
	Disabled int `json:"disabledDeviceCount"`
}

// ServiceStatistics counts the connected devices of a hub.
type ServiceStatistics struct {
	Connected int `json:"connectedDeviceCount"`
}

// QueryRequest is the body of a query.
type QueryRequest struct {
	Query string `json:"query"`
}

// The headers of a query (iot-hub-devguide-query-language).
const (
	HeaderMaxItemCount = "x-ms-max-item-count"
	HeaderContinuation = "x-ms-continuation"
	HeaderItemType     = "x-ms-item-type"
)

// MethodRequest is the body of a direct method call.
type MethodRequest struct {
	Name            string          `json:"methodName"`
	Payload         json.RawMessage `json:"payload,omitempty"`
	ResponseTimeout int             `json:"responseTimeoutInSeconds,omitempty"` // seconds; 30 when 0
	ConnectTimeout  int             `json:"connectTimeoutInSeconds,omitempty"`  // seconds to wait for the device to connect
}

// MethodResponse is a device's answer to a direct method call.
type MethodResponse struct {
	Status  int             `json:"status"`
	Payload json.RawMessage `json:"payload"`
}

// The kinds and states of jobs (iot-hub-devguide-jobs).
const (
	JobTwinUpdate   = "scheduleUpdateTwin"
	JobDeviceMethod = "scheduleDeviceMethod"

	JobQueued    = "queued"
	JobScheduled = "scheduled"
	JobRunning   = "running"
	JobCompleted = "completed"
	JobFailed    = "failed"
	JobCancelled = "cancelled"
)

// Job is a scheduled job: the body of its creation and, with the later fields, its state.
type Job struct {
	JobID              string          `json:"jobId"`
	Type               string          `json:"type"`
	QueryCondition     string          `json:"queryCondition,omitempty"`
	UpdateTwin         json.RawMessage `json:"updateTwin,omitempty"`
	Method             *MethodRequest  `json:"cloudToDeviceMethod,omitempty"`
	Created            Time            `json:"createdTime"`
	Start              Time            `json:"startTime"`
	End                *Time           `json:"endTime,omitempty"`
	MaxExecutionTime   int             `json:"maxExecutionTimeInSeconds,omitempty"` // seconds
	Status             string          `json:"status,omitempty"`
	FailureReason      string          `json:"failureReason,omitempty"`
	StatusMessage      string          `json:"statusMessage,omitempty"`
	DeviceJobStatistic *JobStatistics  `json:"deviceJobStatistics,omitempty"`
}

// JobStatistics counts the devices of a job by state.
type JobStatistics struct {
	Devices   int `json:"deviceCount"`
	Failed    int `json:"failedCount"`
	Succeeded int `json:"succeededCount"`
	Running   int `json:"runningCount"`
	Pending   int `json:"pendingCount"`
}
