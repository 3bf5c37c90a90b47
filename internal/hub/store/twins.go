package store

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/store/disk"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/etag"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/limits"
)

// Twin returns the present state of a device's twin. The error is ErrDeviceNotFound.
func (s *Store) Twin(id string) (*twin.Twin, error) {
	sh := s.shard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	rec := sh.entries[id]
	if rec == nil {
		return nil, noTwin(id)
	}
	return rec.current(), nil
}

// current returns the twin with the last activity that Touch has noted since the last write.
func (r *entry) current() *twin.Twin {
	touched := r.touched.Load()
	if touched <= nanoseconds(r.Twin.LastActivity) {
		return r.Twin
	}
	t := *r.Twin
	t.LastActivity = time.Unix(0, touched).UTC()
	return &t
}

// PatchTwin merges a service's patch into tags and desired properties; a section that is
// Undefined is not touched. It returns the new twin. Errors: ErrDeviceNotFound,
// ErrPreconditionFailed when ifMatch names another ETag, ErrArgumentInvalid when a limit
// is broken.
func (s *Store) PatchTwin(ctx context.Context, id string, tags, desired jsonvalue.Value, ifMatch string) (*twin.Twin, error) {
	return s.writeTwin(ctx, id, ifMatch, func(t *twin.Twin, now time.Time) (*twin.Twin, jsonvalue.Value, error) {
		return t.Patch(tags, desired, now)
	})
}

// ReplaceTwin puts documents in the place of tags and desired properties; a section that is
// Undefined stays. The device is told of members that are gone as null. Errors are those of
// PatchTwin.
func (s *Store) ReplaceTwin(ctx context.Context, id string, tags, desired jsonvalue.Value, ifMatch string) (*twin.Twin, error) {
	return s.writeTwin(ctx, id, ifMatch, func(t *twin.Twin, now time.Time) (*twin.Twin, jsonvalue.Value, error) {
		return t.Replace(tags, desired, now)
	})
}

// twinWrite makes the next twin, and what the device must be told of it.
type twinWrite func(t *twin.Twin, now time.Time) (next *twin.Twin, delta jsonvalue.Value, err error)

// writeTwin does a service's write of a twin.
func (s *Store) writeTwin(ctx context.Context, id, ifMatch string, write twinWrite) (*twin.Twin, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	sh := s.shard(id)
	sh.mu.Lock()
	rec := sh.entries[id]
	if rec == nil {
		sh.mu.Unlock()
		return nil, noTwin(id)
	}
	b, err := s.writeTwinLocked(rec, ifMatch, write)
	t := rec.current()
	sh.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := b.Wait(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// writeTwinLocked is writeTwin for a record whose shard is locked.
func (s *Store) writeTwinLocked(rec *entry, ifMatch string, write twinWrite) (*disk.Batch, error) {
	old := rec.Twin
	if !etag.Matches(ifMatch, etag.OfTwin(old.ETag)) {
		return nil, preconditionFailed(old.DeviceID)
	}
	next, delta, err := write(old, s.now())
	if err != nil {
		return nil, refused(err)
	}
	if next == old {
		return nil, nil
	}
	rec.Twin = next
	var e effects
	if delta.IsDefined() {
		e.version = next.Desired.Version()
		e.delta = twin.AppendDelta(nil, delta, e.version)
	}
	return s.settle(old.Key(), rec, e), nil
}

// Report merges a device's patch into its reported properties and returns their new
// $version. Unless expect is negative the present $version must be that. Errors:
// ErrDeviceNotFound, ErrPreconditionFailed, ErrArgumentInvalid when a limit is broken.
func (s *Store) Report(ctx context.Context, id string, patch jsonvalue.Value, expect int64) (version int64, err error) {
	if err := s.usable(); err != nil {
		return 0, err
	}
	sh := s.shard(id)
	sh.mu.Lock()
	rec := sh.entries[id]
	if rec == nil {
		sh.mu.Unlock()
		return 0, noTwin(id)
	}
	b, err := s.reportLocked(rec, patch, expect)
	version = rec.Twin.Reported.Version()
	sh.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return version, b.Wait(ctx)
}

// reportLocked is Report for a record whose shard is locked.
func (s *Store) reportLocked(rec *entry, patch jsonvalue.Value, expect int64) (*disk.Batch, error) {
	old := rec.Twin
	if expect >= 0 && old.Reported.Version() != expect {
		return nil, preconditionFailed(old.DeviceID)
	}
	now := s.now()
	next, err := old.Report(patch, now)
	if err != nil {
		return nil, refused(err)
	}
	next.LastActivity = now
	rec.touched.Store(nanoseconds(now))
	rec.Twin = next
	return s.settle(old.Key(), rec, effects{}), nil
}

// SetConnected notes that a device has connected or disconnected. It is not kept on disk:
// after a restart no device is connected. A device that does not exist is left alone.
func (s *Store) SetConnected(id string, connected bool) {
	s.amend(id, func(rec *entry, t *twin.Twin, now time.Time) bool {
		rec.StateAt = nanoseconds(now)
		t.LastActivity = now
		if t.Connected != connected && t.ModuleID == "" {
			s.connected.Add(map[bool]int64{true: 1, false: -1}[connected])
		}
		t.Connected = connected
		return true
	})
}

// SetModelID notes the model that a device named when it connected, and returns when it is kept. A device that does not
// exist is left alone.
func (s *Store) SetModelID(ctx context.Context, id, model string) error {
	if err := s.usable(); err != nil {
		return err
	}
	sh := s.shard(id)
	sh.mu.Lock()
	rec := sh.entries[id]
	if rec == nil || rec.Twin.ModelID == model {
		sh.mu.Unlock()
		return nil
	}
	t := *rec.current()
	t.ModelID = strings.Clone(model)
	rec.Twin = &t
	b := s.settle(t.Key(), rec, effects{})
	sh.mu.Unlock()
	return b.Wait(ctx)
}

// SetC2DCount notes how many cloud-to-device messages wait for a device.
func (s *Store) SetC2DCount(id string, n int) {
	s.amend(id, func(_ *entry, t *twin.Twin, _ time.Time) bool {
		changed := t.C2DCount != n
		t.C2DCount = n
		return changed
	})
}

// touchEvery is how often activity alone makes a new snapshot for queries. In between it
// is noted and shown by Twin and Device.
const touchEvery = time.Second

// Touch notes activity of a device: its lastActivityTime is now. It costs next to nothing,
// so it may be called for every message. Queries see it a second late at most.
func (s *Store) Touch(id string) {
	now := s.now()
	sh := s.shard(id)
	sh.mu.RLock()
	rec := sh.entries[id]
	due := false
	if rec != nil {
		rec.touched.Store(nanoseconds(now))
		due = now.Sub(rec.Twin.LastActivity) >= touchEvery
	}
	sh.mu.RUnlock()
	if due {
		s.amend(id, func(_ *entry, t *twin.Twin, now time.Time) bool {
			t.LastActivity = now
			return true
		})
	}
}

// amend changes what is not kept on disk. The change works on a copy of the twin, which
// becomes public if change returns true.
func (s *Store) amend(id string, change func(rec *entry, t *twin.Twin, now time.Time) bool) {
	sh := s.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	rec := sh.entries[id]
	if rec == nil {
		return
	}
	t := *rec.current()
	if change(rec, &t, s.now()) {
		rec.Twin = &t
		s.show(id, rec.Twin)
	}
}

// refused turns the twin's own errors into the service's.
func refused(err error) error {
	var limit *limits.Error
	if errors.As(err, &limit) {
		return iothub.ErrArgumentInvalid.With("%s", limit.Message)
	}
	return err
}

func notFound(key string) error {
	device, module := entity.Split(key)
	if module != "" {
		return iothub.ErrModuleNotFound.With("Module %s on device %s is not registered", module, device)
	}
	return iothub.ErrDeviceNotFound.With("Device %s is not registered", device)
}

// noTwin is the error of a twin that is not there. One of a module is told as a device's, as was reported from the service.
func noTwin(key string) error {
	return iothub.ErrDeviceNotFound.With("Device %s is not registered", key)
}

// preconditionFailed is the error of a stale ETag of a twin; a module's names its device, as recorded from the service.
func preconditionFailed(deviceID string) error {
	return iothub.ErrPreconditionFailed.With("Precondition failed: the ETag is not that of the twin of '%s'", deviceID)
}

// staleIdentity is the error of a stale ETag of an identity: the service tells both numbers.
func staleIdentity(present, wanted string) error {
	return iothub.ErrPreconditionFailed.With("Precondition failed: Device version did not match, existingVersion:%d newVersion:%d",
		etag.Number(present), etag.Number(wanted))
}

// nanoseconds is a time since 1970, and 0 for the zero time.
func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
