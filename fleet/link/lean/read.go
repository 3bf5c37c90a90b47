package lean

import (
	"errors"
	"io"
	"net"
	"slices"
	"time"
	"unsafe"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
)

// maxPacket bounds an incoming packet, in bytes.
const maxPacket = 4 << 20

// readConnack reads the answer to CONNECT, and not a byte more. Brokers of MQTT 5 alone send a longer one, and have the return
// code in the same place.
func readConnack(nc net.Conn) error {
	var b [4]byte
	if n, err := io.ReadFull(nc, b[:]); err != nil {
		if n > 0 && b[0] != byte(mqtt.CONNACK)<<4 {
			return stranger(b[:n])
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.Join(link.ErrNoConnack, io.EOF)
		}
		return err
	}
	if b[0] != byte(mqtt.CONNACK)<<4 {
		return stranger(b[:])
	}
	head, size, err := connackSize(nc, b[:])
	switch {
	case err != nil:
		return err
	case size > maxPacket:
		return link.ErrPacketSize
	case size < 2:
		return link.ErrNotMQTT
	}
	body := make([]byte, size)
	if n := copy(body, head); n < size {
		if _, err := io.ReadFull(nc, body[n:]); err != nil {
			return errors.Join(link.ErrNoConnack, err)
		}
	}
	if code := body[1]; code != 0 {
		return &link.RefusedError{Code: code}
	}
	return nil
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
func (c *conn) Take(b []byte) error { return c.joiner.Feed(b, maxPacket, c.take) }

// Fail implements wire.Owner: it ends the connection.
func (c *conn) Fail(why error) {
	switch {
	case errors.Is(why, framing.ErrTooLarge):
		why = link.ErrPacketSize
	case errors.Is(why, mqtt.ErrProtocol):
		why = errors.Join(link.ErrViolation, why)
	}
	c.wire.Lock()
	defer c.wire.Unlock()
	c.wire.End(why)
}

// Finished implements wire.Owner: it tells all who wait that the connection is over.
func (c *conn) Finished() {
	c.pinging.Stop()
	c.wire.Lock()
	why, ours, left := c.wire.Over(), c.ours, c.awaited
	c.awaited = nil
	c.wire.Unlock()
	for _, a := range left {
		a.done(link.LostBecause(why))
	}
	if ours {
		why = nil
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
	switch p.Type {
	case mqtt.PUBLISH:
		return c.arrived(p)
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBCOMP:
		id, err := mqtt.DecodeAck(p.Body)
		if err != nil {
			return err
		}
		c.acknowledged(p.Type, id)
	case mqtt.PUBREL:
		id, err := mqtt.DecodeAck(p.Body)
		if err != nil {
			return err
		}
		c.wire.Lock()
		defer c.wire.Unlock()
		c.received = slices.DeleteFunc(c.received, func(x uint16) bool { return x == id })
		c.answer(mqtt.PUBCOMP, id)
	case mqtt.SUBACK:
		return c.subscribed(p.Body)
	case mqtt.PINGRESP:
		c.pong()
	case mqtt.UNSUBACK: // of nobody
	default:
		return mqtt.Violation("2.2.1", "a packet that only clients send")
	}
	return nil
}

// answer sends an acknowledgement. The caller holds the lock.
func (c *conn) answer(t mqtt.Type, id uint16) {
	if c.unsent() == nil {
		c.send(func(b []byte) []byte { return mqtt.AppendAck(b, t, id) })
	}
}

// arrived hands on a message, and says that it has it. One with QoS 2 that comes once more before its PUBREL is the same
// (MQTT 3.1.1 section 4.3.3).
func (c *conn) arrived(p mqtt.Packet) error {
	var m mqtt.Publish
	if err := mqtt.DecodePublish(p, &m); err != nil {
		return err
	}
	fresh := true
	if m.QoS == 2 {
		c.wire.Lock()
		if fresh = !slices.Contains(c.received, m.PacketID); fresh {
			c.received = append(c.received, m.PacketID)
		}
		c.wire.Unlock()
	}
	if fresh {
		c.handler(link.Message{Topic: unsafe.String(unsafe.SliceData(m.Topic), len(m.Topic)), Payload: m.Payload, QoS: m.QoS, Retain: m.Retain})
	}
	if m.QoS > 0 {
		t := mqtt.PUBACK
		if m.QoS == 2 {
			t = mqtt.PUBREC
		}
		c.wire.Lock()
		defer c.wire.Unlock()
		c.answer(t, m.PacketID)
	}
	return nil
}

// acknowledged ends what a packet acknowledges; nothing is known of what is not waited for.
func (c *conn) acknowledged(t mqtt.Type, id uint16) {
	c.wire.Lock()
	i := c.find(id)
	if i < 0 || c.awaited[i].by != t {
		c.wire.Unlock()
		return
	}
	if t == mqtt.PUBREC {
		c.awaited[i].by = mqtt.PUBCOMP
		c.answer(mqtt.PUBREL, id)
		c.wire.Unlock()
		return
	}
	done := c.forget(i)
	c.wire.Unlock()
	done(nil)
}

// forget takes a packet from those that wait, and returns whom to tell. The caller holds the lock.
func (c *conn) forget(i int) func(error) {
	done := c.awaited[i].done
	c.awaited = slices.Delete(c.awaited, i, i+1)
	return done
}

// subscribed ends a SUBSCRIBE.
func (c *conn) subscribed(body []byte) error {
	if len(body) < 3 {
		return link.ErrSuback
	}
	id, codes := uint16(body[0])<<8|uint16(body[1]), body[2:]
	c.wire.Lock()
	i := c.find(id)
	if i < 0 || c.awaited[i].by != mqtt.SUBACK {
		c.wire.Unlock()
		return nil
	}
	if len(codes) != c.awaited[i].filters {
		c.wire.Unlock()
		return link.ErrSuback // who waits is told when the connection is over
	}
	done := c.forget(i)
	c.wire.Unlock()
	for _, code := range codes {
		if code > 2 {
			done(&link.SubscriptionError{Code: code})
			return nil
		}
	}
	done(nil)
	return nil
}
