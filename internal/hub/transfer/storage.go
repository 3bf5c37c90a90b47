// Package transfer is the import and export of identities in bulk (iot-hub-bulk-identity-mgmt), and the hub's own storage
// of blobs that it reads and writes: what an account of Azure storage is to the service.
package transfer

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
)

// Path is where the storage stands on the hub's port: a blob is Path/container/blob.
const Path = "/storage/"

// MaxBlob is the largest blob, in bytes.
const MaxBlob = 512 << 20

// Storage keeps blobs by container and name. It is safe for concurrent use.
type Storage struct {
	dir string // empty keeps all in memory

	mu    sync.Mutex // protects the following field, and the order of writes
	blobs map[string]memoryBlob
}

type memoryBlob struct {
	content []byte
	at      time.Time
}

// unfinished begins the names of files whose content is still coming. No blob has such a name.
const unfinished = ".new-"

// NewStorage keeps blobs in a directory, which is made with the first of them, readable by its owner alone; in memory when
// it is empty. What a hub that was killed left unfinished is removed.
func NewStorage(dir string) *Storage {
	if dir != "" {
		left, _ := filepath.Glob(filepath.Join(dir, "*", unfinished+"*")) // the pattern is well formed
		for _, name := range left {
			_ = os.Remove(name) // it takes up room, and no more
		}
	}
	return &Storage{dir: dir, blobs: make(map[string]memoryBlob)}
}

// Blob is a blob that is being read. The caller must Close it.
type Blob struct {
	io.ReadSeeker
	Size   int64     // in bytes
	At     time.Time // of its last writing
	closer io.Closer
}

// Close ends the reading.
func (b *Blob) Close() error {
	if b.closer == nil {
		return nil
	}
	return b.closer.Close()
}

// ErrNoBlob is returned for a blob that there is not.
var ErrNoBlob = errors.New("the blob does not exist")

// ErrTooLarge is returned for a blob of more than MaxBlob bytes.
var ErrTooLarge = errors.New("the blob is too large")

// ErrCondition is returned by a Condition that a blob, or that there is none, does not meet.
var ErrCondition = errors.New("the condition of the request is not met")

// Condition says by a blob's contents, nil when there is none, whether it may be written or deleted: nil or an error.
type Condition func(present *Blob) error

// allowedLocked asks a condition; nil allows all. The caller holds the lock until it has done what it asked for.
func (s *Storage) allowedLocked(container, name string, may Condition) error {
	if may == nil {
		return nil
	}
	b, err := s.openLocked(container, name)
	switch {
	case errors.Is(err, ErrNoBlob):
		return may(nil)
	case err != nil:
		return err
	}
	return errors.Join(may(b), b.Close())
}

// ErrName is returned for names that no container or blob can have.
var ErrName = errors.New("no name of a container and a blob")

// names of containers are those of Azure storage; blobs stand in no folders here.
var (
	containerName = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`)
	blobName      = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$`)
)

func check(container, name string) error {
	if !containerName.MatchString(container) || !blobName.MatchString(name) {
		return fmt.Errorf("%w: %q, %q", ErrName, container, name)
	}
	return nil
}

// Open reads a blob. It returns ErrNoBlob or ErrName.
func (s *Storage) Open(container, name string) (*Blob, error) {
	if err := check(container, name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.openLocked(container, name)
}

func (s *Storage) openLocked(container, name string) (*Blob, error) {
	if s.dir == "" {
		b, ok := s.blobs[container+"/"+name]
		if !ok {
			return nil, fmt.Errorf("%w: %s/%s", ErrNoBlob, container, name)
		}
		return &Blob{ReadSeeker: bytes.NewReader(b.content), Size: int64(len(b.content)), At: b.at}, nil
	}
	f, err := os.Open(filepath.Join(s.dir, container, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s/%s", ErrNoBlob, container, name)
	}
	if err != nil {
		return nil, fmt.Errorf("opening blob %s/%s: %w", container, name, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening blob %s/%s: %w", container, name, err), f.Close())
	}
	return &Blob{ReadSeeker: f, Size: info.Size(), At: info.ModTime(), closer: f}, nil
}

// Write puts a blob in the place of what there was, when all of it has come and the condition, nil for none, is met then; write writes
// its content. It returns ErrTooLarge, ErrName, or the error of write or of the condition; then there is what there was.
func (s *Storage) Write(container, name string, may Condition, write func(io.Writer) error) error {
	if err := check(container, name); err != nil {
		return err
	}
	if s.dir == "" {
		var content bytes.Buffer
		if err := write(&bounded{w: &content, left: MaxBlob}); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.allowedLocked(container, name, may); err != nil {
			return err
		}
		s.blobs[container+"/"+name] = memoryBlob{content.Bytes(), time.Now()}
		return nil
	}
	dir := filepath.Join(s.dir, container)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making container %s: %w", container, err)
	}
	aside := filepath.Join(dir, unfinished+rand.Text())
	f, err := os.OpenFile(aside, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("writing blob %s/%s: %w", container, name, err)
	}
	err = write(&bounded{w: f, left: MaxBlob})
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.adopt(aside, container, name, may)
	}
	if err != nil {
		return errors.Join(err, os.Remove(aside))
	}
	return nil
}

// adopt gives a file the name of a blob.
func (s *Storage) adopt(aside, container, name string, may Condition) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.allowedLocked(container, name, may); err != nil {
		return err
	}
	return os.Rename(aside, filepath.Join(s.dir, container, name))
}

// Delete removes a blob if a condition, nil for none, is met. It returns ErrNoBlob, ErrName, or the error of the condition.
func (s *Storage) Delete(container, name string, may Condition) error {
	if err := check(container, name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.allowedLocked(container, name, may); err != nil {
		return err
	}
	if s.dir == "" {
		if _, ok := s.blobs[container+"/"+name]; !ok {
			return fmt.Errorf("%w: %s/%s", ErrNoBlob, container, name)
		}
		delete(s.blobs, container+"/"+name)
		return nil
	}
	err := os.Remove(filepath.Join(s.dir, container, name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s/%s", ErrNoBlob, container, name)
	}
	return err
}

// bounded refuses more than so many bytes.
type bounded struct {
	w    io.Writer
	left int64
}

// Write passes on what there is room for.
func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, ErrTooLarge
	}
	return b.w.Write(p)
}

// Container finds the container that a URI names: one of the hub's own storage, by whatever name the hub is called.
// The query, which holds the access, is returned beside it. The error is iothub.ErrBlobContainer.
func Container(uri string) (container, query string, err error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", "", iothub.ErrBlobContainer.With("the container must be a URI such as https://localhost:8443%sdevices", Path)
	}
	name, own := strings.CutPrefix(strings.TrimSuffix(u.Path, "/"), Path)
	if !own || !containerName.MatchString(name) {
		return "", "", iothub.ErrBlobContainer.With("this hub reads and writes containers of its own only: %s and a name of 3 to 63 letters, digits and hyphens", Path)
	}
	return name, u.RawQuery, nil
}
