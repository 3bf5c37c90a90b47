// Package store keeps what the embedded hub knows of its devices and their modules: identities, twins, and
// what queries see of them. Either goes by its key, see package entity; where a method speaks of a device, a module is
// meant as well.
//
// The truth is a sharded map of devices; a twin in it is an immutable snapshot that a
// write replaces. Beside the truth stands the view of the queries: twins by ordinal, and
// indexes over the paths that queries ask for. A change reaches the view at once, or after
// a delay that stands for the lag of the real service's index. With a data directory every
// change is on disk before its write returns.
//
// Locks are taken in this order and never the other way: shard, then view or disk or feed,
// then index.
package store

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/store/disk"
	"github.com/twinfleet/twinfleet/internal/hub/store/feed"
	"github.com/twinfleet/twinfleet/internal/hub/store/record"
	"github.com/twinfleet/twinfleet/internal/hub/store/view"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// shardCount spreads writes over so many locks. A lock is held for about a microsecond.
const shardCount = 256

// Options configure a Store. The zero value is a store in memory whose queries see every
// change at once.
type Options struct {
	// Logger is told of failures of the disk. Default: nothing is logged.
	Logger *slog.Logger

	// DataDir is the directory of the data file, made if need be. A write returns when it is
	// on disk. The file holds the keys of the devices in clear and is readable by its owner
	// alone. Default: "", everything is in memory and gone after Close.
	DataDir string

	// QueryLag is asked at every change how long queries must not see it. Changes of one twin
	// never overtake each other. Calls of the function do not overlap; it must not block.
	// Default: nil, a change is visible when its write returns.
	QueryLag func() time.Duration

	// Now is the clock of timestamps. Default: time.Now.
	Now func() time.Time

	// OnDesired is told of each change of desired properties: the message for the device,
	// JSON with $version, and that version. For one device the calls come in the order of
	// the changes, after the change is durable; those for different devices may overlap. It
	// must not block nor call the store, and may keep delta. Default: nobody is told.
	OnDesired func(id string, delta []byte, version int64)

	// OnGone is told when a device may no longer be connected. The rules of OnDesired hold.
	OnGone func(id string, reason GoneReason)
}

// GoneReason says why a device may no longer be connected.
type GoneReason uint8

// The reasons given to Options.OnGone.
const (
	GoneDeleted GoneReason = iota
	GoneDisabled
)

// String names the reason.
func (r GoneReason) String() string {
	if r == GoneDisabled {
		return "disabled"
	}
	return "deleted"
}

// Store holds identities and twins. Its methods may be called by any number of
// goroutines. Errors that a client caused are [*iothub.Error].
type Store struct {
	opts     Options
	log      *slog.Logger
	interner *jsonparse.Interner
	view     *view.View // Of devices.
	modules  *view.View
	feed     *feed.Feed // nil without lag.
	disk     *disk.Disk // nil without a data directory.

	seed   maphash.Seed
	shards [shardCount]shard

	total      atomic.Int64
	enabled    atomic.Int64
	connected  atomic.Int64
	generation atomic.Uint64                                 // The last generation id given.
	watch      atomic.Pointer[func(id string, t *twin.Twin)] // See Watch.
}

// shard is a part of the records, chosen by the hash of the device id: modules are with their device.
type shard struct {
	mu      sync.RWMutex // Protects the maps and the entries in them.
	entries map[string]*entry
	modules map[string][]string // Ids of the modules of a device, in order; nil while no device has any.
}

// entry is one device or module: what is kept of it, and what is only noted.
type entry struct {
	record.Record
	touched atomic.Int64 // Nanoseconds since 1970 of the last activity; newer than the twin's at times.
}

// Open makes a store, from the file of the data directory if there is one. The caller must
// Close it.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{opts: opts, log: opts.Logger, interner: jsonparse.NewInterner(), view: view.New(), modules: view.New(), seed: maphash.MakeSeed()}
	for i := range s.shards {
		s.shards[i].entries = make(map[string]*entry)
	}
	if opts.DataDir != "" {
		d, err := disk.Open(opts.DataDir, opts.Logger)
		if err != nil {
			return nil, err
		}
		if err := d.Load(ctx, s.interner, s.adopt); err != nil {
			return nil, errors.Join(err, d.Abandon())
		}
		s.dropOrphans()
		d.Start()
		s.disk = d
	}
	if opts.QueryLag != nil {
		s.feed = feed.Start(s.publish, opts.QueryLag)
	}
	return s, nil
}

// Close waits for the writes under way, ends the store's goroutines and closes the file.
// Nothing may be called afterwards. Changes that queries have not seen yet they never see.
func (s *Store) Close() error {
	if s.feed != nil {
		s.feed.Stop()
	}
	if s.disk == nil {
		return nil
	}
	return s.disk.Close()
}

// ParseValue reads a JSON document whose words share the memory of the twins stored.
func (s *Store) ParseValue(b []byte) (jsonvalue.Value, error) { return s.interner.Parse(b) }

// shard returns the shard of a key.
func (s *Store) shard(key string) *shard {
	device, _ := entity.Split(key)
	return &s.shards[maphash.String(s.seed, device)%shardCount]
}

// publish makes a state visible to queries; nil takes it away.
func (s *Store) publish(key string, t *twin.Twin) {
	if entity.IsModule(key) {
		s.modules.Publish(key, t)
		return
	}
	s.view.Publish(key, t)
}

// now returns the time of a write, in the ticks of 100 ns that documents have.
func (s *Store) now() time.Time {
	return s.opts.Now().UTC().Truncate(100 * time.Nanosecond)
}

// adopt takes over a record read from disk.
func (s *Store) adopt(rec record.Record) {
	id := rec.Twin.Key()
	e := &entry{Record: rec}
	e.touched.Store(nanoseconds(rec.Twin.LastActivity))
	sh := s.shard(id)
	sh.entries[id] = e
	if rec.Twin.ModuleID != "" {
		sh.addModule(rec.Twin.DeviceID, rec.Twin.ModuleID)
	}
	s.publish(id, rec.Twin)
	s.count(rec.Twin, 1)
	if rec.Generation > s.generation.Load() {
		s.generation.Store(rec.Generation)
	}
}

// count adds a device to the statistics, or takes it out with -1.
func (s *Store) count(t *twin.Twin, n int64) {
	if t.ModuleID != "" {
		return
	}
	s.total.Add(n)
	if t.Status == registry.StatusEnabled {
		s.enabled.Add(n)
	}
	if t.Connected {
		s.connected.Add(n)
	}
}

// show lets queries see a change, now or later. A nil twin is a device deleted. The shard
// is locked.
func (s *Store) show(id string, t *twin.Twin) {
	s.changed(id, t)
	if s.feed != nil {
		s.feed.Add(id, t)
		return
	}
	s.publish(id, t)
}

// effects are what must happen once a change is durable, in the order of the changes.
type effects struct {
	delta   []byte // For the device, nil for none.
	version int64
	gone    bool
	reason  GoneReason
}

// run tells whoever asked to be told.
func (e effects) run(opts *Options, id string) {
	if e.delta != nil && opts.OnDesired != nil {
		opts.OnDesired(id, e.delta, e.version)
	}
	if e.gone && opts.OnGone != nil {
		opts.OnGone(id, e.reason)
	}
}

// settle makes a change of a device public; the shard is locked and the entry changed. A
// nil entry is a device deleted. The batch is to be waited for after the lock is given up.
func (s *Store) settle(id string, changed *entry, e effects) *disk.Batch {
	return s.settleAll([]settled{{id, changed, e}})
}

// settled is a change that is to be made public.
type settled struct {
	id      string
	changed *entry // Nil for what is deleted.
	effects effects
}

// settleAll is settle for changes that are on disk all or none: of a device and its modules.
func (s *Store) settleAll(all []settled) *disk.Batch {
	ops := make([]disk.Operation, 0, 1)
	for _, one := range all {
		var t *twin.Twin
		if one.changed != nil {
			t = one.changed.Twin
		}
		s.show(one.id, t)
		if s.disk == nil {
			one.effects.run(&s.opts, one.id)
			continue
		}
		op := disk.Operation{ID: one.id, Then: func() { one.effects.run(&s.opts, one.id) }}
		if one.changed != nil {
			state := one.changed.Record
			op.State = &state
		}
		ops = append(ops, op)
	}
	if len(ops) == 0 {
		return nil
	}
	return s.disk.Add(ops...)
}

// usable fails once the disk has: the truth in memory must not run ahead of it for long.
func (s *Store) usable() error {
	if s.disk == nil {
		return nil
	}
	return s.disk.Failed()
}
