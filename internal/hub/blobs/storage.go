// Package blobs is the hub's own storage of blobs: what an account of Azure storage is to the service. Identities are imported from it
// and exported to it, and devices upload their files to it.
package blobs

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// MaxBlob is the largest blob, in bytes, and the most that the blocks of one that is still coming have together.
const MaxBlob = 512 << 20

// How much a Storage holds when Options say nothing: in a directory, and in memory.
const (
	defaultOnDisk   = 16 << 30
	defaultInMemory = 1 << 30
)

// leastCost is what a blob or a block costs of the room however small it is, in bytes: it bounds how many there are.
const leastCost = 4 << 10

// Options of a Storage. The zero value keeps all in memory.
type Options struct {
	// Dir keeps blobs in a directory, which is made with the first of them, readable by its owner alone; in memory when empty.
	Dir string
	// Room is how many bytes all blobs and blocks may have together; 16 GB in a directory and 1 GB in memory when 0. Blobs and
	// blocks cost 4 KB of it at least. What was there already may be more; then nothing can be added.
	Room int64
	// BlocksLast is how long blocks wait for the list that makes a blob of them, from the last of them on; an hour when 0, which is
	// how long the access lasts that devices are given.
	BlocksLast time.Duration
}

// Storage keeps blobs by container and name. It is safe for concurrent use.
type Storage struct {
	opts Options

	mu     sync.Mutex // protects the following fields, and the order of writes
	used   int64      // of the room
	blobs  map[string]memoryBlob
	coming map[string]*blocks // by container/name
	swept  time.Time          // when it was last looked for blocks to give up
}

type memoryBlob struct {
	content []byte
	at      time.Time
}

// unfinished begins the names of files whose content is still coming. No blob has such a file.
const unfinished = ".new-"

// New makes a Storage. What a hub that was killed left unfinished is removed.
func New(o Options) *Storage {
	if o.Room == 0 {
		o.Room = defaultInMemory
		if o.Dir != "" {
			o.Room = defaultOnDisk
		}
	}
	if o.BlocksLast == 0 {
		o.BlocksLast = time.Hour
	}
	s := &Storage{opts: o, blobs: make(map[string]memoryBlob), coming: make(map[string]*blocks)}
	if o.Dir != "" {
		left, _ := filepath.Glob(filepath.Join(o.Dir, "*", unfinished+"*")) // the pattern is well formed
		for _, name := range left {
			_ = os.Remove(name) // it takes up room, and no more
		}
		kept, _ := filepath.Glob(filepath.Join(o.Dir, "*", "*"))
		for _, name := range kept {
			if info, err := os.Stat(name); err == nil {
				s.used += cost(info.Size())
			}
		}
	}
	return s
}

func cost(size int64) int64 { return max(size, leastCost) }

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

// What can be wrong with a blob.
var (
	ErrNoBlob   = errors.New("the blob does not exist")
	ErrTooLarge = errors.New("the blob is too large")                                                // of more than MaxBlob bytes
	ErrFull     = errors.New("the storage is full")                                                  // there is no room left for what came
	ErrBlock    = errors.New("the list names a block that has not come")                             // or was given up
	ErrBlockID  = errors.New("a block's id is base64 of 1 to 64 bytes")                              // rest/api/storageservices: put-block
	ErrBlocks   = errors.New("a blob has at most 50000 blocks, whose ids are as long as each other") // likewise
	// ErrCondition is returned by a Condition that a blob, or that there is none, does not meet.
	ErrCondition = errors.New("the condition of the request is not met")
)

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
	if s.opts.Dir == "" {
		b, ok := s.blobs[container+"/"+name]
		if !ok {
			return nil, fmt.Errorf("%w: %s/%s", ErrNoBlob, container, name)
		}
		return &Blob{ReadSeeker: bytes.NewReader(b.content), Size: int64(len(b.content)), At: b.at}, nil
	}
	f, err := os.Open(s.path(container, name))
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

// path is the file of a blob.
func (s *Storage) path(container, name string) string {
	return filepath.Join(s.opts.Dir, container, fileName(name))
}

// Write puts a blob in the place of what there was, when all of it has come and the condition, nil for none, is met then; write writes
// its content. Blocks that waited for their list are given up. It returns ErrTooLarge, ErrFull, ErrName, or the error of write or of
// the condition; then there is what there was.
func (s *Storage) Write(container, name string, may Condition, write func(io.Writer) error) error {
	if err := check(container, name); err != nil {
		return err
	}
	a, err := s.receive(container, write)
	if err != nil {
		return err
	}
	return s.adopt(a, container, name, may)
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
	freed, err := s.costLocked(container, name)
	if err != nil {
		return err
	}
	if s.opts.Dir == "" {
		delete(s.blobs, container+"/"+name)
	} else if err := os.Remove(s.path(container, name)); err != nil {
		return fmt.Errorf("deleting blob %s/%s: %w", container, name, err)
	}
	s.used -= freed
	return nil
}

// costLocked is what a blob takes of the room. It returns ErrNoBlob.
func (s *Storage) costLocked(container, name string) (int64, error) {
	b, err := s.openLocked(container, name)
	if err != nil {
		return 0, err
	}
	return cost(b.Size), b.Close()
}

// aside is content that is no blob's yet: in memory, or in a file. It has its share of the room.
type aside struct {
	path    string
	content []byte
	size    int64
}

// receive takes content in. It returns ErrTooLarge, ErrFull or the error of write; then nothing is left of it.
func (s *Storage) receive(container string, write func(io.Writer) error) (aside, error) {
	if s.opts.Dir == "" {
		var content bytes.Buffer
		w := &bounded{w: &content, storage: s}
		if err := w.take(write); err != nil {
			return aside{}, err
		}
		return aside{content: content.Bytes(), size: w.size}, nil
	}
	dir := filepath.Join(s.opts.Dir, container)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return aside{}, fmt.Errorf("making container %s: %w", container, err)
	}
	a := aside{path: filepath.Join(dir, unfinished+rand.Text())}
	f, err := os.OpenFile(a.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return aside{}, fmt.Errorf("writing to container %s: %w", container, err)
	}
	w := &bounded{w: f, storage: s}
	if err = w.take(write); err != nil {
		return aside{}, errors.Join(err, f.Close(), os.Remove(a.path))
	}
	a.size = w.size
	if err = errors.Join(f.Sync(), f.Close()); err != nil {
		return aside{}, errors.Join(err, s.drop(a))
	}
	return a, nil
}

// drop gives content up.
func (s *Storage) drop(a aside) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropLocked(a)
}

func (s *Storage) dropLocked(a aside) error {
	s.used -= cost(a.size)
	if a.path == "" {
		return nil
	}
	return os.Remove(a.path)
}

// adopt makes content a blob's.
func (s *Storage) adopt(a aside, container, name string, may Condition) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.allowedLocked(container, name, may)
	var freed int64
	if err == nil {
		if freed, err = s.costLocked(container, name); errors.Is(err, ErrNoBlob) {
			err = nil
		}
	}
	if err == nil && s.opts.Dir != "" {
		err = os.Rename(a.path, s.path(container, name))
	}
	if err != nil {
		return errors.Join(err, s.dropLocked(a))
	}
	if s.opts.Dir == "" {
		s.blobs[container+"/"+name] = memoryBlob{a.content, time.Now()}
	}
	s.used -= freed
	return s.forgetLocked(container + "/" + name)
}

// bounded is what content is written to: it takes room for it, and refuses what there is none for.
type bounded struct {
	w       io.Writer
	storage *Storage
	size    int64
}

// take has content written. When that fails, it gives the room back.
func (b *bounded) take(write func(io.Writer) error) error {
	err := b.storage.reserve(cost(0))
	if err != nil {
		return err
	}
	if err = write(b); err != nil {
		b.storage.free(cost(b.size))
	}
	return err
}

// Write passes on what there is room for.
func (b *bounded) Write(p []byte) (int, error) {
	size := b.size + int64(len(p))
	if size > MaxBlob {
		return 0, ErrTooLarge
	}
	if err := b.storage.reserve(cost(size) - cost(b.size)); err != nil {
		return 0, err
	}
	b.size = size
	return b.w.Write(p)
}

func (s *Storage) reserve(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > 0 && s.used+n > s.opts.Room {
		return fmt.Errorf("%w: it holds %d bytes", ErrFull, s.opts.Room)
	}
	s.used += n
	return nil
}

func (s *Storage) free(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= n
}
