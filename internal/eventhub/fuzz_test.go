package eventhub

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/eventhub/eventhubtest"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/memnet"
)

// FuzzHub has a hub say anything, from its first byte on and once it is read from: a Reader neither panics nor hangs, and gives nothing on
// that is not a message.
func FuzzHub(f *testing.F) {
	opening := append([]byte(nil), amqp.HeaderSASL[:]...)
	opening = amqp.AppendSASL(opening, &amqp.Mechanisms{Names: []string{"ANONYMOUS"}})
	opening = amqp.AppendSASL(opening, &amqp.Outcome{})
	opening = append(opening, amqp.HeaderAMQP[:]...)
	opening = amqp.AppendFrame(opening, 0, &amqp.Open{ContainerID: "hub", ChannelMax: 1}, nil)
	opening = amqp.AppendFrame(opening, 0, &amqp.Begin{HasRemote: true, IncomingWindow: 1, OutgoingWindow: 1}, nil)
	f.Add(opening, []byte{})
	f.Add(opening[:20], amqp.AppendFrame(nil, 7, &amqp.Transfer{Handle: 4, DeliveryID: amqp.Some(1)}, []byte{0, 0x53, 0x75, 0xa0, 1, 'x'}))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), amqp.AppendFrame(nil, 7, &amqp.Detach{Handle: 1, Closed: true}, nil))
	f.Add([]byte{}, amqp.AppendFrame(nil, 7, &amqp.Flow{Handle: amqp.Some(0), LinkCredit: amqp.Some(1 << 31)}, nil))
	f.Fuzz(func(t *testing.T, first, later []byte) {
		synctest.Test(t, func(t *testing.T) {
			peer := eventhubtest.New(t, 1)
			peer.Tolerate()
			dials := 0
			r, err := New(Options{
				Host: "iot", Addr: "iot:5671", Policy: "service", Key: peer.Key,
				Deliver: func(m Message) {
					if m.Sequence < 0 || len(m.Body) > maxMessage {
						t.Errorf("%+v", m)
					}
				},
				Dial: func(ctx context.Context, addr string) (net.Conn, error) {
					if dials++; dials > 1 {
						return peer.Dial(ctx, addr)
					}
					a, b := memnet.Pipe()
					go func() {
						_, _ = b.Write(first)
						_ = b.SetReadDeadline(time.Now().Add(time.Minute))
						buffer := make([]byte, 1<<16)
						for err := error(nil); err == nil; {
							_, err = b.Read(buffer)
						}
						b.Close()
					}()
					return a, nil
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = r.Run(ctx)
			}()
			time.Sleep(2 * time.Minute)
			peer.Say(later)
			time.Sleep(2 * time.Minute)
			cancel()
			<-done
		})
	})
}

// FuzzRedirect has a redirect hold anything.
func FuzzRedirect(f *testing.F) {
	b, start := amqp.BeginMap(nil)
	b = amqp.AppendString(amqp.AppendSymbol(b, "address"), "amqps://h:5671/eh/$management")
	f.Add([]byte(amqp.EndMap(b, start, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, _, err := amqp.Read(b)
		if err != nil {
			return
		}
		e, err := endpointOf(info)
		if err != nil {
			return
		}
		if host, _, err := net.SplitHostPort(e.addr); err != nil || host != e.host || len(e.hub) > longestName || e.hub == "" {
			t.Errorf("%+v", e)
		}
		_ = sas.Sign(e.audience(), sas.NewKey(), "p", time.Now())
	})
}
