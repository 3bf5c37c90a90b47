package twin

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"
	"time"
)

// Twin is one state of a device's twin, with the members of the identity that the
// service shows in it. A Twin that others can see is never changed: a write copies it.
type Twin struct {
	DeviceID            string
	ModuleID            string // Empty for a device.
	ETag                uint64 // Counts the service's writes, from 1; see ETagString.
	DeviceETag          string // The identity's ETag, as documents have it.
	Status              string // "enabled" or "disabled".
	StatusReason        string // At most 128 characters; empty when unset.
	StatusUpdated       time.Time
	LastActivity        time.Time // Zero for never.
	Connected           bool
	C2DCount            int    // Cloud-to-device messages that wait.
	AuthType            string // "sas", "selfSigned" or "certificateAuthority".
	PrimaryThumbprint   string
	SecondaryThumbprint string
	ModelID             string
	Version             int64 // Counts every write of any section, from 2.
	IoTEdge             bool
	Tags                *Section
	Desired             *Section
	Reported            *Section
}

// New returns the twin of a device just made: empty sections of version 1, ETag 1,
// version 2, as the service has it.
func New(deviceID string) *Twin {
	return &Twin{
		DeviceID: deviceID, ETag: 1, Version: 2, Status: "enabled", AuthType: "sas",
		Tags: NewSection(Tags), Desired: NewSection(Desired), Reported: NewSection(Reported),
	}
}

// Patch applies a service's patch of tags and desired properties. A section that is
// Undefined, null or has no members is not touched. The delta is what a connected device
// is told, Undefined when desired was not touched. Errors are [*LimitError].
//
// ETag and version move by one for each write, however many sections it touches;
// $version moves only in the section touched. A write that touches nothing returns t.
func (t *Twin) Patch(tags, desired Value, now time.Time) (next *Twin, delta Value, err error) {
	desired = withoutMetadata(desired)
	next = t
	if isDocument(tags) && (tags.Kind() != Object || tags.Len() > 0) {
		section, err := t.Tags.Merge(tags, now)
		if err != nil {
			return nil, Value{}, err
		}
		next = next.touched(t)
		next.Tags = section
	}
	if isDocument(desired) && (desired.Kind() != Object || desired.Len() > 0) {
		section, err := t.Desired.Merge(desired, now)
		if err != nil {
			return nil, Value{}, err
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
func (t *Twin) Replace(tags, desired Value, now time.Time) (next *Twin, delta Value, err error) {
	next = t
	if isDocument(tags) {
		section, _, err := t.Tags.Replace(tags, now)
		if err != nil {
			return nil, Value{}, err
		}
		next = next.touched(t)
		next.Tags = section
	}
	if isDocument(desired) {
		var section *Section
		section, delta, err = t.Desired.Replace(withoutMetadata(desired), now)
		if err != nil {
			return nil, Value{}, err
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
// while devices report. Errors are [*LimitError].
func (t *Twin) Report(patch Value, now time.Time) (*Twin, error) {
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
func isDocument(v Value) bool { return v.Kind() != Undefined && v.Kind() != Null }

// withoutMetadata leaves $metadata and $version out of a desired document: clients of the
// service send back whole twins that they have read, and the hub ignores what is read-only.
func withoutMetadata(desired Value) Value {
	if !desired.Get(keyMetadata).IsDefined() && !desired.Get(keyVersion).IsDefined() {
		return desired
	}
	members := make([]Member, 0, desired.Len())
	for key, v := range desired.Members() {
		if key != keyMetadata && key != keyVersion {
			members = append(members, Member{key, v})
		}
	}
	return ObjectValue(members...)
}

// AppendDelta appends the message that tells a device of new desired properties: the
// delta and the $version it leads to (iot-hub-mqtt-support, "Receive desired properties
// update notifications").
func AppendDelta(dst []byte, delta Value, version int64) []byte {
	dst = append(dst, '{')
	if delta.Kind() == Object {
		dst = appendMembers(dst, delta.node.members)
	}
	dst = appendName(dst, keyVersion, delta.Len() > 0)
	dst = strconv.AppendInt(dst, version, 10)
	return append(dst, '}')
}

// ErrETag is the error of a text that is no twin ETag.
var ErrETag = errors.New("not a twin ETag")

// ETagString writes a twin's ETag as documents have it: base64 of eight bytes, so that
// 1 is "AAAAAAAAAAE=".
func ETagString(n uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return base64.StdEncoding.EncodeToString(b[:])
}

// ParseETag reads what ETagString writes. Any other text is ErrETag.
func ParseETag(s string) (uint64, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != 8 {
		return 0, ErrETag
	}
	return binary.BigEndian.Uint64(b), nil
}

// appendETag appends ETagString without an allocation.
func appendETag(dst []byte, n uint64) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return base64.StdEncoding.AppendEncode(dst, b[:])
}
