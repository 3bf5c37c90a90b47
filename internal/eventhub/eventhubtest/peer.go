// Package eventhubtest is a hub of a few lines for tests of those who read messages of hubs, written from the standard and from what the
// service was seen to do. It does what a test tells it, also what no hub does.
package eventhubtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/memnet"
)

// Managing is the address from which the IoT Hub redirects.
const Managing = "messages/events/$management"

// selector is the filter of a reader.
const selector = "apache.org:selector-filter:string"

// Peer is the IoT Hub at iot:5671, which redirects, and its event hub ehub at events:5671.
type Peer struct {
	Key sas.Key // of the policy service

	t  *testing.T
	wg sync.WaitGroup

	mu       sync.Mutex // protects the following fields
	created  time.Time
	logs     [][][]byte // encoded messages by partition
	conns    map[*Conn]bool
	dials    []string
	tokens   []string
	down     bool
	behavior Behavior
	tolerant bool // errors of connections fail no test
}

// Behavior is what a Peer does that others do not. The zero value is a good hub.
type Behavior struct {
	Unsettled bool                                 // messages are not settled
	Frame     int                                  // bytes of a message in one frame; 0 for all
	Again     bool                                 // a reader gets the last message that it has once more
	Answer    func(c *Conn, operation string) bool // is called instead of an answer to a request, unless it is false; nil for none
	OnAttach  func(c *Conn, a *amqp.Attach) bool   // likewise of a link
}

// New makes a Peer whose connections end before the test does.
func New(t *testing.T, partitions int) *Peer {
	p := &Peer{t: t, Key: sas.NewKey(), created: time.Now(), logs: make([][][]byte, partitions), conns: make(map[*Conn]bool)}
	t.Cleanup(p.wg.Wait)
	return p
}

// Behave has the peer do what others do not.
func (p *Peer) Behave(b Behavior) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behavior = b
}

func (p *Peer) how() Behavior {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.behavior
}

// Dials are the addresses that were dialled, one after the other.
func (p *Peer) Dials() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.dials)
}

// Tokens are the resources of the tokens that came, one after the other.
func (p *Peer) Tokens() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.tokens)
}

// Dial opens a connection.
func (p *Peer) Dial(_ context.Context, addr string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials = append(p.dials, addr)
	if p.down {
		return nil, errors.New("connection refused")
	}
	a, b := memnet.Pipe()
	c := &Conn{p: p, nc: b, addr: addr, links: make(map[uint32]*peerLink)}
	p.conns[c] = true
	p.wg.Go(func() {
		defer b.Close()
		err := c.serve()
		p.mu.Lock()
		delete(p.conns, c)
		tolerant := p.tolerant
		p.mu.Unlock()
		if !tolerant && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			p.t.Errorf("the peer at %s: %v", addr, err)
		}
	})
	return a, nil
}

// Heartbeat sends an empty frame on all connections.
func (p *Peer) Heartbeat() { p.Say(amqp.AppendHeartbeat(nil)) }

// Renew begins the log anew.
func (p *Peer) Renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.logs, p.created = make([][][]byte, len(p.logs)), time.Now()
}

// Append logs bytes as they are.
func (p *Peer) Append(partition int, messages ...[]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.append(partition, messages...)
}

// append is Append for who holds the lock.
func (p *Peer) append(partition int, messages ...[]byte) {
	p.logs[partition] = append(p.logs[partition], messages...)
	for c := range p.conns {
		c.feed()
	}
}

// Put logs a message of a device.
func (p *Peer) Put(partition int, body string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.logs[partition])
	b, start := amqp.BeginSection(nil, amqp.SectionMessageAnnotations)
	b = amqp.AppendLong(amqp.AppendSymbol(b, "x-opt-sequence-number"), int64(n))
	b = amqp.AppendString(amqp.AppendSymbol(b, "x-opt-offset"), strconv.Itoa(n*100))
	b = amqp.AppendTime(amqp.AppendSymbol(b, "x-opt-enqueued-time"), time.Now())
	b = amqp.AppendString(amqp.AppendSymbol(b, "iothub-connection-device-id"), "dev")
	p.append(partition, amqp.AppendData(amqp.EndMap(b, start, 4), []byte(body)))
}

// Cut ends all connections, and refuses others for a time, after which it returns.
func (p *Peer) Cut(d time.Duration) {
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

// Conn is a connection to a Peer.
type Conn struct {
	p      *Peer
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

// Write writes bytes as they are.
func (c *Conn) Write(b []byte) {
	_, _ = c.nc.Write(b)
}

// Send sends a performative on the channel of the session.
func (c *Conn) Send(x amqp.Performative) { c.Write(amqp.AppendFrame(nil, 7, x, nil)) } // on a channel of its own

func (c *Conn) serve() error {
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
	header := func() (h amqp.Header, err error) {
		for len(in) < len(h) {
			if err := need(); err != nil {
				return h, err
			}
		}
		h, in = amqp.Header(in), in[len(h):]
		return h, nil
	}
	if h, err := header(); err != nil || h != amqp.HeaderSASL {
		return cmp.Or(err, errors.New("no security layer"))
	}
	c.Write(amqp.AppendSASL(append([]byte(nil), amqp.HeaderSASL[:]...), &amqp.Mechanisms{Names: []string{"EXTERNAL", "MSSBCBS", "ANONYMOUS", "PLAIN"}}))
	if _, err := frame(); err != nil {
		return err
	}
	c.Write(amqp.AppendSASL(nil, &amqp.Outcome{Additional: []byte("Welcome!")}))
	if _, err := header(); err != nil {
		return err
	}
	c.Write(amqp.HeaderAMQP[:])
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

func (c *Conn) handle(x *amqp.Body) error {
	p := c.p
	switch x.Code {
	case amqp.CodeOpen:
		c.open(&amqp.Open{ContainerID: "DeviceGateway_1", HostName: "localhost", MaxFrameSize: 1024, ChannelMax: 8191, IdleTimeOut: amqp.Some(240000)})
	case amqp.CodeBegin:
		c.Send(&amqp.Begin{HasRemote: true, NextOutgoingID: 1, IncomingWindow: 5000, OutgoingWindow: 5000, HandleMax: 262143})
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
		return c.request(x.Payload)
	case amqp.CodeClose:
		c.Send(&amqp.Close{})
		return io.EOF
	}
	return nil
}

func (c *Conn) open(x amqp.Performative) { c.Write(amqp.AppendFrame(nil, 0, x, nil)) }

func (c *Conn) attached(a *amqp.Attach) error {
	how := c.p.how()
	if how.OnAttach != nil && how.OnAttach(c, a) {
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
	if l.address == Managing {
		if c.allows != "iot" {
			return fmt.Errorf("asked with a token for %q", c.allows)
		}
		b, start := amqp.BeginMap(nil)
		b = amqp.AppendString(amqp.AppendSymbol(b, "hostname"), "events")
		b = amqp.AppendInt(amqp.AppendSymbol(b, "port"), 5671)
		b = amqp.AppendString(amqp.AppendSymbol(b, "address"), "amqps://events:5671/ehub/$management")
		c.Refuse(&answer, &amqp.Error{Condition: amqp.Redirect, Info: amqp.EndMap(b, start, 3)})
		return nil
	}
	if _, id, ok := strings.Cut(l.address, "/Partitions/"); ok {
		n, err := strconv.Atoi(id)
		if err != nil || !strings.HasPrefix(l.address, "ehub/ConsumerGroups/") || c.allows != "sb://events/ehub" {
			return fmt.Errorf("%s with a token for %q", l.address, c.allows)
		}
		if !strings.Contains(l.address, "/$Default/") {
			c.Refuse(&answer, &amqp.Error{Condition: amqp.NotFound, Description: "no such consumer group\n" + strings.Repeat("x", 5000)})
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
			if how.Again {
				l.at--
			}
		}
	}
	c.wmu.Lock()
	c.links[a.Handle] = l
	c.wmu.Unlock()
	c.Send(&answer)
	if a.Role == amqp.RoleSender {
		c.Send(&amqp.Flow{NextIncomingID: amqp.Some(0), IncomingWindow: 5000, NextOutgoingID: c.next, OutgoingWindow: 5000, Handle: amqp.Some(a.Handle), DeliveryCount: amqp.Some(0), LinkCredit: amqp.Some(100)})
	}
	return nil
}

// Refuse refuses a link, in the sequence of the service.
func (c *Conn) Refuse(a *amqp.Attach, why *amqp.Error) {
	a.HasSource, a.HasTarget = false, false
	c.Send(a)
	c.Send(&amqp.Detach{Handle: a.Handle, Closed: true, Error: why})
}

// feed sends what links have credit for. The peer's lock is held.
func (c *Conn) feed() {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	for handle, l := range c.links {
		for l.partition >= 0 && l.credit > 0 && l.at < len(c.p.logs[l.partition]) {
			c.Transfer(handle, c.p.logs[l.partition][l.at], !c.p.behavior.Unsettled)
			l.at++
			l.credit--
			l.count++
		}
	}
}

// Transfer sends a message on a link of the reader's handle. Next is the number of its delivery.
func (c *Conn) Transfer(handle uint32, message []byte, settled bool) {
	step := len(message)
	if step == 0 || c.p.behavior.Frame > 0 {
		step = max(1, c.p.behavior.Frame)
	}
	x := amqp.Transfer{Handle: handle, Settled: settled, DeliveryID: amqp.Some(c.next), DeliveryTag: []byte("0123456789abcdef")}
	for first := true; first || len(message) > 0; first = false {
		var frame []byte
		frame, message = amqp.AppendTransfer(nil, 7, &x, message, step)
		c.Write(frame)
		c.next++
	}
}

func (c *Conn) request(payload []byte) error {
	m, err := amqp.ParseMessage(payload)
	if err != nil {
		return err
	}
	get := func(key string) string { s, _ := m.Application.Get(key).Text(); return s }
	if how := c.p.how(); how.Answer != nil && how.Answer(c, get("operation")) {
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
		key := c.p.Key
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
			c.Transfer(handle, b, false)
			c.wmu.Unlock()
			return nil
		}
	}
	return errors.New("nobody to answer to")
}

// Link is the reader's handle of a link of a name; false when there is none.
func (c *Conn) Link(suffix string) (handle uint32, ok bool) {
	for handle, l := range c.links {
		if strings.HasSuffix(l.name, suffix) {
			return handle, true
		}
	}
	return 0, false
}

// Next is the number of the delivery that is sent next.
func (c *Conn) Next() uint32 { return c.next }

// Say writes bytes on all connections.
func (p *Peer) Say(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Write(b)
	}
}

// Tolerate has no error of a connection fail the test: who is told nonsense may answer with it.
func (p *Peer) Tolerate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tolerant = true
}
