// Package configurations is automatic device management of the embedded hub: it keeps configurations, writes their
// content into the twins that they target, and counts how far they came (iot-hub-automatic-device-management).
//
// Twins are told apart by what changed: the store names each twin that changes, and the one goroutine of a Manager
// looks at those, a moment later; at all of them only when a configuration changes. What a twin is due follows from the
// twin and the configurations alone, so that a hub that was killed goes on where it was.
package configurations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/configuration"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/query/plan"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
	"github.com/twinfleet/twinfleet/internal/wait"
)

// Store keeps the twins and the configurations. Errors are [*iothub.Error] where a client caused them.
type Store interface {
	plan.Source
	Modules() plan.Source
	DeviceModules(device string) ([]registry.Identity, error)
	Twin(key string) (*twin.Twin, error)
	Each() iter.Seq[string]
	Watch(changed func(key string, t *twin.Twin))
	Configure(ctx context.Context, keys []string, write func(t *twin.Twin, now time.Time) (*twin.Twin, jsonvalue.Value, error)) error
	Put(bucket, key string, value []byte) (durable func(context.Context) error)
	Rows(ctx context.Context, bucket string, each func(key string, value []byte) error) error
	EnsureModule(ctx context.Context, device, module string) error
}

// Options of a Manager.
type Options struct {
	Store Store // required
	// Every is how long after a change of twins or configurations the twins are looked at; two seconds when 0. The
	// service takes two to four seconds after a configuration was made (recorded), and then looks every five minutes
	// (iot-hub-automatic-device-management).
	Every time.Duration
	// Most is how many configurations there may be; 0 is 100 (iot-hub-devguide-quotas-throttling).
	Most   int
	Logger *slog.Logger // nil logs nothing
}

const (
	defaultEvery = 2 * time.Second
	defaultMost  = 100
	batchSize    = 500 // twins that wait for the disk together
	// A count of all twins pauses this many times as long as it took: it costs a twentieth of a processor at most.
	countPause = 20

	bucket = "configurations.1" // of the store, by id
)

// Manager keeps configurations and applies them. Its methods may be called by any number of goroutines.
type Manager struct {
	opts   Options
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{}
	wake   chan struct{}         // holds a token when there is something to look at
	active atomic.Bool           // whether there are configurations, or twins that may remember one
	rules  atomic.Pointer[rules] // what the configurations come to

	changing sync.Mutex // held through a change of a configuration, disk included

	mu      sync.Mutex // protects the following fields
	configs map[string]*configuration.Configuration
	dirty   map[string]struct{} // keys of twins that changed
	all     bool                // every twin is to be looked at
	counted map[string]counts   // by configuration, as the last count found them
	stale   bool                // something changed since the last count began
}

// New makes a Manager with the configurations that the store kept, and starts it.
func New(ctx context.Context, o Options) (*Manager, error) {
	if o.Every <= 0 {
		o.Every = defaultEvery
	}
	if o.Most <= 0 {
		o.Most = defaultMost
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Manager{
		opts: o, log: o.Logger, done: make(chan struct{}), wake: make(chan struct{}, 1),
		configs: make(map[string]*configuration.Configuration), dirty: make(map[string]struct{}), counted: make(map[string]counts),
	}
	err := o.Store.Rows(ctx, bucket, func(id string, document []byte) error {
		c := &configuration.Configuration{}
		if err := json.Unmarshal(document, c); err != nil {
			return fmt.Errorf("reading configuration %s: %w", id, err)
		}
		m.configs[id] = c
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := m.refresh(); err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	o.Store.Watch(m.changed)
	go m.run(running)
	return m, nil
}

// Close stops the Manager and waits for it.
func (m *Manager) Close() {
	m.opts.Store.Watch(nil)
	m.cancel()
	<-m.done
}

// changed notes that a twin changed. It is called with the twin's lock held.
func (m *Manager) changed(key string, t *twin.Twin) {
	if !m.active.Load() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stale = true
	if t != nil && !m.all {
		m.dirty[key] = struct{}{}
	}
	m.poke()
}

func (m *Manager) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// refresh makes the rules anew, and has every twin looked at. The caller holds no lock but changing.
func (m *Manager) refresh() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := newRules(slices.Collect(maps.Values(m.configs)))
	if err != nil {
		return err
	}
	m.rules.Store(r)
	m.active.Store(true)
	m.all, m.stale = true, true
	clear(m.dirty)
	m.poke()
	return nil
}

// run looks at what changed until ctx ends, each time a moment after the first change: a twin that changes all the time
// is looked at once in a while, and a configuration is applied about as late as by the service.
func (m *Manager) run(ctx context.Context) {
	defer close(m.done)
	var countFrom time.Time // before it there is no further count
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		}
		if wait.For(ctx, m.opts.Every) != nil {
			return
		}
		if err := m.look(ctx); err != nil && ctx.Err() == nil {
			m.log.Error("applying configurations failed", "error", err)
		}
		began := time.Now()
		if !began.Before(countFrom) {
			m.count(ctx)
			countFrom = time.Now().Add(countPause * time.Since(began))
		}
		m.again()
	}
}

// again has the loop come back if something is left to do.
func (m *Manager) again() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stale || m.all || len(m.dirty) > 0 {
		m.poke()
	}
}

// look brings the twins that changed to what they are due.
func (m *Manager) look(ctx context.Context) error {
	m.mu.Lock()
	all, dirty := m.all, m.dirty
	m.all, m.dirty = false, make(map[string]struct{})
	m.mu.Unlock()
	keys := maps.Keys(dirty)
	if all {
		keys = m.opts.Store.Each()
	}
	err := m.apply(ctx, m.rules.Load(), keys)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err != nil:
		m.all = true // what was not reached is looked at again
	case all && !m.all && len(m.configs) == 0:
		m.active.Store(false) // no twin remembers one either
		clear(m.dirty)
		m.stale = false
	}
	return err
}

// apply brings twins to what they are due, in batches.
func (m *Manager) apply(ctx context.Context, r *rules, keys iter.Seq[string]) error {
	b := batch{store: m.opts.Store, log: m.log, rules: r, gateways: make(map[string]*twin.Twin)}
	for key := range keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		t, err := m.opts.Store.Twin(key)
		if err != nil {
			continue // deleted meanwhile
		}
		if err := b.add(ctx, t); err != nil {
			return err
		}
		if err := b.addModules(ctx, t); err != nil {
			return err
		}
	}
	return b.flush(ctx)
}

// batch is twins that are written together.
type batch struct {
	store    Store
	log      *slog.Logger
	rules    *rules
	keys     []string
	gateways map[string]*twin.Twin // IoT Edge devices of modules of the batch, by id
}

// add has a twin written if it is due something. Most changes of twins are none to a configuration: that is found out
// without the twin's lock.
func (b *batch) add(ctx context.Context, t *twin.Twin) error {
	var above *twin.Twin
	if t.ModuleID != "" && b.rules.edge {
		if above = b.gateways[t.DeviceID]; above == nil {
			above, _ = b.store.Twin(t.DeviceID) // nil for one that was deleted, with its modules
		}
	}
	if next, _, err := b.rules.write(t, above, time.Time{}); err == nil && next == t {
		return nil
	}
	if above != nil {
		b.gateways[t.DeviceID] = above
	}
	if b.keys = append(b.keys, t.Key()); len(b.keys) < batchSize {
		return nil
	}
	return b.flush(ctx)
}

// addModules makes the modules that the deployments of an IoT Edge device ask for, and adds all that it has.
func (b *batch) addModules(ctx context.Context, t *twin.Twin) error {
	if !b.rules.edge || t.ModuleID != "" || !t.IoTEdge {
		return nil
	}
	for _, module := range b.rules.modulesOf(t) {
		err := b.store.EnsureModule(ctx, t.DeviceID, module)
		if refused := (*iothub.Error)(nil); errors.As(err, &refused) && refused.Status < http.StatusInternalServerError {
			// Such as a device that has all the modules it may have, or that was deleted meanwhile: no reason to leave others out.
			b.log.Warn("a deployment cannot have its module", "device", t.DeviceID, "module", module, "reason", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("making module %s of %s: %w", module, t.DeviceID, err)
		}
	}
	modules, err := b.store.DeviceModules(t.DeviceID)
	if err != nil {
		return nil // deleted meanwhile
	}
	b.gateways[t.DeviceID] = t
	for _, identity := range modules {
		if module, err := b.store.Twin(identity.Key()); err == nil {
			if err := b.add(ctx, module); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *batch) flush(ctx context.Context) error {
	err := b.store.Configure(ctx, b.keys, func(t *twin.Twin, now time.Time) (*twin.Twin, jsonvalue.Value, error) {
		return b.rules.write(t, b.gateways[t.DeviceID], now)
	})
	b.keys = b.keys[:0]
	clear(b.gateways)
	return err
}
