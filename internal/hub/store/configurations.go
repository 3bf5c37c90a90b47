package store

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/store/disk"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// Watch has a function told of every change of a twin from now on, nil for a device or module deleted. It is called
// while the twin is locked: it must neither block nor call the store. One function at most can watch; nil ends it.
func (s *Store) Watch(changed func(id string, t *twin.Twin)) {
	if changed == nil {
		s.watch.Store(nil)
		return
	}
	s.watch.Store(&changed)
}

// changed tells who watches.
func (s *Store) changed(id string, t *twin.Twin) {
	if f := s.watch.Load(); f != nil {
		(*f)(id, t)
	}
}

// Each walks through the ids of all devices and modules, without order. What is made or deleted meanwhile may come
// or not. No lock is held while the caller works.
func (s *Store) Each() iter.Seq[string] {
	return func(yield func(string) bool) {
		var ids []string
		for i := range s.shards {
			sh := &s.shards[i]
			ids = ids[:0]
			sh.mu.RLock()
			for id := range sh.entries {
				ids = append(ids, id)
			}
			sh.mu.RUnlock()
			for _, id := range ids {
				if !yield(id) {
					return
				}
			}
		}
	}
}

// Configure does a write of the hub's own on some twins, and waits for the disk once. Ids that there are not are
// passed over; a write that is refused leaves its twin as it was, and the others go on. The error is of the disk, or
// of ctx.
func (s *Store) Configure(ctx context.Context, ids []string, write func(t *twin.Twin, now time.Time) (next *twin.Twin, delta jsonvalue.Value, err error)) error {
	if err := s.usable(); err != nil {
		return err
	}
	var last *disk.Batch
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		if b := s.configure(id, write); b != nil && b != last {
			if last != nil {
				if err := last.Wait(ctx); err != nil {
					return err
				}
			}
			last = b
		}
	}
	return last.Wait(ctx)
}

// configure writes one twin; the batch is nil when nothing was written.
func (s *Store) configure(id string, write twinWrite) *disk.Batch {
	sh := s.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	rec := sh.entries[id]
	if rec == nil {
		return nil
	}
	b, err := s.writeTwinLocked(rec, "", write)
	if err != nil && !errors.Is(err, context.Canceled) {
		s.log.Debug("a configuration was not applied", "device", id, "error", err)
	}
	return b
}

// EnsureModule makes a module of a device unless there is one. Errors: ErrDeviceNotFound, ErrArgumentInvalid.
func (s *Store) EnsureModule(ctx context.Context, device, module string) error {
	if _, err := s.Twin(entity.Key(device, module)); err == nil {
		return nil
	}
	manager := managedByEdge
	_, err := s.CreateDevice(ctx, registry.Identity{DeviceID: device, ModuleID: module, ManagedBy: &manager})
	if errors.Is(err, iothub.ErrModuleExists) {
		return nil // somebody was quicker
	}
	return err
}
