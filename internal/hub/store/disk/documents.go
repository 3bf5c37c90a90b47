package disk

import (
	"fmt"
	"slices"

	"go.etcd.io/bbolt"
)

// kindBucket is where the documents of a kind are, by id.
func kindBucket(kind string) []byte { return []byte("documents." + kind) }

// Documents hands over all documents of a kind, in the order of their ids.
func (d *Disk) Documents(kind string, adopt func(id string, document []byte) error) error {
	return d.guard(func() error {
		return d.db.View(func(tx *bbolt.Tx) error {
			bucket := tx.Bucket(kindBucket(kind))
			if bucket == nil {
				return nil
			}
			return bucket.ForEach(func(id, document []byte) error {
				return adopt(string(id), slices.Clone(document))
			})
		})
	})
}

// PutDocument keeps a document, or deletes it when it is nil. It is on disk when the call returns. Documents are few
// and change seldom: each has a transaction of its own.
func (d *Disk) PutDocument(kind, id string, document []byte) error {
	if err := d.Failed(); err != nil {
		return err
	}
	err := d.db.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists(kindBucket(kind))
		if err != nil {
			return err
		}
		if document == nil {
			return bucket.Delete([]byte(id))
		}
		return bucket.Put([]byte(id), document)
	})
	if err != nil {
		d.log.Error("writing the data file failed", "path", d.path, "err", fmt.Errorf("%s %q: %w", kind, id, err))
		return errFailed
	}
	return nil
}
