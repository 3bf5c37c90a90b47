package registry

import (
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/errorbody"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

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
	Desired json.RawMessage `json:"desired,omitempty"` // merged into the desired properties; absent for no change
}

// BulkEntry is one device of a bulk call.
type BulkEntry struct {
	ID             string          `json:"id"`                       // of the device; once in a call, but for its modules
	ModuleID       string          `json:"moduleId,omitempty"`       // of a module of the device; empty for the device itself
	ETag           string          `json:"eTag,omitempty"`           // of the identity, for the modes that ask for it
	ImportMode     string          `json:"importMode"`               // ImportCreate to ImportUpdateTwinIfEtag
	Status         string          `json:"status,omitempty"`         // StatusEnabled or StatusDisabled; empty keeps what there is
	StatusReason   *string         `json:"statusReason,omitempty"`   // at most 128 characters; nil for none
	Authentication *Authentication `json:"authentication,omitempty"` // nil leaves keys to the service
	TwinETag       string          `json:"twinETag,omitempty"`       // of the twin; empty or * for any
	Tags           json.RawMessage `json:"tags,omitempty"`           // merged into the tags; absent for no change
	Properties     *BulkProperties `json:"properties,omitempty"`     // nil for no change
	Capabilities   *Capabilities   `json:"capabilities,omitempty"`   // nil keeps what there is
	ManagedBy      *string         `json:"managedBy,omitempty"`      // who manages a module; nil for nobody
	Scope          string          `json:"deviceScope,omitempty"`    // see Identity
	ParentScopes   []string        `json:"parentScopes,omitempty"`   // see Identity
}

// Key names the device or module, see [entity.Key].
func (e BulkEntry) Key() string { return entity.Key(e.ID, e.ModuleID) }

// LogValue names the device without its keys.
func (e BulkEntry) LogValue() slog.Value {
	return slog.GroupValue(slog.String("device", e.Key()), slog.String("mode", e.ImportMode))
}

// NewBulkEntry is an entry for an enabled device with two symmetric keys.
func NewBulkEntry(mode, id string, primary, secondary sas.Key) BulkEntry {
	return BulkEntry{
		ID: id, ImportMode: mode, Status: StatusEnabled,
		Authentication: &Authentication{Type: AuthSAS, SymmetricKey: SymmetricKeys{primary, secondary}},
	}
}

// BulkError is why one device of a bulk call failed.
type BulkError struct {
	DeviceID    string `json:"deviceId"`           // of the entry
	ModuleID    string `json:"moduleId,omitempty"` // of the entry
	ErrorCode   int    `json:"errorCode"`          // for example 409001; 0 for a name that is not known
	ErrorStatus string `json:"errorStatus"`        // text for people
}

// UnmarshalJSON reads the code as a number or as a name: versions of the service differ.
func (e *BulkError) UnmarshalJSON(b []byte) error {
	type fields BulkError
	in := struct {
		*fields
		ErrorCode errorbody.Code `json:"errorCode"`
	}{fields: (*fields)(e)}
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("reading an entry of a bulk result: %w", err)
	}
	e.ErrorCode, e.ErrorStatus = int(in.ErrorCode), errorbody.Clip(e.ErrorStatus, errorbody.MaxText)
	return nil
}

// Err is the failure as an error of the service.
func (e BulkError) Err() *iothub.Error {
	err := &iothub.Error{Status: e.ErrorCode / 1000, Code: e.ErrorCode, Message: e.ErrorStatus}
	err.Complete()
	return err
}

// BulkResult is the answer to a bulk call.
type BulkResult struct {
	IsSuccessful bool        `json:"isSuccessful"` // no entry failed
	Errors       []BulkError `json:"errors"`       // the entries that failed; the others took place
	Warnings     []BulkError `json:"warnings"`     // entries that took place with a reservation
}
