package store

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/deviceid"
	"github.com/twinfleet/twinfleet/internal/iothub/etag"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// Limits of the registry (iot-hub-devguide-identity-registry, REST reference of the registry).
const (
	MaxList         = 1000 // Devices of one listing.
	maxStatusReason = 128  // Characters.
)

// CreateDevice registers a device and gives it a new twin. Of the identity only the id,
// status, authentication and capabilities count; keys that are empty are made. Errors:
// ErrDeviceExists, ErrArgumentInvalid.
func (s *Store) CreateDevice(ctx context.Context, in registry.Identity) (registry.Identity, error) {
	return s.writeIdentity(ctx, in.DeviceID, func(sh *shard) (*batch, error) {
		return s.createLocked(sh, in, nil)
	})
}

// UpdateDevice changes status, authentication and capabilities of a device. Keys, type and
// status that are empty stay as they are. A device that is disabled must not stay connected:
// Options.OnGone is told. Errors: ErrDeviceNotFound, ErrPreconditionFailed when ifMatch
// names another ETag of the identity, ErrArgumentInvalid.
func (s *Store) UpdateDevice(ctx context.Context, in registry.Identity, ifMatch string) (registry.Identity, error) {
	return s.writeIdentity(ctx, in.DeviceID, func(sh *shard) (*batch, error) {
		return s.updateLocked(sh, in, ifMatch, nil)
	})
}

// writeIdentity does a write of a record that exists afterwards, and returns its identity.
func (s *Store) writeIdentity(ctx context.Context, id string, write func(sh *shard) (*batch, error)) (registry.Identity, error) {
	if err := s.usable(); err != nil {
		return registry.Identity{}, err
	}
	sh := s.shard(id)
	sh.mu.Lock()
	b, err := write(sh)
	var out registry.Identity
	if rec := sh.records[id]; err == nil && rec != nil {
		out = rec.identity()
	}
	sh.mu.Unlock()
	if err == nil {
		err = b.wait(ctx)
	}
	if err != nil {
		return registry.Identity{}, err
	}
	return out, nil
}

// createLocked registers a device. A write of its new twin, if any, is part of the creation.
func (s *Store) createLocked(sh *shard, in registry.Identity, write twinWrite) (*batch, error) {
	if err := deviceid.Check(in.DeviceID); err != nil {
		return nil, iothub.ErrArgumentInvalid.With("%v", err)
	}
	id := strings.Clone(in.DeviceID)
	if sh.records[id] != nil {
		return nil, iothub.ErrDeviceExists.With("A device with ID '%s' is already registered.", id)
	}
	rec := &record{twin: twin.New(id)}
	if err := rec.apply(in, time.Time{}); err != nil {
		return nil, err
	}
	if write != nil {
		next, _, err := write(rec.twin, s.now())
		if err != nil {
			return nil, refused(err)
		}
		rec.twin = next
	}
	rec.generation = s.nextGeneration()
	sh.records[id] = rec
	s.count(rec.twin, 1)
	return s.settle(id, rec, effects{}), nil
}

// updateLocked changes an identity, and its twin too if there is a write of it; both or none.
func (s *Store) updateLocked(sh *shard, in registry.Identity, ifMatch string, write twinWrite) (*batch, error) {
	rec := sh.records[in.DeviceID]
	if rec == nil {
		return nil, notFound(in.DeviceID)
	}
	old := rec.twin
	if !etag.Matches(ifMatch, old.DeviceETag) {
		return nil, preconditionFailed(old.DeviceID)
	}
	next := record{twin: rec.current(), keys: rec.keys}
	if err := next.apply(in, s.now()); err != nil {
		return nil, err
	}
	var e effects
	if write != nil {
		t, delta, err := write(next.twin, s.now())
		if err != nil {
			return nil, refused(err)
		}
		next.twin = t
		if delta.IsDefined() {
			e.version = t.Desired.Version()
			e.delta = twin.AppendDelta(nil, delta, e.version)
		}
	}
	s.count(old, -1)
	rec.twin, rec.keys = next.twin, next.keys
	s.count(rec.twin, 1)
	e.gone, e.reason = old.Status != registry.StatusDisabled && rec.twin.Status == registry.StatusDisabled, GoneDisabled
	return s.settle(old.DeviceID, rec, e), nil
}

// apply checks what a client says of an identity and puts it into the record: the twin is
// replaced by a changed copy, with a new ETag of the identity.
func (r *record) apply(in registry.Identity, now time.Time) error {
	t := *r.twin
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
	r.twin = &t
	return nil
}

// authenticate puts the way a device proves who it is into the record and the twin. The
// type may be left out: with a thumbprint it is selfSigned, else it stays.
func (r *record) authenticate(t *twin.Twin, auth registry.Authentication) error {
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
		r.keys = registry.SymmetricKeys{}
		return nil
	}
	r.keys.Primary = firstKey(auth.SymmetricKey.Primary, r.keys.Primary)
	r.keys.Secondary = firstKey(auth.SymmetricKey.Secondary, r.keys.Secondary)
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

// nextGeneration makes a generation id: the time in ticks since year 1, as the service has
// it, and never one given before.
func (s *Store) nextGeneration() uint64 {
	const ticksOf1970 = 621355968000000000
	now := uint64(ticksOf1970 + s.now().UnixNano()/100)
	for {
		last := s.generation.Load()
		next := max(now, last+1)
		if s.generation.CompareAndSwap(last, next) {
			return next
		}
	}
}

// Device returns the identity of a device. The error is ErrDeviceNotFound.
func (s *Store) Device(id string) (registry.Identity, error) {
	sh := s.shard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	rec := sh.records[id]
	if rec == nil {
		return registry.Identity{}, notFound(id)
	}
	return rec.identity(), nil
}

// identity makes the registry's document of a record.
func (r *record) identity() registry.Identity {
	t := r.current()
	out := registry.Identity{
		DeviceID:        t.DeviceID,
		GenerationID:    strconv.FormatUint(r.generation, 10),
		ETag:            t.DeviceETag,
		ConnectionState: map[bool]string{true: "Connected", false: "Disconnected"}[t.Connected],
		Status:          t.Status,
		StatusUpdated:   timestamp.Time{Time: t.StatusUpdated},
		LastActivity:    timestamp.Time{Time: t.LastActivity},
		C2DMessages:     t.C2DCount,
		Authentication: registry.Authentication{
			Type: t.AuthType, SymmetricKey: r.keys,
			Thumbprint: registry.Thumbprints{Primary: t.PrimaryThumbprint, Secondary: t.SecondaryThumbprint},
		},
		Capabilities: registry.Capabilities{IoTEdge: t.IoTEdge},
	}
	if r.stateAt != 0 {
		out.ConnectionStateUpdated = timestamp.Time{Time: time.Unix(0, r.stateAt).UTC()}
	}
	if t.StatusReason != "" {
		out.StatusReason = &t.StatusReason
	}
	return out
}

// Devices lists the identities with the smallest ids. As in the service, a top out of
// 1 to MaxList counts as MaxList.
func (s *Store) Devices(top int) []registry.Identity {
	if top < 1 || top > MaxList {
		top = MaxList
	}
	out := make([]registry.Identity, 0, top)
	for _, id := range s.smallestIDs(top) {
		if device, err := s.Device(id); err == nil { // Else it was deleted meanwhile.
			out = append(out, device)
		}
	}
	return out
}

// smallestIDs returns so many of the smallest ids, in order. It holds at most twice as many
// at a time, and one lock for no longer than a walk over one shard.
func (s *Store) smallestIDs(n int) []string {
	ids := make([]string, 0, 2*n)
	bound := ""
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		for id := range sh.records {
			if bound != "" && id >= bound {
				continue
			}
			if ids = append(ids, id); len(ids) == 2*n {
				slices.Sort(ids)
				ids, bound = ids[:n], ids[n-1]
			}
		}
		sh.mu.RUnlock()
	}
	slices.Sort(ids)
	return ids[:min(n, len(ids))]
}

// DeleteDevice removes a device and its twin. Options.OnGone is told. Errors:
// ErrDeviceNotFound, ErrPreconditionFailed when ifMatch names another ETag.
func (s *Store) DeleteDevice(ctx context.Context, id, ifMatch string) error {
	_, err := s.writeIdentity(ctx, id, func(sh *shard) (*batch, error) {
		return s.deleteLocked(sh, id, ifMatch)
	})
	return err
}

// deleteLocked is DeleteDevice for a locked shard.
func (s *Store) deleteLocked(sh *shard, id, ifMatch string) (*batch, error) {
	rec := sh.records[id]
	if rec == nil {
		return nil, notFound(id)
	}
	if !etag.Matches(ifMatch, rec.twin.DeviceETag) {
		return nil, preconditionFailed(id)
	}
	id = rec.twin.DeviceID
	delete(sh.records, id)
	s.count(rec.twin, -1)
	return s.settle(id, nil, effects{gone: true, reason: GoneDeleted}), nil
}

// Credentials returns what a device that connects is checked against. The error is
// ErrDeviceNotFound.
func (s *Store) Credentials(id string) (registry.Credentials, error) {
	sh := s.shard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	rec := sh.records[id]
	if rec == nil {
		return registry.Credentials{}, notFound(id)
	}
	t := rec.twin
	return registry.Credentials{
		Enabled: t.Status == registry.StatusEnabled, AuthType: t.AuthType,
		Primary: rec.keys.Primary, Secondary: rec.keys.Secondary,
		Thumbprints: registry.Thumbprints{Primary: t.PrimaryThumbprint, Secondary: t.SecondaryThumbprint},
	}, nil
}

// Statistics counts the devices.
func (s *Store) Statistics() registry.Statistics {
	total, enabled := int(s.total.Load()), int(s.enabled.Load())
	return registry.Statistics{Total: total, Enabled: enabled, Disabled: max(0, total-enabled)}
}

// ConnectedCount counts the devices that are connected.
func (s *Store) ConnectedCount() int { return int(s.connected.Load()) }
