package wait_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/wait"
)

func TestFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, enough := time.Now(), errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		if err := wait.For(ctx, time.Hour); err != nil || time.Since(began) != time.Hour {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		time.AfterFunc(time.Minute, func() { cancel(enough) })
		if err := wait.For(ctx, time.Hour); !errors.Is(err, enough) || time.Since(began) != time.Hour+time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		for _, d := range []time.Duration{-1, 0, time.Hour} {
			if err := wait.For(ctx, d); !errors.Is(err, enough) {
				t.Errorf("%v: %v", d, err)
			}
		}
		if err := wait.For(context.Background(), 0); err != nil {
			t.Error(err)
		}
	})
}
