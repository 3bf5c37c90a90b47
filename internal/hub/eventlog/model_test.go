package eventlog_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/hub/eventlog"
)

// overhead is what a message counts beside its bytes.
const overhead = 64

// record is a message in the model.
type record struct {
	eventlog.Position
	partition int
	bytes     string
	write     *write // its row; nil in memory
	visible   bool
	gone      bool // dropped, or refused
}

// model is a naive log: all messages that ever were, in their order.
type model struct {
	t    *rapid.T
	opts eventlog.Options
	disk *disk // nil in memory

	log     *eventlog.Log
	all     []*record
	readers []*modelReader
	last    []eventlog.Position // of each partition: the last that was visible
	next    []int64             // of each partition, after the last that was settled

	// What was ever read, over crashes: nobody reads another message under the same number.
	ever map[string]string
}

type modelReader struct {
	*eventlog.Reader
	partition int
	next      int64
	since     time.Time
}

func (m *model) start() {
	var err error
	if m.disk != nil {
		m.opts.Keeper = m.disk
	}
	if m.log, err = eventlog.New(m.opts); err != nil {
		m.t.Fatal(err)
	}
	if err := m.log.Load(context.Background()); err != nil {
		m.t.Fatal(err)
	}
	if m.disk == nil {
		return
	}
	done := make(chan error)
	go func() { done <- m.log.Enable(context.Background()) }()
	synctest.Wait()
	m.disk.flush(1 << 30)
	if err := <-done; err != nil {
		m.t.Fatal(err)
	}
}

// settle lets the log and the model see what the disk has done, and the time.
func (m *model) settle() {
	synctest.Wait()
	// In the order of the writes, as far as they have ended.
	for _, r := range m.all {
		if r.visible || r.write == nil {
			continue
		}
		select {
		case <-r.write.done:
		default:
			m.evict()
			return
		}
		if r.write.err != nil {
			r.gone = true
			m.next[r.partition] = r.Sequence + 1
			r.write = nil
			continue
		}
		m.show(r)
	}
	m.evict()
}

func (m *model) show(r *record) {
	r.visible = true
	m.next[r.partition] = r.Sequence + 1
	if !r.gone {
		m.last[r.partition] = r.Position
	}
}

// evict drops what is too old, or too much: the oldest first, of several the one in the first partition.
func (m *model) evict() {
	kept := slices.DeleteFunc(slices.Clone(m.all), func(r *record) bool { return r.gone })
	slices.SortStableFunc(kept, func(a, b *record) int {
		return cmp.Or(a.Enqueued.Compare(b.Enqueued), cmp.Compare(a.partition, b.partition), cmp.Compare(a.Sequence, b.Sequence))
	})
	size := int64(0)
	for _, r := range kept {
		size += int64(len(r.bytes)) + overhead
	}
	for _, r := range kept {
		if !r.Enqueued.Add(m.opts.Retention).Before(time.Now()) && size <= m.opts.Bytes {
			return
		}
		r.gone = true
		size -= int64(len(r.bytes)) + overhead
	}
}

// kept are the messages of a partition that a reader may see, from a sequence number on.
func (m *model) kept(partition int, from int64) (all []*record) {
	for _, r := range m.all {
		if r.partition == partition && r.visible && !r.gone && r.Sequence >= from && r.Sequence < m.next[partition] {
			all = append(all, r)
		}
	}
	return all
}

func (m *model) append(t *rapid.T) {
	key := fmt.Sprint("dev-", rapid.IntRange(0, 5).Draw(t, "device"))
	size := rapid.SampledFrom([]int{0, 10, 1000, 100_000, 300_000}).Draw(t, "size")
	r := &record{partition: m.log.PartitionOf(key)}
	durable := m.log.Append(key, size, func(b []byte, at eventlog.Position) []byte {
		r.Position = at
		text := fmt.Sprintf("%d %d %s %s", at.Sequence, at.Offset, key, strings.Repeat("x", size))
		r.bytes = text
		return append(b, text...)
	})
	if r.bytes == "" {
		t.Fatal("the message was not encoded")
	}
	if (durable != nil) != (m.disk != nil) {
		t.Fatalf("what waits for the disk: %t", durable != nil)
	}
	m.all = append(m.all, r)
	if m.disk == nil {
		m.show(r)
	} else {
		r.write = m.disk.writing(r.bytes)
	}
	m.evict()
	m.settle()
}

func (m *model) open(t *rapid.T) {
	m.settle()
	n := rapid.IntRange(0, m.opts.Partitions-1).Draw(t, "partition")
	r := &modelReader{partition: n}
	kept := m.kept(n, 0)
	inclusive := rapid.Bool().Draw(t, "inclusive")
	var from eventlog.From
	var is func(*record) bool
	how := rapid.SampledFrom([]string{"start", "end", "offset", "sequence", "enqueued"}).Draw(t, "from")
	around := int64(rapid.IntRange(-1, 1).Draw(t, "around"))
	at := m.last[n]
	if len(kept) > 0 {
		at = rapid.SampledFrom(kept).Draw(t, "at").Position
	}
	wrong := false
	switch how {
	case "start":
		from, is = eventlog.Start(), func(*record) bool { return true }
	case "end":
		from, is = eventlog.End(), func(*record) bool { return false }
	case "offset":
		v := max(-1, at.Offset+around)
		from, wrong = eventlog.AfterOffset(v, inclusive), v > m.last[n].Offset
		is = func(r *record) bool { return r.Offset > v || inclusive && r.Offset == v }
	case "sequence":
		v := max(-1, at.Sequence+around)
		from, is = eventlog.AfterSequence(v, inclusive), func(r *record) bool { return r.Sequence > v || inclusive && r.Sequence == v }
		wrong = v > m.last[n].Sequence && !(inclusive && v <= m.next[n])
	case "enqueued":
		v := at.Enqueued.Add(time.Duration(around) * time.Millisecond)
		from, is = eventlog.AfterEnqueued(v, inclusive), func(r *record) bool { return r.Enqueued.After(v) || inclusive && r.Enqueued.Equal(v) }
		if r.since = v; !inclusive {
			r.since = v.Add(time.Millisecond)
		}
	}
	var err error
	r.Reader, err = m.log.Open(context.Background(), n, from, nil)
	if (err != nil) != wrong {
		t.Fatalf("%s around %+v by %d: %v", how, at, around, err)
	}
	if err != nil {
		return
	}
	r.next = m.next[n]
	if i := slices.IndexFunc(kept, is); i >= 0 {
		r.next = kept[i].Sequence
	}
	m.readers = append(m.readers, r)
}

func (m *model) take(t *rapid.T) {
	if len(m.readers) == 0 {
		t.Skip("nobody reads")
	}
	m.settle()
	r := rapid.SampledFrom(m.readers).Draw(t, "reader")
	n := rapid.IntRange(1, 5).Draw(t, "n")
	want := slices.DeleteFunc(m.kept(r.partition, r.next), func(k *record) bool { return k.Enqueued.Before(r.since) })
	want = want[:min(n, len(want))]
	got := r.Take(nil, n)
	if len(got) != len(want) {
		t.Fatalf("read %d messages; want %d", len(got), len(want))
	}
	for i, e := range got {
		if e.Position != want[i].Position || string(e.Bytes) != want[i].bytes {
			t.Fatalf("read %+v; want %+v", e.Position, want[i].Position)
		}
		r.next = e.Sequence + 1
		m.saw(t, r.partition, e)
	}
}

// saw holds numbers to what they meant before.
func (m *model) saw(t *rapid.T, partition int, e eventlog.Event) {
	place := fmt.Sprint(partition, " ", e.Sequence)
	if before, ok := m.ever[place]; ok && before != string(e.Bytes) {
		t.Fatalf("number %s was given twice", place)
	}
	m.ever[place] = string(e.Bytes)
}

func (m *model) check(t *rapid.T) {
	m.settle()
	messages := 0
	for n := range m.opts.Partitions {
		kept := m.kept(n, 0)
		want := eventlog.Status{Begin: m.next[n], Last: m.last[n], Empty: len(kept) == 0}
		if len(kept) > 0 {
			want.Begin = kept[0].Sequence
		}
		got, err := m.log.Status(context.Background(), n)
		if err != nil || got != want {
			t.Fatalf("partition %d is %+v, %v; want %+v", n, got, err, want)
		}
	}
	bytes := int64(0)
	for _, r := range m.all {
		if !r.gone {
			messages++
			bytes += int64(len(r.bytes)) + overhead
		}
	}
	if s := m.log.Stats(); s.Messages != messages || s.Bytes != bytes || s.Readers != len(m.readers) || s.Bytes > m.opts.Bytes {
		t.Fatalf("%+v; want %d messages of %d bytes, %d readers", s, messages, bytes, len(m.readers))
	}
}

// crash ends the program and starts another on what is on disk. All that was acknowledged and not dropped must be there; what was
// dropped, or was never acknowledged, may be.
func (m *model) crash(t *rapid.T) {
	m.settle()
	m.log.Close()
	m.disk = m.disk.crash()
	before := m.all
	last := slices.Clone(m.last)
	m.readers, m.all = nil, nil
	m.start()
	known := make(map[string]*record)
	for _, r := range before {
		known[fmt.Sprint(r.partition, " ", r.Sequence)] = r
	}
	there := make(map[string]bool)
	for n := range m.opts.Partitions {
		r, err := m.log.Open(context.Background(), n, eventlog.Start(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Take(nil, 1<<30) {
			place := fmt.Sprint(n, " ", e.Sequence)
			if k := known[place]; k == nil || k.bytes != string(e.Bytes) || k.Position != e.Position {
				t.Fatalf("after the crash: %s was never written so", place)
			}
			m.saw(t, n, e)
			there[place] = true
			m.all = append(m.all, &record{Position: e.Position, partition: n, bytes: string(e.Bytes), visible: true})
		}
		r.Close()
		s, err := m.log.Status(context.Background(), n)
		if err != nil || s.Last.Sequence < last[n].Sequence || s.Last.Offset < last[n].Offset {
			t.Fatalf("partition %d: the last is %+v, %v after the crash and was %+v", n, s.Last, err, last[n])
		}
		m.last[n] = s.Last
		// Behind what is there may lie numbers that were given and whose messages are gone.
		for m.next[n] = s.Last.Sequence + 1; ; m.next[n]++ {
			r, err := m.log.Open(context.Background(), n, eventlog.AfterSequence(m.next[n]+1, true), nil)
			if err != nil {
				break
			}
			r.Close()
		}
	}
	for place, k := range known {
		if k.visible && !k.gone && !there[place] {
			t.Fatalf("%s was acknowledged and is gone", place)
		}
	}
}

// bubble is a test in a bubble, which may not be asked for its deadline.
type bubble struct{ *testing.T }

// The log, and its readers, against the naive one: in memory, and over a disk that is slow, fails, and crashes.
func TestModel(t *testing.T) {
	for _, kept := range []bool{false, true} {
		t.Run(fmt.Sprintf("kept=%t", kept), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { rapid.Check(bubble{t}, func(t *rapid.T) { runModel(t, kept) }) })
		})
	}
}

func runModel(t *rapid.T, kept bool) {
	m := &model{
		t: t, ever: make(map[string]string),
		opts: eventlog.Options{Partitions: rapid.IntRange(1, 3).Draw(t, "partitions"), Bytes: eventlog.MinBytes, Retention: time.Minute, Always: true},
	}
	m.last, m.next = make([]eventlog.Position, m.opts.Partitions), make([]int64, m.opts.Partitions)
	for n := range m.last {
		m.last[n] = eventlog.Position{Sequence: -1, Offset: -1}
	}
	if kept {
		m.disk = newDisk()
	}
	m.start()
	defer func() { m.log.Close() }()
	actions := map[string]func(*rapid.T){
		"append": m.append,
		"more":   m.append,
		"open":   m.open,
		"take":   m.take,
		"close": func(t *rapid.T) {
			if len(m.readers) == 0 {
				t.Skip("nobody reads")
			}
			i := rapid.IntRange(0, len(m.readers)-1).Draw(t, "reader")
			m.readers[i].Close()
			m.readers = slices.Delete(m.readers, i, i+1)
		},
		"sleep": func(t *rapid.T) {
			time.Sleep(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 20 * time.Second, time.Minute, time.Minute + time.Millisecond}).Draw(t, "time"))
		},
		"": m.check,
	}
	if kept {
		actions["flush"] = func(t *rapid.T) { m.disk.flush(rapid.IntRange(1, 9).Draw(t, "rows")); m.settle() }
		actions["fail"] = func(*rapid.T) { m.disk.fail(); m.settle() }
		actions["heal"] = func(*rapid.T) { m.disk.heal(); m.settle() }
		actions["crash"] = m.crash
	}
	t.Repeat(actions)
}
