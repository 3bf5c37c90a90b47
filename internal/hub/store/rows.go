package store

import (
	"context"

	"github.com/twinfleet/twinfleet/internal/hub/keep"
)

// Put keeps a row of somebody else's beside the devices, in place of one of the same bucket and key; nil takes it away. The function
// that it returns waits until the row is on disk, and tells why it is not; it need not be called. The order of rows is that of a
// keep.Keeper. A bucket is any name but the devices' own. Without a data directory nothing is kept, and there is nothing to wait for.
func (s *Store) Put(bucket, key string, value []byte) (durable func(context.Context) error) {
	if s.disk == nil {
		return keep.Nothing
	}
	return s.disk.Put(bucket, key, value).Wait
}

// Rows hands over the rows of a bucket, in the order of their keys. The values are the receiver's to keep.
func (s *Store) Rows(ctx context.Context, bucket string, each func(key string, value []byte) error) error {
	if s.disk == nil {
		return nil
	}
	return s.disk.Rows(ctx, bucket, each)
}
