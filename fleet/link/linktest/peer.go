package linktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
)

// peer is the other side of one connection, which a test plays packet by packet. Of MQTT 5 it is Paho that reads and writes for it.
type peer struct {
	version link.Version
	nc      net.Conn
	connect string           // the CONNECT that came
	five    *packets.Connect // likewise, of MQTT 5
}

// accept is the answer to CONNECT that takes the connection.
func accept(version link.Version, present bool, p *packets.Properties) []byte {
	if version == link.V311 {
		return mqtt.AppendConnack(nil, present, 0)
	}
	if p == nil {
		p = &packets.Properties{}
	}
	return written(&packets.Connack{SessionPresent: present, Properties: p})
}

// written is a packet of MQTT 5.
func written(p packets.Packet) []byte {
	var b bytes.Buffer
	if _, err := p.WriteTo(&b); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// dial connects a driver to a peer that answers its CONNECT. It is run in a bubble of virtual time, and the peer is the test's own as
// soon as there is a connection.
func (s *Suite) dial(t *testing.T, answer []byte, o link.Options) (*peer, *connection, error) {
	t.Helper()
	near, far := net.Pipe()
	p := &peer{version: o.Version, nc: far}
	c := &connection{lost: make(chan error, 2), messages: make(chan link.Message, 100), served: make(chan struct{})}
	shaken := make(chan struct{})
	go func() {
		defer close(shaken)
		p.connect = p.next()
		_, _ = far.Write(answer)
		if len(answer) == 0 {
			far.Close()
		}
	}()
	o.Dial = func(context.Context) (net.Conn, error) { return near, nil }
	if o.ClientID == "" {
		o.ClientID = "dev"
	}
	o.Handler = func(m link.Message) { c.messages <- *keep(&m) }
	var err error
	c.Conn, err = s.Driver().Connect(t.Context(), o)
	<-shaken
	if err != nil {
		far.Close()
		return p, nil, err
	}
	c.Serve(func(err error) {
		if err != nil {
			c.lost <- err
		}
		close(c.served)
	})
	return p, c, nil
}

// keep is a message that outlives its Handler.
func keep(m *link.Message) *link.Message {
	out := *m
	out.Topic, out.Payload = strings.Clone(m.Topic), bytes.Clone(m.Payload)
	if m.Properties != nil {
		p := *m.Properties
		p.ContentType, p.ResponseTopic, p.Correlation = strings.Clone(p.ContentType), strings.Clone(p.ResponseTopic), bytes.Clone(p.Correlation)
		p.User = append([]link.UserProperty(nil), p.User...)
		for i, u := range p.User {
			p.User[i] = link.UserProperty{Name: strings.Clone(u.Name), Value: strings.Clone(u.Value)}
		}
		p.Subscriptions = append([]uint32(nil), p.Subscriptions...)
		out.Properties = &p
	}
	return &out
}

// send sends bytes.
func (p *peer) send(t *testing.T, b []byte) {
	t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		t.Fatal(err)
	}
}

// ack sends a PUBACK, PUBREC, PUBREL or PUBCOMP, which is the same in both versions when all is well.
func (p *peer) ack(t *testing.T, kind mqtt.Type, id uint16) {
	t.Helper()
	p.send(t, mqtt.AppendAck(nil, kind, id))
}

// hears holds what comes next to a text.
func (p *peer) hears(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := p.next(); got != w {
			t.Fatalf("the target got %s; want %s", got, w)
		}
	}
}

// silent holds that nothing more comes while nothing is said, and no time passes.
func (p *peer) silent(t *testing.T) {
	t.Helper()
	synctest.Wait()
	_ = p.nc.SetReadDeadline(time.Now().Add(time.Millisecond))
	defer p.nc.SetReadDeadline(time.Time{})
	var b [64]byte
	if n, err := p.nc.Read(b[:]); n > 0 || err == nil {
		t.Fatalf("the target got % x, and wanted nothing", b[:n])
	}
}

// next is what comes next, as a text; that of the error when nothing does.
func (p *peer) next() string {
	if p.version == link.V5 {
		return p.next5()
	}
	x, err := framing.NewReader(oneByOne{p.nc}).Next()
	if err != nil {
		return textOf(err)
	}
	switch x.Type {
	case mqtt.PUBLISH:
		var m mqtt.Publish
		if err := mqtt.DecodePublish(x, &m); err != nil {
			return textOf(err)
		}
		return published(m.PacketID, m.QoS, m.Dup, string(m.Topic), m.Payload)
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		id, err := mqtt.DecodeAck(x.Body)
		if err != nil {
			return textOf(err)
		}
		return acknowledged(byte(x.Type), id, 0)
	}
	return packets.NewControlPacket(byte(x.Type)).PacketType()
}

// textOf is an error as next has it: that of a connection which this side has closed is its end too.
func textOf(err error) string {
	if errors.Is(err, io.ErrClosedPipe) {
		err = io.EOF
	}
	return err.Error()
}

// oneByOne reads no more than a packet has.
type oneByOne struct{ io.Reader }

func (o oneByOne) Read(b []byte) (int, error) { return o.Reader.Read(b[:1]) }

func published(id uint16, qos byte, dup bool, topic string, payload []byte) string {
	text := fmt.Sprintf("PUBLISH %d qos %d %s: %s", id, qos, topic, payload)
	if dup {
		text += " dup"
	}
	return text
}

func acknowledged(kind byte, id uint16, code byte) string {
	text := fmt.Sprintf("%s %d", packets.NewControlPacket(kind).PacketType(), id)
	if code != 0 {
		text += fmt.Sprintf(" code %d", code)
	}
	return text
}

// next5 is next of MQTT 5.
func (p *peer) next5() string {
	x, err := p.packet()
	if err != nil {
		return textOf(err)
	}
	switch m := x.Content.(type) {
	case *packets.Connect:
		p.five = m
	case *packets.Publish:
		text := published(m.PacketID, m.QoS, m.Duplicate, m.Topic, m.Payload)
		if m.Properties.TopicAlias != nil {
			text += fmt.Sprintf(" alias %d", *m.Properties.TopicAlias)
		}
		return text
	case *packets.Puback:
		return acknowledged(x.Type, m.PacketID, m.ReasonCode)
	case *packets.Pubrec:
		return acknowledged(x.Type, m.PacketID, m.ReasonCode)
	case *packets.Pubrel:
		return acknowledged(x.Type, m.PacketID, m.ReasonCode)
	case *packets.Pubcomp:
		return acknowledged(x.Type, m.PacketID, m.ReasonCode)
	case *packets.Disconnect:
		text := "DISCONNECT"
		if m.ReasonCode != 0 {
			text += fmt.Sprintf(" code %d", m.ReasonCode)
		}
		if m.Properties != nil && m.Properties.SessionExpiryInterval != nil {
			text += fmt.Sprintf(" expiry %d", *m.Properties.SessionExpiryInterval)
		}
		return text
	case *packets.Subscribe:
		text := fmt.Sprintf("SUBSCRIBE %d %+v", m.PacketID, m.Subscriptions)
		if m.Properties.SubscriptionIdentifier != nil {
			text += fmt.Sprintf(" identifier %d", *m.Properties.SubscriptionIdentifier)
		}
		return text
	}
	return x.PacketType()
}

// packet reads a packet of MQTT 5, and a DISCONNECT without a body, which Paho does not read (MQTT 5 section 3.14.2.1).
func (p *peer) packet() (*packets.ControlPacket, error) {
	var head [2]byte
	if _, err := io.ReadFull(p.nc, head[:]); err != nil {
		return nil, err
	}
	if head == [2]byte{0xe0, 0} {
		return packets.NewControlPacket(packets.DISCONNECT), nil
	}
	return packets.ReadPacket(io.MultiReader(bytes.NewReader(head[:]), p.nc))
}
