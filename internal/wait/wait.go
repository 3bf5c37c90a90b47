// Package wait waits for a time, or for the end of a context.
package wait

import (
	"context"
	"time"
)

// For waits, or returns the cause of ctx when that ends first. It does not wait for 0 or less.
func For(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
