package lean

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// more is what a connection has that keeps its session, or speaks MQTT 5. The many that do neither do without it.
type more struct {
	session *link.Session // nil for one that ends with its connection
	lasting bool          // the target keeps the session when the connection is over
	unsaid  bool          // it owes so much reading that the DISCONNECT that ends it was not sent
	ending  bool          // this side ends the session with the connection
	bytes   int           // of the messages that are kept
	*five                 // nil for MQTT 3.1.1
}

// state is what a session has between two connections.
type state struct {
	awaited  []awaited // messages alone
	received []uint16
	id       uint16
}

// Forget implements link.SessionState.
func (s *state) Forget(why error) {
	for _, a := range s.awaited {
		a.done(why)
	}
}

// due says whether a message has to be sent.
type due byte

const (
	sent   due = iota // on this connection
	queued            // it never was
	again             // it was, on a connection before; with PUBCOMP awaited, nothing is due
)

// errUnsaid is why a session may be left whose end was to be said.
var errUnsaid = fmt.Errorf("%w before the target took that its session ends", link.ErrLost)

// parting is what is told of an end that this side wanted. The caller holds the lock.
func (c *conn) parting() error {
	if c.more != nil && c.ending && (c.unsaid || !c.wire.Said()) {
		return errUnsaid
	}
	return nil
}

// keeping reports whether what is sent has to be kept for a connection after this one.
func (c *conn) keeping() bool { return c.more != nil && c.session != nil && c.lasting }

// take the state of a session that nobody but this driver filled.
func takeState(s *link.Session) *state {
	if s == nil {
		return nil
	}
	left := s.Take()
	if own, ok := left.(*state); ok {
		return own
	}
	if left != nil {
		left.Forget(link.ErrLost)
	}
	return nil
}

// resume goes on with the session that the connection before left, in the order in which its messages were sent (section 4.4 of both
// versions): those that have no acknowledgement are sent once more, those with QoS 2 that were received are released.
func (c *conn) resume(s *state) {
	var refused []awaited
	var why []error
	c.wire.Lock()
	c.awaited, c.received, c.id = s.awaited, s.received, s.id
	for _, a := range c.awaited {
		if a.kept != nil {
			c.bytes += weight(a.kept)
		}
	}
	if f := c.v5(); f != nil {
		f.before = slices.Clone(s.received)
	}
	for i := 0; i < len(c.awaited); i++ {
		a := &c.awaited[i]
		switch {
		case a.by == mqtt.PUBCOMP:
			a.due = again
			c.send(func(b []byte) []byte { return mqtt.AppendAck(b, mqtt.PUBREL, a.id) })
			continue
		case a.due == sent:
			a.due = again
		}
		if c.v5() != nil {
			if err := c.refuses(a.kept); err != nil {
				refused, why = append(refused, *a), append(why, err)
				c.forget(i)
				i--
				continue
			}
			c.unsent++
		}
		c.transmit(i)
	}
	c.wire.Unlock()
	for i, a := range refused {
		a.done(why[i])
	}
}

// leave keeps what of a session goes on after its connection, and returns the packets that do not. The caller holds the lock.
func (c *conn) leave() (over []awaited, kept *state) {
	if !c.keeping() {
		return c.awaited, nil
	}
	kept = &state{received: c.received, id: c.id}
	for _, a := range c.awaited {
		if a.by == mqtt.SUBACK {
			over = append(over, a)
		} else {
			kept.awaited = append(kept.awaited, a)
		}
	}
	return over, kept
}

// drop forgets a message that is kept. The caller holds the lock.
func (c *conn) drop(a *awaited) {
	if a.kept != nil {
		c.bytes -= weight(a.kept)
		a.kept = nil
	}
}

// weight is how many bytes a message has that is kept.
func weight(m *link.Message) int {
	n := len(m.Topic) + len(m.Payload)
	if p := m.Properties; p != nil {
		n += len(p.ContentType) + len(p.ResponseTopic) + len(p.Correlation)
		for _, u := range p.User {
			n += len(u.Name) + len(u.Value)
		}
	}
	return n
}

// keep is a message that stays when Publish has returned.
func keep(m *link.Message) *link.Message {
	kept := *m
	kept.Topic, kept.Payload = strings.Clone(m.Topic), bytes.Clone(m.Payload)
	if p := m.Properties; p != nil {
		own := *p
		own.User, own.Correlation = slices.Clone(p.User), bytes.Clone(p.Correlation)
		for i, u := range own.User {
			own.User[i] = link.UserProperty{Name: strings.Clone(u.Name), Value: strings.Clone(u.Value)}
		}
		own.ContentType, own.ResponseTopic, own.Subscriptions = strings.Clone(p.ContentType), strings.Clone(p.ResponseTopic), nil
		kept.Properties = &own
	}
	return &kept
}

// Greeting implements link.Greeted.
func (c *conn) Greeting() link.Greeting {
	if f := c.v5(); f != nil {
		return f.greeting
	}
	g := link.Greeting{Present: c.present, QoS: 2, Retain: true, Shared: true, Wildcard: true}
	if !c.clean {
		g.Expiry = link.MaxExpiry
	}
	return g
}

// End implements link.Ender.
func (c *conn) End() {
	c.wire.Lock()
	if c.more != nil && c.gone() == nil {
		c.lasting, c.ending = false, true
	}
	c.wire.Unlock()
	c.close(true)
}
