package pace

import (
	"context"
	"time"
)

// Window is a stretch of time in which something is wanted.
type Window struct {
	Start   time.Time       // may have passed
	Length  time.Duration   // as planned, over which a rate changes; 0 when it is not known
	Context context.Context // ends with the window
}

// Windows waits for the next window, or returns the cause of ctx when there is none any more.
type Windows func(ctx context.Context) (Window, error)
