package eventhub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// Bounds of a connection.
const (
	maxFrame   = 64 << 10               // bytes of a frame that the hub may send
	maxMessage = 1<<20 + 64<<10         // bytes of a message: a megabyte (IoT Hub's largest delivery), and what is around it
	window     = 1 << 20                // transfers that the hub may send: their credit bounds them, not this
	idle       = 60 * time.Second       // after which a silent hub is given up
	fastest    = 500 * time.Millisecond // between two heartbeats: a hub may ask for as many as it likes
	writing    = 10 * time.Second       // for one write
	leaving    = time.Second            // for the last one
)

// conn is a connection to a hub, with one session. It is for one goroutine.
type conn struct {
	r    *Reader
	ctx  context.Context
	stop func() bool // of what tells the connection that ctx has ended
	nc   net.Conn

	in        []byte // read and not handled; within buffer
	buffer    []byte
	out       []byte
	at        time.Time     // when in was read
	idleSince time.Time     // when it was last known that nothing waited
	reading   time.Duration // in reads since then
	heard     time.Time     // when the last frame came
	wrote     time.Time
	beat      time.Duration // between two heartbeats; 0 for none

	mostOut    uint32 // bytes of a frame that the hub takes
	opened     bool
	begun      bool
	channel    uint16 // the hub's of the session
	nextIn     uint32 // transfer that comes next
	nextOut    uint32 // transfer that is sent next
	window     uint32 // transfers that the hub takes
	deliveries uint32 // sent

	links   []*link          // by our handle
	remote  map[uint32]*link // by the hub's handle
	answers map[string]func(*amqp.Message) error
	asked   int // requests, for their ids

	cbs      *node
	audience string
	key      sas.Key
	renew    time.Time // when the token has to be renewed
}

// connect opens a connection and a session on it.
func (r *Reader) connect(ctx context.Context, addr string) (_ *conn, err error) {
	dialling, cancel := context.WithTimeout(ctx, r.opts.Patience)
	defer cancel()
	nc, err := r.opts.Dial(dialling, addr)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	c := &conn{
		r: r, ctx: ctx, nc: nc, buffer: make([]byte, 2*maxFrame), at: now, idleSince: now, heard: now, wrote: now, mostOut: amqp.MinMaxFrame,
		remote: make(map[uint32]*link), answers: make(map[string]func(*amqp.Message) error),
	}
	c.stop = context.AfterFunc(ctx, func() { _ = nc.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		if err != nil {
			c.leave()
		}
	}()
	if err := c.secure(); err != nil {
		return nil, err
	}
	if err := c.header(amqp.HeaderAMQP); err != nil {
		return nil, err
	}
	c.send(&amqp.Open{
		ContainerID: "twinfleet-" + rand.Text(), HostName: r.opts.Host, MaxFrameSize: maxFrame, ChannelMax: 65535,
		IdleTimeOut: amqp.Some(uint32(idle / time.Millisecond)),
	})
	c.send(&amqp.Begin{NextOutgoingID: 0, IncomingWindow: window, OutgoingWindow: window, HandleMax: 65535})
	if err := c.until("the session", func() bool { return c.opened && c.begun }); err != nil {
		return nil, err
	}
	return c, nil
}

// secure has the security layer let anybody in: who we are is said later, by a token (AMQP.md 1.2 of the service: it offers ANONYMOUS).
func (c *conn) secure() error {
	if err := c.header(amqp.HeaderSASL); err != nil {
		return err
	}
	body, err := c.sasl(amqp.CodeMechanisms)
	if err != nil {
		return err
	}
	var offered amqp.Mechanisms
	if err := offered.Decode(body); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if !slices.Contains(offered.Names, "ANONYMOUS") {
		return fmt.Errorf("%w: it offers no mechanism ANONYMOUS", ErrRefused)
	}
	c.out = amqp.AppendSASL(c.out, &amqp.Init{Mechanism: "ANONYMOUS", Response: []byte("twinfleet"), HostName: c.r.opts.Host})
	if body, err = c.sasl(amqp.CodeOutcome); err != nil {
		return err
	}
	var outcome amqp.Outcome
	if err := outcome.Decode(body); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if outcome.Code != amqp.OutcomeOK {
		return fmt.Errorf("%w: its security layer ended with code %d", ErrRefused, outcome.Code)
	}
	return nil
}

// header sends the header of a layer and waits for the hub's.
func (c *conn) header(h amqp.Header) error {
	c.out = append(c.out, h[:]...)
	deadline := time.Now().Add(c.r.opts.Patience)
	for len(c.in) < len(h) {
		if err := c.fill("the header", deadline); err != nil {
			return err
		}
	}
	if amqp.Header(c.in) != h {
		return fmt.Errorf("%w: it answers with what is not the header of AMQP 1.0; does it speak AMQP at %s?", ErrProtocol, c.r.opts.Addr)
	}
	c.in = c.in[len(h):]
	return nil
}

// sasl waits for a frame of the security layer.
func (c *conn) sasl(code byte) (amqp.Value, error) {
	deadline := time.Now().Add(c.r.opts.Patience)
	for {
		f, n, err := amqp.Cut(c.in, maxFrame)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		if n == 0 {
			if err := c.fill("the security layer", deadline); err != nil {
				return nil, err
			}
			continue
		}
		c.in = c.in[n:]
		body, err := amqp.Parse(f.Body)
		if err != nil || f.Type != amqp.FrameSASL || body.Code != code {
			return nil, fmt.Errorf("%w: a frame that is none of the security layer's, or not its turn", ErrProtocol)
		}
		return body.Fields, nil
	}
}

// send appends a frame; it leaves with the next read, or flush.
func (c *conn) send(p amqp.Performative) { c.out = amqp.AppendFrame(c.out, 0, p, nil) }

// flush writes what is to be sent.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	limit := writing
	if c.ctx.Err() != nil {
		limit = leaving
	}
	_ = c.nc.SetWriteDeadline(time.Now().Add(limit))
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	c.wrote = time.Now()
	if err != nil {
		return c.lost(err)
	}
	return nil
}

// lost is why a read or a write failed.
func (c *conn) lost(err error) error {
	switch {
	case c.ctx.Err() != nil:
		return c.ctx.Err()
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: the hub hung up", ErrLost)
	default:
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
}

// idling is how long a read takes at least that waited for bytes to come.
const idling = 100 * time.Microsecond

// fill writes what is to be sent and reads what comes next. It returns without any when something else is due first. what is waited
// for until a deadline, which may be the zero time for none.
func (c *conn) fill(what string, deadline time.Time) error {
	for {
		if err := c.flush(); err != nil {
			return err
		}
		now := time.Now()
		if !deadline.IsZero() && !now.Before(deadline) {
			return fmt.Errorf("%w: waiting for %s", ErrSilent, what)
		}
		if now.Sub(c.heard) >= idle {
			return fmt.Errorf("%w: nothing came for %s", ErrSilent, idle)
		}
		wake := c.heard.Add(idle)
		if !deadline.IsZero() && deadline.Before(wake) {
			wake = deadline
		}
		if deadline.IsZero() { // nothing is waited for: there is time for a new token
			if !now.Before(c.renew) {
				return nil
			}
			if c.renew.Before(wake) {
				wake = c.renew
			}
		}
		if c.beat > 0 {
			if now.Sub(c.wrote) >= c.beat {
				c.out = amqp.AppendHeartbeat(c.out)
				continue
			}
			if at := c.wrote.Add(c.beat); at.Before(wake) {
				wake = at
			}
		}
		_ = c.nc.SetReadDeadline(wake)
		if c.ctx.Err() != nil { // its end has been told to another deadline
			return c.ctx.Err()
		}
		n, err := c.read()
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) || c.ctx.Err() != nil {
			return c.lost(err)
		}
	}
}

// read reads, and knows whether anything has waited to be read.
func (c *conn) read() (int, error) {
	n := copy(c.buffer, c.in)
	before := time.Now()
	got, err := c.nc.Read(c.buffer[n:])
	c.at = time.Now()
	c.in = c.buffer[:n+got]
	took := c.at.Sub(before)
	// A read that waited shows that nothing else did. One of many that each waited a little is too short to tell: they are the most of the
	// time then.
	if c.reading += took; took >= idling || c.reading > c.at.Sub(c.idleSince)/2 {
		c.idleSince, c.reading = c.at, 0
	}
	return got, err
}

// handled notes how long bytes may have waited that are handled now.
func (c *conn) handled() {
	behind := int64(time.Since(c.idleSince))
	for {
		most := c.r.behind.Load()
		if behind <= most || c.r.behind.CompareAndSwap(most, behind) {
			return
		}
	}
}

// pump handles what has been read, or reads what comes next.
func (c *conn) pump(what string, deadline time.Time) error {
	some := false
	for {
		f, n, err := amqp.Cut(c.in, maxFrame)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		if n == 0 {
			break
		}
		some = true
		c.in = c.in[n:]
		c.heard = c.at
		if f.Type != amqp.FrameAMQP {
			return fmt.Errorf("%w: a frame of the security layer behind it", ErrProtocol)
		}
		if len(f.Body) == 0 {
			continue
		}
		if err := c.frame(f); err != nil {
			return err
		}
	}
	if some {
		c.handled()
		return nil
	}
	return c.fill(what, deadline)
}

// until handles frames until something has come about.
func (c *conn) until(what string, done func() bool) error {
	deadline := time.Now().Add(c.r.opts.Patience)
	for !done() {
		if err := c.pump(what, deadline); err != nil {
			return err
		}
	}
	return nil
}

// serve reads until the connection is lost or the context ends.
func (c *conn) serve() error {
	for {
		if err := c.pump("messages", time.Time{}); err != nil {
			return err
		}
		if !time.Now().Before(c.renew) {
			if err := c.putToken(); err != nil {
				return fmt.Errorf("renewing the token: %w", err)
			}
		}
	}
}

// leave ends the connection, politely when it can.
func (c *conn) leave() {
	c.stop()
	if c.opened {
		c.send(&amqp.Close{})
		_ = c.nc.SetWriteDeadline(time.Now().Add(leaving))
		_, _ = c.nc.Write(c.out)
	}
	c.nc.Close()
}
