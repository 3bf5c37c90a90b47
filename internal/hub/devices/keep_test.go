package devices_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/devices"
)

// shelf keeps rows in memory, and notes what is done.
type shelf struct {
	note func(what string)

	mu   sync.Mutex // protects the following field
	rows map[string][]byte
}

func (s *shelf) Put(bucket, key string, value []byte) func(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	client, _, _ := strings.Cut(key, "\x00")
	if value == nil {
		s.note("forget " + client)
		delete(s.rows, bucket+" "+key)
	} else {
		s.note("keep " + client)
		s.rows[bucket+" "+key] = value
	}
	return func(context.Context) error { return nil }
}

func (s *shelf) Rows(_ context.Context, bucket string, each func(key string, value []byte) error) error {
	s.mu.Lock()
	rows := maps.Clone(s.rows)
	s.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		if name, ok := strings.CutPrefix(key, bucket+" "); ok {
			if err := each(name, rows[key]); err != nil {
				return err
			}
		}
	}
	return nil
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
	s := &shelf{note: note, rows: map[string][]byte{}}
	in(t, devices.Options{Keeper: s}, func(b *bed) {
		next := func(reported uint64) *bed {
			b.Table.Close()
			other := &bed{T: b.T, backend: b.backend}
			other.Table = devices.New(devices.Options{
				Backend: b.backend, Keeper: s,
				Feedback: func(f devices.Feedback) { note(f.MessageID + " " + f.Status) },
				Reported: func(client string, number uint64) bool { return client == "d" && number == reported },
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
		second := next(2) // b
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
		third := next(0)
		if got := notes(); got != "c Expired, forget d, d Expired, forget d" || third.Remembered() != 0 {
			b.Errorf("after their time: %s", got)
		}
		third.Table.Close()
	})
}
