package amqp

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/nowait"
	"github.com/twinfleet/twinfleet/internal/timers"
	"github.com/twinfleet/twinfleet/internal/uuid"
	"github.com/twinfleet/twinfleet/internal/wire"
)

const (
	ourFrame   = 65536            // bytes of a frame that comes, at most; what the .NET SDK takes
	minFrame   = amqp.MinMaxFrame // what every peer takes, as long as it has not said more
	ourChannel = 15               // the highest number of a session: there are as many only where a peer has few handles
	leastBeat  = 500 * time.Millisecond
)

// phase is how far a connection is.
type phase uint8

const (
	opening phase = iota // OPEN was sent
	open
	closing // CLOSE was sent
	closed  // and nothing that comes matters any more
)

// call is somebody who is told, once nobody holds the lock.
type call struct {
	done func(error)
	err  error
}

// conn is a connection, of one device or of several.
type conn struct {
	pollers *nowait.Pollers
	host    string
	idle    time.Duration // after which a peer of which nothing came is given up; 0 for never
	shares  bool          // devices come and go
	forget  func()        // takes it off the connections that are shared; nil for one that is not
	beating timers.Timer

	in      []byte // of a frame, or a header, that is not whole; under reading, as the next
	greeted bool   // its header came

	wire      wire.Conn // its lock protects the following fields, and the order of what is written
	phase     phase
	peerFrame uint32        // bytes of a frame that it takes
	peerIdle  time.Duration // after which it gives up on this side; 0 for never
	peerMax   uint16        // its highest channel
	written   time.Time     // when something was sent last
	came      time.Time     // when something came last
	names     uint32        // of links so far
	parts     int           // bytes of messages that are not whole
	sessions  []*session    // by channel
	tokens    *tokens       // nil while nobody has sent one
	devices   []*device
	leaving   []*device // that are told when the connection is gone
	calls     []call
}

// lock takes the lock, and unlock gives it back and then tells whoever is to be told.
func (c *conn) lock() { c.wire.Lock() }

func (c *conn) unlock() {
	calls := c.calls
	c.calls = nil
	c.wire.Unlock()
	for _, x := range calls {
		x.done(x.err)
	}
}

// tell has somebody told. The caller holds the lock, here as below.
func (c *conn) tell(done func(error), err error) { c.calls = append(c.calls, call{done, err}) }

// begin begins a connection with its first device.
func (c *conn) begin(x *device) {
	c.lock()
	defer c.unlock()
	c.came = time.Now()
	c.admit(x)
	p := amqp.Open{ContainerID: uuid.New().String(), HostName: c.host, MaxFrameSize: ourFrame, ChannelMax: ourChannel}
	if ms := c.idle.Milliseconds(); ms > 0 {
		p.IdleTimeOut = amqp.Some(uint32(min(ms, math.MaxUint32)))
	}
	c.send(func(b []byte) []byte { return amqp.AppendFrame(append(b, amqp.HeaderAMQP[:]...), 0, &p, nil) })
	c.wire.Serve(c.pollers)
	c.beatNext(c.came)
}

// add adds a device; false when the connection is over, or about to be.
func (c *conn) add(x *device) bool {
	c.lock()
	defer c.unlock()
	if c.wire.Over() != nil || c.phase > open {
		return false
	}
	c.admit(x)
	if c.phase == open {
		x.start()
	}
	return true
}

func (c *conn) admit(x *device) {
	x.c, x.place = c, len(c.devices)
	c.devices = append(c.devices, x)
}

// dismiss takes a device off. The last one has the connection closed.
func (c *conn) dismiss(x *device) {
	last := len(c.devices) - 1
	c.devices[x.place] = c.devices[last]
	c.devices[x.place].place = x.place
	c.devices[last] = nil
	c.devices = c.devices[:last]
	if s := x.s; s != nil {
		s.devices--
	}
}

// send writes frames.
func (c *conn) send(build func([]byte) []byte) {
	c.written = time.Now()
	c.wire.Send(build)
}

// say writes a frame.
func (c *conn) say(channel uint16, p amqp.Performative) {
	c.send(func(b []byte) []byte { return amqp.AppendFrame(b, channel, p, nil) })
}

// close says CLOSE, and waits a little for the other side's.
func (c *conn) close() {
	if c.wire.Over() != nil || c.phase > open {
		return
	}
	c.phase = closing
	if c.wire.Full() {
		c.wire.End(errOver)
		return
	}
	c.say(0, &amqp.Close{})
	c.beating.Reset(time.Now().Add(farewellTime))
}

// leave says CLOSE, and ends the connection without waiting for the other side's.
func (c *conn) leave(why error) {
	c.phase = closed
	c.say(0, &amqp.Close{})
	c.wire.Leave(why, farewellTime)
}

// beat keeps the connection alive, and finds out whether it is.
func (c *conn) beat() {
	c.lock()
	defer c.unlock()
	now := time.Now()
	switch {
	case c.wire.Over() != nil:
		return
	case c.phase > open:
		c.wire.End(errOver)
		return
	case c.idle > 0 && !now.Before(c.came.Add(c.idle)):
		c.phase = closed
		c.wire.End(errSilent)
		return
	}
	if c.peerIdle > 0 && !now.Before(c.written.Add(c.beatEvery())) && !c.wire.Full() {
		c.send(amqp.AppendHeartbeat)
	}
	c.beatNext(now)
}

// beatEvery is half of what the peer waits for.
func (c *conn) beatEvery() time.Duration { return max(leastBeat, c.peerIdle/2) }

// beatNext sets the time of the next beat, unless there is none.
func (c *conn) beatNext(now time.Time) {
	var next time.Time
	if c.idle > 0 {
		next = c.came.Add(c.idle)
	}
	if c.peerIdle > 0 {
		due := c.written.Add(c.beatEvery())
		if !due.After(now) { // what is kept for it is more than enough
			due = now.Add(c.beatEvery())
		}
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	if !next.IsZero() {
		c.beating.Reset(next)
	}
}

// Take implements wire.Owner.
func (c *conn) Take(b []byte) error {
	now := time.Now()
	c.lock()
	c.came = now
	c.unlock()
	kept := len(c.in) > 0
	if kept {
		c.in = append(c.in, b...)
		b = c.in
	}
	if !c.greeted {
		n, err := c.greet(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	for c.greeted {
		f, n, err := amqp.Cut(b, ourFrame)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if err := c.frame(f); err != nil {
			return err
		}
		b = b[n:]
	}
	switch {
	case len(b) == 0:
		c.in = nil // its array may be large
	case kept:
		c.in = append(c.in[:0], b...)
	default:
		c.in = bytes.Clone(b)
	}
	return nil
}

// greet reads the header of the other side; 0 when it is not whole.
func (c *conn) greet(b []byte) (int, error) {
	header := amqp.HeaderAMQP
	for i := range min(len(b), 4) {
		if b[i] != header[i] {
			return 0, link.Stranger(b, ErrSpeaksTLS, ErrSpeaksHTTP, ErrNotAMQP)
		}
	}
	if len(b) < len(header) {
		return 0, nil
	}
	switch {
	case bytes.Equal(b[:8], header[:]):
		c.greeted = true
		return len(header), nil
	case b[4] == amqp.HeaderSASL[4]:
		return 0, ErrSASL
	}
	return 0, ErrVersion
}

// Fail implements wire.Owner.
func (c *conn) Fail(why error) {
	c.lock()
	defer c.unlock()
	condition, why := broken(why)
	if c.phase == opening && (errors.Is(why, io.EOF) || errors.Is(why, io.ErrUnexpectedEOF)) {
		why = errors.Join(ErrNoOpen, why)
	}
	tells := condition != "" && c.phase <= open && c.wire.Over() == nil && !c.wire.Full()
	c.phase = closed
	if !tells {
		c.wire.End(why)
		return
	}
	c.say(0, &amqp.Close{Error: &amqp.Error{Condition: condition, Description: why.Error()}})
	c.wire.Leave(why, farewellTime)
}

// Finished implements wire.Owner: whoever is left is told why the connection is over.
func (c *conn) Finished() {
	c.beating.Stop()
	if c.forget != nil {
		c.forget()
	}
	c.lock()
	why := c.wire.Over()
	all := slices.Concat(c.leaving, c.devices)
	c.leaving = nil
	for len(c.devices) > 0 {
		c.devices[0].stop(why, false)
	}
	c.sessions, c.tokens, c.in = nil, nil, nil
	c.unlock()
	for _, x := range all {
		x.finish()
	}
}

// frame acts on a frame.
func (c *conn) frame(f amqp.Frame) error {
	if f.Type != amqp.FrameAMQP {
		return breach(amqp.FramingError, "a frame of SASL without SASL")
	}
	if len(f.Body) == 0 { // a heartbeat
		return nil
	}
	body, err := amqp.Parse(f.Body)
	if err != nil {
		return err
	}
	if body.Code == amqp.CodeTransfer {
		return c.transfers(f.Channel, body)
	}
	c.lock()
	defer c.unlock()
	if c.wire.Over() != nil {
		return c.wire.Over()
	}
	switch {
	case body.Code == amqp.CodeClose:
		return c.closes(body)
	case c.phase > open:
		return nil
	case body.Code == amqp.CodeOpen:
		return c.opens(body)
	case c.phase == opening:
		return breach(amqp.NotAllowed, "a frame before OPEN")
	case body.Code == amqp.CodeBegin:
		return c.begins(f.Channel, body)
	}
	s := c.session(f.Channel)
	if s == nil {
		return breach(amqp.NotAllowed, "a frame of a session that has not begun")
	}
	switch body.Code {
	case amqp.CodeAttach:
		return s.attached(body)
	case amqp.CodeFlow:
		return s.flows(body)
	case amqp.CodeDisposition:
		return s.disposes(body)
	case amqp.CodeDetach:
		return s.detached(body)
	case amqp.CodeEnd:
		return s.ends(body)
	}
	return breach(amqp.NotImplemented, "a performative that is none: 0x%02x", body.Code)
}

// opens takes the other side's OPEN: now its bounds are known, and the devices begin.
func (c *conn) opens(body amqp.Body) error {
	var p amqp.Open
	if err := p.Decode(body.Fields); err != nil {
		return err
	}
	if c.phase != opening {
		return breach(amqp.NotAllowed, "a second OPEN")
	}
	if p.MaxFrameSize < minFrame {
		return breach(amqp.InvalidField, "a max-frame-size of %d, less than every peer must take", p.MaxFrameSize)
	}
	c.phase, c.peerFrame, c.peerMax = open, min(p.MaxFrameSize, ourFrame), min(p.ChannelMax, ourChannel)
	if p.IdleTimeOut.Set {
		c.peerIdle = time.Duration(p.IdleTimeOut.V) * time.Millisecond
	}
	c.beatNext(time.Now())
	for _, x := range slices.Clone(c.devices) {
		x.start()
	}
	return nil
}

// closes takes the other side's CLOSE, and answers it.
func (c *conn) closes(body amqp.Body) error {
	var p amqp.Close
	if err := p.Decode(body.Fields); err != nil || c.phase == closed {
		return err
	}
	why := error(errOver)
	if c.phase <= open {
		why = ended(p.Error, errClosed)
		if !c.wire.Full() {
			c.say(0, &amqp.Close{})
		}
	}
	c.phase = closed
	c.wire.Leave(why, farewellTime)
	return nil
}
