package membus

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/link"
	"github.com/twinfleet/twinfleet/internal/wait"
)

type service struct {
	bus.Service
	conn      *Conn
	ctx       context.Context
	cancel    context.CancelCauseFunc
	questions map[string]chan *question // by endpoint; unbuffered queues are kept in order by their turn
	wg        sync.WaitGroup
	once      sync.Once
}

type question struct {
	data   []byte
	answer chan answer // has room for one
}

type answer struct {
	data []byte
	err  error
}

// Serve is bus.Bus's.
func (c *Conn) Serve(one bus.Service) (bus.Subscription, error) {
	if err := one.Check(); err != nil {
		return nil, err
	}
	s := &service{Service: one, conn: c, questions: map[string]chan *question{}}
	s.Metadata, s.Endpoints = maps.Clone(one.Metadata), maps.Clone(one.Endpoints)
	s.ctx, s.cancel = context.WithCancelCause(c.life)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("serving %s: %w", one.Name, bus.ErrClosed)
	}
	c.services[s] = struct{}{}
	for name, handle := range s.Endpoints {
		queue := make(chan *question, maxQuestions)
		s.questions[name] = queue
		s.wg.Add(1)
		c.wg.Go(func() {
			defer s.wg.Done()
			s.answer(queue, handle)
		})
	}
	return s, nil
}

// maxQuestions is the most that may wait at an endpoint; more find nobody.
const maxQuestions = 1024

func (s *service) answer(queue <-chan *question, handle func(context.Context, []byte) ([]byte, error)) {
	for {
		select {
		case <-s.ctx.Done():
			return
		case q := <-queue:
			data, err := handle(s.ctx, q.data)
			if err == nil && len(data) > s.conn.MaxPayload() {
				err = fmt.Errorf("an answer of %d bytes: %w", len(data), bus.ErrTooLarge)
			}
			if err != nil {
				q.answer <- answer{err: bus.AsError(err)}
				continue
			}
			q.answer <- answer{data: bytes.Clone(data)}
		}
	}
}

// Stop is bus.Subscription's.
func (s *service) Stop() {
	s.once.Do(func() {
		s.conn.server.mu.Lock()
		delete(s.conn.services, s)
		s.conn.server.mu.Unlock()
		s.cancel(bus.ErrClosed)
	})
	s.wg.Wait()
}

// find returns the instance's endpoint, if it can be reached.
func (s *Server) find(instance, endpoint string) (*Conn, chan *question) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		for one := range c.services {
			if c.whole() && one.Instance == instance && one.questions[endpoint] != nil {
				return c, one.questions[endpoint]
			}
		}
	}
	return nil, nil
}

// Ask is bus.Bus's.
func (c *Conn) Ask(ctx context.Context, instance, endpoint string, data []byte) ([]byte, error) {
	if err := bus.CheckName("instance", instance); err != nil {
		return nil, err
	}
	if err := bus.CheckName("endpoint", endpoint); err != nil {
		return nil, err
	}
	out, err := c.ask(ctx, instance, endpoint, data)
	if err != nil {
		return nil, fmt.Errorf("asking %s for %s: %w", instance, endpoint, err)
	}
	return out, nil
}

func (c *Conn) ask(ctx context.Context, instance, endpoint string, data []byte) ([]byte, error) {
	if len(data) > c.MaxPayload() {
		return nil, bus.ErrTooLarge
	}
	ctx, cancel := link.Bound(ctx, c.life)
	defer cancel()
	epoch, err := c.link.Wait(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel = link.Bound(ctx, epoch)
	defer cancel()
	if _, err := c.connected(ctx); err != nil {
		return nil, err
	}
	other, queue := c.server.find(instance, endpoint)
	if queue == nil {
		return nil, bus.ErrNobody
	}
	c.server.mu.Lock()
	there, here := other.down, other.up
	c.server.mu.Unlock()
	if err := wait.For(ctx, there); err != nil {
		return nil, err
	}
	q := &question{data: bytes.Clone(data), answer: make(chan answer, 1)}
	select {
	case queue <- q:
	default:
		return nil, bus.ErrNobody
	}
	select {
	case a := <-q.answer:
		if err := wait.For(ctx, here); err != nil {
			return nil, err
		}
		if err := c.back(ctx); err != nil {
			return nil, err
		}
		return a.data, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Services is bus.Bus's, without the silence that ends it there.
func (c *Conn) Services(ctx context.Context, name string) ([]bus.Instance, error) {
	if err := bus.CheckName("service", name); err != nil {
		return nil, err
	}
	ctx, cancel := link.Bound(ctx, c.life)
	defer cancel()
	if _, err := c.connected(ctx); err != nil {
		return nil, fmt.Errorf("looking for %s: %w", name, err)
	}
	c.server.mu.Lock()
	var all []bus.Instance
	for _, other := range c.server.conns {
		for one := range other.services {
			if other.whole() && one.Name == name {
				all = append(all, bus.Instance{Name: name, Instance: one.Instance, Version: one.Version, Metadata: maps.Clone(one.Metadata)})
			}
		}
	}
	c.server.mu.Unlock()
	slices.SortFunc(all, func(a, b bus.Instance) int { return cmp.Compare(a.Instance, b.Instance) })
	if err := c.back(ctx); err != nil {
		return nil, fmt.Errorf("looking for %s: %w", name, err)
	}
	return all, nil
}
