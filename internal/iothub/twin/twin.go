package twin

import (
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonstring"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/limits"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/metadata"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/section"
)

// Twin is one state of a device's twin, with the members of the identity that the
// service shows in it. A Twin that others can see is never changed: a write copies it.
type Twin struct {
	DeviceID            string           // The same for the life of the twin.
	ModuleID            string           // Empty for a device.
	ETag                uint64           // Counts the service's writes, from 1; see [etag.OfTwin].
	DeviceETag          string           // The identity's ETag, as documents have it.
	Status              string           // "enabled" or "disabled".
	StatusReason        string           // At most 128 characters; empty when unset.
	StatusUpdated       time.Time        // Zero for never.
	LastActivity        time.Time        // Zero for never.
	Connected           bool             // Whether the device is connected now.
	C2DCount            int              // Cloud-to-device messages that wait.
	AuthType            string           // "sas", "selfSigned" or "certificateAuthority".
	PrimaryThumbprint   string           // Of a self-signed certificate; empty for none.
	SecondaryThumbprint string           // Of a self-signed certificate; empty for none.
	ModelID             string           // What the device said it is when it connected; empty for nothing.
	Version             int64            // Counts every write of any section, from 2.
	IoTEdge             bool             // Whether it is a gateway that runs IoT Edge.
	Scope               string           // Of a gateway its own scope, of a device below one that of the gateway; else empty.
	ParentScopes        []string         // The scopes of the gateways above it.
	Tags                *section.Section // Written and read by the service alone.
	Desired             *section.Section // Written by the service, told to the device.
	Reported            *section.Section // Written by the device.
	Configurations      []Configuration  // That target it, in the order of their ids; never changed.
	Stamped             bool             // Whether a configuration ever wrote into Desired.
}

// New returns a twin that was never written: empty sections of version 1, ETag 1, version 2, as the service has it.
func New(deviceID string) *Twin {
	return &Twin{
		DeviceID: deviceID, ETag: 1, Version: 2, Status: "enabled", AuthType: "sas",
		Tags: section.New(limits.Tags), Desired: section.New(limits.Desired), Reported: section.New(limits.Reported),
	}
}

// Key names the twin's device or module, see [entity.Key].
func (t *Twin) Key() string { return entity.Key(t.DeviceID, t.ModuleID) }

// Birth is how a twin begins.
type Birth struct {
	At   time.Time       // Of the creation.
	Bulk bool            // By a bulk call, which can bring a first content and stamps otherwise.
	Tags jsonvalue.Value // The first tags, Undefined for none.

	// Desired is the first desired properties, Undefined for none.
	Desired jsonvalue.Value
}

// Created returns the twin of a device or a module just made, as recorded from the service: sections of version 1, ETag 1,
// version 2, whatever the first content. The roots of a device's sections bear the time of the creation, and those of a
// module made alone that of never; what a bulk call brings has version 1 beside its stamps, which for a device's desired
// properties say never. Errors are [*limits.Error].
func Created(deviceID, moduleID string, b Birth) (t *Twin, err error) {
	t = New(deviceID)
	t.ModuleID = moduleID
	module, content := moduleID != "", isDocument(b.Desired)
	desiredAt, reportedAt, desiredVersion, reportedVersion := b.At, b.At, int64(0), int64(0)
	switch {
	case module && b.Bulk:
		desiredVersion, reportedVersion = 1, 1
	case module:
		desiredAt, reportedAt = time.Time{}, time.Time{}
	case content:
		desiredAt, desiredVersion = time.Time{}, 1
	}
	if isDocument(b.Tags) {
		if t.Tags, err = section.Created(limits.Tags, b.Tags, b.At, 0); err != nil {
			return nil, err
		}
	}
	desired := jsonvalue.Value{}
	if content {
		desired = withoutMetadata(b.Desired)
	}
	if t.Desired, err = section.Created(limits.Desired, desired, desiredAt, desiredVersion); err != nil {
		return nil, err
	}
	t.Reported, err = section.Created(limits.Reported, jsonvalue.Value{}, reportedAt, reportedVersion)
	return t, err
}

// Patch applies a service's patch of tags and desired properties. A section that is
// Undefined or has no members is not touched, and one that is null is emptied. The delta is what a connected device
// is told, Undefined when desired was not touched. Errors are [*limits.Error].
//
// ETag and version move by one for each write, however many sections it touches;
// $version moves only in the section touched. A write that touches nothing returns t.
func (t *Twin) Patch(tags, desired jsonvalue.Value, now time.Time) (next *Twin, delta jsonvalue.Value, err error) {
	next = t
	if touches(tags) {
		section, _, err := write(t.Tags, tags, now)
		if err != nil {
			return nil, jsonvalue.Value{}, err
		}
		next = next.touched(t)
		next.Tags = section
	}
	if desired = withoutMetadata(desired); touches(desired) {
		section, told, err := write(t.Desired, desired, now)
		if err != nil {
			return nil, jsonvalue.Value{}, err
		}
		next = next.touched(t)
		next.Desired, delta = section, told
	}
	return next, delta, nil
}

// touches reports whether a patch of a section is a write at all.
func touches(patch jsonvalue.Value) bool {
	return patch.IsDefined() && (patch.Kind() != jsonvalue.Object || patch.Len() > 0)
}

// write merges a patch into a section; null empties it. The delta is what a device is told.
func write(s *section.Section, patch jsonvalue.Value, now time.Time) (next *section.Section, delta jsonvalue.Value, err error) {
	if patch.Kind() == jsonvalue.Null {
		return s.Replace(jsonvalue.ObjectValue(), now)
	}
	next, err = s.Merge(patch, now)
	return next, patch, err
}

// Replace puts whole documents in the place of tags and desired properties: what the documents do not hold is gone, and
// so is all of a section that is Undefined or null, as was reported from the service. Delta, versions and errors
// are as for [Twin.Patch].
func (t *Twin) Replace(tags, desired jsonvalue.Value, now time.Time) (next *Twin, delta jsonvalue.Value, err error) {
	if !isDocument(tags) {
		tags = jsonvalue.ObjectValue()
	}
	if desired = withoutMetadata(desired); !isDocument(desired) {
		desired = jsonvalue.ObjectValue()
	}
	next = t.touched(t)
	if next.Tags, _, err = t.Tags.Replace(tags, now); err != nil {
		return nil, jsonvalue.Value{}, err
	}
	if next.Desired, delta, err = t.Desired.Replace(desired, now); err != nil {
		return nil, jsonvalue.Value{}, err
	}
	return next, delta, nil
}

// touched returns the twin that a service's write of old makes: one step further, once
// for all sections.
func (t *Twin) touched(old *Twin) *Twin {
	if t != old {
		return t
	}
	next := *old
	next.ETag++
	next.Version++
	return &next
}

// Report applies a device's patch of its reported properties. $version and version move
// even when the patch says nothing new; the ETag does not, so a service's If-Match holds
// while devices report. Errors are [*limits.Error].
func (t *Twin) Report(patch jsonvalue.Value, now time.Time) (*Twin, error) {
	section, err := t.Reported.Merge(patch, now)
	if err != nil {
		return nil, err
	}
	next := *t
	next.Version++
	next.Reported = section
	return &next, nil
}

// isDocument reports whether a section is there at all.
func isDocument(v jsonvalue.Value) bool {
	return v.Kind() != jsonvalue.Undefined && v.Kind() != jsonvalue.Null
}

// withoutMetadata leaves $metadata and $version out of a desired document: clients of the
// service send back whole twins that they have read, and the hub ignores what is read-only.
func withoutMetadata(desired jsonvalue.Value) jsonvalue.Value {
	if !desired.Get(metadata.KeyMetadata).IsDefined() && !desired.Get(metadata.KeyVersion).IsDefined() {
		return desired
	}
	members := make([]jsonvalue.Member, 0, desired.Len())
	for key, v := range desired.Members() {
		if key != metadata.KeyMetadata && key != metadata.KeyVersion {
			members = append(members, jsonvalue.Member{Key: key, Value: v})
		}
	}
	return jsonvalue.ObjectValue(members...)
}

// AppendDelta appends the message that tells a device of new desired properties: the
// delta and the $version it leads to (iot-hub-mqtt-support, "Receive desired properties
// update notifications").
func AppendDelta(dst []byte, delta jsonvalue.Value, version int64) []byte {
	dst = append(dst, '{')
	dst = jsonvalue.AppendMembers(dst, delta.Map().Members())
	dst = jsonstring.AppendName(dst, metadata.KeyVersion, delta.Len() > 0)
	dst = strconv.AppendInt(dst, version, 10)
	return append(dst, '}')
}
