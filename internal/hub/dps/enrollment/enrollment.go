// Package enrollment is the documents of the provisioning service's service side: individual enrollments and enrollment
// groups, what is valid in them, and what of them others may see.
package enrollment

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/deviceid"
	"github.com/twinfleet/twinfleet/internal/iothub/dps"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
)

// The ways a device proves who it is. A TPM is not supported.
const (
	TypeSymmetricKey = "symmetricKey"
	TypeX509         = "x509"
)

// The ways a device is given a hub (concepts-service).
const (
	Hashed     = "hashed"     // evenly over the hubs; the default
	GeoLatency = "geoLatency" // the nearest; all hubs here are as near
	Static     = "static"     // the first of the hubs named
	Custom     = "custom"     // a webhook or the rules of the service decide
)

// Enrollment is an individual enrollment, or an enrollment group.
type Enrollment struct {
	RegistrationID string                 `json:"registrationId,omitempty"`             // of an individual enrollment
	GroupID        string                 `json:"enrollmentGroupId,omitempty"`          // of a group
	DeviceID       string                 `json:"deviceId,omitempty"`                   // of an individual enrollment; the registration id when empty
	State          *dps.RegistrationState `json:"registrationState,omitempty"`          // written in answers alone
	Optional       json.RawMessage        `json:"optionalDeviceInformation,omitempty"`  // kept as it came; nil for none
	Attestation    Attestation            `json:"attestation"`                          // how devices prove who they are
	Capabilities   *registry.Capabilities `json:"capabilities,omitempty"`               // nil for a plain device
	HubHostName    string                 `json:"iotHubHostName,omitempty"`             // the hub, as iotHubs with one member
	InitialTwin    *InitialTwin           `json:"initialTwin,omitempty"`                // nil for an empty one
	ETag           string                 `json:"etag,omitempty"`                       // a GUID in quotes
	Status         string                 `json:"provisioningStatus,omitempty"`         // registry.StatusEnabled (default) or StatusDisabled
	Reprovision    *Reprovision           `json:"reprovisionPolicy,omitempty"`          // nil for the default
	Created        timestamp.Time         `json:"createdDateTimeUtc"`                   // the service sets it
	Updated        timestamp.Time         `json:"lastUpdatedDateTimeUtc"`               // the service sets it
	Allocation     string                 `json:"allocationPolicy,omitempty"`           // Hashed to Custom
	Hubs           []string               `json:"iotHubs,omitempty"`                    // to choose from; all linked ones when empty
	Webhook        *CustomAllocation      `json:"customAllocationDefinition,omitempty"` // of Custom; nil leaves the decision to the rules of the service
}

// Reprovision says what a registration does that is not the first (concepts-device-reprovision).
type Reprovision struct {
	UpdateHub bool `json:"updateHubAssignment"` // allocate again; false: nothing changes
	Migrate   bool `json:"migrateDeviceData"`   // keep the twin; false: the initial twin takes its place
}

// CustomAllocation names who decides about the hub of a device.
type CustomAllocation struct {
	URL        string `json:"webhookUrl"`           // it is asked with a POST; the rules of the service when empty
	APIVersion string `json:"apiVersion,omitempty"` // of what it is sent
}

// InitialTwin is what a twin begins with. Members that are absent are empty.
type InitialTwin struct {
	Tags       json.RawMessage `json:"tags,omitempty"`       // an object
	Properties *Properties     `json:"properties,omitempty"` // nil for none
}

// Properties of an InitialTwin.
type Properties struct {
	Desired json.RawMessage `json:"desired,omitempty"` // an object
}

// Desired is the twin's desired properties; nil when there are none.
func (t *InitialTwin) Desired() json.RawMessage {
	if t == nil || t.Properties == nil {
		return nil
	}
	return t.Properties.Desired
}

// TagsOf is the twin's tags; nil when there are none.
func (t *InitialTwin) TagsOf() json.RawMessage {
	if t == nil {
		return nil
	}
	return t.Tags
}

// Attestation is how the devices of an enrollment prove who they are.
type Attestation struct {
	Type         string         `json:"type"`                   // TypeSymmetricKey or TypeX509
	SymmetricKey *SymmetricKeys `json:"symmetricKey,omitempty"` // of TypeSymmetricKey; nil has keys made
	X509         *X509          `json:"x509,omitempty"`         // of TypeX509
}

// SymmetricKeys of a device or, in a group, those from which devices' keys are derived; either serves.
type SymmetricKeys struct {
	Primary   sas.Key `json:"primaryKey"`   // 16 to 64 bytes
	Secondary sas.Key `json:"secondaryKey"` // 16 to 64 bytes
}

// Keys are the keys of the attestation; zero keys when it has none.
func (a Attestation) Keys() (primary, secondary sas.Key) {
	if a.SymmetricKey == nil {
		return sas.Key{}, sas.Key{}
	}
	return a.SymmetricKey.Primary, a.SymmetricKey.Secondary
}

// IsGroup reports whether it is an enrollment group.
func (e *Enrollment) IsGroup() bool { return e.GroupID != "" }

// ID is the registration id or the group's id, as it was written.
func (e *Enrollment) ID() string {
	if e.IsGroup() {
		return e.GroupID
	}
	return e.RegistrationID
}

// Disabled reports whether devices are refused that the enrollment would admit.
func (e *Enrollment) Disabled() bool { return e.Status == registry.StatusDisabled }

// Policy is what a registration does that is not the first. Without a policy, versions of the API up to 2018-04-01 change
// nothing, and later ones allocate again and keep the twin (concepts-device-reprovision).
func (e *Enrollment) Policy(apiVersion string) Reprovision {
	switch {
	case e.Reprovision != nil:
		return *e.Reprovision
	case apiVersion != "" && apiVersion <= "2018-04-01":
		return Reprovision{}
	default:
		return Reprovision{UpdateHub: true, Migrate: true}
	}
}

// AllowedHubs are those of the linked hubs that the enrollment may be given, in its order.
func (e *Enrollment) AllowedHubs(linked []string) []string {
	switch {
	case e.HubHostName != "":
		return []string{e.HubHostName}
	case len(e.Hubs) > 0:
		return e.Hubs
	default:
		return linked
	}
}

// Shown is the enrollment as a client sees that reads it: without keys (azure-iot-sdk-csharp issue 1183), and with what is
// in certificates in place of them.
func (e *Enrollment) Shown() *Enrollment {
	shown := *e
	shown.Attestation = e.Attestation.withoutCertificates()
	shown.Attestation.SymmetricKey = nil
	return &shown
}

// ShownToWriter is Shown with the keys: a client that wrote the enrollment learns those that were made for it.
func (e *Enrollment) ShownToWriter() *Enrollment {
	shown := *e
	shown.Attestation = e.Attestation.withoutCertificates()
	return &shown
}

// Mechanism is the attestation with its keys, for the endpoint that reveals them.
func (e *Enrollment) Mechanism() Attestation { return e.Attestation.withoutCertificates() }

// Check completes what a client wrote with the defaults, and refuses what is not valid. old is the enrollment that it takes
// the place of, or nil: keys and certificates that the client leaves out stay, since whoever reads an enrollment to change
// it does not get them. linked are the hubs of the service, authorities the names of its certificate authorities.
// The errors are *iothub.Error.
func (e *Enrollment) Check(old *Enrollment, linked []string, authorities func(name string) bool) error {
	if err := e.checkID(); err != nil {
		return err
	}
	if e.DeviceID != "" {
		if e.IsGroup() {
			return refuse("deviceId is for individual enrollments")
		}
		if err := deviceid.Check(e.DeviceID); err != nil {
			return refuse("deviceId: %v", err)
		}
	}
	if err := e.checkPolicies(linked); err != nil {
		return err
	}
	for name, section := range map[string]json.RawMessage{"tags": e.InitialTwin.TagsOf(), "properties.desired": e.InitialTwin.Desired()} {
		var members map[string]json.RawMessage
		if len(section) > 0 && json.Unmarshal(section, &members) != nil {
			return refuse("initialTwin.%s is no object", name)
		}
	}
	e.State = nil
	var before *Attestation
	if old != nil {
		before = &old.Attestation
	}
	return e.Attestation.check(before, e.IsGroup(), authorities)
}

func (e *Enrollment) checkID() error {
	if e.IsGroup() {
		// The rule for registration ids holds for groups too (REST reference of enrollment groups).
		if err := dps.CheckRegistrationID(e.GroupID); err != nil {
			return refuse("enrollmentGroupId: %v", err)
		}
		return nil
	}
	if err := dps.CheckRegistrationID(e.RegistrationID); err != nil {
		return dps.ErrRegistration.With("Invalid RegistrationId: %v", err)
	}
	return nil
}

func (e *Enrollment) checkPolicies(linked []string) error {
	switch e.Status {
	case "":
		e.Status = registry.StatusEnabled
	case registry.StatusEnabled, registry.StatusDisabled:
	default:
		return refuse("provisioningStatus is enabled or disabled")
	}
	for _, hub := range append(slices.Clone(e.Hubs), e.HubHostName) {
		if hub != "" && !slices.ContainsFunc(linked, func(l string) bool { return strings.EqualFold(l, hub) }) {
			return refuse("the hub %q is not linked; linked: %s", hub, strings.Join(linked, ", "))
		}
	}
	if e.Allocation == "" {
		e.Allocation = Hashed
		if e.HubHostName != "" {
			e.Allocation = Static
		}
	}
	switch e.Allocation {
	case Hashed, GeoLatency, Custom:
	case Static:
		if e.HubHostName == "" && len(e.Hubs) == 0 {
			return refuse("allocationPolicy static wants iotHubHostName or iotHubs")
		}
	default:
		return refuse("allocationPolicy is hashed, geoLatency, static or custom")
	}
	if e.Webhook != nil && e.Allocation != Custom {
		return refuse("customAllocationDefinition is for allocationPolicy custom")
	}
	return nil
}

// refuse is the error for a document that is not valid.
func refuse(format string, a ...any) *iothub.Error { return dps.ErrArgument.With(format, a...) }
