package amqp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/fleet/link"
	driver "github.com/twinfleet/twinfleet/fleet/link/amqp"
	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is the other side, which answers as the service was recorded to, but for what a test has changed.
type peer struct {
	open   amqp.Open
	begin  amqp.Begin
	credit uint32                                     // that its links give; 1000 when 0
	token  func(name, token string) (status int)      // nil takes all
	refuse map[string]string                          // conditions, by ends of roles (true of who receives) and addresses
	settle func(payload []byte) amqp.State            // what becomes of telemetry; nil takes all, and one without a code is not settled
	twin   func(operation string) (status int)        // nil is 200
	on     func(p *peer, ch uint16, b amqp.Body) bool // sees each performative first; true when it is dealt with
	most   uint64                                     // bytes of a message that its links take; 0 for no limit
	mute   bool                                       // does not say CLOSE

	mu       sync.Mutex
	nc       net.Conn
	said     []string // performatives that came
	messages []string
	links    map[uint32]*peerLink
	sent     map[uint16]uint32 // frames with messages, by channel
	got      map[uint16]uint32
	tags     int
	parts    []byte
	first    amqp.Transfer
	failure  error
	deaf     chan struct{} // before each read, until it is closed; nil for a peer that reads
	dials    int
	done     chan struct{}
}

type peerLink struct {
	address  string
	receives bool // the peer does
	count    uint32
	name     string
}

func newPeer() *peer {
	return &peer{
		open:  amqp.Open{ContainerID: "DeviceGateway_1", HostName: "localhost", MaxFrameSize: 65536, ChannelMax: 8191, IdleTimeOut: amqp.Some(240000)},
		begin: amqp.Begin{HasRemote: true, NextOutgoingID: 1, IncomingWindow: 5000, OutgoingWindow: 1<<32 - 1, HandleMax: 262143},
		done:  make(chan struct{}),
	}
}

// dial is one connection to the peer, over memory.
func (p *peer) dial(context.Context) (net.Conn, error) {
	near, far := memnet.Pipe()
	p.mu.Lock()
	p.nc, p.links, p.done = far, make(map[uint32]*peerLink), make(chan struct{})
	p.sent, p.got = make(map[uint16]uint32), make(map[uint16]uint32)
	p.dials++
	done := p.done
	p.mu.Unlock()
	go func() {
		defer close(done)
		defer far.Close()
		if err := p.serve(far); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) {
			p.mu.Lock()
			p.failure = err
			p.mu.Unlock()
		}
	}()
	return near, nil
}

func (p *peer) serve(nc net.Conn) error {
	var header amqp.Header
	if _, err := io.ReadFull(nc, header[:]); err != nil {
		return err
	}
	if header != amqp.HeaderAMQP {
		return fmt.Errorf("the header %q", header)
	}
	p.mu.Lock()
	p.write(header[:])
	p.mu.Unlock()
	var b []byte
	buffer := make([]byte, 4096)
	for {
		f, n, err := amqp.Cut(b, 65536)
		if err != nil {
			return err
		}
		if n == 0 {
			p.mu.Lock()
			deaf := p.deaf
			p.mu.Unlock()
			if deaf != nil {
				<-deaf
			}
			n, err := nc.Read(buffer)
			if err != nil {
				return err
			}
			b = append(b, buffer[:n]...)
			continue
		}
		if err := p.frame(f); err != nil {
			return err
		}
		b = b[n:]
	}
}

func (p *peer) write(b []byte) { _, _ = p.nc.Write(b) }

func (p *peer) say(ch uint16, x amqp.Performative, payload ...byte) {
	p.write(amqp.AppendFrame(nil, ch, x, payload))
}

// locked does something between two frames.
func (p *peer) locked(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *peer) frame(f amqp.Frame) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(f.Body) == 0 {
		p.said = append(p.said, "heartbeat")
		return nil
	}
	b, err := amqp.Parse(f.Body)
	if err != nil {
		return err
	}
	if p.on != nil && p.on(p, f.Channel, b) {
		return nil
	}
	switch b.Code {
	case amqp.CodeOpen:
		var x amqp.Open
		if err := x.Decode(b.Fields); err != nil {
			return err
		}
		p.said = append(p.said, fmt.Sprintf("open %s %d %d", x.HostName, x.MaxFrameSize, x.IdleTimeOut.V))
		p.say(0, &p.open)
	case amqp.CodeBegin:
		var x amqp.Begin
		if err := x.Decode(b.Fields); err != nil {
			return err
		}
		p.said = append(p.said, "begin")
		answer := p.begin
		answer.RemoteChannel = f.Channel
		p.say(f.Channel, &answer)
	case amqp.CodeAttach:
		var x amqp.Attach
		if err := x.Decode(b.Fields); err != nil {
			return err
		}
		p.attach(f.Channel, &x)
	case amqp.CodeFlow:
		var x amqp.Flow
		if err := x.Decode(b.Fields); err != nil {
			return err
		}
		p.said = append(p.said, fmt.Sprintf("flow %d of %d", x.LinkCredit.V, x.Handle.V))
	case amqp.CodeTransfer:
		return p.transfer(f.Channel, b)
	case amqp.CodeDisposition:
		var x amqp.Disposition
		if err := x.Decode(b.Fields); err != nil {
			return err
		}
		p.said = append(p.said, fmt.Sprintf("disposition %d %v settled %v", x.First, x.State.Code, x.Settled))
	case amqp.CodeDetach:
		var x amqp.Detach
		if err := x.Decode(b.Fields); err != nil {
			return err
		}
		l := p.links[uint32(f.Channel)<<16|x.Handle]
		if l == nil {
			return fmt.Errorf("DETACH of no link: %d", x.Handle)
		}
		p.said = append(p.said, "detach "+l.address)
		if l.name != "" {
			p.say(f.Channel, &amqp.Detach{Handle: x.Handle, Closed: true})
		}
		delete(p.links, uint32(f.Channel)<<16|x.Handle)
	case amqp.CodeEnd:
		p.said = append(p.said, "end")
	case amqp.CodeClose:
		var x amqp.Close
		if err := x.Decode(b.Fields); err != nil {
			return err
		}
		text := "close"
		if x.Error != nil {
			text += " " + x.Error.Condition
		}
		p.said = append(p.said, text)
		if !p.mute {
			p.say(0, &amqp.Close{})
			return io.EOF
		}
	}
	return nil
}

func (p *peer) attach(ch uint16, x *amqp.Attach) {
	l := &peerLink{receives: x.Role == amqp.RoleSender, name: string(x.Name)}
	l.address, _ = x.Source.Address.Text()
	if l.receives {
		l.address, _ = x.Target.Address.Text()
	}
	pair, _ := x.Properties.Get("com.microsoft:channel-correlation-id").Text()
	kind, _, _ := strings.Cut(pair, ":")
	p.said = append(p.said, strings.TrimSpace(fmt.Sprintf("attach %s %v %d/%d %s", l.address, x.Role, x.SndSettleMode, x.RcvSettleMode, kind)))
	p.links[uint32(ch)<<16|x.Handle] = l
	asked := fmt.Sprint(x.Role, " ", l.address)
	x.Role = !x.Role
	for end, condition := range p.refuse {
		if strings.HasSuffix(asked, end) {
			x.HasSource, x.HasTarget = false, false
			p.say(ch, x)
			p.say(ch, &amqp.Detach{Handle: x.Handle, Closed: true, Error: &amqp.Error{Condition: condition}})
			l.name = ""
			return
		}
	}
	x.InitialDeliveryCount = amqp.Uint32{V: 0, Set: !l.receives}
	if l.receives {
		x.MaxMessageSize = p.most
	}
	p.say(ch, x)
	if credit := p.credit; l.receives {
		if credit == 0 {
			credit = 1000
		}
		p.flow(ch, x.Handle, credit)
	}
}

// flow grants credit.
func (p *peer) flow(ch uint16, handle, credit uint32) {
	p.say(ch, &amqp.Flow{
		NextIncomingID: amqp.Some(p.got[ch]), IncomingWindow: 5000, NextOutgoingID: p.begin.NextOutgoingID + p.sent[ch], OutgoingWindow: 1<<32 - 1,
		Handle: amqp.Some(handle), DeliveryCount: amqp.Some(p.links[uint32(ch)<<16|handle].count), LinkCredit: amqp.Some(credit), Available: amqp.Some(0),
	})
}

func (p *peer) transfer(ch uint16, b amqp.Body) error {
	var x amqp.Transfer
	if err := x.Decode(b.Fields); err != nil {
		return err
	}
	p.got[ch]++
	l := p.links[uint32(ch)<<16|x.Handle]
	if l == nil || !l.receives {
		return fmt.Errorf("TRANSFER on no link: %d", x.Handle)
	}
	if p.parts == nil {
		p.first = x
		l.count++
	}
	p.parts = append(p.parts, b.Payload...)
	if x.More {
		return nil
	}
	whole := p.parts
	p.parts, x = nil, p.first
	m, err := amqp.ParseMessage(whole)
	if err != nil {
		return err
	}
	payload, _ := m.Payload()
	operation, _ := m.Annotations.Get("operation").Text()
	resource, _ := m.Annotations.Get("resource").Text()
	p.messages = append(p.messages, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", l.address[strings.LastIndexByte(l.address, '/')+1:], operation, resource, payload)))
	settles := amqp.State{Code: amqp.Accepted}
	if p.credit == 0 && l.count%500 == 0 {
		p.flow(ch, x.Handle, 1000)
	}
	answer := func(end string, build func(b []byte) []byte) {
		for handle, to := range p.links {
			if handle>>16 == uint32(ch) && !to.receives && to.address == l.address {
				p.send(ch, handle&0xffff, build(nil))
			}
		}
	}
	switch {
	case l.address == "$cbs":
		name, _ := m.Application.Get("name").Text()
		token, _ := m.Value.Text()
		status := 200
		if p.token != nil {
			status = p.token(name, token)
		}
		if status > 0 {
			answer("$cbs", func(b []byte) []byte {
				b = amqp.AppendProperties(b, &amqp.Properties{CorrelationID: m.Properties.MessageID})
				b, s := amqp.BeginSection(b, amqp.SectionApplicationProperties)
				b = amqp.AppendString(amqp.AppendString(amqp.AppendInt(amqp.AppendString(b, "status-code"), int32(status)), "status-description"), "text")
				return amqp.EndMap(b, s, 2)
			})
		}
	case strings.HasSuffix(l.address, "/twin"):
		status := 200
		if p.twin != nil {
			status = p.twin(operation)
		}
		answer("/twin", func(b []byte) []byte {
			b, s := amqp.BeginSection(b, amqp.SectionMessageAnnotations)
			b = amqp.AppendInt(amqp.AppendSymbol(b, "status"), int32(status))
			n := 1
			if operation == "PATCH" {
				b = amqp.AppendLong(amqp.AppendSymbol(b, "version"), 7)
				n++
			}
			b = amqp.EndMap(b, s, n)
			b = amqp.AppendProperties(b, &amqp.Properties{CorrelationID: m.Properties.CorrelationID})
			if operation == "GET" {
				b = amqp.AppendData(b, []byte(`{"desired":{"$version":1},"reported":{"$version":1}}`))
			}
			return b
		})
	case strings.HasSuffix(l.address, "/messages/events") && p.settle != nil:
		settles = p.settle(payload)
	}
	if !x.Settled && settles.Code != amqp.NoState {
		p.say(ch, &amqp.Disposition{Role: amqp.RoleReceiver, First: x.DeliveryID.V, Settled: true, State: settles})
	}
	return nil
}

// send sends a message, unsettled, on a link of its own.
func (p *peer) send(ch uint16, handle uint32, message []byte) {
	p.tags++
	p.sent[ch]++
	p.say(ch, &amqp.Transfer{Handle: handle, DeliveryID: amqp.Some(p.sent[ch]), DeliveryTag: fmt.Appendf(nil, "%016d", p.tags), MessageFormat: amqp.Some(0)}, message...)
}

// handle is the handle of a link on which it sends.
func (p *peer) handle(end string) uint32 {
	for handle, l := range p.links {
		if !l.receives && strings.HasSuffix(l.address, end) {
			return handle & 0xffff
		}
	}
	return 1<<16 - 1
}

// addresses are the addresses of links on a channel.
func (p *peer) addresses(ch uint16) (all []string) {
	for handle, l := range p.links {
		if handle>>16 == uint32(ch) {
			all = append(all, l.address)
		}
	}
	return all
}

// options are those of a device.
func (p *peer) options(id string, handler func(link.Message)) link.Options {
	return link.Options{
		ClientID: id, Host: "hub.example", Password: func() string { return "token of " + id }, KeepAlive: 3 * time.Minute, Dial: p.dial, Handler: handler,
	}
}

// client is a connected device, and what it was told.
type client struct {
	link.Conn
	messages chan string
	over     chan error
}

func connect(t *testing.T, d link.Driver, o link.Options) (*client, error) {
	t.Helper()
	c := &client{messages: make(chan string, 1000), over: make(chan error, 1)}
	if o.Handler == nil {
		o.Handler = func(m link.Message) { c.messages <- fmt.Sprintf("%s %s", m.Topic, m.Payload) }
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var err error
	if c.Conn, err = d.Connect(ctx, o); err != nil {
		return nil, err
	}
	c.Serve(func(err error) { c.over <- err })
	return c, nil
}

// waits for something to be done.
func wait(begin func(done func(error))) error {
	done := make(chan error, 2)
	begin(func(err error) { done <- err })
	return <-done
}

func (c *client) publish(m link.Message) error {
	return wait(func(done func(error)) { c.Publish(m, done) })
}

func (c *client) subscribe(topics ...string) error {
	var filters []link.Filter
	for _, t := range topics {
		filters = append(filters, link.Filter{Topic: t})
	}
	return wait(func(done func(error)) { c.Subscribe(done, filters...) })
}

// in runs a test of one device in virtual time, over whose end nothing is left.
func in(t *testing.T, p *peer, test func(t *testing.T, c *client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c, err := connect(t, driver.New(), p.options("dev", nil))
		if err != nil {
			t.Fatal(err)
		}
		test(t, c)
		<-p.done
		synctest.Wait()
		if p.failure != nil {
			t.Error(p.failure)
		}
	})
}
