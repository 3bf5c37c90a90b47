package engine_test

import (
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

	mu    sync.Mutex
	conns []*airConn
}

// airConn is a connection to it.
type airConn struct {
	air     *air
	id      string
	handler func(link.Message)

	// Under the broker's mu.
	over    func(error)
	filters []string
}

func (a *air) Connect(_ context.Context, o link.Options) (link.Conn, error) {
	return &airConn{air: a, id: o.ClientID, handler: o.Handler}, nil
}

func (c *airConn) Serve(over func(error)) {
	c.air.mu.Lock()
	defer c.air.mu.Unlock()
	c.over = over
	c.air.conns = append(c.air.conns, c)
}

func (c *airConn) Subscribe(done func(error), filters ...link.Filter) {
	c.air.mu.Lock()
	for _, f := range filters {
		c.filters = append(c.filters, f.Topic)
	}
	c.air.mu.Unlock()
	done(nil)
}

func (c *airConn) Close() { c.Abort() }

func (c *airConn) Abort() {
	c.air.mu.Lock()
	over := c.over
	c.over = nil
	c.air.conns = slices.DeleteFunc(c.air.conns, func(x *airConn) bool { return x == c })
	c.air.mu.Unlock()
	if over != nil {
		over(nil)
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
			c.over = nil
			a.conns = slices.DeleteFunc(a.conns, func(x *airConn) bool { return x == c })
			a.mu.Unlock()
			if over != nil {
				over(link.ErrLost)
			}
		}
	}
}

func (c *airConn) Publish(m link.Message, done func(error)) {
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
