// Package registry is the documents of IoT Hub's identity registry (iot-hub-devguide-identity-registry).
package registry

import (
	"encoding/json"
	"log/slog"

	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
)

// The ways a device proves who it is.
const (
	AuthSAS                  = "sas"                  // a token signed with one of its symmetric keys
	AuthSelfSigned           = "selfSigned"           // a certificate whose thumbprint the registry knows
	AuthCertificateAuthority = "certificateAuthority" // a certificate of an authority that the hub trusts
)

// The states of an identity.
const (
	StatusEnabled  = "enabled"
	StatusDisabled = "disabled"
)

// AuthNone is the authentication type of a module that has none of its own yet; the service makes it AuthSAS.
const AuthNone = "none"

// SymmetricKeys are the two keys of a device; either serves.
type SymmetricKeys struct {
	Primary   sas.Key `json:"primaryKey"`   // the zero key for none
	Secondary sas.Key `json:"secondaryKey"` // the zero key for none
}

// MarshalJSON writes an absent key as null.
func (k SymmetricKeys) MarshalJSON() ([]byte, error) {
	var n struct {
		Primary   *sas.Key `json:"primaryKey"`
		Secondary *sas.Key `json:"secondaryKey"`
	}
	if !k.Primary.IsZero() {
		n.Primary = &k.Primary
	}
	if !k.Secondary.IsZero() {
		n.Secondary = &k.Secondary
	}
	return json.Marshal(n)
}

// LogValue hides the keys, also from log handlers that write JSON.
func (SymmetricKeys) LogValue() slog.Value { return slog.StringValue(sas.Redacted) }

// Thumbprints are hex digests of a device's own certificates: SHA-1 (40 digits) or SHA-256 (64).
type Thumbprints struct {
	Primary   string `json:"primaryThumbprint"`   // empty for none
	Secondary string `json:"secondaryThumbprint"` // empty for none
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
	SymmetricKey SymmetricKeys `json:"symmetricKey"`   // of AuthSAS
	Thumbprint   Thumbprints   `json:"x509Thumbprint"` // of AuthSelfSigned
	Type         string        `json:"type"`           // AuthSAS, AuthSelfSigned or AuthCertificateAuthority; may be absent in requests
}

// LogValue tells the type alone: the rest are keys, or digests that nobody reads.
func (a Authentication) LogValue() slog.Value { return slog.StringValue(a.Type) }

// Credentials are what a device is checked against when it connects.
type Credentials struct {
	Enabled     bool        // a disabled device may not connect
	AuthType    string      // AuthSAS, AuthSelfSigned or AuthCertificateAuthority
	Primary     sas.Key     // of AuthSAS
	Secondary   sas.Key     // of AuthSAS; it serves as well
	Thumbprints Thumbprints // of AuthSelfSigned
	Generation  uint64      // new for every identity made, also under an old id
}

// Capabilities of a device.
type Capabilities struct {
	IoTEdge bool `json:"iotEdge"` // it is a gateway that runs IoT Edge
}

// Identity is the entry of a device or a module in the registry (iot-hub-devguide-identity-registry). A module has no
// status, capabilities and scopes of its own, and a device no manager.
type Identity struct {
	ModuleID               string         `json:"moduleId,omitempty"`         // empty for a device
	ManagedBy              *string        `json:"managedBy,omitempty"`        // who manages a module; at most 128 characters, nil for nobody
	DeviceID               string         `json:"deviceId"`                   // see package deviceid
	GenerationID           string         `json:"generationId"`               // new for every device made, also under an old id
	ETag                   string         `json:"etag"`                       // of the identity; the twin has its own
	ConnectionState        string         `json:"connectionState"`            // Connected or Disconnected
	Status                 string         `json:"status"`                     // StatusEnabled or StatusDisabled
	StatusReason           *string        `json:"statusReason"`               // at most 128 characters; nil for none
	ConnectionStateUpdated timestamp.Time `json:"connectionStateUpdatedTime"` // when it connected or disconnected last
	StatusUpdated          timestamp.Time `json:"statusUpdatedTime"`          // when the status changed last
	LastActivity           timestamp.Time `json:"lastActivityTime"`           // when the device sent or received something last
	C2DMessages            int            `json:"cloudToDeviceMessageCount"`  // that wait for the device
	Authentication         Authentication `json:"authentication"`             // its keys too
	Capabilities           Capabilities   `json:"capabilities"`               // the zero value for a plain device
	Scope                  string         `json:"deviceScope,omitempty"`      // of a gateway: its own; of a device below one: the gateway's
	ParentScopes           []string       `json:"parentScopes,omitempty"`     // of the gateways above it
}

// Key names the device or module, see [entity.Key].
func (i Identity) Key() string { return entity.Key(i.DeviceID, i.ModuleID) }

// module is the document of a module, whose members and their order differ from a device's.
type module struct {
	ModuleID               string         `json:"moduleId"`
	ManagedBy              *string        `json:"managedBy"`
	DeviceID               string         `json:"deviceId"`
	GenerationID           string         `json:"generationId"`
	ETag                   string         `json:"etag"`
	ConnectionState        string         `json:"connectionState"`
	ConnectionStateUpdated timestamp.Time `json:"connectionStateUpdatedTime"`
	LastActivity           timestamp.Time `json:"lastActivityTime"`
	C2DMessages            int            `json:"cloudToDeviceMessageCount"`
	Authentication         Authentication `json:"authentication"`
}

// MarshalJSON writes the document of a device or of a module.
func (i Identity) MarshalJSON() ([]byte, error) {
	if i.ModuleID == "" {
		type device Identity
		return json.Marshal(device(i))
	}
	return json.Marshal(module{
		i.ModuleID, i.ManagedBy, i.DeviceID, i.GenerationID, i.ETag, i.ConnectionState, i.ConnectionStateUpdated, i.LastActivity,
		i.C2DMessages, i.Authentication,
	})
}

// LogValue names the device without its keys.
func (i Identity) LogValue() slog.Value {
	return slog.GroupValue(slog.String("device", i.Key()), slog.String("status", i.Status), slog.Any("authentication", i.Authentication))
}

// Statistics counts the identities of a hub.
type Statistics struct {
	Total    int `json:"totalDeviceCount"`    // all
	Enabled  int `json:"enabledDeviceCount"`  // those that may connect
	Disabled int `json:"disabledDeviceCount"` // those that may not
}

// ServiceStatistics counts the connected devices of a hub.
type ServiceStatistics struct {
	Connected int `json:"connectedDeviceCount"` // now
}
