package worker

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// failures collects what went wrong for many devices in bounded space: one example of each kind.
type failures struct {
	mu    sync.Mutex // protects kinds
	kinds map[string]*failure
}

type failure struct {
	example string // a device
	count   int
	err     error
}

// maxKinds bounds how many kinds of failure are told apart.
const maxKinds = 5

func newFailures() *failures { return &failures{kinds: make(map[string]*failure)} }

func (f *failures) add(device string, err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	text := err.Error()
	if len(f.kinds) >= maxKinds && f.kinds[text] == nil {
		text = "other"
	}
	if f.kinds[text] == nil {
		f.kinds[text] = &failure{example: device, err: err}
	}
	f.kinds[text].count++
}

func (f *failures) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*failure, 0, len(f.kinds))
	for _, k := range f.kinds {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b *failure) int { return b.count - a.count })
	errs := make([]error, 0, len(all))
	for _, k := range all {
		errs = append(errs, fmt.Errorf("%d devices failed, among them %s: %w", k.count, k.example, k.err))
	}
	return errors.Join(errs...)
}
