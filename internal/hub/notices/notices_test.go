package notices_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/hub/keeptest"
	"github.com/twinfleet/twinfleet/internal/hub/lockqueue"
	"github.com/twinfleet/twinfleet/internal/hub/notices"
	"github.com/twinfleet/twinfleet/internal/iothub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bed is a queue in the bubble of a test.
type bed struct {
	*testing.T
	*notices.Queue
	began time.Time
}

func in(t *testing.T, o notices.Options, test func(*bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bed{t, notices.New(o), time.Now()}
		defer func() { b.Queue.Close() }()
		test(b)
	})
}

func (b *bed) add(records ...int) {
	b.Helper()
	for _, r := range records {
		if _, err := b.Add(fmt.Sprint("of ", r), r); err != nil {
			b.Fatal(err)
		}
	}
}

// take takes all there is and compares bodies, and how often they were taken before.
func (b *bed) take(receiver any, want string) (tokens []lockqueue.Token) {
	b.Helper()
	var got []string
	for _, m := range b.Take(receiver, 10) {
		got = append(got, fmt.Sprint(string(m.Body), m.Deliveries))
		tokens = append(tokens, m.Token)
	}
	if all := strings.Join(got, " "); all != want {
		b.Errorf("taken: %q; want %q", all, want)
	}
	return tokens
}

func (b *bed) settle(token lockqueue.Token, o lockqueue.Outcome) {
	b.Helper()
	if _, err := b.Settle(token, o); err != nil {
		b.Error(err)
	}
}

// A batch is closed when it is full, or so long after its first record; receivers are told then, without asking.
func TestBatches(t *testing.T) {
	in(t, notices.Options{Batch: 3, Linger: 15 * time.Second}, func(b *bed) {
		told := make(chan time.Duration, 10)
		stop := b.Watch(func() { told <- time.Since(b.began) })
		b.add(1, 2)
		time.Sleep(10 * time.Second)
		b.add(3, 4)
		if at := <-told; at != 10*time.Second {
			b.Errorf("told of a full batch after %v", at)
		}
		b.take(b, "[1,2,3]0")
		if at := <-told; at != 25*time.Second || b.Waiting() != 4 {
			b.Errorf("told of the rest after %v, %d wait", at, b.Waiting())
		}
		b.take(b, "[4]0")
		stop()
		b.add(5, 6, 7)
		synctest.Wait()
		if len(told) > 0 {
			b.Error("who watches no more is told")
		}
	})
	in(t, notices.ForFeedback(0), func(b *bed) {
		b.add(1, 2)
		b.take(b, "[1]0 [2]0")
	})
	in(t, notices.ForFiles(), func(b *bed) {
		b.add(1, 2)
		b.take(b, "10 20") // no arrays: bodies 1 and 2, taken for the first time
	})
}

// Receivers compete: what one has the other gets when the lock is over, the receiver is gone, or it was abandoned.
func TestReceivers(t *testing.T) {
	in(t, notices.Options{Deliveries: 4}, func(b *bed) {
		first, second := new(int), new(int)
		told := 0
		b.Watch(func() { told++ })
		b.add(1, 2, 3, 4)
		tokens := b.take(first, "10 20 30 40")
		b.take(second, "")
		b.settle(tokens[0], lockqueue.Complete)
		b.settle(tokens[1], lockqueue.Reject)
		synctest.Wait()
		told = 0
		b.settle(tokens[2], lockqueue.Abandon)
		synctest.Wait()
		b.take(second, "31")
		b.Release(first)
		synctest.Wait()
		b.take(second, "41")
		if told != 2 {
			b.Errorf("told %d times; want 2", told)
		}
		if _, err := b.Settle(tokens[3], lockqueue.Complete); !errors.Is(err, iothub.ErrMessageLockLost) {
			b.Errorf("settling what is lost: %v", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if told != 3 {
			b.Errorf("told %d times; want 3, of locks that timed out", told)
		}
		b.take(first, "32 42")
		time.Sleep(time.Minute)
		b.take(first, "33 43")
		time.Sleep(time.Minute)
		if b.take(first, ""); b.Waiting() != 0 {
			b.Errorf("%d wait after four deliveries in vain", b.Waiting())
		}
	})
}

// Nobody receives: messages expire, and their number is bounded.
func TestNobodyReceives(t *testing.T) {
	s := &keeptest.Shelf{}
	in(t, notices.Options{Keeper: s, Most: 2, TTL: time.Minute}, func(b *bed) {
		b.add(1, 2, 3)
		if b.Waiting() != 2 || s.Len() != 2 {
			b.Errorf("%d wait, %d rows; want 2", b.Waiting(), s.Len())
		}
		b.take(b, "20 30")
		time.Sleep(time.Minute)
		synctest.Wait()
		if b.Waiting() != 0 || s.Len() != 0 {
			b.Errorf("%d wait, %d rows after their time", b.Waiting(), s.Len())
		}
	})
}

// What was not completed is there when the hub begins anew, whether its batch was closed or not, and of what it is.
func TestRecordsAreKept(t *testing.T) {
	s := &keeptest.Shelf{}
	s.Put("", "no number", []byte{})
	s.Put("", "0000000000000000", []byte(`{"Version":2}`))
	o := notices.Options{Keeper: s, Batch: 2, Linger: time.Second, TTL: time.Minute}
	in(t, o, func(b *bed) {
		load := func(want string) {
			b.Helper()
			b.Queue.Close()
			b.Queue = notices.New(o)
			origins, err := b.Load(b.Context())
			if got := strings.Join(slices.Sorted(maps.Keys(origins)), ", "); err != nil || got != want {
				b.Errorf("records %s, %v; want %s", got, err, want)
			}
		}
		load("")
		if s.Len() != 0 {
			b.Errorf("%d rows that cannot be read are there", s.Len())
		}
		b.add(1, 2, 3, 4, 5)
		b.settle(b.take(b, "[1,2]0 [3,4]0")[0], lockqueue.Complete)
		load("of 3, of 4, of 5")
		b.add(6)
		time.Sleep(time.Second)
		b.settle(b.take(b, "[3,4]0 [5,6]0")[0], lockqueue.Complete)
		b.Queue.Close()
		time.Sleep(59 * time.Second)
		load("of 5, of 6") // whose time was over meanwhile
		if b.Waiting() != 0 || s.Len() != 0 {
			b.Errorf("%d wait, %d rows", b.Waiting(), s.Len())
		}
		b.add(7)
		time.Sleep(time.Second)
		b.take(b, "[7]0")
	})
}
