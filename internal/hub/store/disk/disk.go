// Package disk keeps the records of devices in one file, a batch of changes at a time.
package disk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/twinfleet/twinfleet/internal/hub/store/record"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/codec"
)

const (
	lockWait     = time.Second // For another process to let go of the file.
	smallestFile = 2 * 4096    // Bytes of the two pages that say what the file is.
)

// FileName is the name of the file in the data directory.
const FileName = "hub.db"

// Errors of opening a data directory. The error that Open returns matches one of them and
// says the path.
var (
	ErrLocked  = errors.New("another process is using it")
	ErrDamaged = errors.New("the file is damaged or no data file of a hub")
)

// errFailed is what a write gets once the disk has failed.
var errFailed = iothub.ErrServer.With("The hub cannot write its data file")

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

	mu      sync.Mutex // Protects the following fields.
	pending *Batch     // nil when nothing waits.
	err     error      // Why nothing can be written any more.
	closing bool
}

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
	Then  func()         // Called when the change is durable.
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

// bucketName is where the records are, by device id.
func bucketName() []byte { return []byte("devices.1") }

// Open opens the data file, and makes it and its directory if need be.
func Open(dir string, log *slog.Logger) (d *Disk, err error) {
	path := filepath.Join(dir, FileName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	d = &Disk{path: path, log: log, wake: make(chan struct{}, 1), stopped: make(chan struct{})}
	var file *os.File
	options := bbolt.Options{
		Timeout: lockWait, FreelistType: bbolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	}
	err = d.guard(func() error {
		if info, err := os.Stat(path); err == nil && info.Size() > 0 && info.Size() < smallestFile {
			return fmt.Errorf("%w: %d bytes are too few", berrors.ErrInvalid, info.Size())
		}
		d.db, err = bbolt.Open(path, 0o600, &options)
		return err
	})
	if err != nil {
		if file != nil {
			_ = file.Close() // A panic of the library leaves it open, and locked; else it is closed already.
		}
		return nil, err
	}
	err = d.guard(func() error {
		return d.db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(bucketName())
			return err
		})
	})
	if err != nil {
		return nil, errors.Join(err, d.Abandon())
	}
	return d, nil
}

// guard does something with a file that may hold anything. The library panics over pages
// that make no sense, and a file cut short faults when it is read: both are damage.
func (d *Disk) guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("opening %s: %w: %v", d.path, ErrDamaged, r)
		}
	}()
	err = do()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("opening %s: %w", d.path, ErrLocked)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum),
		errors.Is(err, berrors.ErrInvalidMapping), errors.Is(err, codec.ErrDamaged):
		return fmt.Errorf("opening %s: %w: %w", d.path, ErrDamaged, err)
	default:
		return fmt.Errorf("opening %s: %w", d.path, err)
	}
}

// Load hands over every record of the file.
func (d *Disk) Load(ctx context.Context, in *jsonparse.Interner, adopt func(record.Record)) error {
	return d.guard(func() error {
		return d.db.View(func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketName()).ForEach(func(id, b []byte) error {
				if err := ctx.Err(); err != nil {
					return err
				}
				rec, err := record.Decode(b, in)
				if err != nil {
					return fmt.Errorf("device %q: %w", id, err)
				}
				if rec.Twin.Key() != string(id) {
					return fmt.Errorf("device %q: %w: another device's record", id, codec.ErrDamaged)
				}
				adopt(rec)
				return nil
			})
		})
	})
}

// Abandon lets go of a file that was not started on.
func (d *Disk) Abandon() error { return d.guard(d.db.Close) }

// Start begins to write.
func (d *Disk) Start() { go d.run() }

// Add puts changes into the next batch, all into the same. Changes of one device must be added in their order.
func (d *Disk) Add(ops ...Operation) *Batch {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.failedLocked(); err != nil {
		b := &Batch{done: make(chan struct{}), err: err}
		close(b.done)
		return b
	}
	if d.pending == nil {
		d.pending = &Batch{done: make(chan struct{})}
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
	d.pending.ops = append(d.pending.ops, ops...)
	return d.pending
}

// Failed returns why nothing can be written, nil if all is well.
func (d *Disk) Failed() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failedLocked()
}

func (d *Disk) failedLocked() error {
	if d.closing {
		return errClosed
	}
	return d.err
}

// run writes batch after batch until close.
func (d *Disk) run() {
	defer close(d.stopped)
	for range d.wake {
		d.mu.Lock()
		b, closing := d.pending, d.closing
		d.pending = nil
		d.mu.Unlock()
		if b != nil {
			d.flush(b)
		}
		if closing {
			return
		}
	}
}

// flush makes a batch durable, then tells whoever waits or asked to be told.
func (d *Disk) flush(b *Batch) {
	d.mu.Lock()
	b.err = d.err
	d.mu.Unlock()
	if b.err == nil {
		if err := d.commit(b.ops); err != nil {
			d.log.Error("writing the data file failed; the hub takes no more changes", "path", d.path, "err", err)
			b.err = errFailed
			d.mu.Lock()
			d.err = errFailed
			d.mu.Unlock()
		}
	}
	if b.err == nil {
		for i := range b.ops {
			b.ops[i].Then()
		}
	}
	close(b.done)
}

// commit writes the last state of every device of a batch in one transaction, in the order
// of the ids, which is the order of the pages.
func (d *Disk) commit(ops []Operation) error {
	last := make(map[string]*record.Record, len(ops))
	for i := range ops {
		last[ops[i].ID] = ops[i].State
	}
	ids := make([]string, 0, len(last))
	for id := range last {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return d.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bucketName())
		for _, id := range ids {
			var err error
			if state := last[id]; state == nil {
				err = bucket.Delete([]byte(id))
			} else {
				err = bucket.Put([]byte(id), state.AppendBinary(nil)) // The library keeps the bytes until the end.
			}
			if err != nil {
				return fmt.Errorf("device %q: %w", id, err)
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
	select {
	case d.wake <- struct{}{}:
	default:
	}
	<-d.stopped
	if err := d.db.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", d.path, err)
	}
	return nil
}
