package registry

import "github.com/twinfleet/twinfleet/internal/iothub/sas"

// Which keys a regeneration makes anew (azure-iot-cli-extension, service model BulkRegenerateDeviceKey).
const (
	PrimaryKey   = "primaryKey"
	SecondaryKey = "secondaryKey"
	BothKeys     = "both"
)

// Regenerate is the body of a call that makes keys of identities anew.
type Regenerate struct {
	PolicyKey string         `json:"policyKey"` // PrimaryKey, SecondaryKey or BothKeys
	Devices   []RegenerateOf `json:"devices"`   // at most MaxBulk
}

// RegenerateOf names an identity whose keys are made anew.
type RegenerateOf struct {
	ID       string `json:"id"`                 // of the device
	ModuleID string `json:"moduleId,omitempty"` // empty for the device itself
}

// Regenerated is the answer to a Regenerate.
type Regenerated struct {
	PolicyKey string           `json:"policyKey"`   // as in the request
	Rotated   []RotatedKeys    `json:"rotatedKeys"` // empty, not nil, for none
	Errors    []RegenerateFail `json:"errors"`      // likewise
}

// RotatedKeys is the keys of an identity after a regeneration, both of them.
type RotatedKeys struct {
	RegenerateOf
	Primary   sas.Key `json:"primaryKey"`   // new unless only the other was
	Secondary sas.Key `json:"secondaryKey"` // likewise
}

// RegenerateFail is an identity whose keys are as they were.
type RegenerateFail struct {
	RegenerateOf
	Code   string `json:"errorCode"`   // the name of an error, such as DeviceNotFound
	Status string `json:"errorStatus"` // for people
}
