package amqp_test

import (
	"bytes"
	"context"
	"net"
	"testing"

	"github.com/twinfleet/twinfleet/fleet/link"
	driver "github.com/twinfleet/twinfleet/fleet/link/amqp"
	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/memnet"
)

// Whatever a target sends, before a device is connected and after, the connection ends with it, everybody who waits is told once, and
// nothing arrives but what a device of an IoT Hub hears.
func FuzzWhatTargetsSend(f *testing.F) {
	frames := func(ps ...any) (b []byte) {
		for _, p := range ps {
			switch p := p.(type) {
			case amqp.Performative:
				b = amqp.AppendFrame(b, 0, p, nil)
			case []byte: // behind the performative before it
				frame := len(b)
				for at := 0; at < len(b); at += int(b[at+2])<<8 + int(b[at+3]) {
					frame = at
				}
				size := len(b) - frame + len(p)
				b = append(b, p...)
				b[frame+2], b[frame+3] = byte(size>>8), byte(size)
			}
		}
		return b
	}
	attach := func(name string, handle uint32, role bool) *amqp.Attach {
		return &amqp.Attach{
			Name: []byte(name), Handle: handle, Role: role, SndSettleMode: amqp.ModeUnset, RcvSettleMode: amqp.ModeUnset, HasSource: true, HasTarget: true,
			InitialDeliveryCount: amqp.Uint32{Set: !role},
		}
	}
	flow := func(handle uint32) *amqp.Flow {
		return &amqp.Flow{NextIncomingID: amqp.Some(0), IncomingWindow: 100, Handle: amqp.Some(handle), DeliveryCount: amqp.Some(0), LinkCredit: amqp.Some(100)}
	}
	open := &amqp.Open{ContainerID: "hub", MaxFrameSize: 512, ChannelMax: 1, IdleTimeOut: amqp.Some(1000)}
	hello := append(bytes.Clone(amqp.HeaderAMQP[:]), frames(open, &amqp.Begin{HasRemote: true, IncomingWindow: 100, HandleMax: 100}, attach("link-0-1", 0, true), flow(0))...)
	links := frames(attach("link-1-2", 1, true), flow(1), attach("link-2-3", 2, false), attach("link-3-4", 3, true), attach("link-4-5", 4, false), attach("link-5-6", 5, false))
	b, s := amqp.BeginSection(nil, amqp.SectionMessageAnnotations)
	answer := amqp.EndMap(amqp.AppendInt(amqp.AppendSymbol(b, "status"), 200), s, 1)
	answer = amqp.AppendData(amqp.AppendProperties(answer, &amqp.Properties{CorrelationID: amqp.AppendString(nil, "desired-notifications")}), []byte("{}"))
	b, s = amqp.BeginSection(nil, amqp.SectionApplicationProperties)
	call := amqp.AppendData(amqp.EndMap(amqp.AppendString(amqp.AppendString(b, "IoThub-methodname"), "m"), s, 1), []byte("{}"))
	accepted := &amqp.Disposition{Role: true, First: 0, Last: amqp.Some(9), Settled: true, State: amqp.State{Code: amqp.Accepted}}
	transfer := func(handle, id uint32, more bool) *amqp.Transfer {
		return &amqp.Transfer{Handle: handle, DeliveryID: amqp.Some(id), DeliveryTag: []byte("tag"), More: more}
	}
	all := bytes.Clone(links)
	for _, more := range [][]byte{frames(transfer(2, 1, false), answer), frames(transfer(4, 2, false), call), frames(transfer(5, 3, true), answer), frames(accepted)} {
		all = append(all, more...)
	}
	for _, b := range [][2][]byte{
		{nil, nil},
		{[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), nil},
		{[]byte("AMQP\x03\x01\x00\x00"), nil},
		{hello, nil},
		{hello, links},
		{hello, all},
		{hello, append(bytes.Clone(all), frames(&amqp.Detach{Handle: 2, Closed: true})...)},
		{hello, append(bytes.Clone(all), frames(&amqp.End{})...)},
		{hello, append(bytes.Clone(all), frames(&amqp.Close{})...)},
		{hello, append(bytes.Clone(all), frames(&amqp.Flow{IncomingWindow: 0, Echo: true, Drain: true})...)},
		{hello, frames(&amqp.Detach{Handle: 0, Closed: true})},
		{append(bytes.Clone(hello), 0, 0, 0, 8, 2, 0, 0, 0), []byte{0, 0, 0, 9, 2, 0, 0, 0, 0x99}},
	} {
		f.Add(b[0], b[1])
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		near, far := memnet.Pipe()
		defer far.Close()
		if len(first)+len(second) > 60_000 {
			return // more than the connection has room for
		}
		_, _ = far.Write(first)
		shut := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { // a connection that is not made ends when it is plain that it will not be
			defer close(shut)
			buffer := make([]byte, 4096)
			for !bytes.HasPrefix(first, hello) || !bytes.Contains(buffer, []byte("messages/events")) {
				n, err := far.Read(buffer)
				if err != nil {
					return
				}
				if n > 0 && !bytes.HasPrefix(first, hello) {
					_ = far.Close()
				}
			}
		}()
		conn, err := driver.New().Connect(ctx, link.Options{
			ClientID: "dev", Host: "hub", Dial: func(context.Context) (net.Conn, error) { return near, nil },
			Handler: func(m link.Message) {
				if _, err := topics.Parse(m.Topic); err != nil {
					t.Errorf("%+v arrived", m)
				}
			},
		})
		if err != nil {
			<-shut
			return
		}
		told := make(chan error, 10)
		tell := func(err error) { told <- err }
		conn.Publish(link.Message{Topic: topics.Telemetry("dev", nil), QoS: 1}, tell)
		conn.Subscribe(tell, link.Filter{Topic: topics.FilterDesired}, link.Filter{Topic: topics.FilterMethods}, link.Filter{Topic: topics.FilterC2D("dev")})
		conn.Publish(link.Message{Topic: topics.TwinGet("1")}, tell)
		conn.(link.Renewer).Renew(tell)
		over := make(chan error, 1)
		conn.Serve(func(err error) { over <- err })
		_, _ = far.Write(second)
		_ = far.Close()
		if err := <-over; err == nil {
			t.Error("a connection that the target ended was not lost")
		}
		if len(told) != 4 {
			t.Errorf("%d of 4 were told", len(told))
		}
		<-shut
	})
}
