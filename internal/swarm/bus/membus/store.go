package membus

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/link"
)

// state is what a store holds, under the server's mu.
type state struct {
	entries  map[string]bus.Entry // deletions too
	bytes    int
	revision uint64
	changed  chan struct{} // closed at each write, and by Drop
	dropped  bool
}

type store struct {
	conn *Conn
	name string
	held *state
}

// Store is bus.Bus's.
func (c *Conn) Store(ctx context.Context, name string, create bool) (bus.Store, error) {
	if err := bus.CheckName("store", name); err != nil {
		return nil, err
	}
	s := &store{conn: c, name: name}
	err := s.do(ctx, func() error {
		if c.server.stores[name] == nil {
			if !create {
				return bus.ErrNoStore
			}
			if c.server.stores == nil {
				c.server.stores = map[string]*state{}
			}
			c.server.stores[name] = &state{entries: map[string]bus.Entry{}, changed: make(chan struct{})}
		}
		s.held = c.server.stores[name]
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("opening store %s: %w", name, err)
	}
	return s, nil
}

// Drop is bus.Bus's.
func (c *Conn) Drop(ctx context.Context, name string) error {
	if err := bus.CheckName("store", name); err != nil {
		return err
	}
	s := &store{conn: c, name: name}
	err := s.do(ctx, func() error {
		if held := c.server.stores[name]; held != nil {
			held.dropped = true
			close(held.changed)
			delete(c.server.stores, name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("removing store %s: %w", name, err)
	}
	return nil
}

// do is one exchange with the server: f runs under its mu. What a broken connection has not begun is tried with the next.
func (s *store) do(ctx context.Context, f func() error) error {
	ctx, cancel := link.Bound(ctx, s.conn.life)
	defer cancel()
	for {
		epoch, err := s.conn.link.Wait(ctx)
		if err != nil {
			return err
		}
		attempt, done := link.Bound(ctx, epoch)
		if _, err = s.conn.connected(attempt); err == nil {
			s.conn.server.mu.Lock()
			whole := s.conn.whole()
			switch {
			case whole && s.held != nil && s.held.dropped:
				err = bus.ErrNoStore
			case whole:
				err = f()
			}
			s.conn.server.mu.Unlock()
			if whole {
				done()
				return cmpErr(err, s.conn.back(ctx))
			}
			// The link says so in a moment.
			err = bus.ErrLost
			<-attempt.Done()
		}
		done()
		if !errors.Is(err, bus.ErrLost) {
			return err
		}
	}
}

// write puts an entry if it may.
func (s *store) write(ctx context.Context, doing, key string, value []byte, kind bus.Kind, may func(bus.Entry) error) (revision uint64, err error) {
	if err := bus.CheckKey(key); err != nil {
		return 0, err
	}
	if len(value) > s.conn.MaxPayload() {
		return 0, fmt.Errorf("%s %s of %s: %d bytes: %w", doing, key, s.name, len(value), bus.ErrTooLarge)
	}
	value = bytes.Clone(value)
	err = s.do(ctx, func() error {
		old, there := s.held.entries[key]
		if !there {
			old.Kind = bus.Deleted
		}
		if err := may(old); err != nil {
			return err
		}
		size := s.held.bytes + len(value) - len(old.Value)
		if !there {
			size += len(key)
		}
		if size > orDefault(s.conn.server.StoreBytes, DefaultStoreBytes) {
			return bus.ErrFull
		}
		s.held.bytes = size
		s.held.revision++
		revision = s.held.revision
		s.held.entries[key] = bus.Entry{Kind: kind, Key: key, Value: value, Revision: revision, At: time.Now()}
		close(s.held.changed)
		s.held.changed = make(chan struct{})
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("%s %s of %s: %w", doing, key, s.name, err)
	}
	return revision, nil
}

func (s *store) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	return s.write(ctx, "writing", key, value, bus.Value, func(bus.Entry) error { return nil })
}

func (s *store) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	return s.write(ctx, "creating", key, value, bus.Value, func(old bus.Entry) error {
		if old.Kind == bus.Value {
			return bus.ErrExists
		}
		return nil
	})
}

func (s *store) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return s.write(ctx, "updating", key, value, bus.Value, func(old bus.Entry) error {
		if old.Kind != bus.Value || old.Revision != revision {
			return bus.ErrConflict
		}
		return nil
	})
}

func (s *store) Delete(ctx context.Context, key string) error {
	_, err := s.write(ctx, "deleting", key, nil, bus.Deleted, func(bus.Entry) error { return nil })
	return err
}

func (s *store) Get(ctx context.Context, key string) (entry bus.Entry, err error) {
	if err := bus.CheckKey(key); err != nil {
		return bus.Entry{}, err
	}
	err = s.do(ctx, func() error {
		var there bool
		if entry, there = s.held.entries[key]; !there || entry.Kind != bus.Value {
			return bus.ErrNoKey
		}
		entry.Value = bytes.Clone(entry.Value)
		return nil
	})
	if err != nil {
		return bus.Entry{}, fmt.Errorf("reading %s of %s: %w", key, s.name, err)
	}
	return entry, nil
}

func (s *store) Keys(ctx context.Context, prefix string) (keys []string, err error) {
	if err := bus.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	err = s.do(ctx, func() error {
		for key, entry := range s.held.entries {
			if entry.Kind == bus.Value && bus.Below(prefix, key) {
				keys = append(keys, key)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", s.name, err)
	}
	slices.Sort(keys)
	return keys, nil
}

func (s *store) Watch(ctx context.Context, prefix string, handle func(bus.Entry)) error {
	if err := bus.CheckPrefix(prefix); err != nil {
		return err
	}
	ctx, cancel := link.Bound(ctx, s.conn.life)
	defer cancel()
	var seen uint64
	for first := true; ; first = false {
		var news []bus.Entry
		var changed <-chan struct{}
		err := s.do(ctx, func() error {
			changed = s.held.changed
			for key, entry := range s.held.entries {
				if entry.Revision > seen && bus.Below(prefix, key) && (entry.Kind == bus.Value || !first) {
					entry.Value = bytes.Clone(entry.Value)
					news = append(news, entry)
				}
			}
			seen = s.held.revision
			return nil
		})
		if err != nil {
			return fmt.Errorf("watching %s: %w", s.name, err)
		}
		slices.SortFunc(news, func(a, b bus.Entry) int { return cmp.Compare(a.Revision, b.Revision) })
		if first {
			news = append(news, bus.Entry{Kind: bus.Current})
		}
		for _, entry := range news {
			if ctx.Err() != nil {
				return fmt.Errorf("watching %s: %w", s.name, context.Cause(ctx))
			}
			handle(entry)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("watching %s: %w", s.name, context.Cause(ctx))
		}
	}
}
