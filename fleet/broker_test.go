package fleet_test

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/fleet/protocol/plain"
)

// broker is a broker in memory, behind the driver's interface, that keeps sessions and knows properties, wildcards at the end of filters, and shared
// subscriptions. All of it works in virtual time.
type broker struct {
	version link.Version
	listen  func(id string) []link.Filter

	mu       sync.Mutex
	latency  time.Duration
	away     bool                      // dialling fails
	mute     bool                      // nothing that is published is acknowledged or routed
	lowers   bool                      // it grants QoS 0
	eager    bool                      // what waits in a session comes at once
	unread   bool                      // it takes no more, as of DISCONNECT
	refuses  func(o link.Options) bool // nil for none
	forbids  func(id string) bool      // whose SUBSCRIBE it refuses; nil for nobody's
	words    string                    // that it says with what it refuses
	ends     error                     // with which drop ends connections; link.ErrLost when nil
	sessions map[string]*memory
	options  map[string][]link.Options // by client, of each connection
	subs     map[string]int            // SUBSCRIBEs
	sent     map[string][]link.Message // by topic
	turn     int
	copies   func(m link.Message) int // of each message, to each subscriber; nil for one
}

// memory is a session.
type memory struct {
	filters []link.Filter
	queue   []link.Message
	open    *wire
	expires time.Time // zero while it is connected, or for ever
}

func newBroker(v link.Version, listen func(id string) []link.Filter) *broker {
	return &broker{
		version: v, listen: listen, latency: 10 * time.Millisecond, sessions: map[string]*memory{}, options: map[string][]link.Options{},
		subs: map[string]int{}, sent: map[string][]link.Message{},
	}
}

func (b *broker) Keeping() bool { return true }

func (b *broker) Link(_ int, id string) link.Options {
	return link.Options{ClientID: id, Version: b.version, CleanSession: true}
}

func (b *broker) Protocol() protocol.Protocol {
	return plain.Protocol{
		Topic:  func(d protocol.Device) string { return "t/" + d.ID },
		Listen: func(d protocol.Device) []link.Filter { return b.listen(d.ID) },
	}
}

func (b *broker) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// wire is a connection.
type wire struct {
	broker  *broker
	id      string
	o       link.Options
	present bool
	over    func(error)
	closed  bool
	last    time.Time         // when the last message was handed over
	waiting []*unacknowledged // in the order of sending
}

// unacknowledged is what a client has sent, and has no answer to.
type unacknowledged struct {
	m    link.Message
	kept bool // stays when the connection is lost
	done func(error)
}

// left is what a client remembers between connections.
type left []*unacknowledged

func (l left) Forget(why error) {
	for _, u := range l {
		u.done(why)
	}
}

func (b *broker) Connect(ctx context.Context, o link.Options) (link.Conn, error) {
	b.mu.Lock()
	b.options[o.ClientID] = append(b.options[o.ClientID], o)
	latency, away := b.latency, b.away
	b.mu.Unlock()
	select {
	case <-time.After(latency):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if away {
		return nil, link.ErrLost
	}
	if b.refuses != nil && b.refuses(o) {
		return nil, &link.RefusedError{Code: 5, Words: b.words}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	w, s := &wire{broker: b, id: o.ClientID, o: o}, b.sessions[o.ClientID]
	if s != nil && !s.expires.IsZero() && time.Now().After(s.expires) {
		s = nil
	}
	if w.present = s != nil && !o.CleanSession; !w.present {
		s = new(memory)
		b.sessions[o.ClientID] = s
	}
	s.open, s.expires = w, time.Time{}
	return w, nil
}

func (w *wire) Greeting() link.Greeting {
	g := link.Greeting{Present: w.present, Expiry: link.MaxExpiry, QoS: 2, Retain: true, Shared: true, Wildcard: true}
	if w.o.Version == link.V5 {
		g.Expiry = w.o.SessionExpiry
	}
	return g
}

func (w *wire) Serve(over func(error)) {
	b := w.broker
	b.mu.Lock()
	w.over = over
	s := b.sessions[w.id]
	if w.closed {
		b.mu.Unlock()
		go over(link.ErrLost)
		return
	}
	queue := s.queue
	s.queue = nil
	for _, m := range queue {
		if !b.eager {
			w.hand(m)
		}
	}
	eager := b.eager
	b.mu.Unlock()
	for _, m := range queue {
		if eager {
			w.o.Handler(m)
		}
	}
	if w.o.Session == nil {
		return
	}
	if x := w.o.Session.Take(); x != nil {
		if !w.present {
			x.Forget(link.ErrLost)
			return
		}
		for _, u := range x.(left) {
			w.send(u)
		}
	}
}

// hand gives a client a message, after the broker's latency. The caller holds the lock.
func (w *wire) hand(m link.Message) {
	if at := time.Now().Add(w.broker.latency); at.After(w.last) {
		w.last = at
	} else {
		w.last = w.last.Add(time.Microsecond) // one after the other
	}
	time.AfterFunc(time.Until(w.last), func() {
		w.broker.mu.Lock()
		s := w.broker.sessions[w.id]
		closed := w.closed
		if closed && s != nil && w.keeps() {
			s.queue = append(s.queue, m)
		}
		w.broker.mu.Unlock()
		if !closed {
			w.o.Handler(m)
		}
	})
}

// keeps reports whether the session outlives the connection.
func (w *wire) keeps() bool {
	if w.o.Version == link.V5 {
		return w.o.SessionExpiry > 0
	}
	return !w.o.CleanSession
}

func (w *wire) Subscribe(done func(error), filters ...link.Filter) {
	time.AfterFunc(w.broker.latency, func() {
		w.broker.mu.Lock()
		closed := w.closed
		if s := w.broker.sessions[w.id]; !closed && s != nil {
			w.broker.subs[w.id]++
			if s.filters = filters; w.broker.lowers {
				s.filters = slices.Clone(filters)
				for i := range s.filters {
					s.filters[i].QoS = 0
				}
			}
		}
		w.broker.mu.Unlock()
		if closed {
			done(link.ErrLost)
			return
		}
		if w.broker.forbids != nil && w.broker.forbids(w.id) {
			done(&link.SubscriptionError{Words: w.broker.words})
			return
		}
		if w.broker.lowers {
			done(&link.LoweredError{Asked: 1})
			return
		}
		done(nil)
	})
}

func (w *wire) Publish(m link.Message, done func(error)) {
	m.Payload = bytes.Clone(m.Payload)
	w.send(&unacknowledged{m: m, kept: w.o.Session != nil && m.QoS > 0, done: done})
}

func (w *wire) send(u *unacknowledged) {
	b := w.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.closed {
		go u.done(link.ErrLost)
		return
	}
	w.waiting = append(w.waiting, u)
	time.AfterFunc(b.latency, func() {
		b.mu.Lock()
		i := slices.Index(w.waiting, u)
		if i < 0 || b.mute {
			b.mu.Unlock()
			return
		}
		w.waiting = slices.Delete(w.waiting, i, i+1)
		b.route(u.m)
		b.mu.Unlock()
		u.done(nil)
	})
}

// route hands a message to whoever has a filter for it: one copy for each filter, and one for each shared group. The caller holds the lock.
func (b *broker) route(m link.Message) {
	b.sent[m.Topic] = append(b.sent[m.Topic], m)
	groups := map[string][]*memory{}
	ids := make([]string, 0, len(b.sessions))
	for id := range b.sessions {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	give := func(s *memory, qos byte) {
		n := 1
		if b.copies != nil {
			n = b.copies(m)
		}
		for range n {
			switch {
			case s.open != nil && !s.open.closed:
				s.open.hand(m)
			case min(qos, m.QoS) > 0:
				s.queue = append(s.queue, m)
			}
		}
	}
	for _, id := range ids {
		s := b.sessions[id]
		if !s.expires.IsZero() && !time.Now().Before(s.expires) {
			continue
		}
		for _, f := range s.filters {
			if share, ok := strings.CutPrefix(f.Topic, "$share/"); ok {
				_, filter, _ := strings.Cut(share, "/")
				there := s.open != nil && !s.open.closed
				if matches(filter, m.Topic) && (there || min(f.QoS, m.QoS) > 0) {
					groups[f.Topic] = append(groups[f.Topic], s)
				}
				continue
			}
			if matches(f.Topic, m.Topic) {
				give(s, f.QoS)
			}
		}
	}
	for _, members := range groups {
		b.turn++
		give(members[b.turn%len(members)], m.QoS)
	}
}

func matches(filter, topic string) bool {
	prefix, wild := strings.CutSuffix(filter, "#")
	return filter == topic || wild && strings.HasPrefix(topic, prefix)
}

// end ends the connection; ends says that the session ends with it.
func (w *wire) end(why error, ends bool) {
	b := w.broker
	b.mu.Lock()
	if w.closed {
		b.mu.Unlock()
		return
	}
	w.closed = true
	if s := b.sessions[w.id]; s != nil && s.open == w {
		switch {
		case ends || !w.keeps():
			delete(b.sessions, w.id)
		case w.o.Version == link.V5 && w.o.SessionExpiry < link.MaxExpiry:
			s.expires = time.Now().Add(w.o.SessionExpiry)
			fallthrough
		default:
			s.open = nil
		}
	}
	var kept left
	var gone []*unacknowledged
	for _, u := range w.waiting {
		if u.kept && !ends {
			kept = append(kept, u)
		} else {
			gone = append(gone, u)
		}
	}
	w.waiting = nil
	over := w.over
	b.mu.Unlock()
	if len(kept) > 0 {
		w.o.Session.Leave(kept)
	}
	for _, u := range gone {
		u.done(link.ErrLost)
	}
	if over != nil {
		go over(why)
	}
}

func (w *wire) Close() { w.end(nil, false) }
func (w *wire) Abort() { w.end(nil, false) }

// End implements link.Ender.
func (w *wire) End() {
	w.broker.mu.Lock()
	unread := w.broker.unread
	w.broker.mu.Unlock()
	if unread {
		w.end(link.ErrLost, false)
		return
	}
	w.end(nil, true)
}

// drop ends connections without a word; those of all clients when none is named.
func (b *broker) drop(ids ...string) {
	b.mu.Lock()
	var gone []*wire
	why := cmp.Or(b.ends, link.ErrLost)
	for id, s := range b.sessions {
		if s.open != nil && (len(ids) == 0 || slices.Contains(ids, id)) {
			gone = append(gone, s.open)
		}
	}
	b.mu.Unlock()
	for _, w := range gone {
		w.end(why, false)
	}
}

// told is what the broker has noted so far. A test reads it by this: that a goroutine has long ended says nothing to the race detector.
func (b *broker) told() *broker {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &broker{sessions: maps.Clone(b.sessions), options: maps.Clone(b.options), subs: maps.Clone(b.subs), sent: maps.Clone(b.sent)}
}
