package lean_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"testing"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/lean"
	"github.com/twinfleet/twinfleet/internal/memnet"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// Whatever a target sends, from its very first byte, the connection ends with it, everybody who waits is told once, and nothing
// arrives that is no message. With a session that goes on, those who published are told when it is forgotten.
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
		f.Add(b, false, false)
	}
	for _, s := range []string{
		"\x20\x02\x00\x01", "\x20\x03\x00\x00\x00", "\x20\x06\x00\x00\x03\x21\x00\x01\x40\x03\x00\x01\x87\x50\x02\x00\x02\x70\x02\x00\x02",
		"\x20\x03\x00\x00\x00\x30\x08\x00\x01a\x03\x23\x00\x01x\x30\x07\x00\x00\x03\x23\x00\x01y", "\x20\x03\x01\x00\x00\x34\x06\x00\x01a\x00\x07\x00\x34\x06\x00\x01a\x00\x08\x00",
		"\x20\x03\x00\x00\x00\x90\x05\x00\x03\x00\x00\x8f", "\x20\x03\x00\x00\x00\xe0\x01\x8e", "\x20\x03\x00\x00\x00\xf0\x02\x18\x00", "\x20\x0a\x00\x9c\x07\x1c\x00\x04b:18",
		"\x20\x08\x00\x00\x05\x27\x00\x00\x00\x06", "\x20\x05\x00\x00\x02\x24\x00",
	} {
		f.Add([]byte(s), true, false)
		f.Add([]byte(s), true, true)
	}
	f.Fuzz(func(t *testing.T, sent []byte, five, kept bool) {
		near, far := memnet.Pipe()
		go func() {
			_, _ = far.Write(sent)
			_ = far.Close()
		}()
		var session link.Session
		o := link.Options{
			ClientID: "dev", Dial: func(context.Context) (net.Conn, error) { return near, nil },
			Handler: func(m link.Message) {
				if !mqtt.ValidTopic(m.Topic) || m.QoS > 2 {
					t.Errorf("%+v arrived", m)
				}
			},
		}
		if five {
			o.Version, o.SessionExpiry, o.TopicAliases, o.ReceiveMaximum, o.MaximumPacket = link.V5, link.MaxExpiry, 2, 1, 1000
		}
		if kept {
			o.Session = &session
		}
		conn, err := lean.New().Connect(t.Context(), o)
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
		session.Forget()
		if len(told) != 3 {
			t.Errorf("%d of 3 were told", len(told))
		}
		again := make(chan error, 1)
		conn.Publish(link.Message{Topic: "a", QoS: 1}, func(err error) { again <- err })
		if err := <-again; err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("publishing on a connection that is over: %v", err)
		}
	})
}
