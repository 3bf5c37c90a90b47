package amqp_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	driver "github.com/twinfleet/twinfleet/fleet/link/amqp"
	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/nowait"
)

// hollow is a peer that is nothing but a function of what is written to it, so that what is measured is the driver's: it accepts
// everything at once.
type hollow struct {
	mu      sync.Mutex
	greeted bool
	closed  bool
	out     []byte
	watched *nowait.Watched
	sent    uint32
}

func (h *hollow) SetNoWait()                       {}
func (h *hollow) Kept() int                        { return 0 }
func (h *hollow) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (h *hollow) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (h *hollow) SetDeadline(time.Time) error      { return nil }
func (h *hollow) SetReadDeadline(time.Time) error  { return nil }
func (h *hollow) SetWriteDeadline(time.Time) error { return nil }

func (h *hollow) Watch(_ *nowait.Poller, w *nowait.Watched) (func(), error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watched = w
	return func() {}, nil
}

func (h *hollow) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	return nil
}

func (h *hollow) Read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case len(h.out) > 0:
		n := copy(b, h.out)
		if h.out = h.out[n:]; len(h.out) == 0 {
			h.out = nil
		}
		return n, nil
	case h.closed:
		return 0, io.EOF
	}
	return 0, nowait.ErrAgain
}

func (h *hollow) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(b)
	if !h.greeted {
		h.greeted, h.out, b = true, append(h.out, amqp.HeaderAMQP[:]...), b[8:]
	}
	for len(b) > 0 { // frames come whole
		size := binary.BigEndian.Uint32(b)
		h.frame(binary.BigEndian.Uint16(b[6:]), b[8:size])
		b = b[size:]
	}
	if h.watched != nil && len(h.out) > 0 {
		h.watched.Later()
	}
	return n, nil
}

func (h *hollow) frame(ch uint16, frame []byte) {
	body, err := amqp.Parse(frame)
	if err != nil {
		panic(err)
	}
	say := func(p amqp.Performative, payload []byte) { h.out = amqp.AppendFrame(h.out, ch, p, payload) }
	switch body.Code {
	case amqp.CodeOpen:
		say(&amqp.Open{ContainerID: "hub", MaxFrameSize: 65536, ChannelMax: 8191, IdleTimeOut: amqp.Some(240000)}, nil)
	case amqp.CodeBegin:
		say(&amqp.Begin{RemoteChannel: ch, HasRemote: true, NextOutgoingID: 1, IncomingWindow: 1 << 30, OutgoingWindow: 5000, HandleMax: 262143}, nil)
	case amqp.CodeAttach:
		var p amqp.Attach
		if err := p.Decode(body.Fields); err != nil {
			panic(err)
		}
		p.Role = !p.Role
		p.InitialDeliveryCount = amqp.Uint32{Set: p.Role == amqp.RoleSender}
		say(&p, nil)
		if p.Role == amqp.RoleReceiver {
			say(&amqp.Flow{
				NextIncomingID: amqp.Some(0), IncomingWindow: 1<<31 - 1, NextOutgoingID: 1, OutgoingWindow: 5000, Handle: amqp.Some(p.Handle), DeliveryCount: amqp.Some(0),
				LinkCredit: amqp.Some(1<<31 - 1),
			}, nil)
		}
	case amqp.CodeTransfer:
		var p amqp.Transfer
		if err := p.Decode(body.Fields); err != nil {
			panic(err)
		}
		m, err := amqp.ParseMessage(body.Payload)
		if err != nil {
			panic(err)
		}
		if !p.Settled {
			say(&amqp.Disposition{Role: true, First: p.DeliveryID.V, Settled: true, State: amqp.State{Code: amqp.Accepted}}, nil)
		}
		var answer []byte
		switch {
		case m.Application != nil: // a token
			answer = amqp.AppendProperties(nil, &amqp.Properties{CorrelationID: m.Properties.MessageID})
			b, s := amqp.BeginSection(answer, amqp.SectionApplicationProperties)
			answer = amqp.EndMap(amqp.AppendInt(amqp.AppendString(b, "status-code"), 200), s, 1)
		case m.Annotations != nil: // of a twin
			b, s := amqp.BeginSection(nil, amqp.SectionMessageAnnotations)
			answer = amqp.EndMap(amqp.AppendInt(amqp.AppendSymbol(b, "status"), 200), s, 1)
			answer = amqp.AppendProperties(answer, &amqp.Properties{CorrelationID: m.Properties.CorrelationID})
		default:
			return
		}
		h.sent++ // the link of answers is attached behind that of requests
		say(&amqp.Transfer{Handle: p.Handle + 1, DeliveryID: amqp.Some(h.sent), DeliveryTag: []byte("0123456789abcdef"), Settled: true}, answer)
	case amqp.CodeDetach:
		var p amqp.Detach
		if err := p.Decode(body.Fields); err != nil {
			panic(err)
		}
		say(&p, nil)
	case amqp.CodeClose:
		say(&amqp.Close{}, nil)
	}
}

// whole connects a device with all its links.
func whole(tb testing.TB, d link.Driver, id string, connection int) link.Conn {
	c, err := d.Connect(tb.Context(), link.Options{
		ClientID: id, Host: "hub.example", Password: token, KeepAlive: 3 * time.Minute, Connection: connection,
		Dial: func(context.Context) (net.Conn, error) { return new(hollow), nil }, Handler: func(link.Message) {},
	})
	if err != nil {
		tb.Fatal(err)
	}
	c.Serve(func(error) {})
	done := make(chan error, 1)
	c.Subscribe(func(err error) { done <- err }, link.Filter{Topic: topics.FilterTwinResponses}, link.Filter{Topic: topics.FilterDesired},
		link.Filter{Topic: topics.FilterMethods}, link.Filter{Topic: topics.FilterC2D(id)})
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
	return c
}

func token() string {
	return "SharedAccessSignature sr=hub.example%2Fdevices%2Fdev&sig=0123456789012345678901234567890123456789012%3D&se=4000000000"
}

// BenchmarkConnect is a device that connects with all its links, and goes.
func BenchmarkConnect(b *testing.B) {
	for name, connection := range map[string]int{"alone": 0, "shared": 1} {
		b.Run(name, func(b *testing.B) {
			d := driver.New()
			if connection > 0 {
				defer whole(b, d, "keeper", connection).Close()
			}
			b.ReportAllocs()
			for b.Loop() {
				whole(b, d, "dev", connection).Close()
			}
		})
	}
}

// BenchmarkTelemetry is a message that is accepted.
func BenchmarkTelemetry(b *testing.B) {
	c := whole(b, driver.New(), "dev", 0)
	defer c.Close()
	m := link.Message{Topic: topics.Telemetry("dev", nil), Payload: []byte(`{"temperature":21.5,"humidity":40}`), QoS: 1}
	done := make(chan error, 1)
	told := func(err error) { done <- err }
	b.ReportAllocs()
	for b.Loop() {
		c.Publish(m, told)
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// A device with all its links takes of the heap what docs say, and what plan counts (internal/planning/memory), alone and on a connection
// that it shares.
func TestMemory(t *testing.T) {
	for name, c := range map[string]struct{ shares, most int }{"alone": {1, 3000}, "shared": {500, 1500}} {
		t.Run(name, func(t *testing.T) {
			const n = 1000
			d, all := driver.New(), make([]link.Conn, 0, n)
			before := heap()
			for i := range n {
				connection := 0
				if c.shares > 1 {
					connection = 1 + i/c.shares
				}
				all = append(all, whole(t, d, fmt.Sprintf("device-%04d", i), connection))
			}
			took := (heap() - before) / n
			t.Logf("%d bytes", took)
			if took > c.most {
				t.Errorf("a device takes %d bytes; %d are the most", took, c.most)
			}
			for _, x := range all {
				x.Close()
			}
		})
	}
}

// heap is how many bytes live.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
