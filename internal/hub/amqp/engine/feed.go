package engine

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
)

// Feed implements stream.Handler.
func (c *Conn) Feed(b []byte, patient bool) error {
	if patient && c.server.opts.Before != nil {
		c.server.opts.Before()
	}
	patient = patient && c.server.opts.Patient()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard, c.feeding, c.corked = time.Now(), true, !patient
	err := c.feed(b)
	c.flush()
	c.feeding, c.corked = false, false
	if patient {
		c.heard = time.Now()
	}
	return err
}

// feed takes what has come, frame by frame. The caller holds the lock.
func (c *Conn) feed(b []byte) error {
	for len(b) > 0 {
		from := b
		if len(c.rest) > 0 { // fill up what came before
			n := min(c.need()-len(c.rest), len(b))
			c.rest = append(c.rest, b[:n]...)
			from, b = c.rest, b[n:]
		}
		n, err := c.one(from)
		c.tell()
		switch {
		case err != nil:
			return err
		case n == 0 && len(c.rest) == 0:
			c.rest = append(make([]byte, 0, min(c.size(from), maxFrame)), from...)
			return nil
		case n == 0: // more of the same, or nothing more
		case len(c.rest) > 0:
			c.rest = nil
		default:
			b = b[n:]
		}
	}
	return nil
}

// size is how many bytes the header or the frame has that begins b; only its header's as long as that is not there.
func (c *Conn) size(b []byte) int {
	if c.phase == atHeader || c.phase == atSecond || len(b) < amqp.FrameHeader {
		return amqp.FrameHeader
	}
	return int(binary.BigEndian.Uint32(b))
}

func (c *Conn) need() int { return c.size(c.rest) }

// one takes one header or frame, and returns how many bytes it had; 0 when more have to come first.
func (c *Conn) one(b []byte) (int, error) {
	if c.phase == atHeader || c.phase == atSecond {
		if len(b) < amqp.FrameHeader {
			return 0, nil
		}
		return amqp.FrameHeader, c.header(amqp.Header(b[:8]))
	}
	if c.deaf {
		return len(b), nil
	}
	f, n, err := amqp.Cut(b, maxFrame)
	if err != nil { // there is no telling where the next frame begins
		n, err = c.refuse(len(b), err)
		c.deaf = true
		return n, err
	}
	if n == 0 {
		return 0, nil
	}
	if err := c.frame(f); err != nil {
		return c.refuse(n, err)
	}
	if c.phase == atEnd {
		return n, errPeer
	}
	return n, nil
}

// errRefused ends a connection whose security layer failed.
var errRefused = errors.New("the peer was refused")

// refuse closes the connection for what is no AMQP; what follows of the same bytes means nothing.
func (c *Conn) refuse(n int, err error) (int, error) {
	condition := amqp.DecodeError
	switch {
	case c.phase < atOpen, c.phase == atEnd:
		return 0, err
	case c.phase == atClose:
		return n, nil
	case errors.Is(err, amqp.ErrFrameSize):
		condition = amqp.FramingError
	}
	c.fail(condition, "%v", err)
	return n, nil
}

// header answers a protocol header.
func (c *Conn) header(h amqp.Header) error {
	o := c.out()
	switch {
	case h == amqp.HeaderSASL && c.phase == atHeader:
		o.b = append(o.b, h[:]...)
		// In the service's order (recorded).
		names := []string{"MSSBCBS", "ANONYMOUS", "PLAIN"}
		if c.server.opts.External {
			names = append([]string{"EXTERNAL"}, names...)
		}
		o.b = amqp.AppendSASL(o.b, &amqp.Mechanisms{Names: names})
		c.phase = atInit
	case h == amqp.HeaderAMQP:
		o.b = append(o.b, h[:]...)
		c.phase = atOpen
	default: // the one that is understood, and the end (part 2, section 2.2)
		o.b = append(o.b, amqp.HeaderAMQP[:]...)
		c.written()
		return fmt.Errorf("%w: a protocol header %q", amqp.ErrDecode, h[:])
	}
	c.written()
	return nil
}

// init takes the peer's choice of a mechanism.
func (c *Conn) init(list amqp.Value) error {
	var p amqp.Init
	if err := p.Decode(list); err != nil {
		return err
	}
	var err error
	switch p.Mechanism {
	case "ANONYMOUS", "MSSBCBS":
	case "PLAIN":
		// authorization identity, user, password
		parts := strings.Split(string(p.Response), "\x00")
		if err = errRefused; len(parts) == 3 {
			err = c.ask(func() error { return c.user.Plain(parts[1], parts[2]) })
		}
	case "EXTERNAL":
		if err = errRefused; c.server.opts.External {
			err = c.ask(c.user.External)
		}
	default:
		err = fmt.Errorf("%w: it chose none of the mechanisms", errRefused)
	}
	outcome := amqp.Outcome{Code: amqp.OutcomeOK, Additional: []byte("Welcome!")}
	if err != nil {
		outcome = amqp.Outcome{Code: amqp.OutcomeAuth}
	}
	o := c.out()
	o.b = amqp.AppendSASL(o.b, &outcome)
	c.written()
	c.phase = atSecond
	return err
}

// ask calls the User without the lock.
func (c *Conn) ask(do func() error) error {
	c.mu.Unlock()
	defer c.mu.Lock()
	return do()
}

// open sends this side's open. The caller holds the lock.
func (c *Conn) open() {
	var id [16]byte
	rand.Read(id[:]) // never fails, by its own documentation
	c.put(0, &amqp.Open{
		ContainerID: "DeviceGateway_" + hex.EncodeToString(id[:]), HostName: "localhost",
		MaxFrameSize: maxFrame, ChannelMax: channelMax, IdleTimeOut: amqp.Some(uint32(idleTimeOut / time.Millisecond)),
	}, nil)
}

// opened takes the peer's open, and answers it.
func (c *Conn) opened(list amqp.Value) error {
	var p amqp.Open
	if err := p.Decode(list); err != nil {
		return err
	}
	idle := idleTimeOut // a peer that names none hears as often (recorded from Node, which counts on it)
	if p.IdleTimeOut.V > 0 {
		idle = time.Duration(p.IdleTimeOut.V) * time.Millisecond
	}
	switch {
	case p.ContainerID == "" || len(p.ContainerID) > maxText || len(p.HostName) > maxText:
		c.fail(amqp.InvalidField, "open: a container-id and a hostname have at most %d bytes, the first at least one", maxText)
		return nil
	case p.MaxFrameSize < amqp.MinMaxFrame:
		c.fail(amqp.InvalidField, "open: a max-frame-size of %d bytes; at least %d are needed", p.MaxFrameSize, amqp.MinMaxFrame)
		return nil
	case idle < minIdleTimeOut:
		c.fail(amqp.NotAllowed, "open: an idle-time-out of %v; at least %v are needed", idle, minIdleTimeOut)
		return nil
	}
	c.peer = Peer{Container: p.ContainerID, Host: p.HostName}
	c.peerFrame, c.peerChannel = min(p.MaxFrameSize, maxFrame), p.ChannelMax
	c.heartbeat = idle * 2 / 5 // half of it, with time for the way
	c.sessions = make(map[uint16]*session, 1)
	c.open()
	c.phase, c.wrote = atWork, time.Now()
	c.arm()
	c.mu.Unlock()
	c.user.Opened()
	c.mu.Lock()
	return nil
}

// maxText is the longest name of a container, a host or a link, in bytes.
const maxText = 1024

// frame takes a frame. An error closes the connection.
func (c *Conn) frame(f amqp.Frame) error {
	security := c.phase == atInit
	if security != (f.Type == amqp.FrameSASL) {
		return fmt.Errorf("%w: a frame of type %d where it has no place", amqp.ErrDecode, f.Type)
	}
	if len(f.Body) == 0 && !security {
		return nil // a heartbeat
	}
	p, err := amqp.Parse(f.Body)
	if err != nil {
		return err
	}
	switch {
	case security && p.Code == amqp.CodeInit:
		return c.init(p.Fields)
	case security:
		return fmt.Errorf("%w: 0x%02x where sasl-init must be", amqp.ErrDecode, p.Code)
	case c.phase == atClose: // all else means nothing any more
		if p.Code == amqp.CodeClose {
			c.phase = atEnd
		}
		return nil
	case c.phase == atOpen && p.Code == amqp.CodeOpen:
		return c.opened(p.Fields)
	case c.phase == atOpen:
		c.fail(amqp.NotAllowed, "the first frame is no open (part 2, section 2.4.1)")
		return nil
	}
	switch p.Code {
	case amqp.CodeOpen:
		c.fail(amqp.NotAllowed, "a second open")
	case amqp.CodeClose:
		var m amqp.Close
		if err := m.Decode(p.Fields); err != nil {
			return err
		}
		for _, s := range c.sessions {
			c.forget(s)
		}
		c.tell()
		if c.phase == atWork {
			c.put(0, &amqp.Close{}, nil)
		}
		c.phase = atEnd
	case amqp.CodeBegin:
		return c.begin(f.Channel, p.Fields)
	case amqp.CodeAttach, amqp.CodeFlow, amqp.CodeTransfer, amqp.CodeDisposition, amqp.CodeDetach, amqp.CodeEnd:
		s := c.sessions[f.Channel]
		if s == nil {
			c.fail(amqp.NotAllowed, "no session has channel %d", f.Channel)
			return nil
		}
		return s.frame(p)
	default:
		return fmt.Errorf("%w: a performative 0x%02x", amqp.ErrDecode, p.Code)
	}
	return nil
}
