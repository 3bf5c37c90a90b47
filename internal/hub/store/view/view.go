// Package view is the twins as queries see them, by ordinal, with the indexes that queries asked for.
package view

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/twinfleet/twinfleet/internal/hub/store/index"
	"github.com/twinfleet/twinfleet/internal/iothub/query/plan"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/names"
)

const (
	chunkSize  = 4096 // Twins of one chunk of the view.
	viewShards = 64

	// MaxIndexes bounds the memory and the work of indexes: each is kept up at every change.
	// Beyond it the one that was not asked for the longest gives way.
	MaxIndexes = 16
)

// View is what queries see: the visible state of every twin by its ordinal, and indexes.
// Changes come in by Publish, those of one twin one after the other; reading takes no lock
// but to find a twin by its id.
type View struct {
	seed   maphash.Seed
	shards [viewShards]viewShard

	mu     sync.Mutex // Protects the giving out of ordinals: free, and growth of chunks.
	free   []uint32
	chunks atomic.Pointer[[]*chunk]
	limit  atomic.Uint32 // Above every ordinal ever given.
	live   atomic.Int64

	indexMu sync.Mutex // Protects changes of the list of indexes.
	indexes atomic.Pointer[[]*listed]
	clock   atomic.Int64 // Counts lookups, to know the index asked for the longest ago.
}

// listed is an index that the view keeps up.
type listed struct {
	*index.Index
	name  string        // The path in one word.
	ready chan struct{} // Closed when the index is built.
	used  atomic.Int64  // When it was asked for last, by the view's clock.
}

// chunk is a run of twins by ordinal; nil for ordinals not in use.
type chunk [chunkSize]atomic.Pointer[twin.Twin]

// viewShard knows the ordinals of some of the ids.
type viewShard struct {
	mu   sync.RWMutex // Protects ords, and orders changes of twins with the building of indexes.
	ords map[string]uint32
}

// New makes a view without twins.
func New() *View {
	v := &View{seed: maphash.MakeSeed()}
	for i := range v.shards {
		v.shards[i].ords = make(map[string]uint32)
	}
	v.chunks.Store(&[]*chunk{})
	v.indexes.Store(&[]*listed{})
	return v
}

// shard returns the shard of an id.
func (v *View) shard(id string) *viewShard {
	return &v.shards[maphash.String(v.seed, id)%viewShards]
}

// Publish makes a state of a twin visible; nil takes the twin away.
func (v *View) Publish(id string, t *twin.Twin) {
	sh := v.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ord, known := sh.ords[id]
	switch {
	case t == nil && !known:
		return
	case t == nil:
		delete(sh.ords, id)
	case !known:
		ord = v.take()
		sh.ords[t.Key()] = ord
	}
	old := v.slot(ord).Swap(t)
	for _, idx := range *v.indexes.Load() {
		idx.Update(ord, old, t)
	}
	if t == nil {
		v.release(ord)
	}
}

// take gives out an ordinal.
func (v *View) take() uint32 {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.live.Add(1)
	if n := len(v.free); n > 0 {
		ord := v.free[n-1]
		v.free = v.free[:n-1]
		return ord
	}
	ord := v.limit.Load()
	if chunks := *v.chunks.Load(); int(ord/chunkSize) == len(chunks) {
		grown := append(slices.Clip(chunks), new(chunk))
		v.chunks.Store(&grown)
	}
	v.limit.Store(ord + 1)
	return ord
}

// release takes an ordinal back.
func (v *View) release(ord uint32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.live.Add(-1)
	v.free = append(v.free, ord)
}

// slot is the place of an ordinal that was given out.
func (v *View) slot(ord uint32) *atomic.Pointer[twin.Twin] {
	return &(*v.chunks.Load())[ord/chunkSize][ord%chunkSize]
}

// At returns the visible state of a twin, nil for an ordinal not in use.
func (v *View) At(ord uint32) *twin.Twin {
	if ord >= v.limit.Load() {
		return nil
	}
	return v.slot(ord).Load()
}

// ByID finds a twin by its id.
func (v *View) ByID(id string) (ord uint32, t *twin.Twin, ok bool) {
	sh := v.shard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if ord, ok = sh.ords[id]; !ok {
		return 0, nil, false
	}
	return ord, v.slot(ord).Load(), true
}

// Lookup returns the index over a path of [twin.Twin.Field], such as tags, location, plant; nil for no path.
// The first call for a path builds it, in about half a second for a million twins; other calls wait meanwhile. From
// then on every change keeps it up. Of the paths asked for, the latest [MaxIndexes] have an index.
//
// What an index finds and what At returns may differ for an instant while twins change: a query must read the twin
// itself before it believes the index.
func (v *View) Lookup(path []string) plan.Index {
	if len(path) == 0 {
		return nil
	}
	path = names.Canonical(path)
	name := strings.Join(path, "\x00")
	v.indexMu.Lock()
	list := *v.indexes.Load()
	now := v.clock.Add(1)
	if i := slices.IndexFunc(list, func(idx *listed) bool { return idx.name == name }); i >= 0 {
		idx := list[i]
		idx.used.Store(now)
		v.indexMu.Unlock()
		<-idx.ready
		return idx.Index
	}
	idx := &listed{Index: index.New(path), name: name, ready: make(chan struct{})}
	idx.used.Store(now)
	list = slices.Clone(list)
	if len(list) >= MaxIndexes {
		oldest := slices.MinFunc(list, func(a, b *listed) int { return int(a.used.Load() - b.used.Load()) })
		list = slices.DeleteFunc(list, func(idx *listed) bool { return idx == oldest })
	}
	list = append(list, idx)
	v.indexes.Store(&list)
	v.indexMu.Unlock()
	v.build(idx.Index)
	close(idx.ready)
	return idx.Index
}

// build fills an index that is in the list already, so that no change passes it by: what
// changes before the walk comes to it is entered twice, which does no harm, because both
// happen under the lock of the twin's shard. The lock is held for one twin at a time.
func (v *View) build(idx *index.Index) {
	for ord := range v.limit.Load() {
		t := v.At(ord)
		if t == nil {
			continue
		}
		sh := v.shard(t.Key())
		sh.mu.RLock()
		if now := v.At(ord); now != nil && now.DeviceID == t.DeviceID && now.ModuleID == t.ModuleID {
			idx.Update(ord, nil, now)
		}
		sh.mu.RUnlock()
	}
}

var _ plan.Source = (*View)(nil)

// Len returns how many twins queries see.
func (v *View) Len() int { return int(v.live.Load()) }

// Max returns a number above every ordinal in use.
func (v *View) Max() uint32 { return v.limit.Load() }
