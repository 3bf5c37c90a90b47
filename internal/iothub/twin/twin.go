package twin

import (
	"strconv"
	"time"

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
	Tags                *section.Section // Written and read by the service alone.
	Desired             *section.Section // Written by the service, told to the device.
	Reported            *section.Section // Written by the device.
	Configurations      []Configuration  // That target it, in the order of their ids; never changed.
	Stamped             bool             // Whether a configuration ever wrote into Desired.
}

// New returns the twin of a device just made: empty sections of version 1, ETag 1,
// version 2, as the service has it.
func New(deviceID string) *Twin {
	return &Twin{
		DeviceID: deviceID, ETag: 1, Version: 2, Status: "enabled", AuthType: "sas",
		Tags: section.New(limits.Tags), Desired: section.New(limits.Desired), Reported: section.New(limits.Reported),
	}
}

// Patch applies a service's patch of tags and desired properties. A section that is
// Undefined, null or has no members is not touched. The delta is what a connected device
// is told, Undefined when desired was not touched. Errors are [*limits.Error].
//
// ETag and version move by one for each write, however many sections it touches;
// $version moves only in the section touched. A write that touches nothing returns t.
func (t *Twin) Patch(tags, desired jsonvalue.Value, now time.Time) (next *Twin, delta jsonvalue.Value, err error) {
	desired = withoutMetadata(desired)
	next = t
	if isDocument(tags) && (tags.Kind() != jsonvalue.Object || tags.Len() > 0) {
		section, err := t.Tags.Merge(tags, now)
		if err != nil {
			return nil, jsonvalue.Value{}, err
		}
		next = next.touched(t)
		next.Tags = section
	}
	if isDocument(desired) && (desired.Kind() != jsonvalue.Object || desired.Len() > 0) {
		section, err := t.Desired.Merge(desired, now)
		if err != nil {
			return nil, jsonvalue.Value{}, err
		}
		next = next.touched(t)
		next.Desired = section
		delta = desired
	}
	return next, delta, nil
}

// Replace puts whole documents in the place of tags and desired properties; a section
// that is Undefined or null stays. Delta, versions and errors are as for [Twin.Patch],
// except that an empty document is a write too.
func (t *Twin) Replace(tags, desired jsonvalue.Value, now time.Time) (next *Twin, delta jsonvalue.Value, err error) {
	next = t
	if isDocument(tags) {
		section, _, err := t.Tags.Replace(tags, now)
		if err != nil {
			return nil, jsonvalue.Value{}, err
		}
		next = next.touched(t)
		next.Tags = section
	}
	if isDocument(desired) {
		var section *section.Section
		section, delta, err = t.Desired.Replace(withoutMetadata(desired), now)
		if err != nil {
			return nil, jsonvalue.Value{}, err
		}
		next = next.touched(t)
		next.Desired = section
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

// isDocument reports whether a service's write names a section at all. Some clients
// write null for a section they have nothing to say about.
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
