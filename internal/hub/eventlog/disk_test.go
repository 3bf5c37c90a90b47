package eventlog_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
)

// disk is a Keeper that does nothing by itself: a test says when what was put is durable, refused, or lost.
type disk struct {
	mu      sync.Mutex // protects the following fields
	rows    map[string][]byte
	waiting []*write
	failing bool
}

// write is a row on its way.
type write struct {
	row   string
	value []byte
	done  chan struct{}
	err   error
}

var errDisk = errors.New("the disk is full")

func newDisk() *disk { return &disk{rows: make(map[string][]byte)} }

func (d *disk) Put(bucket, key string, value []byte) func(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := &write{row: bucket + " " + key, value: value, done: make(chan struct{})}
	if d.failing { // it is written with the rest when the disk can be written again
		w.err = errDisk
		close(w.done)
	}
	d.waiting = append(d.waiting, w)
	return func(ctx context.Context) error {
		select {
		case <-w.done:
			return w.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// writing is the last row on its way that ends with a text.
func (d *disk) writing(text string) *write {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range slices.Backward(d.waiting) { // behind it may be rows that it drove out
		if w.value != nil && strings.HasSuffix(string(w.value), text) {
			return w
		}
	}
	return nil
}

// flush makes the first n rows that wait durable.
func (d *disk) flush(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failing {
		return
	}
	n = min(n, len(d.waiting))
	for _, w := range d.waiting[:n] {
		if w.value == nil {
			delete(d.rows, w.row)
		} else {
			d.rows[w.row] = w.value
		}
		if w.err == nil {
			close(w.done)
		}
	}
	d.waiting = d.waiting[n:]
}

// fail refuses what waits and what comes.
func (d *disk) fail() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failing = true
	for _, w := range d.waiting {
		if w.err == nil {
			w.err = errDisk
			close(w.done)
		}
	}
}

// heal writes what was refused, and takes what comes.
func (d *disk) heal() {
	d.mu.Lock()
	d.failing = false
	d.mu.Unlock()
	d.flush(1 << 30)
}

// crash loses what waits, and is the disk that the next program finds.
func (d *disk) crash() *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &disk{rows: maps.Clone(d.rows)}
}

func (d *disk) Rows(_ context.Context, bucket string, each func(key string, value []byte) error) error {
	d.mu.Lock()
	rows := maps.Clone(d.rows)
	d.mu.Unlock()
	for _, row := range slices.Sorted(maps.Keys(rows)) {
		if key, ok := strings.CutPrefix(row, bucket+" "); ok {
			if err := each(key, slices.Clone(rows[row])); err != nil {
				return err
			}
		}
	}
	return nil
}

// count is how many rows of a bucket are durable.
func (d *disk) count(bucket string) int {
	n := 0
	_ = d.Rows(context.Background(), bucket, func(string, []byte) error { n++; return nil }) // never fails
	return n
}
