package devices

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/filters"
)

// The buckets of the Keeper: sessions by client id, and messages by client id and number, which has so many hexadecimal digits that
// their order is that of the numbers.
const (
	sessionRows = "sessions.1"
	messageRows = "messages.1"
)

func messageKey(client string, number uint64) string {
	return fmt.Sprintf("%s\x00%016x", client, number)
}

// Load takes up the sessions and messages that are kept. What is left of devices that are gone, and what cannot be read, is dropped. It
// is called once, before the fronts serve.
func (t *Table) Load(ctx context.Context) error {
	if t.opts.Keeper == nil {
		return nil
	}
	drop := func(bucket, key string, why error) {
		t.log.Debug("dropping what was kept of a session", "bucket", bucket, "key", strings.ReplaceAll(key, "\x00", " "), "reason", why)
		t.opts.Keeper.Put(bucket, key, nil)
	}
	err := t.opts.Keeper.Rows(ctx, sessionRows, func(client string, value []byte) error {
		set, ok := filters.Decode(value)
		if _, err := t.opts.Backend.Credentials(client); err != nil || !ok {
			drop(sessionRows, client, err)
			return nil
		}
		t.device(client, func(d *state) { d.kept, d.filters = true, set })
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the sessions that were kept: %w", err)
	}
	queued := make(map[string]bool)
	err = t.opts.Keeper.Rows(ctx, messageRows, func(key string, value []byte) error {
		client, text, _ := strings.Cut(key, "\x00")
		number, err := strconv.ParseUint(text, 16, 64)
		if err == nil {
			_, err = t.opts.Backend.Credentials(client)
		}
		var e c2d.Entry
		if err == nil {
			e, err = c2d.Decode(value)
		}
		if err != nil {
			drop(messageRows, key, err)
			return nil
		}
		t.lastMessage.Store(max(t.lastMessage.Load(), number))
		if t.opts.Reported != nil && t.opts.Reported(client, number) {
			drop(messageRows, key, nil)
			return nil
		}
		queued[client] = true
		e.Number = number
		t.device(client, func(d *state) { t.queue(client, d).Queue.Add(e) }) // what has expired meanwhile is due now
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the messages that were kept: %w", err)
	}
	for client := range queued {
		t.tellQueue(client)
	}
	return nil
}

// keepMessage keeps a message that was queued. The caller holds the lock of the device's shard.
func (t *Table) keepMessage(client string, number uint64, value []byte) Durable {
	if t.opts.Keeper == nil {
		return nil
	}
	return t.opts.Keeper.Put(messageRows, messageKey(client, number), value)
}

// keepFilters makes filters those of the kept session. The caller holds the lock of the device's shard.
func (t *Table) keepFilters(client string, d *state, set filters.Set) {
	if d.filters == set {
		return
	}
	d.filters = set
	if t.opts.Keeper != nil {
		d.durable = t.opts.Keeper.Put(sessionRows, client, set.Encode())
	}
}
