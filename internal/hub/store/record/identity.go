package record

import (
	"fmt"
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

const (
	maxText         = 128 // characters of a status reason, and of who manages a module (iot-hub-devguide-identity-registry)
	minKey, maxKey  = 16, 64
	maxParentScopes = 10 // more than the layers of gateways that the service allows
)

// Change says how a client's word of an identity is to be taken.
type Change struct {
	Now time.Time // of the write; the zero time for an identity that is being made
	// Keep lets what the client does not name stay as it is: keys, scopes and capabilities. A PUT replaces all instead
	// and makes new keys, as was reported from the service.
	Keep bool
}

// Apply checks what a client says of an identity and puts it into the record: the twin is
// replaced by a changed copy, with a new ETag of the identity. Errors are iothub.ErrArgumentInvalid.
func (r *Record) Apply(in registry.Identity, c Change) error {
	t := *r.Twin
	if t.ModuleID != "" {
		return r.applyModule(&t, in, c)
	}
	if in.Status != "" && !strings.EqualFold(in.Status, t.Status) {
		switch {
		case strings.EqualFold(in.Status, registry.StatusEnabled):
			t.Status = registry.StatusEnabled
		case strings.EqualFold(in.Status, registry.StatusDisabled):
			t.Status = registry.StatusDisabled
		default:
			return iothub.ErrArgumentInvalid.With("Status must be %s or %s", registry.StatusEnabled, registry.StatusDisabled)
		}
		t.StatusUpdated = c.Now
	}
	t.StatusReason = ""
	if in.StatusReason != nil {
		if len([]rune(*in.StatusReason)) > maxText {
			return iothub.ErrArgumentInvalid.With("The status reason may have %d characters at most", maxText)
		}
		t.StatusReason = strings.Clone(*in.StatusReason)
	}
	if strings.EqualFold(in.Authentication.Type, registry.AuthNone) {
		return iothub.ErrArgumentInvalid.With("The authentication type of a device cannot be %s", registry.AuthNone)
	}
	if err := r.authenticate(&t, in.Authentication, c); err != nil {
		return err
	}
	if err := r.scope(&t, in, c); err != nil {
		return err
	}
	r.stamp(&t, c)
	r.Twin = &t
	return nil
}

// applyModule is Apply for a module.
func (r *Record) applyModule(t *twin.Twin, in registry.Identity, c Change) error {
	if in.ManagedBy != nil && len([]rune(*in.ManagedBy)) > maxText {
		return iothub.ErrArgumentInvalid.With("managedBy may have %d characters at most", maxText)
	}
	if strings.EqualFold(in.Authentication.Type, registry.AuthNone) {
		in.Authentication.Type = registry.AuthSAS
	}
	if err := r.authenticate(t, in.Authentication, c); err != nil {
		return err
	}
	switch {
	case in.ManagedBy != nil:
		r.ManagedBy = strings.Clone(*in.ManagedBy)
	case !c.Keep:
		r.ManagedBy = ""
	}
	r.stamp(t, c)
	r.Twin = t
	return nil
}

// stamp gives the identity its next ETag, or its first.
func (r *Record) stamp(t *twin.Twin, c Change) {
	if t.DeviceETag != "" {
		t.DeviceETag = etag.Next(t.DeviceETag)
	} else {
		t.DeviceETag = etag.First(r.Made())
	}
}

// scope puts capabilities and scopes into the twin. A gateway's own scope is made from its id and generation, and a
// client has to say it again when it changes the identity.
func (r *Record) scope(t *twin.Twin, in registry.Identity, c Change) error {
	if len(in.ParentScopes) > maxParentScopes {
		return iothub.ErrArgumentInvalid.With("parentScopes may have %d entries at most", maxParentScopes)
	}
	for _, s := range append([]string{in.Scope}, in.ParentScopes...) {
		if s != "" && !validScope(s) {
			return iothub.ErrArgumentInvalid.With("a scope is written %s{device id}-{generation}", scopePrefix)
		}
	}
	was := t.IoTEdge
	if t.IoTEdge = in.Capabilities.IoTEdge; t.IoTEdge {
		own := fmt.Sprintf("%s%s-%d", scopePrefix, t.DeviceID, r.Generation)
		if in.Scope != own && (in.Scope != "" || was && !c.Keep) {
			return iothub.ErrArgumentInvalid.With("deviceScope of a gateway is its own: %s", own)
		}
		t.Scope = own
		if in.ParentScopes != nil || !c.Keep {
			t.ParentScopes = slices.Clone(in.ParentScopes)
		}
		return nil
	}
	switch parents := in.ParentScopes; {
	case in.Scope == "" && len(parents) == 0 && c.Keep && !was:
	case in.Scope == "" && len(parents) > 0:
		t.Scope, t.ParentScopes = parents[0], slices.Clone(parents)
	case in.Scope != "":
		t.Scope, t.ParentScopes = in.Scope, []string{in.Scope}
	default:
		t.Scope, t.ParentScopes = "", nil
	}
	return nil
}

// scopePrefix begins the scope of a gateway (azure-iot-cli-extension, device identity).
const scopePrefix = "ms-azure-iot-edge://"

func validScope(s string) bool {
	rest, ok := strings.CutPrefix(s, scopePrefix)
	return ok && strings.LastIndexByte(rest, '-') > 0 && len(s) <= 256
}

// authenticate puts the way a device proves who it is into the record and the twin. The
// type may be left out: with a thumbprint it is selfSigned, else it stays.
func (r *Record) authenticate(t *twin.Twin, auth registry.Authentication, c Change) error {
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
	return r.setKeys(auth.SymmetricKey, c)
}

// setKeys takes the keys that a client gives, or makes new ones. One key needs the other.
func (r *Record) setKeys(given registry.SymmetricKeys, c Change) error {
	switch {
	case given.Primary.IsZero() != given.Secondary.IsZero():
		return iothub.ErrArgumentInvalid.With("primaryKey and secondaryKey must be given both or neither")
	case !given.Primary.IsZero():
		for _, key := range []sas.Key{given.Primary, given.Secondary} {
			if n := key.Len(); n < minKey || n > maxKey {
				return iothub.ErrArgumentInvalid.With("A symmetric key has %d to %d bytes in base64; this one has %d", minKey, maxKey, n)
			}
		}
		r.Keys = given
	case !c.Keep || r.Keys.Primary.IsZero():
		r.Keys = registry.SymmetricKeys{Primary: sas.NewKey(), Secondary: sas.NewKey()}
	}
	return nil
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
		ModuleID:        t.ModuleID,
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
		Scope:        t.Scope, ParentScopes: t.ParentScopes,
	}
	if r.ManagedBy != "" {
		out.ManagedBy = &r.ManagedBy
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
		Generation:  r.Generation,
	}
}
