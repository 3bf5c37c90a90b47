package call_test

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/worker/call"
	"github.com/twinfleet/twinfleet/metrics"
)

func TestOutcomes(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want metrics.Outcome
	}{
		{nil, metrics.OK},
		{iothub.ErrThrottled, metrics.Throttled},
		{iothub.ErrUnauthorizedAccess, metrics.Refused},
		{iothub.ErrArgumentInvalid, metrics.Failed},
		{context.DeadlineExceeded, metrics.Timeout},
		{fmt.Errorf("x: %w", &net.DNSError{IsTimeout: true}), metrics.Timeout},
		{fmt.Errorf("x: %w", iothub.ErrMethodTimeout), metrics.Timeout},
	} {
		if got := call.Outcome(tt.err); got != tt.want {
			t.Errorf("call.Outcome(%v) = %v; want %v", tt.err, got, tt.want)
		}
	}
}
