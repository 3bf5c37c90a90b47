// Package wholefile writes files that are there as a whole or not at all, whenever the program or the machine ends.
package wholefile

import (
	"errors"
	"os"
	"path/filepath"
)

// Replace puts a file in its place, also where there is one already. When it returns nil the file is on disk.
func Replace(path string, text []byte, mode os.FileMode) error {
	return write(path, text, mode, os.Rename)
}

// Create is Replace for a file that is not there yet; os.ErrExist when it is.
func Create(path string, text []byte, mode os.FileMode) error { return write(path, text, mode, Adopt) }

// Adopt gives a file that is whole its name, unless there is another of it: os.ErrExist. The old name may stay.
func Adopt(aside, path string) error {
	err := os.Link(aside, path)
	if err == nil || errors.Is(err, os.ErrExist) {
		return err
	}
	// A file system without links: the last one to begin wins.
	return os.Rename(aside, path)
}

// write writes a file aside and gives it its name with put.
func write(path string, text []byte, mode os.FileMode, put func(aside, path string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails when it was renamed
	_, err = f.Write(text)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := put(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = d.Sync() // not all systems can: then they need not
	return d.Close()
}
