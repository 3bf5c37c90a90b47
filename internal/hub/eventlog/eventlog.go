// Package eventlog keeps the device-to-cloud messages of a hub for those who read them, as a service's event hub does: in partitions,
// in which every message has a sequence number, for a time and up to a size. Many readers share the bytes of a message, which is encoded
// once.
//
// A log is off until somebody reads, and costs a load of one word a message until then.
package eventlog

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/keep"
)

// Bounds of Options.
const (
	MinBytes       = 1 << 20        // less would not hold the largest message
	MaxPartitions  = 32             // of an event hub (event-hubs-quotas)
	defaultBytes   = 64 << 20       // of all messages
	defaultKept    = 24 * time.Hour // iot-hub-devguide-messages-read-builtin
	defaultParts   = 4              // of a hub that is not free
	entryOverhead  = 64             // bytes that a message costs in memory beside its own
	firstSequence  = 0              // of a fresh partition
	beforeSequence = -1             // what a fresh partition tells as its last
)

// Errors of the package.
var (
	// ErrOptions is for options out of their range.
	ErrOptions = errors.New("no log of messages can be made of these options")
	// ErrOff is for a log that keeps nothing: it is switched off for good, or closed.
	ErrOff = errors.New("the hub keeps no messages for readers")
	// ErrNoPartition is for a number that no partition has.
	ErrNoPartition = errors.New("there is no such partition")
	// ErrPosition is for a position behind the last message. The service refuses it too, with com.microsoft:argument-error.
	ErrPosition = errors.New("the position to read from is invalid")
)

// Options of a Log. The zero value is a log in memory that is off until somebody reads.
type Options struct {
	Bytes      int64         // that messages may take in all, at least MinBytes; 64 MiB when 0. Below 0 the log is off for good
	Retention  time.Duration // how long a message is kept; a day when 0
	Partitions int           // up to MaxPartitions; 4 when 0. What is kept already stays in as many as it is
	Always     bool          // the log is on from the start
	Keeper     keep.Keeper   // nil: messages end with the program. With one Load must be called before anything else
	Logger     *slog.Logger  // nil logs nothing

	// Now is the clock of retention and of the time of messages. Default: time.Now.
	Now func() time.Time
}

// Position is the place of a message in its partition.
type Position struct {
	Sequence int64     // from 0, one more for each message; a message that the disk refused leaves a gap
	Offset   int64     // grows by the bytes of the messages
	Enqueued time.Time // in UTC, in whole milliseconds; never before the one before it
}

// Event is a message as readers get it.
type Event struct {
	Position
	Bytes []byte // encoded; shared by all readers, who must not change it
}

// Log is the messages of a hub. Its methods may be called by any number of goroutines. The caller must Close it, before its Keeper.
type Log struct {
	opts Options
	log  *slog.Logger
	on   atomic.Bool

	ctx    context.Context // ends when Close is called
	cancel context.CancelFunc
	wg     sync.WaitGroup
	wake   chan struct{} // holds a token when there may be something to do for the goroutine

	mu         sync.Mutex // protects the following fields; no function of others but the Keeper's is called with it held
	closed     bool
	remembered func(context.Context) error // waits until it is kept that the log is on; nil when it is
	created    time.Time                   // when the log began
	partitions []partition
	latest     int64 // milliseconds since 1970 of the last message
	bytes      int64 // of all messages, with their overhead
	messages   int
	readers    int
	appended   uint64
	dropped    Dropped
	pending    []pending // what is not yet known to be on disk, in the order of Put
}

// pending is a message that is on its way to the disk.
type pending struct {
	partition int
	sequence  int64
	durable   func(context.Context) error
}

// New makes a log. It is on when Options.Always says so; what is kept is taken up by Load. The error matches ErrOptions.
func New(o Options) (*Log, error) {
	if o.Bytes == 0 {
		o.Bytes = defaultBytes
	}
	if o.Retention == 0 {
		o.Retention = defaultKept
	}
	if o.Partitions == 0 {
		o.Partitions = defaultParts
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.Bytes > 0 && o.Bytes < MinBytes:
		return nil, fmt.Errorf("%w: %d bytes; it takes %d at least", ErrOptions, o.Bytes, MinBytes)
	case o.Retention < 0:
		return nil, fmt.Errorf("%w: a retention of %s", ErrOptions, o.Retention)
	case o.Partitions < 0 || o.Partitions > MaxPartitions:
		return nil, fmt.Errorf("%w: %d partitions; there are 1 to %d", ErrOptions, o.Partitions, MaxPartitions)
	}
	l := &Log{
		opts: o, log: o.Logger, wake: make(chan struct{}, 1), partitions: makePartitions(o.Partitions), created: o.Now().UTC().Truncate(time.Millisecond),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if o.Always && o.Keeper == nil {
		l.mu.Lock()
		l.start()
		l.mu.Unlock()
	}
	return l, nil
}

// Created is when the log began, in UTC, in whole milliseconds: for one that is kept that stays when the program starts again, so that
// readers know it for the one that they have read.
func (l *Log) Created() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.created
}

// On reports whether messages are kept: who appends asks it before a message is made. It costs one load.
func (l *Log) On() bool { return l.on.Load() }

// Enable turns the log on, as every reader does, and returns when that is kept. Errors: ErrOff, what is wrong with the disk, and the
// context's.
func (l *Log) Enable(ctx context.Context) error {
	l.mu.Lock()
	if !l.start() {
		l.mu.Unlock()
		return ErrOff
	}
	remembered := l.remembered
	l.mu.Unlock()
	if remembered == nil {
		return nil
	}
	err := remembered(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.remembered = nil
	} else if ctx.Err() == nil && l.opts.Keeper != nil {
		l.remembered = l.keepOn() // the next one tries again
	}
	return err
}

// start turns the log on; false when it is off for good. The caller holds the lock.
func (l *Log) start() bool {
	if l.opts.Bytes < 0 || l.closed {
		return false
	}
	if l.on.Load() {
		return true
	}
	if l.opts.Keeper != nil {
		l.remembered = l.keepOn()
	}
	l.on.Store(true)
	l.wg.Go(l.run)
	return true
}

// Close ends the log's goroutine and turns it off. Messages on their way to the disk go on.
func (l *Log) Close() {
	l.mu.Lock()
	l.closed = true
	l.on.Store(false)
	l.mu.Unlock()
	l.cancel()
	l.wg.Wait()
}

// Partitions is how many there are.
func (l *Log) Partitions() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.partitions)
}

// partitionOf is the partition of a key: the same in every program that runs on the same data.
func partitionOf(key string, n int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails
	return int(h.Sum32() % uint32(n))
}

// PartitionOf is the partition of the messages of a key, which is a device id.
func (l *Log) PartitionOf(key string) int { return partitionOf(key, l.Partitions()) }

// Append adds a message of a key, whose messages stay in their order. encode appends the message, as it is at a position, to a slice; it
// is called at once, once, and must not call the log. size is about how many bytes that will be. The function that Append returns waits
// until the message outlives the program; it is nil when there is nothing to wait for, and need not be called. Readers see a message
// when it is durable; one that the disk refuses they never see. Nothing happens while the log is off.
func (l *Log) Append(key string, size int, encode func(b []byte, at Position) []byte) (durable func(context.Context) error) {
	if !l.on.Load() {
		return nil
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	now := l.opts.Now()
	l.latest = max(l.latest, now.UnixMilli())
	n := partitionOf(key, len(l.partitions))
	p := &l.partitions[n]
	at := Position{Sequence: p.next, Offset: p.nextOffset, Enqueued: time.UnixMilli(l.latest).UTC()}
	row := make([]byte, rowHeader, rowHeader+size)
	row = encode(row, at)
	e := entry{sequence: at.Sequence, offset: at.Offset, enqueued: l.latest, bytes: row[rowHeader:len(row):len(row)]}
	p.add(e)
	l.appended++
	l.messages++
	l.bytes += e.cost()
	var told []*Reader
	if l.opts.Keeper != nil {
		sealMessage(row, &e)
		durable = l.opts.Keeper.Put(messageRows, messageKey(n, e.sequence), row)
		l.pending = append(l.pending, pending{n, e.sequence, durable})
	} else {
		p.settle(e.sequence)
		told = p.readers
	}
	l.evict(now)
	l.mu.Unlock()
	if durable != nil {
		l.poke()
	}
	tell(told)
	return durable
}

// tell calls the hooks of readers; the caller holds no lock. The slice is never changed: who comes or goes makes another.
func tell(readers []*Reader) {
	for _, r := range readers {
		r.notify()
	}
}

// poke wakes the goroutine.
func (l *Log) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run waits for the disk and drops what is too old, until Close.
func (l *Log) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.wake:
		case <-timer.C:
		}
		l.await()
		l.mu.Lock()
		now := l.opts.Now()
		l.evict(now)
		if oldest := l.oldest(); oldest != nil {
			timer.Reset(max(time.Millisecond, time.UnixMilli(oldest.first().enqueued).Add(l.opts.Retention+time.Millisecond).Sub(now)))
		} else {
			timer.Reset(l.opts.Retention)
		}
		l.mu.Unlock()
	}
}

// await waits for the messages on their way to the disk, and shows each to the readers when it is there.
func (l *Log) await() {
	l.mu.Lock()
	all := l.pending
	l.pending = nil
	l.mu.Unlock()
	for _, one := range all {
		err := one.durable(l.ctx)
		if l.ctx.Err() != nil {
			return // the log closes: who opens it next finds what is on disk
		}
		l.mu.Lock()
		p := &l.partitions[one.partition]
		if err != nil {
			l.refused(one)
		}
		p.settle(one.sequence)
		told := p.readers
		l.mu.Unlock()
		tell(told)
	}
}

// refused takes a message back that the disk did not take: its sender was told. The caller holds the lock.
func (l *Log) refused(one pending) {
	p := &l.partitions[one.partition]
	i, found := p.find(one.sequence)
	if !found {
		return // dropped meanwhile
	}
	e := p.entries[i]
	p.remove(i)
	l.forget(one.partition, &e)
	l.dropped.Refused++
}

// oldest is the partition with the oldest message; nil when there is none. The caller holds the lock.
func (l *Log) oldest() *partition {
	var oldest *partition
	for i := range l.partitions {
		p := &l.partitions[i]
		if len(p.entries) > 0 && (oldest == nil || p.first().enqueued < oldest.first().enqueued) {
			oldest = p
		}
	}
	return oldest
}

// evict drops the oldest messages, over all partitions, until the rest is small and young enough. The caller holds the lock.
func (l *Log) evict(now time.Time) {
	before := now.Add(-l.opts.Retention).UnixMilli()
	for {
		p := l.oldest()
		if p == nil {
			return
		}
		e := *p.first()
		switch {
		case e.enqueued < before:
			l.dropped.Old++
		case l.bytes > l.opts.Bytes:
			l.dropped.Room++
		default:
			return
		}
		p.remove(0)
		l.forget(p.number, &e)
	}
}

// forget takes the account, and the row, of a message back that has left its partition. The caller holds the lock.
func (l *Log) forget(n int, e *entry) {
	l.messages--
	l.bytes -= e.cost()
	if l.opts.Keeper == nil {
		return
	}
	if p := &l.partitions[n]; len(p.entries) == 0 { // the sequence numbers go on where they were
		l.opts.Keeper.Put(stateRows, partitionKey(n), encodeState(p.state()))
	}
	l.opts.Keeper.Put(messageRows, messageKey(n, e.sequence), nil)
}
