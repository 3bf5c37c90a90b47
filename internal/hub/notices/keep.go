package notices

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/keep"
)

// kept is a record as it is kept when the program ends, under its number in so many hexadecimal digits that their order is that of the
// numbers. How records were put into batches, and who took them, is not kept.
type kept struct {
	Version int    // 1
	Origin  string // what the record is of
	At      time.Time
	Record  json.RawMessage
}

func rowKey(number uint64) string { return fmt.Sprintf("%016x", number) }

// keep keeps a record. The caller holds the lock.
func (q *Queue) keep(row string, k kept) (durable func(context.Context) error) {
	if q.opts.Keeper == nil {
		return keep.Nothing
	}
	value, err := json.Marshal(k)
	if err != nil {
		return func(context.Context) error { return fmt.Errorf("keeping a record: %w", err) }
	}
	return q.opts.Keeper.Put(q.opts.Bucket, row, value)
}

// Load takes up the records that are kept, and tells their origins. What cannot be read, and what has expired, is dropped. It is called
// once, before anything is added.
func (q *Queue) Load(ctx context.Context) (origins map[string]bool, err error) {
	origins = make(map[string]bool)
	if q.opts.Keeper == nil {
		return origins, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	err = q.opts.Keeper.Rows(ctx, q.opts.Bucket, func(row string, value []byte) error {
		var k kept
		number, err := strconv.ParseUint(row, 16, 64)
		if err == nil {
			err = json.Unmarshal(value, &k)
		}
		if err != nil || k.Version != 1 {
			q.log.Debug("dropping a record that was kept", "bucket", q.opts.Bucket, "key", row, "reason", err)
			q.forget(row)
			return nil
		}
		if k.Origin != "" {
			origins[k.Origin] = true
		}
		q.numbers = max(q.numbers, number)
		if !now.Before(k.At.Add(q.opts.TTL)) {
			q.forget(row)
			return nil
		}
		q.append(row, k.Record, k.At, now)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the records that were kept in %s: %w", q.opts.Bucket, err)
	}
	q.settle(now)
	return origins, nil
}
