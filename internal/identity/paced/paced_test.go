package paced_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/identity/paced"
	"github.com/twinfleet/twinfleet/internal/iothub"
)

// Every index is done exactly once, also of parts that the service shed; after that parts are smaller.
func TestShedPartsAreDoneLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const total = 1000
		var mu sync.Mutex
		done, calls, smallest := make([]int, total), 0, total
		var told paced.Progress
		began := time.Now()
		o := paced.Options{Total: total, Progress: func(p paced.Progress) { told = p }}
		err := paced.Run(t.Context(), o, func(_ context.Context, _ *paced.Work, first, last int) error {
			mu.Lock()
			defer mu.Unlock()
			smallest = min(smallest, last-first)
			if calls++; calls == 2 {
				return iothub.ErrThrottled
			}
			for i := first; i < last; i++ {
				done[i]++
			}
			return nil
		})
		for i, n := range done {
			if n != 1 {
				t.Fatalf("index %d was done %d times; want once", i, n)
			}
		}
		if err != nil || told.Done != total || smallest > 50 || time.Since(began) != time.Second {
			t.Errorf("%v, %d told, the smallest part has %d, after %v; want all, 50 or fewer, 1s", err, told.Done, smallest, time.Since(began))
		}
	})
}

// A call without an answer is repeated; an answer of the service ends it.
func TestCallsWithoutAnAnswerAreRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := errors.New("the connection was lost")
		for _, tt := range []struct {
			errs  []error
			want  error
			calls int
		}{
			{[]error{lost, lost, nil}, nil, 3},
			{[]error{lost, lost, lost, lost, nil}, lost, 4},
			{[]error{iothub.ErrArgumentInvalid, nil}, iothub.ErrArgumentInvalid, 1},
		} {
			calls := 0
			err := paced.Run(t.Context(), paced.Options{Total: 1}, func(ctx context.Context, w *paced.Work, _, _ int) error {
				return w.Repeat(ctx, func(context.Context) error {
					calls++
					return tt.errs[calls-1]
				})
			})
			if !errors.Is(err, tt.want) || calls != tt.calls {
				t.Errorf("%v after %d calls; want %v after %d", err, calls, tt.want, tt.calls)
			}
		}
	})
}
