package counting

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Mark is which message it is: RUN-DEVICE-TURN, or RUN-DEVICE.KIND-TURN.
type Mark struct {
	Run    string // with its hyphen; "" for none
	Device int
	Kind   int
	Turn   int64
}

// ParseMark reads one; ok is false for what is none.
func ParseMark(text string) (m Mark, ok bool) {
	parts := strings.Split(text, "-")
	if len(parts) < 2 {
		return m, false
	}
	turn, err1 := strconv.ParseInt(parts[len(parts)-1], 10, 64)
	device, kind, named := strings.Cut(parts[len(parts)-2], ".")
	number, err2 := strconv.Atoi(device)
	if named {
		n, err := strconv.Atoi(kind)
		if err != nil {
			return m, false
		}
		m.Kind = n
	}
	if rest := parts[:len(parts)-2]; len(rest) > 0 {
		m.Run = strings.Join(rest, "-") + "-"
	}
	m.Device, m.Turn = number, turn
	return m, err1 == nil && err2 == nil
}

// Publisher names who sent it, and which kind of messages it is of: that is what an order is of.
func (m Mark) Publisher() string { return m.Run + strconv.Itoa(m.Device) + "." + strconv.Itoa(m.Kind) }

// Wire is all that was seen of devices and their messages.
type Wire struct {
	mu       sync.Mutex // protects the following fields
	messages map[Mark]*message
	clients  map[string]*client
	spans    map[*pipe]*span
	requests map[asked]*request
	number   int // of the last copy
}

// message is one that a device sent.
type message struct {
	mark   Mark
	client string
	topic  string
	qos    byte
	sent   time.Time // for the first time
	acked  time.Time // zero for never
	copies []arrival // in their order
}

// arrival is a copy that was sent to a subscriber.
type arrival struct {
	client string
	at     time.Time
	number int // in the order of all
	qos    byte
	taken  *bool // the subscriber has acknowledged it: it has seen it
}

// asked names a request: who asked, and its correlation data.
type asked struct{ client, about string }

// request is one, and its response.
type request struct {
	sent, answered time.Time // for the first time; answered is zero for never
	taken          *bool     // the one who asked has acknowledged the response
	qos            byte
}

// client is a device.
type client struct {
	spans   []*span
	kept    bool                 // its session outlives connections
	expiry  time.Duration        // by so long; 0 for ever
	filters map[string]filter    // that it ever had
	from    map[string]time.Time // since when, for the first time
	asked   map[uint16][]filter  // that wait for SUBACK
	waiting map[uint16]Mark      // that wait for their acknowledgement
	open    map[uint16]bool      // ids of QoS 2 that the broker has not released: one that comes again is none
}

// span is a connection.
type span struct {
	client     string
	begin, end time.Time          // zero while it lasts
	listens    time.Time          // since when; zero when it does not
	present    bool               // the broker had its session
	copies     map[uint16][]*bool // that wait for their acknowledgement
}

func newWire() *Wire {
	return &Wire{messages: make(map[Mark]*message), clients: make(map[string]*client), spans: make(map[*pipe]*span), requests: make(map[asked]*request)}
}

// client is a device that was seen, or is now. The caller holds the lock.
func (w *Wire) client(id string) *client {
	c := w.clients[id]
	if c == nil {
		c = &client{
			filters: make(map[string]filter), from: make(map[string]time.Time), asked: make(map[uint16][]filter), waiting: make(map[uint16]Mark), open: make(map[uint16]bool),
		}
		w.clients[id] = c
	}
	return c
}

func (w *Wire) connecting(p packet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.client(p.client)
	if len(c.spans) > 0 && !p.kept {
		return // it ends what is kept of it
	}
	c.kept, c.expiry = p.kept, p.expiry
}

func (w *Wire) subscribing(id string, packet uint16, filters []filter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.client(id).asked[packet] = filters
}

// sent notes a message of a device.
func (w *Wire) sent(id string, p packet, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.reply != "" && w.requests[asked{id, p.about}] == nil {
		w.requests[asked{id, p.about}] = &request{sent: at}
	}
	m, ok := ParseMark(p.mark)
	if !ok || p.reply == "" && p.about != "" { // a response has what it answers in it
		return
	}
	if w.messages[m] == nil {
		w.messages[m] = &message{mark: m, client: id, topic: p.topic, qos: p.qos, sent: at}
	}
	if p.qos > 0 {
		w.client(id).waiting[p.id] = m
	}
}

// answered notes what the broker says of what a device asked.
func (w *Wire) answered(x *pipe, p packet, at time.Time) {
	id := x.name()
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.client(id)
	switch p.kind {
	case connack:
		if p.refused {
			return
		}
		s := &span{client: id, begin: at, present: p.present, copies: make(map[uint16][]*bool)}
		if p.present {
			s.listens = at
		} else {
			clear(c.open)
			clear(c.waiting)
		}
		c.spans, w.spans[x] = append(c.spans, s), s
	case suback:
		for _, f := range c.asked[p.id] {
			c.filters[f.topic] = f
			if c.from[f.topic].IsZero() {
				c.from[f.topic] = at
			}
		}
		delete(c.asked, p.id)
		if s := w.spans[x]; s != nil && s.listens.IsZero() {
			s.listens = at
		}
	case puback, pubcomp, pubrec:
		m, ok := c.waiting[p.id]
		if !ok || p.kind == pubrec && !p.refused {
			return
		}
		delete(c.waiting, p.id)
		if !p.refused && w.messages[m].acked.IsZero() {
			w.messages[m].acked = at
		}
	}
}

// awaits is the message of a device that waits for an acknowledgement.
func (w *Wire) awaits(id string, packet uint16) (Mark, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m, ok := w.client(id).waiting[packet]
	return m, ok
}

// came notes a copy; undo forgets it, when it could not be sent.
func (w *Wire) came(pipe *pipe, p packet, at time.Time) (undo func()) {
	id := pipe.name()
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := new(bool)
	if s := w.spans[pipe]; s != nil && p.qos > 0 {
		s.copies[p.id] = append(s.copies[p.id], taken)
	}
	if p.reply == "" && p.about != "" {
		if r := w.requests[asked{id, p.about}]; r != nil && r.answered.IsZero() {
			r.answered, r.taken, r.qos = at, taken, p.qos
		}
		return func() {}
	}
	m, _ := ParseMark(p.mark)
	x, c := w.messages[m], w.client(id)
	if x == nil || p.qos == 2 && c.open[p.id] {
		return func() {}
	}
	if p.qos == 2 {
		c.open[p.id] = true
	}
	w.number++
	number := w.number
	x.copies = append(x.copies, arrival{id, at, number, p.qos, taken})
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		x.copies = slices.DeleteFunc(x.copies, func(a arrival) bool { return a.number == number })
		delete(c.open, p.id)
	}
}

// took notes that a subscriber has a copy.
func (w *Wire) took(x *pipe, packet uint16) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.spans[x]
	if s == nil || len(s.copies[packet]) == 0 {
		return
	}
	*s.copies[packet][0] = true
	s.copies[packet] = s.copies[packet][1:]
}

// released notes that the broker is done with a copy of QoS 2.
func (w *Wire) released(id string, packet uint16) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.client(id).open, packet)
}

// ended notes that a connection is over.
func (w *Wire) ended(x *pipe, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.spans[x]; s != nil {
		s.end = at
		delete(w.spans, x)
	}
}

// sorted are the messages in the order in which they were sent. The caller holds the lock.
func (w *Wire) sorted() []*message {
	return slices.SortedFunc(maps.Values(w.messages), func(a, b *message) int { return a.sent.Compare(b.sent) })
}

// listens are the times in which a device gets what comes: those of its connections, and with a session that is kept those between them too, unless
// the broker may have forgotten it by then.
func (c *client) listens(kept bool) (all []span) {
	for _, s := range c.spans {
		if s.listens.IsZero() {
			continue
		}
		x := span{begin: s.listens, end: s.end}
		if n := len(all); kept && n > 0 && !all[n-1].end.IsZero() && (s.present || c.expiry == 0 || s.begin.Sub(all[n-1].end) < c.expiry) {
			all[n-1].end = x.end
			continue
		}
		all = append(all, x)
	}
	if n := len(all); kept && n > 0 && c.expiry == 0 {
		all[n-1].end = time.Time{}
	}
	return all
}

// there reports whether a device listened all the time; away whether it never did.
func (c *client) there(kept bool, from, to time.Time) bool {
	return slices.ContainsFunc(c.listens(kept), func(s span) bool {
		return !s.begin.After(from) && (s.end.IsZero() || !s.end.Before(to))
	})
}

func (c *client) away(kept bool, from, to time.Time) bool {
	return !slices.ContainsFunc(c.listens(kept), func(s span) bool {
		return s.begin.Before(to) && (s.end.IsZero() || s.end.After(from))
	})
}

// left reports whether a device ceased to listen in a time.
func (c *client) left(kept bool, from, to time.Time) bool {
	return slices.ContainsFunc(c.listens(kept), func(s span) bool { return s.end.After(from) && s.end.Before(to) })
}

// stayed reports whether a device surely listened all the time, as it knows itself. One that went for good was not in a hurry.
func (c *client) stayed(kept bool, from, to time.Time) bool {
	if n := len(c.spans); n > 0 && c.spans[n-1].listens.Before(from) {
		return c.there(kept, from, to.Add(-closeCall))
	}
	return c.there(kept, from, to.Add(closeCall))
}

// gave is when a device gave up what it sent at a time and had no acknowledgement of: when its connection ended, or with a session that is
// kept, when the broker had that no more; ok is false when it did not.
func (c *client) gave(at time.Time) (end time.Time, ok bool) {
	if !c.kept {
		return c.cut(at)
	}
	for _, s := range c.spans {
		if s.begin.After(at) && !s.present {
			return s.begin, true
		}
	}
	return time.Time{}, false
}

// cut is when the connection ended that a device had at a time; ok is false when it did not.
func (c *client) cut(at time.Time) (end time.Time, ok bool) {
	for _, s := range c.spans {
		if !s.begin.After(at) && !s.end.IsZero() && s.end.After(at) {
			return s.end, true
		}
	}
	return time.Time{}, false
}
