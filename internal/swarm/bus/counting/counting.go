// Package counting counts the bytes of what one process says and hears over a bus: messages, questions, answers and values, with their
// subjects, names and keys, but without what the carrier adds.
package counting

import (
	"context"
	"sync/atomic"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
)

// Bus is a bus that counts. The list of instances that Services gives is not counted.
type Bus struct {
	bus.Bus
	sent, received atomic.Uint64
}

// New counts what goes over a bus from now on, and only what goes through the Bus that it returns.
func New(b bus.Bus) *Bus { return &Bus{Bus: b} }

// Sent is how many bytes were said.
func (b *Bus) Sent() uint64 { return b.sent.Load() }

// Received is how many bytes were heard.
func (b *Bus) Received() uint64 { return b.received.Load() }

func (b *Bus) say(name string, data []byte)  { b.sent.Add(uint64(len(name) + len(data))) }
func (b *Bus) hear(name string, data []byte) { b.received.Add(uint64(len(name) + len(data))) }

// Publish implements bus.Bus.
func (b *Bus) Publish(subject string, data []byte) error {
	err := b.Bus.Publish(subject, data)
	if err == nil {
		b.say(subject, data)
	}
	return err
}

// Subscribe implements bus.Bus.
func (b *Bus) Subscribe(subject string, handle func(subject string, data []byte)) (bus.Subscription, error) {
	return b.Bus.Subscribe(subject, func(subject string, data []byte) {
		b.hear(subject, data)
		handle(subject, data)
	})
}

// Serve implements bus.Bus.
func (b *Bus) Serve(service bus.Service) (bus.Subscription, error) {
	counted := make(map[string]func(context.Context, []byte) ([]byte, error), len(service.Endpoints))
	for name, answer := range service.Endpoints {
		counted[name] = func(ctx context.Context, data []byte) ([]byte, error) {
			b.hear(name, data)
			out, err := answer(ctx, data)
			b.say("", out)
			return out, err
		}
	}
	service.Endpoints = counted
	return b.Bus.Serve(service)
}

// Ask implements bus.Bus. A question counts even if nobody heard it: whether anybody did is not known.
func (b *Bus) Ask(ctx context.Context, instance, endpoint string, data []byte) ([]byte, error) {
	b.say(instance+endpoint, data)
	out, err := b.Bus.Ask(ctx, instance, endpoint, data)
	b.hear("", out)
	return out, err
}

// Store implements bus.Bus.
func (b *Bus) Store(ctx context.Context, name string, create bool) (bus.Store, error) {
	s, err := b.Bus.Store(ctx, name, create)
	if err != nil {
		return nil, err
	}
	return &store{s, b}, nil
}

// store is a store that counts.
type store struct {
	bus.Store
	b *Bus
}

func (s *store) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	s.b.say(key, value)
	return s.Store.Put(ctx, key, value)
}

func (s *store) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	s.b.say(key, value)
	return s.Store.Create(ctx, key, value)
}

func (s *store) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	s.b.say(key, value)
	return s.Store.Update(ctx, key, value, revision)
}

func (s *store) Get(ctx context.Context, key string) (bus.Entry, error) {
	s.b.say(key, nil)
	e, err := s.Store.Get(ctx, key)
	s.b.hear("", e.Value)
	return e, err
}

func (s *store) Delete(ctx context.Context, key string) error {
	s.b.say(key, nil)
	return s.Store.Delete(ctx, key)
}

func (s *store) Keys(ctx context.Context, prefix string) ([]string, error) {
	s.b.say(prefix, nil)
	keys, err := s.Store.Keys(ctx, prefix)
	for _, k := range keys {
		s.b.hear(k, nil)
	}
	return keys, err
}

func (s *store) Watch(ctx context.Context, prefix string, handle func(bus.Entry)) error {
	s.b.say(prefix, nil)
	return s.Store.Watch(ctx, prefix, func(e bus.Entry) {
		s.b.hear(e.Key, e.Value)
		handle(e)
	})
}
