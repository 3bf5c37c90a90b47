package eventlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/eventlog"
)

// enabled is a log over a disk, on, with nothing on its way.
func enabled(t *testing.T, d *disk, o eventlog.Options) *eventlog.Log {
	t.Helper()
	o.Keeper = d
	l := open(t, o)
	done := make(chan error)
	go func() { done <- l.Enable(context.Background()) }()
	synctest.Wait()
	d.flush(99)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return l
}

// Readers see a message when it is durable and not before; its sender is answered then too.
func TestReadersSeeWhatIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		l := enabled(t, d, eventlog.Options{Partitions: 1})
		told := 0
		r := reader(t, l, 0, eventlog.Start(), func() { told++ })
		durable := appendText(l, "d", "a")
		appendText(l, "d", "b")
		synctest.Wait()
		if told != 0 || len(r.Take(nil, 9)) != 0 {
			t.Fatal("a reader sees what a crash would take")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := durable(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("the sender is answered before: %v", err)
		}
		d.flush(1)
		synctest.Wait()
		if got := texts(t, r, 9); !slices.Equal(got, []string{"a"}) || told != 1 || durable(t.Context()) != nil {
			t.Errorf("read %q, told %d times", got, told)
		}
		d.flush(1)
		synctest.Wait()
		if got := texts(t, r, 9); !slices.Equal(got, []string{"b"}) {
			t.Errorf("read %q", got)
		}
	})
}

// Over a restart: what was durable is there, in its place, and numbers go on; the log is on without anybody asking.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		l := enabled(t, d, eventlog.Options{Partitions: 3})
		for i := range 9 {
			appendText(l, fmt.Sprint("dev-", i), fmt.Sprint(i))
		}
		d.flush(8)
		synctest.Wait()
		l.Close()
		d = d.crash()
		created := l.Created()
		time.Sleep(time.Minute)
		l = open(t, eventlog.Options{Partitions: 2, Keeper: d})
		if !l.On() || l.Partitions() != 3 {
			t.Fatalf("on %t, in %d partitions", l.On(), l.Partitions())
		}
		if got := l.Created(); !got.Equal(created) { // readers would take it for another log, and read all of it once more
			t.Errorf("created at %v, and at %v before", got, created)
		}
		all := 0
		d.flush(99)
		for n := range 3 {
			r := reader(t, l, n, eventlog.Start(), nil)
			for _, text := range texts(t, r, 9) {
				if l.PartitionOf("dev-"+text) != n || text == "8" {
					t.Errorf("message %s is in partition %d", text, n)
				}
				all++
			}
		}
		if all != 8 {
			t.Errorf("%d messages; want 8", all)
		}
	})
}

// A partition whose messages are all gone goes on with its numbers after a crash, whenever that comes.
func TestNumbersNeverRepeat(t *testing.T) {
	for flushed := range 8 {
		synctest.Test(t, func(t *testing.T) {
			d := newDisk()
			l := enabled(t, d, eventlog.Options{Partitions: 1, Retention: time.Hour})
			for range 3 {
				appendText(l, "d", "old")
			}
			d.flush(99)
			synctest.Wait()
			before, err := l.Status(t.Context(), 0)
			if err != nil || before.Last.Sequence != 2 {
				t.Fatalf("%+v, %v", before, err)
			}
			time.Sleep(2 * time.Hour)
			synctest.Wait() // the rows are on their way out
			d.flush(flushed)
			l.Close()
			d = d.crash()
			l = open(t, eventlog.Options{Partitions: 1, Retention: time.Hour, Keeper: d})
			d.flush(99)
			after, err := l.Status(t.Context(), 0)
			if err != nil || after.Last != before.Last || !after.Empty || after.Begin != 3 {
				t.Errorf("%d writes before the crash: %+v, %v; want the last of %+v", flushed, after, err, before)
			}
			appendText(l, "d", "new")
			d.flush(99)
			synctest.Wait()
			e := reader(t, l, 0, eventlog.Start(), nil).Take(nil, 9)
			if len(e) != 1 || e[0].Sequence != 3 || e[0].Offset <= before.Last.Offset {
				t.Errorf("%d writes before the crash: then comes %+v", flushed, e)
			}
			if n := d.count("telemetry.1"); n != 1 {
				t.Errorf("%d rows are left on disk", n)
			}
		})
	}
}

// A message that the disk refuses is never read, though the disk may write it later: its sender was told.
func TestTheDiskRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		l := enabled(t, d, eventlog.Options{Partitions: 1})
		r := reader(t, l, 0, eventlog.Start(), nil)
		appendText(l, "d", "a")
		d.flush(99)
		refused := appendText(l, "d", "b")
		d.fail()
		also := appendText(l, "d", "c")
		synctest.Wait()
		if err := refused(t.Context()); !errors.Is(err, errDisk) || !errors.Is(also(t.Context()), errDisk) {
			t.Errorf("the sender is told %v", err)
		}
		d.heal()
		appendText(l, "d", "e")
		d.flush(99)
		synctest.Wait()
		if got := texts(t, r, 9); !slices.Equal(got, []string{"a", "e"}) {
			t.Errorf("read %q", got)
		}
		if n := d.count("telemetry.1"); n != 2 || l.Stats().Dropped.Refused != 2 || l.Stats().Messages != 2 {
			t.Errorf("%d rows, %+v", n, l.Stats())
		}
	})
}

// A reader that cannot be sure that the log stays on over a restart is refused; the next one tries again.
func TestEnableIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		d.fail()
		l := open(t, eventlog.Options{Keeper: d})
		if err := l.Enable(t.Context()); !errors.Is(err, errDisk) {
			t.Errorf("the disk fails: %v", err)
		}
		d.heal()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Open(ctx, 0, eventlog.Start(), nil); err == nil {
			t.Error("the first failure is forgotten")
		}
		done := make(chan error)
		go func() { done <- l.Enable(context.Background()) }()
		synctest.Wait()
		d.flush(99)
		if err := <-done; err != nil {
			t.Error(err)
		}
		l.Close()
		if again := open(t, eventlog.Options{Keeper: d.crash(), Now: func() time.Time { return time.Now().Add(time.Hour) }}); !again.Created().Equal(l.Created()) {
			t.Errorf("the log began at %v, and after a restart at %v", l.Created(), again.Created())
		}
		if l := open(t, eventlog.Options{Keeper: d.crash()}); !l.On() {
			t.Error("the log is off after a restart")
		}
		if l := open(t, eventlog.Options{Keeper: d.crash(), Bytes: -1}); l.On() {
			t.Error("a log that is off for good is on after a restart")
		}
	})
}

// Rows that make no sense are dropped, one by one, and told; the others are taken up.
func TestDamagedRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		l := enabled(t, d, eventlog.Options{Partitions: 2})
		for i := range 6 {
			appendText(l, "d", fmt.Sprint(i))
		}
		d.flush(99)
		synctest.Wait()
		n := l.PartitionOf("d")
		l.Close()
		row := func(i int) string { return fmt.Sprintf("telemetry.1 %02x-%016x", n, i) }
		d.rows[row(1)][9] ^= 1
		d.rows[row(3)] = d.rows[row(3)][:10]
		d.rows[row(0x20)] = d.rows[row(2)] // its offset is of another place
		d.rows["telemetry.1 nonsense"] = d.rows[row(2)]
		d.rows["telemetry.1 07-0000000000000001"] = d.rows[row(2)]
		d.rows["telemetrystate.1 00"] = []byte("nonsense")
		d.rows["telemetrystate.1 zz"] = []byte("nonsense")
		var told bytes.Buffer
		d = d.crash()
		l = open(t, eventlog.Options{Keeper: d, Logger: slog.New(slog.NewTextHandler(&told, nil))})
		d.flush(99)
		if got := texts(t, reader(t, l, n, eventlog.Start(), nil), 9); !slices.Equal(got, []string{"0", "2", "4", "5"}) {
			t.Errorf("read %q", got)
		}
		if n := strings.Count(told.String(), "level=WARN"); n != 7 {
			t.Errorf("%d warnings; want 7:\n%s", n, &told)
		}
		if n := d.count("telemetry.1"); n != 4 {
			t.Errorf("%d rows are left; want 4", n)
		}
	})
}

// What is kept must fit what the options allow now.
func TestLoadingIntoLessRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		l := enabled(t, d, eventlog.Options{Partitions: 1})
		for range 10 {
			appendText(l, "d", strings.Repeat("x", 200<<10))
		}
		d.flush(99)
		synctest.Wait()
		l.Close()
		d = d.crash()
		l = open(t, eventlog.Options{Keeper: d, Bytes: eventlog.MinBytes})
		d.flush(99)
		if s := l.Stats(); s.Messages != 5 || d.count("telemetry.1") != 5 {
			t.Errorf("%+v, %d rows", s, d.count("telemetry.1"))
		}
	})
}
