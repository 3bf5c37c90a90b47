package store

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/hub/store/disk"
	"github.com/twinfleet/twinfleet/internal/hub/store/record"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/deviceid"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/etag"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// MaxList is how many devices a listing has at most (REST reference of the registry).
const MaxList = 1000

// CreateDevice registers a device, or a module of one, and gives it a new twin. Of the identity only the ids,
// status, authentication, capabilities, scopes and manager count; keys that are empty are made. A device that is a
// gateway gets the modules of its runtime. Errors: ErrDeviceExists, ErrModuleExists, ErrDeviceNotFound of a module's
// device, ErrArgumentInvalid.
func (s *Store) CreateDevice(ctx context.Context, in registry.Identity) (registry.Identity, error) {
	return s.writeIdentity(ctx, in.Key(), func(sh *shard) (*disk.Batch, error) {
		if strings.HasPrefix(in.ModuleID, "$") {
			return nil, iothub.ErrArgumentInvalid.With("Module ids that begin with $ are the hub's own")
		}
		return s.createLocked(sh, in, twin.Birth{})
	})
}

// UpdateDevice changes status, authentication, capabilities and scopes of a device, or authentication and manager of a
// module. Type and status that are empty stay as they are; keys that are empty are made anew. A device that is
// disabled must not stay connected, nor its modules: Options.OnGone is told. Errors: ErrDeviceNotFound,
// ErrModuleNotFound, ErrPreconditionFailed when ifMatch names another ETag of the identity, ErrArgumentInvalid.
func (s *Store) UpdateDevice(ctx context.Context, in registry.Identity, ifMatch string) (registry.Identity, error) {
	return s.writeIdentity(ctx, in.Key(), func(sh *shard) (*disk.Batch, error) {
		return s.updateLocked(sh, in, ifMatch, record.Change{}, nil)
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

// createLocked registers a device or a module. The birth's tags and desired properties are those of its new twin.
func (s *Store) createLocked(sh *shard, in registry.Identity, birth twin.Birth) (*disk.Batch, error) {
	rec, err := s.make(sh, in, birth)
	if err != nil {
		return nil, err
	}
	sh.entries[rec.Twin.Key()] = rec
	s.count(rec.Twin, 1)
	if rec.Twin.ModuleID != "" {
		sh.addModule(rec.Twin.DeviceID, rec.Twin.ModuleID)
	}
	runtime, err := s.edgeModules(sh, rec.Twin)
	if err != nil {
		return nil, err
	}
	return s.settleAll(append([]settled{{rec.Twin.Key(), rec, effects{}}}, runtime...)), nil
}

// make checks an identity that is to be created and makes its entry.
func (s *Store) make(sh *shard, in registry.Identity, birth twin.Birth) (*entry, error) {
	if err := deviceid.Check(in.DeviceID); err != nil {
		return nil, iothub.ErrArgumentInvalid.With("%v", err)
	}
	in.DeviceID, in.ModuleID = strings.Clone(in.DeviceID), strings.Clone(in.ModuleID)
	switch {
	case in.ModuleID != "":
		if err := sh.checkModule(in); err != nil {
			return nil, err
		}
	case sh.entries[in.DeviceID] != nil:
		return nil, iothub.ErrDeviceExists.With("A device with ID '%s' is already registered.", in.DeviceID)
	}
	generation := s.nextGeneration()
	rec := &entry{Record: record.Record{Generation: generation}}
	birth.At = rec.Made()
	t, err := twin.Created(in.DeviceID, in.ModuleID, birth)
	if err != nil {
		return nil, refused(err)
	}
	rec.Twin = t
	return rec, rec.Apply(in, record.Change{})
}

// updateLocked changes an identity, and its twin too if there is a write of it; both or none.
func (s *Store) updateLocked(sh *shard, in registry.Identity, ifMatch string, change record.Change, write twinWrite) (*disk.Batch, error) {
	rec := sh.entries[in.Key()]
	if rec == nil {
		return nil, notFound(in.Key())
	}
	old := rec.Twin
	if !etag.Matches(ifMatch, old.DeviceETag) {
		return nil, staleIdentity(old.DeviceETag, ifMatch)
	}
	next := rec.Record
	next.Twin = rec.current()
	change.Now = s.now()
	if err := next.Apply(in, change); err != nil {
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
	rec.Record = next
	s.count(rec.Twin, 1)
	e.gone, e.reason = old.Status != registry.StatusDisabled && rec.Twin.Status == registry.StatusDisabled, GoneDisabled
	all := []settled{{old.Key(), rec, e}}
	if e.gone {
		for _, module := range sh.modules[old.DeviceID] {
			key := entity.Key(old.DeviceID, module)
			all = append(all, settled{key, sh.entries[key], effects{gone: true, reason: GoneDisabled}})
		}
	}
	runtime, err := s.edgeModules(sh, rec.Twin)
	if err != nil {
		return nil, err
	}
	return s.settleAll(append(all, runtime...)), nil
}

// nextGeneration makes a generation id: the time in ticks since year 1, as the service has
// it, and never one given before.
func (s *Store) nextGeneration() uint64 {
	now := record.GenerationAt(s.now())
	for {
		last := s.generation.Load()
		next := max(now, last+1)
		if s.generation.CompareAndSwap(last, next) {
			return next
		}
	}
}

// Device returns the identity of a device or a module. The error is ErrDeviceNotFound or ErrModuleNotFound.
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
			if bound != "" && id >= bound || entity.IsModule(id) {
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

// DeleteDevice removes a device with its twin and its modules, or a module. Options.OnGone is told of each. Errors:
// ErrDeviceNotFound, ErrModuleNotFound, ErrPreconditionFailed when ifMatch names another ETag.
func (s *Store) DeleteDevice(ctx context.Context, id, ifMatch string) error {
	_, err := s.writeIdentity(ctx, id, func(sh *shard) (*disk.Batch, error) {
		if _, module := entity.Split(id); strings.HasPrefix(module, "$") {
			return nil, iothub.ErrArgumentInvalid.With("Module ids that begin with $ are the hub's own")
		}
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
		return nil, staleIdentity(rec.Twin.DeviceETag, ifMatch)
	}
	device, module := rec.Twin.DeviceID, rec.Twin.ModuleID
	keys := []string{rec.Twin.Key()}
	if module != "" {
		sh.removeModule(device, module)
	} else {
		for _, m := range sh.modules[device] {
			keys = append(keys, entity.Key(device, m))
		}
		delete(sh.modules, device)
	}
	s.count(rec.Twin, -1)
	all := make([]settled, 0, len(keys))
	for _, key := range keys {
		delete(sh.entries, key)
		all = append(all, settled{key, nil, effects{gone: true, reason: GoneDeleted}})
	}
	return s.settleAll(all), nil
}

// Credentials returns what a device that connects is checked against. A module of a disabled device is disabled.
// The error is ErrDeviceNotFound or ErrModuleNotFound.
func (s *Store) Credentials(id string) (registry.Credentials, error) {
	sh := s.shard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	rec := sh.entries[id]
	if rec == nil {
		return registry.Credentials{}, notFound(id)
	}
	creds := rec.Credentials()
	if device := sh.entries[rec.Twin.DeviceID]; device == nil || device.Twin.Status != registry.StatusEnabled {
		creds.Enabled = false
	}
	return creds, nil
}

// Origin is what readers of a message are told of the identity that sent it.
type Origin struct {
	GenerationID string // of the identity
	ModelID      string // that the device named; empty for none
}

// Origin returns what readers of a message are told of who sent it; its zero value for what is deleted.
func (s *Store) Origin(id string) Origin {
	sh := s.shard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	rec := sh.entries[id]
	if rec == nil {
		return Origin{}
	}
	return Origin{strconv.FormatUint(rec.Generation, 10), rec.Twin.ModelID}
}

// Statistics counts the devices.
func (s *Store) Statistics() registry.Statistics {
	total, enabled := int(s.total.Load()), int(s.enabled.Load())
	return registry.Statistics{Total: total, Enabled: enabled, Disabled: max(0, total-enabled)}
}

// ConnectedCount counts the devices that are connected.
func (s *Store) ConnectedCount() int { return int(s.connected.Load()) }
