package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/twinfleet/twinfleet/internal/hub/store/record"
	"github.com/twinfleet/twinfleet/internal/hub/wholefile"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/codec"
)

// remedy is what can be done about a damaged file.
const remedy = "put a copy of it back, or remove it to begin without devices"

// Open opens the data file, and makes it and its directory if need be.
func Open(dir string, log *slog.Logger) (d *Disk, err error) {
	path := filepath.Join(dir, FileName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	d = &Disk{path: path, log: log, wake: make(chan struct{}, 1), stopped: make(chan struct{}), unsaved: make(map[row]Operation)}
	var file *os.File
	options := bbolt.Options{
		Timeout: lockWait, FreelistType: bbolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	}
	if err := d.create(); err != nil {
		return nil, fmt.Errorf("making %s: %w", path, err)
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
			_, err := tx.CreateBucketIfNotExists([]byte(devices))
			return err
		})
	})
	if err != nil {
		return nil, errors.Join(err, d.Abandon())
	}
	d.update = d.db.Update
	return d, nil
}

// create makes an empty data file, unless there is one: aside, so that no half of it is ever found in its place.
func (d *Disk) create() error {
	if _, err := os.Stat(d.path); !errors.Is(err, os.ErrNotExist) {
		return nil // what is wrong with it, opening it tells
	}
	f, err := os.CreateTemp(filepath.Dir(d.path), FileName+".*")
	if err != nil {
		return err
	}
	aside := f.Name()
	defer os.Remove(aside)
	if err := f.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(aside, 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	if err := wholefile.Adopt(aside, d.path); err != nil && !errors.Is(err, os.ErrExist) { // else another hub was faster
		return err
	}
	return wholefile.SyncDir(filepath.Dir(d.path))
}

// guard does something with a file that may hold anything. The library panics over pages
// that make no sense, and a file cut short faults when it is read: both are damage.
func (d *Disk) guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("opening %s: %w: %v; %s", d.path, ErrDamaged, r, remedy)
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
		return fmt.Errorf("opening %s: %w: %w; %s", d.path, ErrDamaged, err, remedy)
	default:
		return fmt.Errorf("opening %s: %w", d.path, err)
	}
}

// Load hands over every record of the file.
func (d *Disk) Load(ctx context.Context, in *jsonparse.Interner, adopt func(record.Record)) error {
	return d.guard(func() error {
		return d.db.View(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte(devices)).ForEach(func(id, b []byte) error {
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

// Rows hands over the rows of a bucket in the order of their keys, as they are on disk. The values are the receiver's to keep. It ends
// with the first error of each.
func (d *Disk) Rows(ctx context.Context, bucket string, each func(key string, value []byte) error) error {
	return d.guard(func() error {
		return d.db.View(func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(bucket))
			if b == nil {
				return nil
			}
			return b.ForEach(func(key, value []byte) error {
				if err := ctx.Err(); err != nil {
					return err
				}
				return each(string(key), bytes.Clone(value))
			})
		})
	})
}

// Abandon lets go of a file that was not started on.
func (d *Disk) Abandon() error { return d.guard(d.db.Close) }
