package link_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/link"
)

func TestLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := link.New()
		var told []string
		watch := l.States(func(s bus.State) {
			text := "up"
			if !s.Connected {
				text = s.Reason.Error()
			}
			told = append(told, text)
		})
		first, err := l.Wait(t.Context())
		if err != nil || first.Err() != nil {
			t.Fatal(err)
		}
		l.Up()
		l.Down(errors.New("reset"))
		if !errors.Is(context.Cause(first), bus.ErrLost) {
			t.Error(context.Cause(first))
		}
		l.Down(errors.New("refused"))
		l.Down(errors.New("refused"))
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Wait(impatient); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		time.AfterFunc(time.Minute, l.Up)
		second, err := l.Wait(t.Context())
		if err != nil || second.Err() != nil || !l.Connected() {
			t.Error(err)
		}
		// Who waits is woken before those who watch are told.
		synctest.Wait()
		if want := []string{"up", "reset", "refused", "up"}; !slices.Equal(told, want) {
			t.Errorf("%q", told)
		}
		watch.Stop()
		l.Down(errors.New("unheard"))
		l.Up()
		third, _ := l.Wait(t.Context())
		l.Close()
		if len(told) != 4 || !errors.Is(context.Cause(third), bus.ErrClosed) {
			t.Error(told, context.Cause(third))
		}
	})
}

func TestBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		enough, over := errors.New("enough"), errors.New("over")
		epoch, end := context.WithCancelCause(t.Context())
		ctx, cancel := context.WithCancelCause(t.Context())
		one, done := link.Bound(ctx, epoch)
		defer done()
		cancel(enough)
		if !errors.Is(context.Cause(one), enough) {
			t.Error(context.Cause(one))
		}
		two, done := link.Bound(t.Context(), epoch)
		defer done()
		end(over)
		<-two.Done()
		// One that has ended already is no race.
		three, done := link.Bound(t.Context(), epoch)
		defer done()
		if !errors.Is(context.Cause(two), over) || !errors.Is(context.Cause(three), over) {
			t.Error(context.Cause(two), context.Cause(three))
		}
	})
}
