package natsbus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/link"
	"github.com/twinfleet/twinfleet/internal/wait"
)

const (
	heartbeat = 2 * time.Second // how often a consumer that has nothing to say says so
	silent    = 3 * heartbeat   // how long without a word makes it lost
)

// errBroken means that a consumer was lost, or some of what it sent.
var errBroken = errors.New("the consumer of a store was lost")

// Watch is bus.Store's. It is an ordered consumer of ADR-17, made anew after a lost connection, a gap or silence, from where the last one was.
// The library's own asks the server to delete it when it ends, which waits while there is none.
func (s *store) Watch(ctx context.Context, prefix string, handle func(bus.Entry)) error {
	if err := bus.CheckPrefix(prefix); err != nil {
		return err
	}
	ctx, cancel := link.Bound(ctx, s.conn.life)
	defer cancel()
	var seen uint64
	current := false
	var absent absence
	take := func(e bus.Entry) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if e.Kind == bus.Current {
			if current {
				return nil
			}
			current = true
		} else {
			if e.Revision <= seen {
				return nil
			}
			seen = e.Revision
			if e.Kind == bus.Deleted && !current {
				return nil
			}
		}
		handle(e)
		return nil
	}
	for attempt := 1; ; attempt++ {
		epoch, err := s.conn.link.Wait(ctx)
		if err == nil {
			before := seen
			bound, done := link.Bound(ctx, epoch)
			bound, asked := s.conn.asking(bound, apiSubjects+"CONSUMER.")
			err = absent.after(s.follow(bound, prefix, seen, false, take))
			if bound.Err() != nil {
				err = context.Cause(bound)
			}
			asked()
			done()
			if seen != before {
				attempt = 1
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("watching %s: %w", s.name, context.Cause(ctx))
		}
		if !passing(err) {
			return fmt.Errorf("watching %s: %w", s.name, s.conn.plain(err))
		}
		_ = wait.For(ctx, pause(min(attempt, 4)))
	}
}

// follow tells of the last write of each key below prefix after a revision, then Current, then of each write, until ctx ends or it breaks.
func (s *store) follow(ctx context.Context, prefix string, after uint64, bare bool, take func(bus.Entry) error) error {
	filter := s.before + ">"
	if prefix != "" {
		filter = s.before + prefix + ".>"
	}
	inbox := s.conn.nc.NewInbox()
	sub, err := s.conn.nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	// A consumer without a subscriber is the server's to remove.
	defer func() { _ = sub.Unsubscribe() }()
	config := jetstream.ConsumerConfig{
		DeliverSubject: inbox, FilterSubject: filter, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, HeadersOnly: bare,
		AckPolicy: jetstream.AckNonePolicy, MaxDeliver: 1, MemoryStorage: true, Replicas: 1, FlowControl: true, IdleHeartbeat: heartbeat, InactiveThreshold: 10 * time.Second,
	}
	if after > 0 {
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, after+1
	}
	create, cancel := context.WithTimeoutCause(ctx, attemptLimit, errSlow)
	consumer, err := s.stream.CreateOrUpdatePushConsumer(create, config)
	slow := err != nil && create.Err() != nil
	cancel()
	if slow {
		return context.Cause(create)
	}
	if err != nil {
		return err
	}
	pending := consumer.CachedInfo().NumPending + consumer.CachedInfo().Delivered.Consumer
	if pending == 0 {
		if err := take(bus.Entry{Kind: bus.Current}); err != nil {
			return err
		}
	}
	for expected := uint64(1); ; {
		m, err := next(ctx, sub)
		if err != nil {
			return err
		}
		if m.Header.Get("Status") == "100" {
			if err := s.control(m, expected); err != nil {
				return err
			}
			continue
		}
		meta, err := m.Metadata()
		if err != nil || meta.Sequence.Consumer != expected || len(m.Subject) <= len(s.before) {
			return errBroken
		}
		e := bus.Entry{Key: m.Subject[len(s.before):], Value: m.Data, Revision: meta.Sequence.Stream, At: meta.Timestamp}
		if gone(m.Header) {
			e.Kind, e.Value = bus.Deleted, nil
		}
		if err := take(e); err != nil {
			return err
		}
		if pending > 0 && expected <= pending && (expected == pending || meta.NumPending == 0) {
			pending = 0
			if err := take(bus.Entry{Kind: bus.Current}); err != nil {
				return err
			}
		}
		expected++
	}
}

// next waits for a message, but not longer than a consumer that is there is silent.
func next(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	quiet, cancel := context.WithTimeout(ctx, silent)
	defer cancel()
	m, err := sub.NextMsgWithContext(quiet)
	switch {
	case err == nil:
		return m, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case quiet.Err() != nil, errors.Is(err, nats.ErrSlowConsumer):
		return nil, errBroken
	}
	return nil, err
}

// control does what a message without an entry is for: it keeps the flow, and shows what was lost.
func (s *store) control(m *nats.Msg, expected uint64) error {
	if m.Reply != "" {
		return m.Respond(nil)
	}
	if stalled := m.Header.Get("Nats-Consumer-Stalled"); stalled != "" {
		if err := s.conn.nc.Publish(stalled, nil); err != nil {
			return err
		}
	}
	if last, err := strconv.ParseUint(m.Header.Get("Nats-Last-Consumer"), 10, 64); err == nil && last != expected-1 {
		return errBroken
	}
	return nil
}
