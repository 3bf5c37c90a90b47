package devices_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/keeptest"
)

// shelf notes what is done with it.
type shelf struct {
	keeptest.Shelf
	note func(what string)
}

func (s *shelf) Put(bucket, key string, value []byte) func(context.Context) error {
	client, _, _ := strings.Cut(key, "\x00")
	if value == nil {
		s.note("forget " + client)
	} else {
		s.note("keep " + client)
	}
	return s.Shelf.Put(bucket, key, value)
}

// Feedback comes before the message is forgotten: whenever the hub is killed, its sender hears. A message whose feedback is kept has ended.
func TestFeedbackBeforeForgetting(t *testing.T) {
	var mu sync.Mutex
	var noted []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		noted = append(noted, what)
	}
	notes := func() string {
		mu.Lock()
		defer mu.Unlock()
		all := strings.Join(noted, ", ")
		noted = nil
		return all
	}
	s := &shelf{note: note}
	in(t, devices.Options{Keeper: s}, func(b *bed) {
		next := func(reported string) *bed {
			b.Table.Close()
			other := &bed{T: b.T, backend: b.backend}
			other.Table = devices.New(devices.Options{
				Backend: b.backend, Keeper: s,
				Feedback: func(f devices.Feedback) { note(f.MessageID + " " + f.Status) },
				Reported: func(origin string) bool { return origin == reported },
			})
			if err := other.Load(b.Context()); err != nil {
				b.Fatal(err)
			}
			synctest.Wait()
			return other
		}
		b.send("a", "b", "c")
		b.Table.Close()
		if got := notes(); got != "keep d, keep d, keep d" {
			b.Errorf("%s", got)
		}
		began := time.Now()
		time.Sleep(time.Minute)
		second := next("d 2 2000-01-01T00:00:00Z") // b
		all := second.Receive("d", nil, 9, 0)
		if got := notes(); len(all) != 2 || got != "forget d" || all[1].Message.MessageID != "c" || !all[1].Enqueued.Equal(began) || all[1].Sequence != 3 {
			b.Fatalf("%+v wait; %s", all, got)
		}
		second.settle(all[0].Token, 0)
		if got := notes(); got != "a Success, forget d" {
			b.Errorf("%s", got)
		}
		second.send("d")
		if all := second.Receive("d", nil, 9, 0); len(all) != 1 || all[0].Sequence != 4 {
			b.Errorf("a message that is sent then: %+v", all)
		}
		second.Table.Close()
		notes()
		time.Sleep(time.Hour)
		third := next("d 4 2000-01-01T00:00:00Z") // as an earlier message with this number
		if got := notes(); got != "c Expired, forget d, d Expired, forget d" || third.Remembered() != 0 {
			b.Errorf("after their time: %s", got)
		}
		third.Table.Close()
	})
}
