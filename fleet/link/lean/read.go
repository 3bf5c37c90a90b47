package lean

import (
	"errors"
	"io"
	"net"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
	"github.com/twinfleet/twinfleet/internal/mqtt/v5"
)

// maxPacket bounds an incoming packet, in bytes.
const maxPacket = 4 << 20

// readConnack reads the answer to CONNECT, and not a byte more, and returns its body, of two bytes or more. Brokers of MQTT 5 alone
// send a longer one to clients of 3.1.1 too, and have the return code in the same place.
func readConnack(nc net.Conn, o link.Options) ([]byte, error) {
	var b [4]byte
	if n, err := io.ReadFull(nc, b[:]); err != nil {
		if n > 0 && b[0] != byte(mqtt.CONNACK)<<4 {
			return nil, stranger(b[:n])
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, noConnack(o, io.EOF)
		}
		return nil, err
	}
	if b[0] != byte(mqtt.CONNACK)<<4 {
		return nil, stranger(b[:])
	}
	head, size, err := connackSize(nc, b[:])
	switch {
	case err != nil:
		return nil, err
	case o.Version == link.V5 && size > limit(o):
		return nil, link.ErrPacketMaximum
	case size > maxPacket:
		return nil, link.ErrPacketSize
	case size < 2:
		return nil, link.ErrNotMQTT
	}
	body := make([]byte, size)
	if n := copy(body, head); n < size {
		if _, err := io.ReadFull(nc, body[n:]); err != nil {
			return nil, noConnack(o, err)
		}
	}
	return body, nil
}

// connackSize reads the rest of the length of a packet whose first bytes are there, and returns what of its body is.
func connackSize(nc net.Conn, b []byte) (body []byte, size int, err error) {
	for i := 1; ; i++ {
		if i > 4 {
			return nil, 0, link.ErrNotMQTT
		}
		if i == len(b) {
			var one [1]byte
			if _, err := io.ReadFull(nc, one[:]); err != nil {
				return nil, 0, errors.Join(link.ErrNoConnack, err)
			}
			b = append(b, one[0])
		}
		size |= int(b[i]&0x7f) << (7 * (i - 1))
		if b[i] < 0x80 {
			return b[i+1:], size, nil
		}
	}
}

// stranger is who answers CONNECT with something else than CONNACK.
func stranger(b []byte) error {
	return link.Stranger(b, link.ErrSpeaksTLS, link.ErrSpeaksHTTP, link.ErrNotMQTT)
}

// Serve begins to read.
func (c *conn) Serve(over func(error)) {
	c.wire.Lock()
	defer c.wire.Unlock()
	c.told = over
	c.wire.Serve(c.pollers)
}

// Take implements wire.Owner.
func (c *conn) Take(b []byte) error {
	check, most := c.check()
	return c.joiner.FeedAs(check, b, most, c.take)
}

// Fail implements wire.Owner: it ends the connection.
func (c *conn) Fail(why error) {
	switch {
	case errors.Is(why, framing.ErrTooLarge) && c.v5() != nil:
		why = link.ErrPacketMaximum
	case errors.Is(why, framing.ErrTooLarge):
		why = link.ErrPacketSize
	case errors.Is(why, mqtt.ErrProtocol):
		why = errors.Join(link.ErrViolation, why)
	}
	c.wire.Lock()
	defer c.wire.Unlock()
	if !c.farewell(why) {
		c.wire.End(why)
	}
}

// Finished implements wire.Owner: it tells all who wait that the connection is over.
func (c *conn) Finished() {
	c.pinging.Stop()
	c.wire.Lock()
	over := c.wire.Over()
	why := over
	if c.ours {
		why = c.parting()
	}
	left, kept := c.leave()
	c.awaited = nil
	c.wire.Unlock()
	if kept != nil {
		c.session.Leave(kept)
	}
	for _, a := range left {
		a.done(link.LostBecause(over))
	}
	c.told(why)
}

// take acts on a packet.
func (c *conn) take(p mqtt.Packet) error {
	now := time.Now()
	c.wire.Lock()
	c.came = now
	over := c.wire.Over()
	c.wire.Unlock()
	if over != nil {
		return over
	}
	if c.v5() != nil {
		return c.take5(p)
	}
	switch p.Type {
	case mqtt.PUBLISH:
		var m mqtt.Publish
		if err := mqtt.DecodePublish(p, &m); err != nil {
			return err
		}
		return c.arrived(m.PacketID, link.Message{Topic: stringOf(m.Topic), Payload: m.Payload, QoS: m.QoS, Retain: m.Retain})
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		id, err := mqtt.DecodeAck(p.Body)
		if err != nil {
			return err
		}
		if p.Type == mqtt.PUBREL {
			c.released(id)
		} else {
			c.acknowledged(p.Type, id, 0, nil)
		}
	case mqtt.SUBACK:
		if len(p.Body) < 3 {
			return link.ErrSuback
		}
		return c.subscribed(uint16(p.Body[0])<<8|uint16(p.Body[1]), p.Body[2:], nil)
	case mqtt.PINGRESP:
		c.pong()
	case mqtt.UNSUBACK: // of nobody
	case mqtt.DISCONNECT: // MQTT 3.1.1 has none of servers; mochi-mqtt says it to a client that another took over
		return &link.DisconnectedError{}
	default:
		return mqtt.Violation("2.2.1", "a packet that only clients send")
	}
	return nil
}

// answer sends an acknowledgement; code is of MQTT 5, and 0 for all is well. It is a few bytes for a packet that came, and goes out also to a
// target that owes much reading: without it both sides would hold the message as under way for good. The caller holds the lock.
func (c *conn) answer(t mqtt.Type, id uint16, code byte) {
	switch {
	case c.gone() != nil:
	case c.wire.Swamped():
		c.wire.End(errFull)
	default:
		c.send(func(b []byte) []byte { return v5.AppendAck(b, t, id, code) })
	}
}

// released ends what the target sent with QoS 2. Its PUBCOMP gives the target one message more, also when that was not one of this connection's.
func (c *conn) released(id uint16) {
	c.wire.Lock()
	defer c.wire.Unlock()
	f, code := c.v5(), byte(0)
	own := f == nil || !slices.Contains(f.before, id)
	if i := slices.Index(c.received, id); i >= 0 {
		c.received = slices.Delete(c.received, i, i+1)
	} else if f != nil {
		code, own = v5.PacketIDNotFound, false
	}
	if !own {
		f.before = slices.DeleteFunc(f.before, func(x uint16) bool { return x == id })
		f.receives++
	}
	c.answer(mqtt.PUBCOMP, id, code)
}

// arrived hands on a message, and says that it has it. One with QoS 2 that comes once more before its PUBREL is the same
// (section 4.3.3 of both versions).
func (c *conn) arrived(id uint16, m link.Message) error {
	fresh := true
	if m.QoS == 2 {
		c.wire.Lock()
		if fresh = !slices.Contains(c.received, id); fresh {
			c.received = append(c.received, id)
		}
		f, n := c.v5(), len(c.received)
		if f != nil {
			n -= len(f.before)
		}
		c.wire.Unlock()
		if f != nil && n > f.receives {
			return link.ErrReceiveMax
		}
	}
	if fresh {
		c.handler(m)
	}
	if m.QoS > 0 {
		t := mqtt.PUBACK
		if m.QoS == 2 {
			t = mqtt.PUBREC
		}
		c.wire.Lock()
		defer c.wire.Unlock()
		c.answer(t, id, 0)
	}
	return nil
}

// acknowledged ends what a packet acknowledges, or with a code of MQTT 5, and perhaps words, refuses; nothing is known of what is not waited for.
func (c *conn) acknowledged(t mqtt.Type, id uint16, code byte, words []byte) {
	c.wire.Lock()
	i := c.find(id)
	if i < 0 || c.awaited[i].by != t || c.awaited[i].due != sent && t != mqtt.PUBCOMP {
		if t == mqtt.PUBREC && i < 0 && c.v5() != nil && code < v5.Unspecified {
			c.answer(mqtt.PUBREL, id, v5.PacketIDNotFound)
		}
		c.wire.Unlock()
		return
	}
	if t == mqtt.PUBREC && code < v5.Unspecified {
		c.awaited[i].by = mqtt.PUBCOMP
		c.drop(&c.awaited[i])
		c.answer(mqtt.PUBREL, id, 0)
		c.wire.Unlock()
		return
	}
	counts := c.awaited[i].due == sent // among what the target has unacknowledged on this connection (section 4.9)
	done := c.forget(i)
	if counts {
		c.credit()
	}
	c.wire.Unlock()
	if code >= v5.Unspecified && t != mqtt.PUBCOMP { // whose failure says that the target has ended it before (section 3.7.2.1)
		done(&link.RefusedError{Code: code, Message: true, Words: string(words)})
		return
	}
	done(nil)
}

// forget takes a packet from those that wait, and returns whom to tell. The caller holds the lock.
func (c *conn) forget(i int) func(error) {
	done := c.awaited[i].done
	if c.awaited[i].by != mqtt.SUBACK {
		c.drop(&c.awaited[i])
	}
	c.awaited = slices.Delete(c.awaited, i, i+1)
	return done
}

// subscribed ends a SUBSCRIBE.
func (c *conn) subscribed(id uint16, codes, words []byte) error {
	c.wire.Lock()
	i := c.find(id)
	if i < 0 || c.awaited[i].by != mqtt.SUBACK {
		c.wire.Unlock()
		return nil
	}
	asked := c.awaited[i].kept.Payload
	if len(codes) != len(asked) {
		c.wire.Unlock()
		return link.ErrSuback // who waits is told when the connection is over
	}
	done := c.forget(i)
	c.wire.Unlock()
	err := link.Granted(asked, codes)
	var refused *link.SubscriptionError
	if errors.As(err, &refused) {
		refused.Words = string(words)
	}
	done(err)
	return nil
}
