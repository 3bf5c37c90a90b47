// Package twinread reads the twins of one device after the other.
package twinread

import (
	"context"
	"encoding/json"
	"time"
)

// Reader reads one twin.
type Reader interface {
	Twin(ctx context.Context, id string) (json.RawMessage, error)
}

// Timeout is how long a twin read may take.
const Timeout = time.Minute

// Read makes an operation of a pace.Load: it reads one twin after the other, in the order given.
func Read(service Reader, ids []string, order []int) func(context.Context, int64) error {
	return func(ctx context.Context, n int64) error {
		ctx, cancel := context.WithTimeout(ctx, Timeout)
		defer cancel()
		_, err := service.Twin(ctx, ids[order[n%int64(len(order))]])
		return err
	}
}
