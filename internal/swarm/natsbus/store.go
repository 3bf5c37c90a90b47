package natsbus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
)

// Names of the key-value layer: NATS ADR-8.
const (
	operationHeader = "KV-Operation"
	operationDelete = "DEL"
)

type store struct {
	conn   *Conn
	name   string
	bucket string // its name in the server
	stream jetstream.Stream
	before string // of subjects: a key follows
}

// streamOf is the stream of a bucket.
func streamOf(bucket string) string { return "KV_" + bucket }

// createAttempts is how often a store is made before the server is believed that it can't: nats-server removes the folder of all streams a
// moment after the last of them went (stream.stop of its server/stream.go), and with it the ground under one that is made just then.
const createAttempts = 4

// errNotMade means that a server could not make a store, and is asked again.
var errNotMade = errors.New("the server could not make the store")

// Store is bus.Bus's.
func (c *Conn) Store(ctx context.Context, name string, create bool) (bus.Store, error) {
	if err := bus.CheckName("store", name); err != nil {
		return nil, err
	}
	bucket := c.options.Prefix + "_" + name
	s := &store{conn: c, name: name, bucket: bucket, before: kvSubjects + bucket + "."}
	unheard, failed := 0, 0
	err := c.retry(ctx, []string{apiSubjects}, func(ctx context.Context, _ int) (err error) {
		s.stream, err = c.js.Stream(ctx, streamOf(bucket))
		if errors.Is(err, nats.ErrNoResponders) {
			// A server that has just started may need a moment; one without JetStream stays so.
			if unheard++; unheard == 5 {
				return jetstream.ErrJetStreamNotEnabled
			}
		}
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
		if !create {
			return bus.ErrNoStore
		}
		config := jetstream.KeyValueConfig{
			Bucket: bucket, Description: "a run of twinfleet", History: 1, Storage: jetstream.FileStorage, MaxBytes: c.options.StoreBytes, Replicas: c.options.Replicas,
		}
		if _, err = c.js.CreateKeyValue(ctx, config); err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
			if failed++; failed < createAttempts && notMade(err) {
				return errNotMade
			}
			return err
		}
		s.stream, err = c.js.Stream(ctx, streamOf(bucket))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening store %s: %w", name, c.storeError(err))
	}
	return s, nil
}

// Drop is bus.Bus's.
func (c *Conn) Drop(ctx context.Context, name string) error {
	if err := bus.CheckName("store", name); err != nil {
		return err
	}
	err := c.retry(ctx, []string{apiSubjects}, func(ctx context.Context, _ int) error {
		err := c.js.DeleteStream(ctx, streamOf(c.options.Prefix+"_"+name))
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("removing store %s: %w", name, c.plain(err))
	}
	return nil
}

// goneAfter is how many attempts in a row find no stream before a store counts as lost: a server of a cluster that has just come back may
// not know of all yet.
const goneAfter = 3

// absence is how many attempts in a row found no stream.
type absence int

// after is how an attempt ended, as far as the absence says: another is made, or the store is lost.
func (n *absence) after(err error) error {
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		*n = 0
		return err
	}
	if *n++; *n < goneAfter {
		return errBroken
	}
	return bus.ErrNoStore
}

// retry is Conn's, and ends when the store is there no more: to a message for a stream that is not there a server has no answer at all.
func (s *store) retry(ctx context.Context, f func(ctx context.Context, attempt int) error) error {
	var absent absence
	return s.conn.retry(ctx, []string{apiSubjects, s.before}, func(ctx context.Context, attempt int) error {
		err := f(ctx, attempt)
		if errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
			if _, look := s.conn.js.Stream(ctx, streamOf(s.bucket)); errors.Is(look, jetstream.ErrStreamNotFound) {
				err = look
			}
		}
		return absent.after(err)
	})
}

// write sends one message of the stream, with an id by which the server, or a look at what is there, tells a second attempt from a second write.
func (s *store) write(ctx context.Context, doing, key string, m *nats.Msg, expect *uint64) (revision uint64, err error) {
	if err := bus.CheckKey(key); err != nil {
		return 0, err
	}
	id := rand.Text()
	m.Subject = s.before + key
	err = s.retry(ctx, func(ctx context.Context, attempt int) error {
		if len(m.Data) > s.conn.MaxPayload() {
			return fmt.Errorf("%d bytes: %w", len(m.Data), bus.ErrTooLarge)
		}
		options := []jetstream.PublishOpt{jetstream.WithMsgID(id)}
		if expect != nil {
			options = append(options, jetstream.WithExpectLastSequencePerSubject(*expect))
		}
		ack, err := s.conn.js.PublishMsg(ctx, m, options...)
		if err == nil {
			revision = ack.Sequence
			return nil
		}
		var refusal *jetstream.APIError
		if !errors.As(err, &refusal) {
			return err
		}
		switch {
		case expect != nil && (refusal.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || refusal.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant):
			if attempt > 1 {
				// The server looks at what is expected before it looks for an attempt of before.
				if last, err := s.last(ctx, key); err != nil || last.Header.Get(jetstream.MsgIDHeader) == id {
					if err == nil {
						revision = last.Sequence
					}
					return err
				}
			}
			return bus.ErrConflict
		case refusal.ErrorCode == codeStoreFailed, noRoom(refusal.ErrorCode):
			return fmt.Errorf("%w: %s", bus.ErrFull, refusal.Description)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%s %s of %s: %w", doing, key, s.name, s.conn.plain(err))
	}
	return revision, nil
}

// last is the last write to a key, a deletion too; bus.ErrNoKey when there was none.
func (s *store) last(ctx context.Context, key string) (*jetstream.RawStreamMsg, error) {
	m, err := s.stream.GetLastMsgForSubject(ctx, s.before+key)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, bus.ErrNoKey
	}
	return m, err
}

func gone(header nats.Header) bool {
	return header.Get(operationHeader) != "" || header.Get(jetstream.MarkerReasonHeader) != ""
}

func (s *store) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	return s.write(ctx, "writing", key, &nats.Msg{Data: value}, nil)
}

func (s *store) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	var expect uint64
	for {
		revision, err := s.write(ctx, "creating", key, &nats.Msg{Data: value}, &expect)
		if !errors.Is(err, bus.ErrConflict) {
			return revision, err
		}
		// It may have been deleted: then the deletion is what must be the last.
		var old *jetstream.RawStreamMsg
		err = s.retry(ctx, func(ctx context.Context, _ int) (err error) {
			old, err = s.last(ctx, key)
			return err
		})
		switch {
		case errors.Is(err, bus.ErrNoKey):
			expect = 0
		case err != nil:
			return 0, fmt.Errorf("creating %s of %s: %w", key, s.name, s.conn.plain(err))
		case !gone(old.Header):
			return 0, fmt.Errorf("creating %s of %s: %w", key, s.name, bus.ErrExists)
		default:
			expect = old.Sequence
		}
	}
}

func (s *store) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if revision == 0 {
		return 0, fmt.Errorf("updating %s of %s: %w", key, s.name, bus.ErrConflict)
	}
	return s.write(ctx, "updating", key, &nats.Msg{Data: value}, &revision)
}

func (s *store) Delete(ctx context.Context, key string) error {
	_, err := s.write(ctx, "deleting", key, &nats.Msg{Header: nats.Header{operationHeader: []string{operationDelete}}}, nil)
	return err
}

func (s *store) Get(ctx context.Context, key string) (bus.Entry, error) {
	if err := bus.CheckKey(key); err != nil {
		return bus.Entry{}, err
	}
	var m *jetstream.RawStreamMsg
	err := s.retry(ctx, func(ctx context.Context, _ int) (err error) {
		m, err = s.last(ctx, key)
		return err
	})
	if err == nil && gone(m.Header) {
		err = bus.ErrNoKey
	}
	if err != nil {
		return bus.Entry{}, fmt.Errorf("reading %s of %s: %w", key, s.name, s.conn.plain(err))
	}
	return bus.Entry{Key: key, Value: m.Data, Revision: m.Sequence, At: m.Time}, nil
}

// errDone ends a look through the store.
var errDone = errors.New("done")

func (s *store) Keys(ctx context.Context, prefix string) (keys []string, err error) {
	if err := bus.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	err = s.retry(ctx, func(ctx context.Context, _ int) error {
		keys = nil
		err := s.follow(ctx, prefix, 0, true, func(e bus.Entry) error {
			switch e.Kind {
			case bus.Current:
				return errDone
			case bus.Value:
				keys = append(keys, e.Key)
			}
			return nil
		})
		if errors.Is(err, errDone) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", s.name, s.conn.plain(err))
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}
