package engine_test

import (
	"cmp"
	"context"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
)

// air is a broker without a network: what is published reaches those who subscribe after a while. What it does to a message follows from the message and
// who gets it alone, so that it does the same to all runs.
type air struct {
	takes func(m link.Message, id string) []time.Duration // how long each copy takes to a subscriber; nil for 7 ms
	mute  func() bool                                     // it takes messages, and tells nobody of them; nil for never
	keeps bool                                            // it keeps sessions
	full  func() bool                                     // it takes no connections; nil for never
	ends  error                                           // with which it cuts connections; link.ErrLost when nil
	bars  func(m link.Message, id string) bool            // what it cuts the connection of who publishes it for; nil for nothing

	mu       sync.Mutex
	conns    []*airConn
	sessions map[string]*airSession // of those whose connections are no more too
}

// airSession is what it keeps for a client.
type airSession struct {
	filters []string
	qos     []byte // of each
	queue   []link.Message
	open    bool
}

// airConn is a connection to it.
type airConn struct {
	air     *air
	id      string
	handler func(link.Message)
	kept    *airSession // nil for none
	present bool

	// Under the broker's mu.
	over    func(error)
	filters []string
}

func (a *air) Keeping() bool { return a.keeps }

func (a *air) Connect(_ context.Context, o link.Options) (link.Conn, error) {
	if a.full != nil && a.full() {
		return nil, link.ErrLost
	}
	c := &airConn{air: a, id: o.ClientID, handler: o.Handler}
	if !a.keeps {
		return c, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if o.CleanSession {
		delete(a.sessions, o.ClientID)
		return c, nil
	}
	if a.sessions == nil {
		a.sessions = make(map[string]*airSession)
	}
	if c.kept, c.present = a.sessions[o.ClientID]; !c.present {
		c.kept = new(airSession)
		a.sessions[o.ClientID] = c.kept
	}
	return c, nil
}

func (c *airConn) Greeting() link.Greeting {
	return link.Greeting{Present: c.present, Expiry: link.MaxExpiry, QoS: 2, Retain: true, Shared: true, Wildcard: true}
}

func (c *airConn) Serve(over func(error)) {
	c.air.mu.Lock()
	defer c.air.mu.Unlock()
	c.over = over
	c.air.conns = append(c.air.conns, c)
	if s := c.kept; s != nil {
		c.filters, s.open = slices.Clone(s.filters), true
		for _, m := range s.queue {
			c.air.bringLocked(c, m)
		}
		s.queue = nil
	}
}

func (c *airConn) Subscribe(done func(error), filters ...link.Filter) {
	c.air.mu.Lock()
	for _, f := range filters {
		c.filters = append(c.filters, f.Topic)
		if s := c.kept; s != nil {
			s.filters, s.qos = append(s.filters, f.Topic), append(s.qos, f.QoS)
		}
	}
	c.air.mu.Unlock()
	done(nil)
}

func (c *airConn) Close() { c.Abort() }

func (c *airConn) Abort() {
	c.air.mu.Lock()
	over := c.over
	c.endLocked()
	c.air.conns = slices.DeleteFunc(c.air.conns, func(x *airConn) bool { return x == c })
	c.air.mu.Unlock()
	if over != nil {
		over(nil)
	}
}

// endLocked ends the connection. The caller holds the lock.
func (c *airConn) endLocked() {
	c.over = nil
	if c.kept != nil {
		c.kept.open = false
	}
}

// cut ends the connections of some devices.
func (a *air) cut(of func(id string) bool) {
	a.mu.Lock()
	all := slices.Clone(a.conns)
	a.mu.Unlock()
	for _, c := range all {
		if of(c.id) {
			a.mu.Lock()
			over := c.over
			c.endLocked()
			a.conns = slices.DeleteFunc(a.conns, func(x *airConn) bool { return x == c })
			a.mu.Unlock()
			if over != nil {
				over(cmp.Or(a.ends, link.ErrLost))
			}
		}
	}
}

func (c *airConn) Publish(m link.Message, done func(error)) {
	if c.air.bars != nil && c.air.bars(m, c.id) {
		time.AfterFunc(3*time.Millisecond, func() {
			done(link.ErrLost)
			c.air.cut(func(id string) bool { return id == c.id })
		})
		return
	}
	m.Payload = slices.Clone(m.Payload)
	c.air.publish(m)
	done(nil)
}

func (a *air) publish(m link.Message) {
	if a.mute != nil && a.mute() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	shared := make(map[string][]*airConn)
	for _, c := range a.conns {
		own := false
		for _, f := range c.filters {
			if rest, ok := strings.CutPrefix(f, "$share/"); ok {
				if _, filter, _ := strings.Cut(rest, "/"); matches(filter, m.Topic) {
					shared[f] = append(shared[f], c)
				}
				continue
			}
			own = own || matches(f, m.Topic)
		}
		if own {
			a.bringLocked(c, m)
		}
	}
	for _, s := range a.sessions {
		for i, f := range s.filters {
			if !s.open && min(s.qos[i], m.QoS) > 0 && matches(f, m.Topic) {
				s.queue = append(s.queue, m)
				break
			}
		}
	}
	for _, members := range shared {
		slices.SortFunc(members, func(x, y *airConn) int { return strings.Compare(x.id, y.id) })
		a.bringLocked(members[drawn(m, "")%uint64(len(members))], m)
	}
}

// bringLocked brings a message to a subscriber, each copy in its time. The caller holds the lock.
func (a *air) bringLocked(c *airConn, m link.Message) {
	all := []time.Duration{7 * time.Millisecond}
	if a.takes != nil {
		all = a.takes(m, c.id)
	}
	for _, d := range all {
		time.AfterFunc(d, func() {
			a.mu.Lock()
			there := c.over != nil
			a.mu.Unlock()
			if there {
				c.handler(m)
			}
		})
	}
}

// drawn is a number that follows from a message, but for its mark, and from who gets it.
func drawn(m link.Message, id string) uint64 {
	h := fnv.New64a()
	_, body, _ := strings.Cut(string(m.Payload), ",")
	_, _ = h.Write([]byte(m.Topic + "\x00" + body + "\x00" + id))
	return h.Sum64() >> 7
}

// matches reports whether a filter has a topic.
func matches(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, level := range f {
		switch {
		case level == "#":
			return true
		case i >= len(t), level != "+" && level != t[i]:
			return false
		}
	}
	return len(f) == len(t)
}
