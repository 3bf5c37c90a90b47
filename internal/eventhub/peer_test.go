package eventhub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/memnet"
)

// peer is a hub of a few lines, written from the standard and from what the service was seen to do: the IoT Hub at iot:5671, which
// redirects, and its event hub at events:5671. It does what a test tells it, also what no hub does.
type peer struct {
	t   *testing.T
	key sas.Key
	wg  sync.WaitGroup

	mu       sync.Mutex
	created  time.Time
	logs     [][][]byte // encoded messages by partition
	conns    map[*peerConn]bool
	dials    []string
	tokens   []string                                              // resources of the tokens, as they came
	down     bool                                                  // refuses connections
	unsettle bool                                                  // sends messages that are not settled
	frame    int                                                   // bytes of a message in one frame; 0 for all
	again    bool                                                  // sends the last message that a reader has once more
	answer   func(p *peerConn, l *peerLink, operation string) bool // instead of an answer to a request
	onAttach func(p *peerConn, a *amqp.Attach) bool
	onOpen   func(p *peerConn) bool
}

func newPeer(t *testing.T, partitions int) *peer {
	p := &peer{t: t, key: sas.NewKey(), created: time.Now(), logs: make([][][]byte, partitions), conns: make(map[*peerConn]bool)}
	t.Cleanup(p.wg.Wait)
	return p
}

func (p *peer) dial(_ context.Context, addr string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials = append(p.dials, addr)
	if p.down {
		return nil, errors.New("connection refused")
	}
	a, b := memnet.Pipe()
	c := &peerConn{p: p, nc: b, addr: addr, links: make(map[uint32]*peerLink)}
	p.conns[c] = true
	p.wg.Go(func() {
		defer b.Close()
		err := c.serve()
		p.mu.Lock()
		delete(p.conns, c)
		p.mu.Unlock()
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			p.t.Errorf("the peer at %s: %v", addr, err)
		}
	})
	return a, nil
}

// put logs a message of a device.
func (p *peer) put(partition int, body string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.logs[partition])
	b, start := amqp.BeginSection(nil, amqp.SectionMessageAnnotations)
	b = amqp.AppendLong(amqp.AppendSymbol(b, "x-opt-sequence-number"), int64(n))
	b = amqp.AppendString(amqp.AppendSymbol(b, "x-opt-offset"), strconv.Itoa(n*100))
	b = amqp.AppendTime(amqp.AppendSymbol(b, "x-opt-enqueued-time"), time.Now())
	b = amqp.AppendString(amqp.AppendSymbol(b, "iothub-connection-device-id"), "dev")
	p.logs[partition] = append(p.logs[partition], amqp.AppendData(amqp.EndMap(b, start, 4), []byte(body)))
	for c := range p.conns {
		c.feed()
	}
}

// cut ends all connections, and refuses others for a time.
func (p *peer) cut(d time.Duration) {
	p.mu.Lock()
	p.down = true
	for c := range p.conns {
		c.nc.Close()
	}
	p.mu.Unlock()
	time.Sleep(d)
	p.mu.Lock()
	p.down = false
	p.mu.Unlock()
}

type peerConn struct {
	p      *peer
	nc     net.Conn
	addr   string
	allows string // resource of the last good token

	wmu   sync.Mutex // protects what is written, and the following fields
	links map[uint32]*peerLink
	next  uint32 // delivery and transfer
}

type peerLink struct {
	attach    amqp.Attach
	name      string
	address   string
	partition int // -1 for none
	at        int // next message
	credit    uint32
	count     uint32
}

func (c *peerConn) write(b []byte) {
	_, _ = c.nc.Write(b)
}

func (c *peerConn) send(x amqp.Performative) { c.write(amqp.AppendFrame(nil, 7, x, nil)) } // on a channel of its own

func (c *peerConn) serve() error {
	var in []byte
	buffer := make([]byte, 32<<10)
	need := func() error {
		n, err := c.nc.Read(buffer)
		in = append(in, buffer[:n]...)
		return err
	}
	frame := func() (amqp.Frame, error) {
		for {
			f, n, err := amqp.Cut(in, 0)
			if err != nil {
				return f, err
			}
			if n > 0 {
				f.Body = append([]byte(nil), f.Body...)
				in = in[n:]
				return f, nil
			}
			if err := need(); err != nil {
				return f, err
			}
		}
	}
	for len(in) < 8 {
		if err := need(); err != nil {
			return err
		}
	}
	if amqp.Header(in[:8]) != amqp.HeaderSASL {
		return errors.New("no security layer")
	}
	in = in[8:]
	c.write(amqp.AppendSASL(append([]byte(nil), amqp.HeaderSASL[:]...), &amqp.Mechanisms{Names: []string{"EXTERNAL", "MSSBCBS", "ANONYMOUS", "PLAIN"}}))
	if _, err := frame(); err != nil {
		return err
	}
	c.write(amqp.AppendSASL(nil, &amqp.Outcome{Additional: []byte("Welcome!")}))
	for len(in) < 8 {
		if err := need(); err != nil {
			return err
		}
	}
	in = in[8:]
	c.write(amqp.HeaderAMQP[:])
	for {
		f, err := frame()
		if err != nil {
			return err
		}
		if len(f.Body) == 0 {
			continue
		}
		x, err := amqp.Parse(f.Body)
		if err != nil {
			return err
		}
		if err := c.handle(&x); err != nil {
			return err
		}
	}
}

func (c *peerConn) handle(x *amqp.Body) error {
	p := c.p
	switch x.Code {
	case amqp.CodeOpen:
		if p.onOpen != nil && p.onOpen(c) {
			return nil
		}
		c.send0(&amqp.Open{ContainerID: "DeviceGateway_1", HostName: "localhost", MaxFrameSize: 1024, ChannelMax: 8191, IdleTimeOut: amqp.Some(240000)})
	case amqp.CodeBegin:
		c.send(&amqp.Begin{HasRemote: true, NextOutgoingID: 1, IncomingWindow: 5000, OutgoingWindow: 5000, HandleMax: 262143})
		c.next = 1
	case amqp.CodeAttach:
		var a amqp.Attach
		if err := a.Decode(x.Fields); err != nil {
			return err
		}
		return c.attached(&a)
	case amqp.CodeFlow:
		var f amqp.Flow
		if err := f.Decode(x.Fields); err != nil {
			return err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		c.wmu.Lock()
		if l := c.links[f.Handle.V]; l != nil {
			l.credit = f.DeliveryCount.V + f.LinkCredit.V - l.count
		}
		c.wmu.Unlock()
		c.feed()
	case amqp.CodeTransfer:
		var t amqp.Transfer
		if err := t.Decode(x.Fields); err != nil {
			return err
		}
		return c.request(c.links[t.Handle], x.Payload)
	case amqp.CodeClose:
		c.send(&amqp.Close{})
		return io.EOF
	}
	return nil
}

func (c *peerConn) send0(x amqp.Performative) { c.write(amqp.AppendFrame(nil, 0, x, nil)) }

func (c *peerConn) attached(a *amqp.Attach) error {
	if c.p.onAttach != nil && c.p.onAttach(c, a) {
		return nil
	}
	l := &peerLink{attach: *a, name: string(a.Name), partition: -1}
	l.address, _ = a.Target.Address.Text()
	answer := *a
	answer.Role = !a.Role
	answer.Name = []byte(l.name)
	answer.InitialDeliveryCount = amqp.Uint32{}
	if a.Role == amqp.RoleReceiver {
		l.address, _ = a.Source.Address.Text()
		answer.InitialDeliveryCount = amqp.Some(0)
	}
	if l.address == managing {
		if c.allows != "iot" {
			return fmt.Errorf("asked with a token for %q", c.allows)
		}
		b, start := amqp.BeginMap(nil)
		b = amqp.AppendString(amqp.AppendSymbol(b, "hostname"), "events")
		b = amqp.AppendInt(amqp.AppendSymbol(b, "port"), 5671)
		b = amqp.AppendString(amqp.AppendSymbol(b, "address"), "amqps://events:5671/ehub/$management")
		c.refuse(&answer, &amqp.Error{Condition: amqp.Redirect, Info: amqp.EndMap(b, start, 3)})
		return nil
	}
	if _, id, ok := strings.Cut(l.address, "/Partitions/"); ok {
		n, err := strconv.Atoi(id)
		if err != nil || !strings.HasPrefix(l.address, "ehub/ConsumerGroups/") || c.allows != "sb://events/ehub" {
			return fmt.Errorf("%s with a token for %q", l.address, c.allows)
		}
		if !strings.Contains(l.address, "/$Default/") {
			c.refuse(&answer, &amqp.Error{Condition: amqp.NotFound, Description: "no such consumer group\n" + strings.Repeat("x", 5000)})
			return nil
		}
		_, filter, _ := a.Source.Filter.Get(selector).Describe()
		text, _ := filter.Text()
		offset, err := strconv.Atoi(strings.Trim(strings.TrimPrefix(text, "amqp.annotation.x-opt-offset > "), "'"))
		if err != nil {
			return err
		}
		if l.partition = n; offset >= 0 {
			l.at = offset/100 + 1
			if c.p.again {
				l.at--
			}
		}
	}
	c.wmu.Lock()
	c.links[a.Handle] = l
	c.wmu.Unlock()
	c.send(&answer)
	if a.Role == amqp.RoleSender {
		c.send(&amqp.Flow{NextIncomingID: amqp.Some(0), IncomingWindow: 5000, NextOutgoingID: c.next, OutgoingWindow: 5000, Handle: amqp.Some(a.Handle), DeliveryCount: amqp.Some(0), LinkCredit: amqp.Some(100)})
	}
	return nil
}

// refuse is the sequence of the service.
func (c *peerConn) refuse(a *amqp.Attach, why *amqp.Error) {
	a.HasSource, a.HasTarget = false, false
	c.send(a)
	c.send(&amqp.Detach{Handle: a.Handle, Closed: true, Error: why})
}

// feed sends what links have credit for. The peer's lock is held.
func (c *peerConn) feed() {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	for handle, l := range c.links {
		for l.partition >= 0 && l.credit > 0 && l.at < len(c.p.logs[l.partition]) {
			c.transfer(handle, c.p.logs[l.partition][l.at], !c.p.unsettle)
			l.at++
			l.credit--
			l.count++
		}
	}
}

func (c *peerConn) transfer(handle uint32, message []byte, settled bool) {
	step := len(message)
	if c.p.frame > 0 {
		step = c.p.frame
	}
	id := c.next
	for first := true; first || len(message) > 0; first = false {
		n := min(step, len(message))
		x := amqp.Transfer{Handle: handle, Settled: settled, More: n < len(message)}
		if first {
			x.DeliveryID, x.DeliveryTag = amqp.Some(id), []byte("0123456789abcdef")
		}
		c.write(amqp.AppendFrame(nil, 7, &x, message[:n]))
		message = message[n:]
		c.next++
	}
}

func (c *peerConn) request(l *peerLink, payload []byte) error {
	m, err := amqp.ParseMessage(payload)
	if err != nil {
		return err
	}
	get := func(key string) string { s, _ := m.Application.Get(key).Text(); return s }
	if c.p.answer != nil && c.p.answer(c, l, get("operation")) {
		return nil
	}
	code, body := int32(200), amqp.AppendNull(nil)
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	switch {
	case get("operation") == "put-token":
		text, _ := m.Value.Text()
		token, err := sas.Parse(text)
		if err != nil {
			return err
		}
		key := c.p.key
		if c.addr == "events:5671" {
			key = key.OfText()
		}
		c.p.tokens = append(c.p.tokens, token.Resource)
		if token.Verify(time.Now(), key) != nil || token.Policy != "service" || get("name") != token.Resource || get("type") != "servicebus.windows.net:sastoken" {
			code = 401
			break
		}
		c.allows = token.Resource
	case get("type") == "com.microsoft:eventhub":
		ids := make([]string, len(c.p.logs))
		for i := range ids {
			ids[i] = strconv.Itoa(i)
		}
		b, start := amqp.BeginMap(nil)
		b = amqp.AppendTime(amqp.AppendString(b, "created_at"), c.p.created)
		b = amqp.AppendStrings(amqp.AppendString(b, "partition_ids"), ids...)
		body = amqp.EndMap(b, start, 2)
	case get("type") == "com.microsoft:partition" && get("name") == "ehub":
		n, _ := strconv.Atoi(get("partition"))
		last := len(c.p.logs[n]) - 1
		b, start := amqp.BeginMap(nil)
		b = amqp.AppendLong(amqp.AppendString(b, "last_enqueued_sequence_number"), int64(last))
		b = amqp.AppendString(amqp.AppendString(b, "last_enqueued_offset"), strconv.Itoa(max(-1, last*100)))
		body = amqp.EndMap(b, start, 2)
	}
	for handle, other := range c.links {
		to, _ := other.attach.Target.Address.Text()
		if other.attach.Role == amqp.RoleReceiver && to == m.Properties.ReplyTo {
			b := amqp.AppendProperties(nil, &amqp.Properties{CorrelationID: m.Properties.MessageID})
			b, start := amqp.BeginSection(b, amqp.SectionApplicationProperties)
			b = amqp.AppendInt(amqp.AppendString(b, "status-code"), code)
			b = amqp.AppendString(amqp.AppendString(b, "status-description"), "as you like it")
			b = amqp.AppendValue(amqp.AppendBody(amqp.EndMap(b, start, 2)), body)
			c.wmu.Lock()
			c.transfer(handle, b, false)
			c.wmu.Unlock()
			return nil
		}
	}
	return errors.New("nobody to answer to")
}
