package blobs

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// maxBlocks is how many blocks a blob has at most (rest/api/storageservices: put-block-list).
const maxBlocks = 50_000

// blocks are those of a blob that have come and are in no list yet. They do not outlive the program.
type blocks struct {
	byID map[string]aside
	size int64     // of all, in bytes
	at   time.Time // when the last came
}

// PutBlock takes a block of a blob, in the place of one of the same id, when all of it has come; write writes its content. It returns
// ErrName, ErrBlockID, ErrBlocks, ErrTooLarge, ErrFull or the error of write.
func (s *Storage) PutBlock(container, name, id string, write func(io.Writer) error) error {
	if err := check(container, name); err != nil {
		return err
	}
	if raw, err := base64.StdEncoding.DecodeString(id); err != nil || len(raw) == 0 || len(raw) > 64 {
		return ErrBlockID
	}
	s.mu.Lock()
	err := s.expireLocked(time.Now())
	s.mu.Unlock()
	if err != nil {
		return err
	}
	a, err := s.receive(container, write)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := container + "/" + name
	b := s.coming[key]
	if b == nil {
		b = &blocks{byID: make(map[string]aside)}
	}
	old, replaces := b.byID[id]
	for other := range b.byID {
		if len(other) != len(id) {
			return errors.Join(ErrBlocks, s.dropLocked(a))
		}
		break // the others are as long as each other
	}
	switch {
	case !replaces && len(b.byID) >= maxBlocks:
		return errors.Join(ErrBlocks, s.dropLocked(a))
	case b.size-old.size+a.size > MaxBlob:
		return errors.Join(ErrTooLarge, s.dropLocked(a))
	}
	b.byID[id], b.at = a, time.Now()
	b.size += a.size - old.size
	s.coming[key] = b
	if replaces {
		return s.dropLocked(old)
	}
	return nil
}

// Commit makes a blob of blocks that have come, in the order of a list, if a condition, nil for none, is met; blocks that it does not
// name are given up. A block of a blob that was there before is none that has come. It returns ErrName, ErrBlock, ErrBlocks,
// ErrTooLarge, ErrFull or the error of the condition; then the blocks wait on.
func (s *Storage) Commit(container, name string, ids []string, may Condition) error {
	if err := check(container, name); err != nil {
		return err
	}
	if len(ids) > maxBlocks {
		return ErrBlocks
	}
	key := container + "/" + name
	s.mu.Lock()
	b := s.coming[key]
	if b == nil {
		b = &blocks{}
	}
	for _, id := range ids {
		if _, ok := b.byID[id]; !ok {
			s.mu.Unlock()
			return fmt.Errorf("%w: %.100q", ErrBlock, id)
		}
	}
	delete(s.coming, key) // they are this call's until it is over
	s.mu.Unlock()
	a, err := s.receive(container, func(w io.Writer) error {
		for _, id := range ids {
			if err := b.byID[id].copyTo(w); err != nil {
				return fmt.Errorf("reading a block of %s: %w", key, err)
			}
		}
		return nil
	})
	if err == nil {
		err = s.adopt(a, container, name, may)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, newer := s.coming[key]; err != nil && !newer && len(b.byID) > 0 {
		s.coming[key] = b
		return err
	}
	return errors.Join(err, s.dropBlocksLocked(b))
}

// copyTo writes the content.
func (a aside) copyTo(w io.Writer) error {
	if a.path == "" {
		_, err := io.Copy(w, bytes.NewReader(a.content))
		return err
	}
	f, err := os.Open(a.path)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return errors.Join(err, f.Close())
}

// forgetLocked gives up the blocks of a blob that have come.
func (s *Storage) forgetLocked(key string) error {
	b := s.coming[key]
	if b == nil {
		return nil
	}
	delete(s.coming, key)
	return s.dropBlocksLocked(b)
}

func (s *Storage) dropBlocksLocked(b *blocks) error {
	var errs []error
	for _, a := range b.byID {
		errs = append(errs, s.dropLocked(a))
	}
	return errors.Join(errs...)
}

// expireLocked gives up the blocks whose list did not come. It looks for them once a minute at most.
func (s *Storage) expireLocked(now time.Time) error {
	if now.Sub(s.swept) < time.Minute {
		return nil
	}
	s.swept = now
	var errs []error
	for key, b := range s.coming {
		if now.Sub(b.at) >= s.opts.BlocksLast {
			errs = append(errs, s.forgetLocked(key))
		}
	}
	return errors.Join(errs...)
}
