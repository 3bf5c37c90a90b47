package record

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/etag"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// maxStatusReason is how many characters the reason of a status may have (iot-hub-devguide-identity-registry).
const maxStatusReason = 128

// Apply checks what a client says of an identity and puts it into the record: the twin is
// replaced by a changed copy, with a new ETag of the identity.
func (r *Record) Apply(in registry.Identity, now time.Time) error {
	t := *r.Twin
	if in.Status != "" && !strings.EqualFold(in.Status, t.Status) {
		switch {
		case strings.EqualFold(in.Status, registry.StatusEnabled):
			t.Status = registry.StatusEnabled
		case strings.EqualFold(in.Status, registry.StatusDisabled):
			t.Status = registry.StatusDisabled
		default:
			return iothub.ErrArgumentInvalid.With("Status must be %s or %s", registry.StatusEnabled, registry.StatusDisabled)
		}
		t.StatusUpdated = now
	}
	t.StatusReason = ""
	if in.StatusReason != nil {
		if len([]rune(*in.StatusReason)) > maxStatusReason {
			return iothub.ErrArgumentInvalid.With("The status reason may have %d characters at most", maxStatusReason)
		}
		t.StatusReason = strings.Clone(*in.StatusReason)
	}
	if err := r.authenticate(&t, in.Authentication); err != nil {
		return err
	}
	t.IoTEdge = in.Capabilities.IoTEdge
	t.DeviceETag = etag.New(t.DeviceETag)
	r.Twin = &t
	return nil
}

// authenticate puts the way a device proves who it is into the record and the twin. The
// type may be left out: with a thumbprint it is selfSigned, else it stays.
func (r *Record) authenticate(t *twin.Twin, auth registry.Authentication) error {
	types := []string{registry.AuthSAS, registry.AuthSelfSigned, registry.AuthCertificateAuthority}
	switch i := slices.IndexFunc(types, func(name string) bool { return strings.EqualFold(name, auth.Type) }); {
	case i >= 0:
		t.AuthType = types[i]
	case auth.Type != "":
		return iothub.ErrArgumentInvalid.With("The authentication type must be one of %s", strings.Join(types, ", "))
	case auth.Thumbprint != registry.Thumbprints{}:
		t.AuthType = registry.AuthSelfSigned
	}
	for _, thumbprint := range []string{auth.Thumbprint.Primary, auth.Thumbprint.Secondary} {
		if !validThumbprint(thumbprint) {
			return iothub.ErrArgumentInvalid.With("A thumbprint has 40 (SHA-1) or 64 (SHA-256) hexadecimal digits")
		}
	}
	if t.AuthType != registry.AuthSelfSigned {
		auth.Thumbprint = registry.Thumbprints{}
	} else if auth.Thumbprint == (registry.Thumbprints{}) {
		auth.Thumbprint = registry.Thumbprints{Primary: t.PrimaryThumbprint, Secondary: t.SecondaryThumbprint}
	}
	t.PrimaryThumbprint, t.SecondaryThumbprint = strings.Clone(auth.Thumbprint.Primary), strings.Clone(auth.Thumbprint.Secondary)
	if t.AuthType != registry.AuthSAS {
		r.Keys = registry.SymmetricKeys{}
		return nil
	}
	r.Keys.Primary = firstKey(auth.SymmetricKey.Primary, r.Keys.Primary)
	r.Keys.Secondary = firstKey(auth.SymmetricKey.Secondary, r.Keys.Secondary)
	return nil
}

// firstKey returns the key a client gave, else the one there was, else a new one.
func firstKey(given, old sas.Key) sas.Key {
	switch {
	case !given.IsZero():
		return given
	case !old.IsZero():
		return old
	default:
		return sas.NewKey()
	}
}

// validThumbprint accepts the digests of a certificate, and none.
func validThumbprint(s string) bool {
	if len(s) != 0 && len(s) != 40 && len(s) != 64 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF", r) })
}

// Identity makes the registry's document of a record.
func (r *Record) Identity() registry.Identity {
	t := r.Twin
	out := registry.Identity{
		DeviceID:        t.DeviceID,
		GenerationID:    strconv.FormatUint(r.Generation, 10),
		ETag:            t.DeviceETag,
		ConnectionState: map[bool]string{true: "Connected", false: "Disconnected"}[t.Connected],
		Status:          t.Status,
		StatusUpdated:   timestamp.Time{Time: t.StatusUpdated},
		LastActivity:    timestamp.Time{Time: t.LastActivity},
		C2DMessages:     t.C2DCount,
		Authentication: registry.Authentication{
			Type: t.AuthType, SymmetricKey: r.Keys,
			Thumbprint: registry.Thumbprints{Primary: t.PrimaryThumbprint, Secondary: t.SecondaryThumbprint},
		},
		Capabilities: registry.Capabilities{IoTEdge: t.IoTEdge},
	}
	if r.StateAt != 0 {
		out.ConnectionStateUpdated = timestamp.Time{Time: time.Unix(0, r.StateAt).UTC()}
	}
	if t.StatusReason != "" {
		out.StatusReason = &t.StatusReason
	}
	return out
}

// Credentials returns what the device is checked against when it connects.
func (r *Record) Credentials() registry.Credentials {
	t := r.Twin
	return registry.Credentials{
		Enabled: t.Status == registry.StatusEnabled, AuthType: t.AuthType,
		Primary: r.Keys.Primary, Secondary: r.Keys.Secondary,
		Thumbprints: registry.Thumbprints{Primary: t.PrimaryThumbprint, Secondary: t.SecondaryThumbprint},
	}
}
