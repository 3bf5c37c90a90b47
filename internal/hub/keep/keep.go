// Package keep is what rooms of the hub ask of whoever keeps something for them over restarts.
package keep

import "context"

// Keeper keeps rows over restarts, by bucket and key. All rows, whatever their buckets, are written in the order of the calls: when one
// is durable, so are those before it.
type Keeper interface {
	// Put keeps a row in place of one of the same bucket and key; nil takes it away. It waits for nobody; the function that it returns
	// waits until that is durable, and tells why it is not. The value must not be changed afterwards.
	Put(bucket, key string, value []byte) (durable func(context.Context) error)
	// Rows hands over the rows of a bucket, in the order of their keys. The values are the receiver's to keep. It ends with the first
	// error of each.
	Rows(ctx context.Context, bucket string, each func(key string, value []byte) error) error
}

// Nothing is what there is to wait for where nothing is kept.
func Nothing(context.Context) error { return nil }
