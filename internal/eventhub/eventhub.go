// Package eventhub reads the device-to-cloud messages of an IoT Hub at its Event-Hubs-compatible endpoint, over AMQP 1.0, as they come
// in: where it is is what the IoT Hub says when it is asked. A Reader begins behind the last message that was there, and after a lost
// connection behind the last that it has read: what it leaves out, or is given twice, it counts.
//
// It has one goroutine, that of Run, and one connection with all partitions. Nothing that a hub says is believed before it is bounded.
package eventhub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/wait"
)

// DefaultGroup is the consumer group that every hub has (iot-hub-devguide-messages-read-builtin).
const DefaultGroup = "$Default"

// What may go wrong with a hub. Texts of the hub's own are cut to a line.
var (
	// ErrRefused is matched by errors that trying once more does not mend: credentials, permissions, names.
	ErrRefused = errors.New("the hub refuses it")
	// ErrProtocol is matched by errors of what no hub says.
	ErrProtocol = errors.New("the hub breaks the protocol")
	// ErrLost is matched by errors of a connection that was there.
	ErrLost = errors.New("the connection is lost")
	// ErrSilent is matched by errors of a hub that did not answer in time.
	ErrSilent = errors.New("the hub does not answer")
)

// Options of a Reader.
type Options struct {
	Host   string  // the IoT Hub's name, as its tokens have it; required
	Addr   string  // host:port of its AMQP; required
	Policy string  // a shared access policy with ServiceConnect; required
	Key    sas.Key // of the policy; required
	Group  string  // consumer group; DefaultGroup when empty
	// Dial opens a connection to host:port, with all that is spoken below AMQP; required. A hub may name another than Addr.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Deliver is given each message, in the order of its partition, by the goroutine of Run; required. It must not wait.
	Deliver func(Message)
	// Tell, which may be nil, is told on the goroutine of Run of a connection that was lost, or not to be had, once attached; with nil
	// that it is back.
	Tell      func(err error)
	Life      time.Duration // of a token, of which there is a new one at four fifths; an hour when 0
	Patience  time.Duration // with the hub for one step of an attempt to connect; 30 seconds when 0
	FirstWait time.Duration // before the second attempt to connect, doubled up to LongestWait; 200 milliseconds when 0
}

// LongestWait is the longest wait between two attempts to connect.
const LongestWait = 5 * time.Second

// Message is a device-to-cloud message.
type Message struct {
	Partition string    // its id
	Sequence  int64     // its number in the partition
	Enqueued  time.Time // when the hub says that it took it, by its own clock; the zero time when it says nothing
	Device    string    // that sent it, as the hub says
	Body      []byte    // valid until Deliver returns
	At        time.Time // when its last bytes were read from the connection
}

// Stats are what a Reader has seen.
type Stats struct {
	Messages   uint64        // given to Deliver
	Connected  bool          // it was attached, and has not lost its connection since
	Repeated   uint64        // that the hub sent once more, and which were left out
	Missing    uint64        // numbers of messages that a partition left out
	Unreadable uint64        // messages that are none
	Losses     int           // connections that were lost once it was attached
	Restarts   int           // times that a log of the hub began anew, with what was in it
	Away       time.Duration // without a connection, since it was first attached
	Lost       error         // why the last one was lost; nil for none
	Err        error         // of the last attempt to connect that came to nothing, or connection that was lost; nil for none
}

// Reader reads the messages of one hub.
type Reader struct {
	opts     Options
	attached chan struct{} // closed when it was attached for the first time
	behind   atomic.Int64  // the longest time that bytes waited, since it was last asked for

	mu    sync.Mutex // protects the following fields
	stats Stats
	since time.Time // when it lost its connection; the zero time while there is one

	// Of Run's goroutine.
	endpoint *endpoint            // where the messages are; nil when it has to be asked for
	created  time.Time            // when the hub says that its log was made
	places   map[string]*position // by partition
}

// position is up to where a partition was read.
type position struct {
	sequence int64
	offset   string
}

// start is before the first message of a partition.
func start() position { return position{sequence: -1, offset: "-1"} }

// New makes a Reader. It is an error when one of the options that are required is missing.
func New(o Options) (*Reader, error) {
	if o.Host == "" || o.Addr == "" || o.Policy == "" || o.Key.IsZero() || o.Dial == nil || o.Deliver == nil {
		return nil, errors.New("a reader of messages needs host, address, policy, key, dialler and somebody who takes the messages")
	}
	o.Group = cmp.Or(o.Group, DefaultGroup)
	o.Life = cmp.Or(o.Life, time.Hour)
	o.Patience = cmp.Or(o.Patience, 30*time.Second)
	o.FirstWait = cmp.Or(o.FirstWait, 200*time.Millisecond)
	if o.Tell == nil {
		o.Tell = func(error) {}
	}
	return &Reader{opts: o, attached: make(chan struct{}), places: make(map[string]*position)}, nil
}

// Attached is closed when the Reader reads all partitions: what is sent from then on, it reads.
func (r *Reader) Attached() <-chan struct{} { return r.attached }

// Stats are what it has seen so far.
func (r *Reader) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	if !r.since.IsZero() {
		s.Away += time.Since(r.since)
		return s
	}
	s.Connected = r.wasAttached()
	return s
}

// Behind is the longest time that bytes, which the hub had sent, may have waited until the Reader handled them, since it was last
// asked: what of the age of a message is not the hub's.
func (r *Reader) Behind() time.Duration { return time.Duration(r.behind.Swap(0)) }

// Run reads until ctx ends, whose end is no error, and connects anew as often as it must. It returns an error, that matches
// ErrRefused, when it has not been attached yet and trying once more is in vain. It is called once.
func (r *Reader) Run(ctx context.Context) error {
	pause := r.opts.FirstWait
	for {
		attached, err := r.attempt(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if !r.wasAttached() && errors.Is(err, ErrRefused) {
			return err
		}
		r.away(attached, err)
		if attached {
			pause = r.opts.FirstWait
		} else {
			r.endpoint = nil // a hub that has moved says where to
		}
		if wait.For(ctx, pause) != nil {
			return nil
		}
		pause = min(2*pause, LongestWait)
	}
}

func (r *Reader) wasAttached() bool {
	select {
	case <-r.attached:
		return true
	default:
		return false
	}
}

// away notes that there is no connection.
func (r *Reader) away(lost bool, err error) {
	told := r.wasAttached()
	r.mu.Lock()
	r.stats.Err = err
	if lost {
		r.stats.Losses++
		r.stats.Lost = err
	}
	if told && r.since.IsZero() {
		r.since = time.Now()
	}
	r.mu.Unlock()
	if told {
		r.opts.Tell(err)
	}
}

// back notes that there is one.
func (r *Reader) back() {
	first := !r.wasAttached()
	r.mu.Lock()
	if !r.since.IsZero() {
		r.stats.Away += time.Since(r.since)
		r.since = time.Time{}
	}
	r.mu.Unlock()
	if first {
		close(r.attached)
		return
	}
	r.opts.Tell(nil)
}

// count changes the Stats.
func (r *Reader) count(change func(*Stats)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.stats)
}

// attempt connects and reads until the connection is lost. attached says whether it came so far as to read.
func (r *Reader) attempt(ctx context.Context) (attached bool, err error) {
	if r.endpoint == nil {
		if r.endpoint, err = r.locate(ctx); err != nil {
			return false, fmt.Errorf("asking %s where its messages are: %w", r.opts.Host, err)
		}
	}
	c, err := r.connect(ctx, r.endpoint.addr)
	if err != nil {
		return false, fmt.Errorf("connecting to the Event-Hubs-compatible endpoint: %w", err)
	}
	defer c.leave()
	if err := c.attachAll(); err != nil {
		return false, fmt.Errorf("reading the Event-Hubs-compatible endpoint: %w", err)
	}
	r.back()
	return true, c.serve()
}

// locate asks the IoT Hub for its Event-Hubs-compatible endpoint.
func (r *Reader) locate(ctx context.Context) (*endpoint, error) {
	c, err := r.connect(ctx, r.opts.Addr)
	if err != nil {
		return nil, err
	}
	defer c.leave()
	if err := c.authorize(r.opts.Host, r.opts.Key); err != nil {
		return nil, err
	}
	return c.redirected()
}
