// Package disk keeps documents in one file, in sections, by key. A write returns when it is on disk; writes that come at
// the same time share a flush.
package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/twinfleet/twinfleet/internal/hub/wholefile"
)

// FileName is the name of the file in the data directory.
const FileName = "dps.db"

const lockWait = time.Second // for another process to let go of the file

// Errors of opening a data directory. The error that Open returns matches one of them and says the path.
var (
	ErrLocked  = errors.New("another process is using it")
	ErrDamaged = errors.New("the file is damaged or no data file of a provisioning service")
)

// remedy is what can be done about a damaged file.
const remedy = "put a copy of it back, or remove it to begin without enrollments and with new keys of the service"

// Disk is the open file. Its methods may be called by any number of goroutines.
type Disk struct {
	db   *bbolt.DB
	path string
}

// Change is one document to be written, or to be removed.
type Change struct {
	Section, Key string
	Value        []byte // nil removes
}

// Open opens the file, and makes it and its directory if need be. The file holds keys and is readable by its owner alone.
func Open(dir string, sections ...string) (*Disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	d := &Disk{path: filepath.Join(dir, FileName)}
	if err := d.create(); err != nil {
		return nil, fmt.Errorf("making %s: %w", d.path, err)
	}
	var file *os.File
	err := d.guard(func() (err error) {
		d.db, err = bbolt.Open(d.path, 0o600, &bbolt.Options{
			Timeout: lockWait, FreelistType: bbolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				var err error
				file, err = os.OpenFile(name, flag, mode)
				return file, err
			},
		})
		return err
	})
	if err != nil {
		if file != nil {
			_ = file.Close() // a panic of the library leaves it open, and locked; else it is closed already
		}
		return nil, err
	}
	err = d.guard(func() error {
		return d.db.Update(func(tx *bbolt.Tx) error {
			for _, name := range sections {
				if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// create makes an empty file, unless there is one: aside, so that no half of it is ever found in its place.
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

// guard does something with a file that may hold anything. The library panics over pages that make no sense, and a file
// cut short faults when it is read: both are damage.
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
		errors.Is(err, berrors.ErrInvalidMapping):
		return fmt.Errorf("opening %s: %w: %w; %s", d.path, ErrDamaged, err, remedy)
	default:
		return fmt.Errorf("opening %s: %w", d.path, err)
	}
}

// Each gives every document of a section to take, in the order of the keys. The value is take's for the call alone.
func (d *Disk) Each(section string, take func(key string, value []byte) error) error {
	return d.guard(func() error {
		return d.db.View(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte(section)).ForEach(func(k, v []byte) error {
				if err := take(string(k), v); err != nil {
					return fmt.Errorf("%w: %s %q: %w", ErrDamaged, section, k, err)
				}
				return nil
			})
		})
	})
}

// Write makes changes durable, all or none.
func (d *Disk) Write(changes ...Change) error {
	err := d.db.Batch(func(tx *bbolt.Tx) error {
		for _, c := range changes {
			bucket := tx.Bucket([]byte(c.Section))
			var err error
			if c.Value == nil {
				err = bucket.Delete([]byte(c.Key))
			} else {
				err = bucket.Put([]byte(c.Key), c.Value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing %s: %w", d.path, err)
	}
	return nil
}

// Close closes the file.
func (d *Disk) Close() error {
	if err := d.db.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", d.path, err)
	}
	return nil
}
