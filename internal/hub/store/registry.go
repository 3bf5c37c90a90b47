package store

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/store/disk"
	"github.com/twinfleet/twinfleet/internal/hub/store/record"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/deviceid"
	"github.com/twinfleet/twinfleet/internal/iothub/etag"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// MaxList is how many devices a listing has at most (REST reference of the registry).
const MaxList = 1000

// CreateDevice registers a device and gives it a new twin. Of the identity only the id,
// status, authentication and capabilities count; keys that are empty are made. Errors:
// ErrDeviceExists, ErrArgumentInvalid.
func (s *Store) CreateDevice(ctx context.Context, in registry.Identity) (registry.Identity, error) {
	return s.writeIdentity(ctx, in.DeviceID, func(sh *shard) (*disk.Batch, error) {
		return s.createLocked(sh, in, nil)
	})
}

// UpdateDevice changes status, authentication and capabilities of a device. Keys, type and
// status that are empty stay as they are. A device that is disabled must not stay connected:
// Options.OnGone is told. Errors: ErrDeviceNotFound, ErrPreconditionFailed when ifMatch
// names another ETag of the identity, ErrArgumentInvalid.
func (s *Store) UpdateDevice(ctx context.Context, in registry.Identity, ifMatch string) (registry.Identity, error) {
	return s.writeIdentity(ctx, in.DeviceID, func(sh *shard) (*disk.Batch, error) {
		return s.updateLocked(sh, in, ifMatch, nil)
	})
}

// writeIdentity does a write of a record that exists afterwards, and returns its identity.
func (s *Store) writeIdentity(ctx context.Context, id string, write func(sh *shard) (*disk.Batch, error)) (registry.Identity, error) {
	if err := s.usable(); err != nil {
		return registry.Identity{}, err
	}
	sh := s.shard(id)
	sh.mu.Lock()
	b, err := write(sh)
	var out registry.Identity
	if rec := sh.entries[id]; err == nil && rec != nil {
		out = rec.identity()
	}
	sh.mu.Unlock()
	if err == nil {
		err = b.Wait(ctx)
	}
	if err != nil {
		return registry.Identity{}, err
	}
	return out, nil
}

// createLocked registers a device. A write of its new twin, if any, is part of the creation.
func (s *Store) createLocked(sh *shard, in registry.Identity, write twinWrite) (*disk.Batch, error) {
	if err := deviceid.Check(in.DeviceID); err != nil {
		return nil, iothub.ErrArgumentInvalid.With("%v", err)
	}
	id := strings.Clone(in.DeviceID)
	if sh.entries[id] != nil {
		return nil, iothub.ErrDeviceExists.With("A device with ID '%s' is already registered.", id)
	}
	rec := &entry{Record: record.Record{Twin: twin.New(id)}}
	if err := rec.Apply(in, time.Time{}); err != nil {
		return nil, err
	}
	if write != nil {
		next, _, err := write(rec.Twin, s.now())
		if err != nil {
			return nil, refused(err)
		}
		rec.Twin = next
	}
	rec.Generation = s.nextGeneration()
	sh.entries[id] = rec
	s.count(rec.Twin, 1)
	return s.settle(id, rec, effects{}), nil
}

// updateLocked changes an identity, and its twin too if there is a write of it; both or none.
func (s *Store) updateLocked(sh *shard, in registry.Identity, ifMatch string, write twinWrite) (*disk.Batch, error) {
	rec := sh.entries[in.DeviceID]
	if rec == nil {
		return nil, notFound(in.DeviceID)
	}
	old := rec.Twin
	if !etag.Matches(ifMatch, old.DeviceETag) {
		return nil, preconditionFailed(old.DeviceID)
	}
	next := record.Record{Twin: rec.current(), Keys: rec.Keys}
	if err := next.Apply(in, s.now()); err != nil {
		return nil, err
	}
	var e effects
	if write != nil {
		t, delta, err := write(next.Twin, s.now())
		if err != nil {
			return nil, refused(err)
		}
		next.Twin = t
		if delta.IsDefined() {
			e.version = t.Desired.Version()
			e.delta = twin.AppendDelta(nil, delta, e.version)
		}
	}
	s.count(old, -1)
	rec.Twin, rec.Keys = next.Twin, next.Keys
	s.count(rec.Twin, 1)
	e.gone, e.reason = old.Status != registry.StatusDisabled && rec.Twin.Status == registry.StatusDisabled, GoneDisabled
	return s.settle(old.DeviceID, rec, e), nil
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
	rec := sh.entries[id]
	if rec == nil {
		return registry.Identity{}, notFound(id)
	}
	return rec.identity(), nil
}

// identity makes the registry's document of a device, with its last activity.
func (r *entry) identity() registry.Identity {
	now := r.Record
	now.Twin = r.current()
	return now.Identity()
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
		for id := range sh.entries {
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
	_, err := s.writeIdentity(ctx, id, func(sh *shard) (*disk.Batch, error) {
		return s.deleteLocked(sh, id, ifMatch)
	})
	return err
}

// deleteLocked is DeleteDevice for a locked shard.
func (s *Store) deleteLocked(sh *shard, id, ifMatch string) (*disk.Batch, error) {
	rec := sh.entries[id]
	if rec == nil {
		return nil, notFound(id)
	}
	if !etag.Matches(ifMatch, rec.Twin.DeviceETag) {
		return nil, preconditionFailed(id)
	}
	id = rec.Twin.DeviceID
	delete(sh.entries, id)
	s.count(rec.Twin, -1)
	return s.settle(id, nil, effects{gone: true, reason: GoneDeleted}), nil
}

// Credentials returns what a device that connects is checked against. The error is
// ErrDeviceNotFound.
func (s *Store) Credentials(id string) (registry.Credentials, error) {
	sh := s.shard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	rec := sh.entries[id]
	if rec == nil {
		return registry.Credentials{}, notFound(id)
	}
	return rec.Credentials(), nil
}

// Statistics counts the devices.
func (s *Store) Statistics() registry.Statistics {
	total, enabled := int(s.total.Load()), int(s.enabled.Load())
	return registry.Statistics{Total: total, Enabled: enabled, Disabled: max(0, total-enabled)}
}

// ConnectedCount counts the devices that are connected.
func (s *Store) ConnectedCount() int { return int(s.connected.Load()) }
