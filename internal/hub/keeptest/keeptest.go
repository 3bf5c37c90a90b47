// Package keeptest gives tests of what the hub keeps over restarts something that keeps it.
package keeptest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Row is a place on a Shelf.
type Row struct{ Bucket, Key string }

// Shelf keeps rows in memory, as the Keepers of the hub's rooms want it. The zero Shelf is empty. It is safe for concurrent use.
type Shelf struct {
	mu    sync.Mutex // protects the following fields
	rows  map[Row][]byte
	fault error
}

// Put keeps a row, or with nil none, at once.
func (s *Shelf) Put(bucket, key string, value []byte) (durable func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value == nil {
		delete(s.rows, Row{bucket, key})
	} else {
		if s.rows == nil {
			s.rows = make(map[Row][]byte)
		}
		s.rows[Row{bucket, key}] = value
	}
	fault := s.fault
	return func(context.Context) error { return fault }
}

// Rows hands over what is kept in a bucket, in the order of the keys.
func (s *Shelf) Rows(_ context.Context, bucket string, each func(key string, value []byte) error) error {
	all := s.All()
	for _, row := range slices.SortedFunc(maps.Keys(all), func(a, b Row) int { return strings.Compare(a.Key, b.Key) }) {
		if row.Bucket != bucket {
			continue
		}
		if err := each(row.Key, all[row]); err != nil {
			return err
		}
	}
	return nil
}

// Fail has Put tell from now on that nothing becomes durable; nil ends that. The Shelf keeps what it is given nevertheless, as a disk
// writes later what it refused.
func (s *Shelf) Fail(fault error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// All is a copy of what is kept.
func (s *Shelf) All() map[Row][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.rows)
}

// Len is how many rows are kept.
func (s *Shelf) Len() int { return len(s.All()) }
