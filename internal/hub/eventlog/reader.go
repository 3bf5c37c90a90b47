package eventlog

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"
)

// From is a position to read from. The zero value is the start.
type From struct {
	by        by
	value     int64
	inclusive bool
}

type by uint8

const (
	byStart by = iota
	byEnd
	byOffset
	bySequence
	byEnqueued
)

// Start reads everything that is kept: the filter x-opt-offset > '-1', or none.
func Start() From { return From{} }

// End reads what comes: the filter x-opt-offset > '@latest'.
func End() From { return From{by: byEnd} }

// AfterOffset reads what is behind an offset, or with inclusive what is at it too. -1 is the start.
func AfterOffset(offset int64, inclusive bool) From {
	if offset == beforeSequence {
		return Start()
	}
	return From{byOffset, offset, inclusive}
}

// AfterSequence reads what is behind a sequence number, or with inclusive what has it too. -1 is the start.
func AfterSequence(sequence int64, inclusive bool) From {
	if sequence == beforeSequence {
		return Start()
	}
	return From{bySequence, sequence, inclusive}
}

// AfterEnqueued reads what was enqueued after a time, in milliseconds, or with inclusive at it too. The time may lie ahead.
func AfterEnqueued(t time.Time, inclusive bool) From {
	return From{byEnqueued, t.UnixMilli(), inclusive}
}

// Reader reads a partition, from a position on. What is dropped before it is read is passed over. The owner must Close it.
type Reader struct {
	log       *Log
	partition *partition
	hook      func()

	// Protected by the log's lock.
	next   int64 // sequence number
	since  int64 // milliseconds since 1970 before which nothing is read
	closed bool
}

// Open turns the log on and makes a reader of a partition. notify is called whenever there may be something new to Take: it must wait for
// nobody and may be called by any goroutine, also once more while the reader is closed; nil for nobody to be told. The errors are
// ErrNoPartition, ErrPosition, and those of Enable.
func (l *Log) Open(ctx context.Context, number int, from From, notify func()) (*Reader, error) {
	if err := l.Enable(ctx); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if number < 0 || number >= len(l.partitions) {
		return nil, fmt.Errorf("%w: %d of %d", ErrNoPartition, number, len(l.partitions))
	}
	if l.closed {
		return nil, ErrOff
	}
	l.evict(l.opts.Now())
	p := &l.partitions[number]
	r := &Reader{log: l, partition: p, hook: notify}
	if err := r.seek(from); err != nil {
		return nil, err
	}
	p.readers = append(slices.Clip(p.readers), r)
	l.readers++
	return r, nil
}

// seek finds where to begin. The caller holds the lock.
func (r *Reader) seek(from From) error {
	p := r.partition
	seen := p.visible()
	least := from.value // of what is read
	if !from.inclusive && least < math.MaxInt64 {
		least++
	}
	// begin is the first message that is, or the end.
	begin := func(is func(e *entry) bool) {
		r.next = p.settled
		if i := sort.Search(len(seen), func(i int) bool { return is(&seen[i]) }); i < len(seen) {
			r.next = seen[i].sequence
		}
	}
	switch from.by {
	case byStart:
		begin(func(*entry) bool { return true })
	case byEnd:
		r.next = p.settled
	case byOffset:
		if from.value < 0 || from.value > p.last.Offset {
			return fmt.Errorf("%w: The supplied offset '%d' is invalid. The last offset in the system is '%d'", ErrPosition, from.value, p.last.Offset)
		}
		begin(func(e *entry) bool { return e.offset >= least })
	case bySequence:
		if from.value < 0 || from.value > p.last.Sequence && (from.value > p.settled || !from.inclusive) {
			return fmt.Errorf("%w: The supplied sequence number '%d' is invalid. The last sequence number in the system is '%d'",
				ErrPosition, from.value, p.last.Sequence)
		}
		begin(func(e *entry) bool { return e.sequence >= least })
	case byEnqueued:
		begin(func(e *entry) bool { return e.enqueued >= least })
		r.since = least
	}
	return nil
}

func (r *Reader) notify() {
	if r.hook != nil {
		r.hook()
	}
}

// Take appends up to n messages, those next in order, to a slice. It waits for nobody: when it appends fewer, notify is called when there
// is more. A reader that was closed has none.
func (r *Reader) Take(dst []Event, n int) []Event {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.closed || r.next >= r.partition.settled {
		return dst
	}
	l.evict(l.opts.Now())
	p := r.partition
	i, _ := p.find(r.next)
	for seen := p.visible(); i < len(seen) && n > 0; i++ {
		e := &seen[i]
		r.next = e.sequence + 1
		if e.enqueued < r.since {
			continue
		}
		dst = append(dst, Event{e.position(), e.bytes})
		n--
	}
	if i >= len(p.visible()) {
		r.next = max(r.next, p.settled)
	}
	return dst
}

// Close ends the reader.
func (r *Reader) Close() {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	l.readers--
	p := r.partition
	p.readers = slices.DeleteFunc(slices.Clone(p.readers), func(other *Reader) bool { return other == r })
}

// Status is what $management tells of a partition.
type Status struct {
	Begin int64    // sequence number of the first message that is kept; that of the next one when none is
	Last  Position // of the last message, also when it is kept no more; of a fresh partition -1, -1 and the zero time
	Empty bool     // no message is kept
}

// Status turns the log on and tells how a partition stands. The errors are ErrNoPartition and those of Enable.
func (l *Log) Status(ctx context.Context, number int) (Status, error) {
	if err := l.Enable(ctx); err != nil {
		return Status{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if number < 0 || number >= len(l.partitions) {
		return Status{}, fmt.Errorf("%w: %d of %d", ErrNoPartition, number, len(l.partitions))
	}
	l.evict(l.opts.Now())
	return l.partitions[number].status(), nil
}

// Dropped counts messages that are no longer kept, by why.
type Dropped struct {
	Old     uint64 // older than the retention
	Room    uint64 // dropped for newer ones
	Refused uint64 // the disk did not take them
}

// Stats are numbers of a Log.
type Stats struct {
	On       bool    // messages are kept
	Messages int     // that are kept now
	Bytes    int64   // of them, with what they cost beside their own
	Readers  int     // open now
	Appended uint64  // messages since the start of the program
	Dropped  Dropped // messages since the start of the program
}

// Stats tells the numbers as they are now. It leaves the log off when it is.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{On: l.on.Load(), Messages: l.messages, Bytes: l.bytes, Readers: l.readers, Appended: l.appended, Dropped: l.dropped}
}
