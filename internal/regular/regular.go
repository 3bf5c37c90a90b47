// Package regular reads files that somebody names: a name of anything else, such as a named pipe or a device, neither makes the program wait for
// ever nor fills its memory.
package regular

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrKind is the class of errors about a name that is there and is no regular file's.
var ErrKind = errors.New("is no regular file")

// ErrFolder is the one of them about a folder.
var ErrFolder = fmt.Errorf("%w but a folder", ErrKind)

// Check refuses a file that is not regular, and one of more than most bytes; 0 for as many as there are. A symbolic link is what it points to.
func Check(name string, most int64) error {
	info, err := os.Stat(name)
	var path *fs.PathError
	switch {
	case errors.As(err, &path):
		return &fs.PathError{Op: "open", Path: name, Err: path.Err} // as of one that is opened
	case err != nil:
		return err
	}
	if err := kind(info.Mode()); err != nil {
		return fmt.Errorf("%s %w", name, err)
	}
	if most > 0 && info.Size() > most {
		return tooLarge(name, most)
	}
	return nil
}

// CheckGiven is Check for a name that a user gave to this process itself: /dev/stdin and /dev/fd/63, as a shell writes <(command), are
// accepted whatever they are, since they are open already and end with who writes them.
func CheckGiven(name string, most int64) error {
	if handed(name) {
		return nil
	}
	return Check(name, most)
}

// Open opens a regular file to read it.
func Open(name string) (*os.File, error) {
	if err := Check(name, 0); err != nil { // before it is opened, which may wait for ever
		return nil, err
	}
	return os.Open(name)
}

// Read reads a regular file of at most so many bytes.
func Read(name string, most int64) ([]byte, error) {
	if err := Check(name, most); err != nil {
		return nil, err
	}
	return read(name, most)
}

// ReadGiven is Read for a name that a user gave to this process itself, as CheckGiven has it.
func ReadGiven(name string, most int64) ([]byte, error) {
	if err := CheckGiven(name, most); err != nil {
		return nil, err
	}
	return read(name, most)
}

func read(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1)) // what a size says may not be so by now, and files of /proc have none
	if err == nil && int64(len(b)) > most {
		err = tooLarge(name, most)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

func tooLarge(name string, most int64) error {
	return fmt.Errorf("%s has more than %d bytes, which is all that is read", name, most)
}

// handed reports whether a name is of a file that is open already, which another program handed to this one.
func handed(name string) bool {
	name = filepath.ToSlash(filepath.Clean(name))
	return name == "/dev/stdin" || strings.HasPrefix(name, "/dev/fd/") || strings.HasPrefix(name, "/proc/self/fd/")
}

// kind tells of what is no regular file.
func kind(m fs.FileMode) error {
	switch {
	case m.IsRegular():
		return nil
	case m.IsDir():
		return ErrFolder
	case m&fs.ModeNamedPipe != 0:
		return fmt.Errorf("%w but a pipe", ErrKind)
	case m&fs.ModeSocket != 0:
		return fmt.Errorf("%w but a socket", ErrKind)
	case m&fs.ModeDevice != 0:
		return fmt.Errorf("%w but a device", ErrKind)
	default:
		return ErrKind
	}
}
