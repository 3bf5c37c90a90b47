// Package failure counts what went wrong, in bounded space.
package failure

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Kinds collects what went wrong for many devices: one example of each kind. Its zero value is empty and ready. It is safe for
// concurrent use.
type Kinds struct {
	mu    sync.Mutex // protects kinds
	kinds map[string]*kind
}

type kind struct {
	example string // a device
	count   int
	err     error
}

// maxKinds bounds how many kinds of failure are told apart.
const maxKinds = 5

// Add notes what went wrong for a device; no error is none.
func (k *Kinds) Add(device string, err error) {
	if err == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	text := err.Error()
	if len(k.kinds) >= maxKinds && k.kinds[text] == nil {
		text = "other"
	}
	if k.kinds == nil {
		k.kinds = make(map[string]*kind)
	}
	if k.kinds[text] == nil {
		k.kinds[text] = &kind{example: device, err: err}
	}
	k.kinds[text].count++
}

// Err joins one error for each kind, with the number of devices and one of them, the most frequent first; nil when nothing
// went wrong.
func (k *Kinds) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make([]*kind, 0, len(k.kinds))
	for _, x := range k.kinds {
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b *kind) int { return b.count - a.count })
	errs := make([]error, 0, len(all))
	for _, x := range all {
		if x.count == 1 {
			errs = append(errs, fmt.Errorf("1 device failed, %s: %w", x.example, x.err))
			continue
		}
		errs = append(errs, fmt.Errorf("%d devices failed, among them %s: %w", x.count, x.example, x.err))
	}
	return errors.Join(errs...)
}
