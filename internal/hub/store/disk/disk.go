// Package disk keeps the records of devices, and the rows of whoever else has something to keep, in one file, a batch of changes at a
// time.
package disk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/twinfleet/twinfleet/internal/hub/store/record"
	"github.com/twinfleet/twinfleet/internal/iothub"
)

const (
	lockWait     = time.Second // For another process to let go of the file.
	smallestFile = 2 * 4096    // Bytes of the two pages that say what the file is.
)

// devices is the bucket of the records, by device id.
const devices = "devices.1"

// FileName is the name of the file in the data directory.
const FileName = "hub.db"

// Errors of opening a data directory. The error that Open returns matches one of them and
// says the path.
var (
	ErrLocked  = errors.New("another process is using it")
	ErrDamaged = errors.New("the file is damaged or no data file of a hub")
)

// errFailed is what a write gets while the disk fails.
var errFailed = iothub.ErrServer.With("The hub cannot write its data file; it tries again until it can")

// errClosed is what a write gets after Close.
var errClosed = iothub.ErrServiceUnavailable.With("The hub is stopping")

// Disk writes changes to the data file. One goroutine does it, a batch at a time: while one
// batch is being flushed the next one gathers, so a flush serves all the writes that wait.
type Disk struct {
	db   *bbolt.DB
	path string
	log  *slog.Logger

	wake    chan struct{} // Holds a token when there may be something to do.
	stopped chan struct{} // Closed when the goroutine has ended.

	update func(func(*bbolt.Tx) error) error // Of db.

	mu      sync.Mutex // Protects the following fields.
	pending *Batch     // nil when nothing waits.
	closing bool
	failing bool              // The last write failed.
	unsaved map[row]Operation // What was to be written since.
	untold  []Operation       // Of them those of which somebody is to be told, in their order.
}

// row is a place in the file.
type row struct{ bucket, key string }

// Batch is what becomes durable with one flush.
type Batch struct {
	ops  []Operation
	done chan struct{} // Closed when the batch is on disk or has failed.
	err  error         // To be read after done.
}

// Operation is one change of one device.
type Operation struct {
	ID    string         // Of the device.
	State *record.Record // What is to be kept; nil for a device deleted.
	Then  func()         // Called when the change is durable; nil for nobody.

	bucket string // Of a row that is no device's; then State does not count.
	value  []byte
}

func (op Operation) row() row {
	if op.bucket == "" {
		return row{devices, op.ID}
	}
	return row{op.bucket, op.ID}
}

// bytes is what is to be in the row; nil for nothing.
func (op Operation) bytes() []byte {
	switch {
	case op.bucket != "":
		return op.value
	case op.State != nil:
		return op.State.AppendBinary(nil)
	}
	return nil
}

// Wait returns when the batch is durable. A nil batch is: there is no disk or no change.
func (b *Batch) Wait(ctx context.Context) error {
	if b == nil {
		return nil
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the disk: %w", context.Cause(ctx))
	}
}

// Start begins to write.
func (d *Disk) Start() { go d.run() }

// Add puts changes into the next batch, all into the same. Changes of one device must be added in their order. While the disk fails, and
// after Close, the batch that it returns has failed; what was added while the disk failed is written with the rest once it can be, so that
// what is on disk follows what is in memory.
func (d *Disk) Add(ops ...Operation) *Batch {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.failedLocked(); err != nil {
		if !d.closing {
			d.setAside(ops)
		}
		b := &Batch{done: make(chan struct{}), err: err}
		close(b.done)
		return b
	}
	if d.pending == nil {
		d.pending = &Batch{done: make(chan struct{})}
		d.poke()
	}
	d.pending.ops = append(d.pending.ops, ops...)
	return d.pending
}

// Put puts a row into the next batch, in place of one of the same bucket and key; nil takes it away. A bucket is any name but that of
// the devices' own; it is made when it is written to. The value must not be changed afterwards. What is said of Add holds.
func (d *Disk) Put(bucket, key string, value []byte) *Batch {
	return d.Add(Operation{ID: key, bucket: bucket, value: value})
}

// poke wakes the goroutine.
func (d *Disk) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Failed returns why nothing can be written, nil if all is well.
func (d *Disk) Failed() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failedLocked()
}

func (d *Disk) failedLocked() error {
	switch {
	case d.closing:
		return errClosed
	case d.failing:
		return errFailed
	}
	return nil
}

// How long the disk is left alone between two tries, after it has failed.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// run writes batch after batch until close. After a failure it tries until the disk takes what it refused.
func (d *Disk) run() {
	defer close(d.stopped)
	retry := time.NewTimer(0)
	defer retry.Stop()
	pause := firstRetry
	for {
		select {
		case <-d.wake:
		case <-retry.C:
		}
		d.mu.Lock()
		b, closing, failing := d.pending, d.closing, d.failing
		d.pending = nil
		d.mu.Unlock()
		if b != nil {
			failing = !d.flush(b)
			pause = firstRetry
		} else if failing {
			failing = !d.resume()
			pause = min(2*pause, lastRetry)
		}
		if closing {
			return
		}
		if failing {
			retry.Reset(pause)
		}
	}
}

// flush makes a batch durable, then tells whoever waits or asked to be told. It is false when the disk fails.
func (d *Disk) flush(b *Batch) bool {
	last := make(map[row]Operation, len(b.ops))
	for _, op := range b.ops {
		last[op.row()] = op
	}
	if err := d.commit(last); err != nil {
		d.log.Error("writing the data file failed; the hub refuses changes, and tries again until it can be written", "path", d.path, "err", err)
		d.mu.Lock()
		d.failing = true
		d.setAside(b.ops)
		failed := []*Batch{b}
		if d.pending != nil { // it has gathered meanwhile
			d.setAside(d.pending.ops)
			failed = append(failed, d.pending)
			d.pending = nil
		}
		d.mu.Unlock()
		for _, b := range failed {
			b.err, b.ops = errFailed, nil
			close(b.done)
		}
		return false
	}
	tell(b.ops)
	b.ops = nil // somebody may keep the batch
	close(b.done)
	return true
}

// tell tells who asked to be told of operations that are durable.
func tell(ops []Operation) {
	for i := range ops {
		if ops[i].Then != nil {
			ops[i].Then()
		}
	}
}

// setAside keeps operations that could not be written for later. The caller holds the lock.
func (d *Disk) setAside(ops []Operation) {
	for _, op := range ops {
		d.unsaved[op.row()] = op
		if op.Then != nil {
			d.untold = append(d.untold, op)
		}
	}
}

// resume writes what could not be written before. It is false when it still cannot be.
func (d *Disk) resume() bool {
	d.mu.Lock()
	unsaved, untold := d.unsaved, d.untold
	d.unsaved, d.untold = make(map[row]Operation), nil
	d.mu.Unlock()
	if err := d.commit(unsaved); err != nil {
		d.log.Debug("writing the data file failed again", "path", d.path, "err", err)
		d.mu.Lock()
		for r, op := range d.unsaved { // they are newer
			unsaved[r] = op
		}
		d.unsaved, d.untold = unsaved, append(untold, d.untold...)
		d.mu.Unlock()
		return false
	}
	tell(untold)
	d.mu.Lock()
	d.failing = len(d.unsaved) > 0
	ended := !d.failing
	d.mu.Unlock()
	if ended {
		d.log.Warn("the data file can be written again; the hub takes changes", "path", d.path)
	}
	return ended
}

// commit writes operations in one transaction, in the order of the buckets and keys, which is the order of the pages.
func (d *Disk) commit(last map[row]Operation) error {
	rows := make([]row, 0, len(last))
	for r := range last {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Or(strings.Compare(a.bucket, b.bucket), strings.Compare(a.key, b.key)) })
	return d.update(func(tx *bbolt.Tx) error {
		var bucket *bbolt.Bucket
		name := ""
		for _, r := range rows {
			if bucket == nil || r.bucket != name {
				var err error
				name = r.bucket
				if bucket, err = tx.CreateBucketIfNotExists([]byte(name)); err != nil {
					return fmt.Errorf("bucket %q: %w", name, err)
				}
			}
			var err error
			if value := last[r].bytes(); value == nil {
				err = bucket.Delete([]byte(r.key))
			} else {
				err = bucket.Put([]byte(r.key), value) // The library keeps the bytes until the end.
			}
			if err != nil {
				return fmt.Errorf("%s %q: %w", name, r.key, err)
			}
		}
		return nil
	})
}

// Close writes what waits, ends the goroutine and closes the file.
func (d *Disk) Close() error {
	d.mu.Lock()
	already := d.closing
	d.closing = true
	d.mu.Unlock()
	if already {
		return nil
	}
	d.poke()
	<-d.stopped
	if err := d.db.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", d.path, err)
	}
	return nil
}
