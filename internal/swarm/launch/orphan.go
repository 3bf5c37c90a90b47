package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// launched is the environment variable that tells a process that it was started by this package, and what is to become of it without who did.
const (
	launched = "TWINFLEET_LAUNCHED"
	endsWith = "ends"
	survives = "survives"
)

// ErrNotLaunched is returned by Orphaned in a process that nobody launched.
var ErrNotLaunched = errors.New("this process is not to end with another one")

// Survives reports, in a process that was launched, whether it is to live on when the one that did is gone.
func Survives() bool { return os.Getenv(launched) == survives }

// Orphaned waits, in a process that was launched, until the one that did is gone: then it is nil. It returns the cause of ctx when that ends
// before, and ErrNotLaunched where there is nothing to wait for. It reads the standard input, which nobody else may.
func Orphaned(ctx context.Context) error {
	if os.Getenv(launched) == "" {
		return ErrNotLaunched
	}
	in, err := input()
	if err != nil {
		return fmt.Errorf("reading the standard input: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { interrupt(in) })
	defer stop()
	_, err = io.Copy(io.Discard, in)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("reading the standard input: %w", err)
	}
	return nil
}
