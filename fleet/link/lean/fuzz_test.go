package lean_test

import (
	"bytes"
	"context"
	"net"
	"testing"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/lean"
	"github.com/twinfleet/twinfleet/internal/memnet"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// Whatever a target sends, from its very first byte, the connection ends with it, everybody who waits is told once, and nothing
// arrives that is no message.
func FuzzWhatTargetsSend(f *testing.F) {
	connack := mqtt.AppendConnack(nil, false, 0)
	for _, b := range [][]byte{
		nil, []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		{0x20},
		{0x20, 0x02, 0x00, 0x05},
		{0x20, 0x80, 0x80, 0x80, 0x80, 0x01},
		{0x20, 0x03, 0, 0, 0},
		connack, append(bytes.Clone(connack), 0x30, 0xff, 0xff, 0xff, 0x7f),
		mqtt.AppendPublish(bytes.Clone(connack), "a/b", []byte("x"), 0, false, false, 0),
		mqtt.AppendPublish(bytes.Clone(connack), "a/b", []byte("x"), 2, true, false, 7),
		mqtt.AppendAck(mqtt.AppendAck(bytes.Clone(connack), mqtt.PUBACK, 1), mqtt.PUBREC, 2),
		mqtt.AppendAck(mqtt.AppendAck(bytes.Clone(connack), mqtt.PUBREC, 2), mqtt.PUBCOMP, 2),
		mqtt.AppendSuback(bytes.Clone(connack), 3, 0, 0x80), mqtt.AppendSuback(bytes.Clone(connack), 3, 0),
		mqtt.AppendEmpty(bytes.Clone(connack), mqtt.PINGRESP), mqtt.AppendEmpty(bytes.Clone(connack), mqtt.PINGREQ),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		near, far := memnet.Pipe()
		go func() {
			_, _ = far.Write(sent)
			_ = far.Close()
		}()
		conn, err := lean.New().Connect(t.Context(), link.Options{
			ClientID: "dev", Dial: func(context.Context) (net.Conn, error) { return near, nil },
			Handler: func(m link.Message) {
				if !mqtt.ValidTopic(m.Topic) || m.QoS > 2 {
					t.Errorf("%+v arrived", m)
				}
			},
		})
		if err != nil {
			return
		}
		told := make(chan error, 10)
		tell := func(err error) { told <- err }
		conn.Publish(link.Message{Topic: "a", QoS: 1}, tell)
		conn.Publish(link.Message{Topic: "a", QoS: 2}, tell)
		conn.Subscribe(tell, link.Filter{Topic: "a"}, link.Filter{Topic: "b"})
		over := make(chan error, 1)
		conn.Serve(func(err error) { over <- err })
		if err := <-over; err == nil {
			t.Error("a connection that the target ended was not lost")
		}
		if len(told) != 3 {
			t.Errorf("%d of 3 were told", len(told))
		}
	})
}
