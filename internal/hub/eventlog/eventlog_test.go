package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/hub/eventlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, o eventlog.Options) *eventlog.Log {
	t.Helper()
	l, err := eventlog.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	if err := l.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

// appendText appends a message that says where it stands.
func appendText(l *eventlog.Log, key, text string) func(context.Context) error {
	return l.Append(key, len(text)+30, func(b []byte, at eventlog.Position) []byte {
		return fmt.Appendf(b, "%d %d %d %s", at.Sequence, at.Offset, at.Enqueued.UnixMilli(), text)
	})
}

// texts reads what a reader has, and holds positions to what the messages say.
func texts(t testing.TB, r *eventlog.Reader, n int) []string {
	t.Helper()
	var all []string
	for _, e := range r.Take(nil, n) {
		where := fmt.Sprintf("%d %d %d ", e.Sequence, e.Offset, e.Enqueued.UnixMilli())
		text, ok := strings.CutPrefix(string(e.Bytes), where)
		if !ok {
			t.Fatalf("message %q stands at %s", e.Bytes, where)
		}
		all = append(all, text)
	}
	return all
}

func reader(t testing.TB, l *eventlog.Log, partition int, from eventlog.From, notify func()) *eventlog.Reader {
	t.Helper()
	r, err := l.Open(t.Context(), partition, from, notify)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// Until somebody reads nothing is kept; from then on everything is.
func TestOffUntilSomebodyReads(t *testing.T) {
	for name, enable := range map[string]func(l *eventlog.Log) error{
		"a reader": func(l *eventlog.Log) error { _, err := l.Open(t.Context(), 0, eventlog.Start(), nil); return err },
		"a status": func(l *eventlog.Log) error { _, err := l.Status(t.Context(), 0); return err },
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t, eventlog.Options{Partitions: 1})
			appendText(l, "d", "nobody reads it")
			if s := l.Stats(); l.On() || s.On || s.Messages != 0 || s.Appended != 0 {
				t.Fatalf("the log is on before anybody reads: %+v", s)
			}
			if err := enable(l); err != nil {
				t.Fatal(err)
			}
			appendText(l, "d", "a")
			if got := texts(t, reader(t, l, 0, eventlog.Start(), nil), 9); !slices.Equal(got, []string{"a"}) {
				t.Errorf("read %q", got)
			}
		})
	}
	always := open(t, eventlog.Options{Always: true})
	if !always.On() {
		t.Error("a log that is always on is off")
	}
	never := open(t, eventlog.Options{Bytes: -1, Always: true})
	if _, err := never.Open(t.Context(), 0, eventlog.Start(), nil); !errors.Is(err, eventlog.ErrOff) || never.On() {
		t.Errorf("a log that is off for good: %v", err)
	}
	if _, err := never.Status(t.Context(), 0); !errors.Is(err, eventlog.ErrOff) {
		t.Errorf("a log that is off for good: %v", err)
	}
	closed := open(t, eventlog.Options{Always: true})
	closed.Close()
	appendText(closed, "d", "x")
	if _, err := closed.Open(t.Context(), 0, eventlog.Start(), nil); !errors.Is(err, eventlog.ErrOff) || closed.Stats().Messages != 0 {
		t.Errorf("a closed log: %v", err)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []eventlog.Options{
		{Bytes: eventlog.MinBytes - 1}, {Retention: -1}, {Partitions: -1}, {Partitions: eventlog.MaxPartitions + 1},
	} {
		if _, err := eventlog.New(o); !errors.Is(err, eventlog.ErrOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	l := open(t, eventlog.Options{})
	if n := l.Partitions(); n != 4 {
		t.Errorf("%d partitions; want 4", n)
	}
	for _, n := range []int{-1, 4} {
		if _, err := l.Open(t.Context(), n, eventlog.Start(), nil); !errors.Is(err, eventlog.ErrNoPartition) {
			t.Errorf("partition %d: %v", n, err)
		}
		if _, err := l.Status(t.Context(), n); !errors.Is(err, eventlog.ErrNoPartition) {
			t.Errorf("partition %d: %v", n, err)
		}
	}
}

// The partition of a device never changes: rows on disk are in it. All partitions are used.
func TestPartitionsAreStable(t *testing.T) {
	l := open(t, eventlog.Options{})
	used := make(map[int]int)
	for i := range 1000 {
		used[l.PartitionOf(fmt.Sprint("dev-", i))]++
	}
	for n := range 4 {
		if used[n] < 150 {
			t.Errorf("partitions have %v of a thousand devices", used)
		}
	}
	if got := []int{l.PartitionOf("dev-1"), l.PartitionOf("dev-2"), l.PartitionOf("sensor/7")}; !slices.Equal(got, []int{2, 3, 1}) {
		t.Errorf("partitions are %v: who changes the hash changes the place of devices whose messages are kept", got)
	}
}

// Where a reader begins, by each kind of position; and what lies behind the end is refused, as the service does.
func TestPositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, eventlog.Options{Partitions: 1, Always: true})
		var at []eventlog.Position
		for i := range 5 {
			time.Sleep(time.Second)
			l.Append("d", 0, func(b []byte, p eventlog.Position) []byte {
				at = append(at, p)
				return fmt.Appendf(b, "%d", i)
			})
		}
		for _, c := range []struct {
			name string
			from eventlog.From
			want string
		}{
			{"start", eventlog.Start(), "01234"},
			{"end", eventlog.End(), ""},
			{"offset > -1", eventlog.AfterOffset(-1, false), "01234"},
			{"offset > 2nd", eventlog.AfterOffset(at[1].Offset, false), "234"},
			{"offset >= 2nd", eventlog.AfterOffset(at[1].Offset, true), "1234"},
			{"offset > last", eventlog.AfterOffset(at[4].Offset, false), ""},
			{"offset behind the last", eventlog.AfterOffset(at[4].Offset+1, true), "error"},
			{"offset < -1", eventlog.AfterOffset(-2, true), "error"},
			{"sequence > -1", eventlog.AfterSequence(-1, false), "01234"},
			{"sequence > 2", eventlog.AfterSequence(2, false), "34"},
			{"sequence >= 2", eventlog.AfterSequence(2, true), "234"},
			{"sequence > 4", eventlog.AfterSequence(4, false), ""},
			{"sequence >= 5", eventlog.AfterSequence(5, true), ""},
			{"sequence > 5", eventlog.AfterSequence(5, false), "error"},
			{"sequence >= 6", eventlog.AfterSequence(6, true), "error"},
			{"sequence, the largest", eventlog.AfterSequence(1<<63-1, false), "error"},
			{"offset, the largest", eventlog.AfterOffset(1<<63-1, false), "error"},
			{"enqueued > 2nd", eventlog.AfterEnqueued(at[1].Enqueued, false), "234"},
			{"enqueued >= 2nd", eventlog.AfterEnqueued(at[1].Enqueued, true), "1234"},
			{"enqueued long ago", eventlog.AfterEnqueued(time.UnixMilli(0), false), "01234"},
			{"enqueued in the future", eventlog.AfterEnqueued(at[4].Enqueued.Add(time.Hour), false), ""},
		} {
			r, err := l.Open(t.Context(), 0, c.from, nil)
			if (err != nil) != (c.want == "error") || err != nil && !errors.Is(err, eventlog.ErrPosition) {
				t.Errorf("%s: %v", c.name, err)
			}
			if err != nil {
				continue
			}
			got := ""
			for _, e := range r.Take(nil, 9) {
				got += string(e.Bytes)
			}
			if got != c.want {
				t.Errorf("%s reads %q; want %q", c.name, got, c.want)
			}
			r.Close()
		}
		if n := l.Stats().Readers; n != 0 {
			t.Errorf("%d readers are left", n)
		}
	})
}

// Who reads from a time ahead gets nothing that is enqueued before it.
func TestFromATimeAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, eventlog.Options{Partitions: 1})
		r := reader(t, l, 0, eventlog.AfterEnqueued(time.Now().Add(time.Minute), true), nil)
		appendText(l, "d", "early")
		time.Sleep(time.Minute)
		appendText(l, "d", "in time")
		if got := texts(t, r, 9); !slices.Equal(got, []string{"in time"}) {
			t.Errorf("read %q", got)
		}
	})
}

// Readers share the bytes, are told of each message, and of none of another partition.
func TestReadersAreTold(t *testing.T) {
	l := open(t, eventlog.Options{Partitions: 2})
	var told [3]atomic.Int32
	var readers [3]*eventlog.Reader
	mine, other := "", ""
	for i := 0; mine == "" || other == ""; i++ {
		key := fmt.Sprint("d", i)
		if l.PartitionOf(key) == 0 {
			mine = key
		} else {
			other = key
		}
	}
	for i := range readers {
		readers[i] = reader(t, l, min(i, 1), eventlog.Start(), func() { told[i].Add(1) })
	}
	for i := range 10 {
		appendText(l, other, fmt.Sprint(i))
	}
	appendText(l, mine, "x")
	if told[0].Load() != 1 || told[1].Load() != 10 || told[2].Load() != 10 {
		t.Errorf("told %d, %d and %d times; want 1, 10, 10", told[0].Load(), told[1].Load(), told[2].Load())
	}
	a, b := readers[1].Take(nil, 4), readers[2].Take(nil, 100)
	if len(a) != 4 || len(b) != 10 || &a[0].Bytes[0] != &b[0].Bytes[0] {
		t.Error("the readers do not have the same bytes")
	}
	if rest := readers[1].Take(nil, 100); len(rest) != 6 || len(readers[1].Take(nil, 1)) != 0 {
		t.Errorf("the rest has %d messages", len(rest))
	}
	readers[1].Close()
	readers[1].Close()
	appendText(l, other, "late")
	if told[1].Load() != 10 || len(readers[1].Take(nil, 1)) != 0 {
		t.Error("a closed reader reads on")
	}
	if n := l.Stats().Readers; n != 2 {
		t.Errorf("%d readers; want 2", n)
	}
}

// The hook may use the log and its reader: no lock is held.
func TestTheHookMayRead(t *testing.T) {
	l := open(t, eventlog.Options{Partitions: 1})
	var r *eventlog.Reader
	got := 0
	r = reader(t, l, 0, eventlog.Start(), func() { got += len(r.Take(nil, 10)); l.Stats() })
	appendText(l, "d", "x")
	if got != 1 {
		t.Errorf("the hook read %d messages", got)
	}
}

// What is older than the retention goes, also while nothing happens; the numbers go on.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, eventlog.Options{Partitions: 1, Retention: time.Hour})
		s, err := l.Status(t.Context(), 0)
		if want := (eventlog.Status{Begin: 0, Last: eventlog.Position{Sequence: -1, Offset: -1}, Empty: true}); err != nil || s != want {
			t.Errorf("a fresh partition: %+v, %v; want %+v", s, err, want)
		}
		appendText(l, "d", "a")
		time.Sleep(30 * time.Minute)
		appendText(l, "d", "b")
		last := time.Now().UTC()
		r := reader(t, l, 0, eventlog.Start(), nil)
		time.Sleep(31 * time.Minute)
		synctest.Wait()
		if got := l.Stats(); got.Messages != 1 || got.Dropped.Old != 1 || got.Dropped.Room != 0 {
			t.Errorf("after an hour: %+v", got)
		}
		s, err = l.Status(t.Context(), 0)
		if err != nil || s.Empty || s.Begin != 1 || s.Last.Sequence != 1 || !s.Last.Enqueued.Equal(last) {
			t.Errorf("after an hour: %+v, %v", s, err)
		}
		if got := texts(t, r, 9); !slices.Equal(got, []string{"b"}) {
			t.Errorf("read %q", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := l.Stats(); got.Messages != 0 || got.Bytes != 0 {
			t.Errorf("at the end: %+v", got)
		}
		if s, err = l.Status(t.Context(), 0); err != nil || !s.Empty || s.Begin != 2 || s.Last.Sequence != 1 || !s.Last.Enqueued.Equal(last) {
			t.Errorf("at the end: %+v, %v", s, err)
		}
		appendText(l, "d", "c")
		if e := r.Take(nil, 1); len(e) != 1 || e[0].Sequence != 2 {
			t.Errorf("then comes %+v", e)
		}
	})
}

// The oldest messages go first, over all partitions, when there is no room; a reader that is late goes on with what is left.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, eventlog.Options{Partitions: 2, Bytes: eventlog.MinBytes, Always: true})
		r := [2]*eventlog.Reader{reader(t, l, 0, eventlog.Start(), nil), reader(t, l, 1, eventlog.Start(), nil)}
		big := strings.Repeat("x", 200<<10)
		for i := range 12 {
			time.Sleep(time.Millisecond)
			appendText(l, fmt.Sprint("dev-", i), fmt.Sprint(i, " ", big))
		}
		if s := l.Stats(); s.Messages != 5 || s.Dropped.Room != 7 || s.Bytes > eventlog.MinBytes {
			t.Errorf("%+v", s)
		}
		got := make(map[string]bool)
		for i := range r {
			for _, text := range texts(t, r[i], 99) {
				name, _, _ := strings.Cut(text, " ")
				got[name] = true
			}
		}
		for i := range 12 {
			if got[fmt.Sprint(i)] != (i >= 7) {
				t.Errorf("read %v; want 7 to 11", got)
				break
			}
		}
	})
}

// A clock that goes back does not: readers find messages by their time.
func TestAClockThatGoesBack(t *testing.T) {
	now := time.UnixMilli(1700000000000)
	l := open(t, eventlog.Options{Partitions: 1, Always: true, Now: func() time.Time { return now }})
	appendText(l, "d", "a")
	now = now.Add(-time.Minute)
	appendText(l, "d", "b")
	e := reader(t, l, 0, eventlog.Start(), nil).Take(nil, 9)
	if len(e) != 2 || e[1].Enqueued.Before(e[0].Enqueued) {
		t.Errorf("read %+v", e)
	}
}

// While many write, messages are driven out, and readers of all partitions read whenever they are told: each has every message that is
// not driven out before it comes to it, in its order, and none twice; of each device in the order in which it sent.
func TestManyAtOnce(t *testing.T) {
	const devices, each = 8, 500
	l := open(t, eventlog.Options{Partitions: 3, Bytes: eventlog.MinBytes, Always: true})
	big := strings.Repeat("x", 1<<10)
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for n := range l.Partitions() {
		for range 2 {
			wake := make(chan struct{}, 1)
			r := reader(t, l, n, eventlog.Start(), func() {
				select {
				case wake <- struct{}{}:
				default:
				}
			})
			readers.Go(func() {
				next, last := int64(0), make(map[string]int)
				read := func() {
					for {
						got := r.Take(nil, 7)
						for _, e := range got {
							var sequence, offset, at int64
							var device string
							var i int
							if _, err := fmt.Sscan(string(e.Bytes), &sequence, &offset, &at, &device, &i); err != nil || sequence != e.Sequence {
								t.Errorf("message %.40q at %d: %v", e.Bytes, e.Sequence, err)
							}
							if before, ok := last[device]; e.Sequence < next || ok && i <= before {
								t.Errorf("partition %d: %d comes when %d may, and %s's %d after %d", n, e.Sequence, next, device, i, before)
							}
							next, last[device] = e.Sequence+1, i
						}
						if len(got) == 0 {
							return
						}
					}
				}
				for {
					select {
					case <-wake:
						read()
					case <-done:
						read()
						if s, err := l.Status(t.Context(), n); err != nil || !s.Empty && next != s.Last.Sequence+1 { // what others drove out it missed
							t.Errorf("partition %d: read up to %d of %+v, %v", n, next, s, err)
						}
						return
					}
				}
			})
		}
	}
	for d := range devices {
		writers.Go(func() {
			for i := range each {
				appendText(l, fmt.Sprint("dev-", d), fmt.Sprint("dev-", d, " ", i, " ", big))
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	if s := l.Stats(); s.Appended != devices*each || s.Dropped.Room == 0 || s.Bytes > eventlog.MinBytes {
		t.Errorf("%+v", s)
	}
}
