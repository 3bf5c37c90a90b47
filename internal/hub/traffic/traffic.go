// Package traffic is a tap on what goes through a hub, for people who look: bounded, sampled when there is much of it, and free of cost
// while nobody looks.
package traffic

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Kind is what happened.
type Kind uint8

// The kinds.
const (
	Connect    Kind = iota // a device came
	Disconnect             // a device went
	Report                 // a device wrote its reported properties
	TwinRead               // a device read its twin
	Desired                // a device was told of desired properties, or was not there to be told
	Method                 // a direct method was called
	Message                // a cloud-to-device message was queued
	Telemetry              // a device sent a message
	Request                // a service's request over REST was answered
	kinds                  // how many there are
)

// String is the kind in a word or two, for people and for style sheets.
func (k Kind) String() string {
	if k >= kinds {
		return "unknown"
	}
	return [kinds]string{"connect", "disconnect", "report", "twin-read", "desired", "method", "message", "telemetry", "request"}[k]
}

// Kinds are all of them, in the order of their numbers.
func Kinds() []Kind {
	all := make([]Kind, kinds)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

// Event is something that happened. It holds no key: neither headers of requests nor documents of identities are in it.
type Event struct {
	At     time.Time     // when it was over
	Kind   Kind          // what
	ID     string        // the device, or device/module; empty for a request that names none
	Text   string        // a method's name, a request's method and path; empty where the kind says all
	Body   string        // the first MaxBody bytes of what was sent; empty where there is none, or it may hold keys
	Size   int           // of what was sent, in bytes
	Status int           // what was answered, as of HTTP; 0 where nothing is answered
	Took   time.Duration // of a request or a method, until its answer; else 0
}

// MaxBody is how much of a payload an Event shows, in bytes.
const MaxBody = 256

// Bounds of a Subscription and a Tap.
const (
	perKind = 40 // events of a kind between two calls of Take; the others are counted
	most    = 32 // subscriptions at a time
)

// ErrBusy is returned by Subscribe when as many look as may.
var ErrBusy = errors.New("too many look at the live traffic already")

// Tap hands events to those who look. The zero value is ready, and nobody looks. It is safe for concurrent use.
type Tap struct {
	mu   sync.Mutex // protects changes of the list
	list atomic.Pointer[[]*Subscription]
}

// On reports whether anybody looks: who publishes asks it before an event is made. It costs one load.
func (t *Tap) On() bool { return t.list.Load() != nil }

// Publish hands an event to everybody who looks. It never waits for a reader. body, which may be nil, is cut and copied.
func (t *Tap) Publish(e Event, body []byte) {
	list := t.list.Load()
	if list == nil {
		return
	}
	if e.Size == 0 {
		e.Size = len(body)
	}
	for _, s := range *list {
		if s.takes(e.ID) && s.counts[e.Kind].Add(1) <= perKind {
			if e.At.IsZero() {
				e.At = time.Now()
			}
			if e.Body == "" && len(body) > 0 {
				e.Body = start(body)
			}
			s.add(e)
		}
	}
}

// start is the first bytes of a payload, without half a character at the end.
func start(body []byte) string {
	if len(body) <= MaxBody {
		return string(body)
	}
	n := MaxBody
	for n > MaxBody-utf8.UTFMax && !utf8.RuneStart(body[n]) {
		n--
	}
	return string(body[:n])
}

// Subscribe begins to look: at one device and its modules, or at all when the id is empty. The subscription must be closed. The error is
// ErrBusy.
func (t *Tap) Subscribe(id string) (*Subscription, error) {
	s := &Subscription{tap: t, id: id, ready: make(chan struct{}, 1)}
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []*Subscription
	if now := t.list.Load(); now != nil {
		list = slices.Clone(*now)
	}
	if len(list) >= most {
		return nil, ErrBusy
	}
	list = append(list, s)
	t.list.Store(&list)
	return s, nil
}

// Subscription is somebody who looks.
type Subscription struct {
	tap    *Tap
	id     string
	counts [kinds]atomic.Uint64 // since the last Take
	ready  chan struct{}

	mu     sync.Mutex // protects events
	events []Event
}

// takes reports whether an event of a device is of those looked at.
func (s *Subscription) takes(id string) bool {
	return s.id == "" || id == s.id || len(id) > len(s.id) && id[len(s.id)] == '/' && id[:len(s.id)] == s.id
}

func (s *Subscription) add(e Event) {
	s.mu.Lock()
	s.events = append(s.events, e)
	s.mu.Unlock()
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Ready has a value when there are events to take. Who waits a little after it gets many at once.
func (s *Subscription) Ready() <-chan struct{} { return s.ready }

// Batch is what happened since the last Take.
type Batch struct {
	Events []Event         // in the order in which they were published, at most 40 of a kind
	Counts map[Kind]uint64 // of the kinds that happened, with those that Events leaves out
}

// LeftOut is how many events were counted and are not shown.
func (b Batch) LeftOut() uint64 {
	n := uint64(0)
	for _, c := range b.Counts {
		n += c
	}
	return n - min(n, uint64(len(b.Events)))
}

// Take takes what happened since it was called last.
func (s *Subscription) Take() Batch {
	s.mu.Lock()
	b := Batch{Events: s.events, Counts: make(map[Kind]uint64)}
	s.events = nil
	s.mu.Unlock()
	for k := range s.counts {
		if n := s.counts[k].Swap(0); n > 0 {
			b.Counts[Kind(k)] = n
		}
	}
	return b
}

// Close ends the looking; the last who looks makes publishing free again. It may be called once.
func (s *Subscription) Close() {
	s.tap.mu.Lock()
	defer s.tap.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(*s.tap.list.Load()), func(x *Subscription) bool { return x == s })
	if len(list) == 0 {
		s.tap.list.Store(nil)
		return
	}
	s.tap.list.Store(&list)
}
