// Package notices is what the hub tells its services: feedback of cloud-to-device messages, and files that devices have uploaded. Each
// kind has one queue a hub, from which competing receivers take messages under a lock.
package notices

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/keep"
	"github.com/twinfleet/twinfleet/internal/hub/lockqueue"
	"github.com/twinfleet/twinfleet/internal/iothub"
)

// Options of a Queue; see ForFeedback and ForFiles.
type Options struct {
	Bucket string       // of the Keeper; required with one
	Keeper keep.Keeper  // nil: records end with the program. With one Load must be called
	Logger *slog.Logger // nil logs nothing
	// Batch is how many records a message has at most, which is an array of them; with 0 it is one record and no array.
	Batch int
	// Linger is how long a batch with fewer records waits for more; 0 for not at all.
	Linger time.Duration
	// TTL is how long a record waits for a receiver; 1 h when 0.
	TTL time.Duration
	// Deliveries is how often a message is taken in vain before it is dropped; 10 when 0.
	Deliveries int
	// Most is how many messages wait at most; the oldest are dropped for newer ones. 1000 when 0.
	Most int
}

// lock is how long a message that was taken is its receiver's.
const lock = time.Minute

// Message is a message that a receiver has taken.
type Message struct {
	Token       lockqueue.Token
	Body        []byte    // JSON; must not be changed
	Sequence    uint64    // later messages have greater ones
	Enqueued    time.Time // when its batch was closed
	Until       time.Time // when it expires
	LockedUntil time.Time // when the lock is lost
	Deliveries  int       // how often it was taken before, in vain
}

// Queue is safe for concurrent use. It has a goroutine only while something is due.
type Queue struct {
	opts Options
	log  *slog.Logger
	work sync.WaitGroup // alarms

	mu       sync.Mutex // protects the following fields; a receiver's notify is never called with it held
	queue    lockqueue.Queue[batch]
	open     batch     // records that wait for more of them
	since    time.Time // since when
	alarm    *time.Timer
	armed    time.Time // what alarm waits for; zero for nothing
	fresh    bool      // receivers are to be told
	numbers  uint64
	watchers map[int]func()
	watcher  int
	closed   bool
	dropped  bool // messages were, since there was room last
}

// batch is the records of a message.
type batch struct {
	rows []string // keys of the rows that keep them
	body []byte   // as JSON, without the brackets of an array
	from time.Time
}

// New makes a Queue.
func New(o Options) *Queue {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.TTL == 0 {
		o.TTL = time.Hour
	}
	if o.Deliveries == 0 {
		o.Deliveries = 10
	}
	if o.Most == 0 {
		o.Most = 1000
	}
	return &Queue{opts: o, log: o.Logger, watchers: make(map[int]func())}
}

// Close ends the work of the Queue. What waits stays kept.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	if q.alarm != nil {
		q.alarm.Stop()
	}
	q.mu.Unlock()
	q.work.Wait()
}

// Add puts a record, which becomes JSON, into the queue. origin is what it is of, for Load to tell; it may be empty. It waits for nobody,
// and calls nobody but the Keeper; durable waits until the record is kept.
func (q *Queue) Add(origin string, record any) (durable func(context.Context) error, err error) {
	body, err := json.Marshal(record)
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.numbers++
	now, key := time.Now(), rowKey(q.numbers)
	durable = q.keep(key, kept{1, origin, now, body})
	q.append(key, body, now, now)
	q.settle(now)
	return durable, nil
}

// append puts a record into the open batch, and closes that when it is full. The caller holds the lock.
func (q *Queue) append(row string, body []byte, from, now time.Time) {
	if len(q.open.rows) == 0 {
		q.since, q.open.from = now, from
	} else {
		q.open.body = append(q.open.body, ',')
	}
	q.open.rows, q.open.body = append(q.open.rows, row), append(q.open.body, body...)
	if len(q.open.rows) >= max(1, q.opts.Batch) {
		q.shut(now)
	}
}

// shut makes a message of the open batch. The caller holds the lock.
func (q *Queue) shut(now time.Time) {
	if len(q.open.rows) == 0 {
		return
	}
	b := q.open
	q.open = batch{}
	if q.opts.Batch > 0 {
		b.body = append(append([]byte{'['}, b.body...), ']')
	}
	q.numbers++
	q.queue.Add(lockqueue.Entry[batch]{Value: b, Number: q.numbers, Enqueued: now, Until: b.from.Add(q.opts.TTL)})
	q.fresh = true
	if q.queue.Len() <= q.opts.Most {
		q.dropped = false
		return
	}
	if !q.dropped {
		q.dropped = true
		q.log.Warn("nobody receives what the hub tells; the oldest messages are dropped", "bucket", q.opts.Bucket, "waiting", q.opts.Most)
	}
	q.queue.Withdraw(q.queue.First(func(*lockqueue.Entry[batch]) bool { return true }).Number)
}

// settle does what is due, forgets what has left the queue and sets the alarm. The caller holds the lock.
func (q *Queue) settle(now time.Time) (durable func(context.Context) error) {
	durable = keep.Nothing
	if len(q.open.rows) > 0 && !now.Before(q.since.Add(q.opts.Linger)) {
		q.shut(now)
	}
	q.fresh = q.queue.Sweep(now, q.opts.Deliveries) || q.fresh
	for _, e := range q.queue.Ended() {
		for _, row := range e.Value.rows {
			durable = q.forget(row)
		}
	}
	at := q.queue.Due()
	if len(q.open.rows) > 0 {
		if shut := q.since.Add(q.opts.Linger); at.IsZero() || shut.Before(at) {
			at = shut
		}
	}
	if q.fresh {
		at = now
	}
	q.arm(at)
	return durable
}

// arm sets the alarm. The caller holds the lock.
func (q *Queue) arm(at time.Time) {
	if q.closed || at.Equal(q.armed) {
		return
	}
	q.armed = at
	switch {
	case at.IsZero():
		q.alarm.Stop()
	case q.alarm == nil:
		q.alarm = time.AfterFunc(time.Until(at), q.due)
	default:
		q.alarm.Reset(time.Until(at))
	}
}

// due does what is due, and tells the receivers when there is something for them.
func (q *Queue) due() {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return
	}
	q.work.Add(1)
	defer q.work.Done()
	q.armed = time.Time{}
	now := time.Now()
	q.settle(now)
	var tell []func()
	if q.fresh {
		q.fresh = false
		for _, notify := range q.watchers {
			tell = append(tell, notify)
		}
		q.settle(now) // for the alarm
	}
	q.mu.Unlock()
	for _, notify := range tell {
		notify()
	}
}

// Watch has notify called whenever there may be something new to Take, for one that has taken all there was. It must wait for nobody.
// A call that is under way when stop returns is not waited for.
func (q *Queue) Watch(notify func()) (stop func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.watcher++
	id := q.watcher
	q.watchers[id] = notify
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.watchers, id)
	}
}

// Take takes up to so many messages, oldest first, each under a lock that Settle ends, or its time, or Release. A receiver is any pointer.
func (q *Queue) Take(receiver any, most int) (all []Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	q.settle(now)
	for _, e := range q.queue.Take(now, most, lock, receiver, func(*lockqueue.Entry[batch]) bool { return true }) {
		all = append(all, Message{
			Token: e.Token, Body: e.Value.body, Sequence: e.Number, Enqueued: e.Enqueued, Until: e.Until, LockedUntil: e.LockedUntil,
			Deliveries: e.Deliveries - 1,
		})
	}
	q.settle(now)
	return all
}

// Settle ends the lock of a message with an outcome. Who must not acknowledge before that is kept waits for durable. Errors: iothub.ErrMessageLockLost.
func (q *Queue) Settle(token lockqueue.Token, o lockqueue.Outcome) (durable func(context.Context) error, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	q.settle(now)
	if err := q.queue.Settle(token, o, q.opts.Deliveries); errors.Is(err, lockqueue.ErrLost) {
		return nil, iothub.ErrMessageLockLost
	}
	q.fresh = q.fresh || o == lockqueue.Abandon
	return q.settle(now), nil
}

// Release frees the messages of a receiver that is gone.
func (q *Queue) Release(receiver any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.queue.First(func(e *lockqueue.Entry[batch]) bool { return e.Locked(receiver) }) == nil {
		return
	}
	q.queue.Release(receiver, q.opts.Deliveries)
	q.fresh = true
	q.settle(time.Now())
}

// Waiting is how many records wait, those that were taken included.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.open.rows)
	q.queue.First(func(e *lockqueue.Entry[batch]) bool { n += len(e.Value.rows); return false })
	return n
}

// forget drops the row of a record. The caller holds the lock.
func (q *Queue) forget(row string) (durable func(context.Context) error) {
	if q.opts.Keeper == nil {
		return keep.Nothing
	}
	return q.opts.Keeper.Put(q.opts.Bucket, row, nil)
}
