package linktest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// RunSessions runs what drivers are held to that keep sessions, over both versions of MQTT.
func (s *Suite) RunSessions(t *testing.T) {
	for name, version := range map[string]link.Version{"3.1.1": link.V311, "5": link.V5} {
		for what, test := range map[string]func(*testing.T, *client){
			"what was under way goes on":                  s.goesOn,
			"what was under way is lost with the session": s.sessionGone,
			"what was received with QoS 2 is remembered":  s.remembers,
			"no session to keep":                          s.keepsNothing,
			"a connection that fails changes nothing":     s.failsBetween,
			"End and Forget":                              s.forgets,
			"a receive maximum that shrinks":              s.shrinks,
			"a receive maximum is of a connection":        s.receivesAnew,
			"whatever the order of events":                s.anyOrder,
			"whatever the order in which a target sends":  s.receivesAll,
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { test(t, &client{suite: s, version: version}) })
			})
		}
	}
}

// client has a session, and connects as often as it likes.
type client struct {
	suite   *Suite
	version link.Version
	session link.Session

	receives uint16 // maximum; 0 for none
}

func (x *client) options() link.Options {
	return link.Options{Version: x.version, Session: &x.session, SessionExpiry: time.Hour, ReceiveMaximum: x.receives}
}

// connects is a connection to a target that has the session, or has not.
func (x *client) connects(t *testing.T, present bool, says *packets.Properties) (*peer, *connection) {
	t.Helper()
	p, c, err := x.suite.dial(t, accept(x.version, present, says), x.options())
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Conn.(link.Greeted).Greeting(); got.Present != present {
		t.Errorf("the greeting is %+v", got)
	}
	return p, c
}

// lose ends a connection as a lost network does.
func (p *peer) lose(c *connection) {
	p.nc.Close()
	<-c.served
}

func (s *Suite) goesOn(t *testing.T, x *client) {
	p, c := x.connects(t, false, nil)
	payload := []byte("0")
	var told []chan error
	for i, qos := range []byte{1, 2, 2, 1} {
		payload[0] = '1' + byte(i) // a message is not kept by reference
		told = append(told, c.publishing(link.Message{Topic: "a", Payload: payload, QoS: qos}))
		p.hears(t, fmt.Sprintf("PUBLISH %d qos %d a: %d", i+1, qos, i+1))
	}
	p.ack(t, mqtt.PUBREC, 2)
	p.hears(t, "PUBREL 2")
	subscribed := result(func(done func(error)) { c.Subscribe(done, link.Filter{Topic: "x"}) })
	p.next()
	p.lose(c)
	if err := <-subscribed; !errors.Is(err, link.ErrLost) {
		t.Errorf("a SUBSCRIBE is of no session: %v", err)
	}
	for _, cut := range []func(){func() { c.Conn.Abort() }, func() { c.Conn.Close() }} {
		p, c = x.connects(t, true, nil)
		p.hears(t, "PUBLISH 1 qos 1 a: 1 dup", "PUBREL 2", "PUBLISH 3 qos 2 a: 3 dup", "PUBLISH 4 qos 1 a: 4 dup")
		cut()
		if got := p.next(); got != "EOF" && got != "DISCONNECT" {
			t.Errorf("the target got %s", got)
		}
		<-c.served
		p.nc.Close()
	}
	p, c = x.connects(t, true, nil)
	p.hears(t, "PUBLISH 1 qos 1 a: 1 dup", "PUBREL 2", "PUBLISH 3 qos 2 a: 3 dup", "PUBLISH 4 qos 1 a: 4 dup")
	fresh := c.publishing(link.Message{Topic: "b", QoS: 1})
	got := p.next() // with an identifier of its own; that of the SUBSCRIBE is free
	var id uint16
	if _, err := fmt.Sscanf(got, "PUBLISH %d qos 1 b:", &id); err != nil || id <= 4 {
		t.Errorf("the target got %s", got)
	}
	for i := range told {
		if len(told[i]) > 0 {
			t.Errorf("message %d was told before its acknowledgement", i+1)
		}
	}
	p.ack(t, mqtt.PUBACK, 1)
	p.ack(t, mqtt.PUBCOMP, 2)
	p.ack(t, mqtt.PUBREC, 3)
	p.hears(t, "PUBREL 3")
	p.ack(t, mqtt.PUBCOMP, 3)
	p.ack(t, mqtt.PUBACK, 4)
	p.ack(t, mqtt.PUBACK, id)
	for i, done := range append(told, fresh) {
		if err := <-done; err != nil {
			t.Errorf("message %d: %v", i+1, err)
		}
	}
	p.lose(c)
	p, c = x.connects(t, true, nil)
	p.silent(t)
	p.lose(c)
}

func (s *Suite) sessionGone(t *testing.T, x *client) {
	p, c := x.connects(t, false, nil)
	told := []chan error{c.publishing(link.Message{Topic: "a", QoS: 1}), c.publishing(link.Message{Topic: "a", QoS: 2})}
	p.hears(t, "PUBLISH 1 qos 1 a: ", "PUBLISH 2 qos 2 a: ")
	p.ack(t, mqtt.PUBREC, 2)
	p.hears(t, "PUBREL 2")
	p.lose(c)
	p, c = x.connects(t, false, nil)
	for _, done := range told {
		if err := <-done; !errors.Is(err, link.ErrLost) {
			t.Errorf("%v; want %v", err, link.ErrLost)
		}
	}
	p.silent(t)
	p.lose(c)
}

func (s *Suite) remembers(t *testing.T, x *client) {
	message := func(dup bool) []byte {
		if x.version == link.V5 {
			return written(&packets.Publish{Topic: "a", QoS: 2, PacketID: 7, Duplicate: dup, Properties: &packets.Properties{}})
		}
		return mqtt.AppendPublish(nil, "a", nil, 2, false, dup, 7)
	}
	arrived := 0
	for i, present := range []bool{false, true, false} {
		p, c := x.connects(t, present, nil)
		p.send(t, message(i > 0))
		p.hears(t, "PUBREC 7")
		p.lose(c)
		arrived += len(c.messages)
		if want := 1 + i/2; arrived != want { // once more where the target has forgotten
			t.Errorf("%d arrived on %d connections; want %d", arrived, i+1, want)
		}
	}
	p, c := x.connects(t, true, nil)
	p.ack(t, mqtt.PUBREL, 7)
	p.hears(t, "PUBCOMP 7")
	p.lose(c)
}

// A session that the target does not keep ends with its connection.
func (s *Suite) keepsNothing(t *testing.T, x *client) {
	for _, change := range []func(*link.Options){
		func(o *link.Options) { o.Session = nil },
		func(o *link.Options) { o.CleanSession, o.SessionExpiry = true, 0 },
	} {
		o := x.options()
		change(&o)
		p, c, err := s.dial(t, accept(x.version, false, nil), o)
		if err != nil {
			t.Fatal(err)
		}
		told := c.publishing(link.Message{Topic: "a", QoS: 1})
		p.hears(t, "PUBLISH 1 qos 1 a: ")
		p.lose(c)
		if err := <-told; !errors.Is(err, link.ErrLost) {
			t.Errorf("%v; want %v", err, link.ErrLost)
		}
	}
	if x.session.Take() != nil {
		t.Error("something was kept")
	}
}

func (s *Suite) failsBetween(t *testing.T, x *client) {
	p, c := x.connects(t, false, nil)
	told := c.publishing(link.Message{Topic: "a", QoS: 1})
	p.hears(t, "PUBLISH 1 qos 1 a: ")
	p.lose(c)
	busy := mqtt.AppendConnack(nil, false, 3)
	for _, answer := range [][]byte{busy, nil} {
		if _, _, err := s.dial(t, answer, x.options()); err == nil {
			t.Fatal("it connected")
		}
	}
	p, c = x.connects(t, true, nil)
	p.hears(t, "PUBLISH 1 qos 1 a:  dup")
	p.ack(t, mqtt.PUBACK, 1)
	if err := <-told; err != nil {
		t.Error(err)
	}
	p.lose(c)
}

func (s *Suite) forgets(t *testing.T, x *client) {
	p, c := x.connects(t, false, nil)
	told := c.publishing(link.Message{Topic: "a", QoS: 1})
	p.hears(t, "PUBLISH 1 qos 1 a: ")
	p.lose(c)
	if len(told) > 0 {
		t.Fatal("told while it is under way")
	}
	x.session.Forget()
	if err := <-told; !errors.Is(err, link.ErrLost) {
		t.Errorf("%v; want %v", err, link.ErrLost)
	}
	x.session.Forget() // nothing more
	p, c = x.connects(t, true, nil)
	p.silent(t)
	told = c.publishing(link.Message{Topic: "a", QoS: 1})
	p.next()
	go func() {
		for p.next() != "EOF" {
		}
	}()
	c.Conn.(link.Ender).End()
	if err := <-told; !errors.Is(err, link.ErrLost) {
		t.Errorf("%v; want %v", err, link.ErrLost)
	}
	<-c.served
	if x.session.Take() != nil {
		t.Error("something was kept")
	}
	p.nc.Close()
}

// Of what goes on, no more is unacknowledged at once than the new connection allows, and in the order of before.
func (s *Suite) shrinks(t *testing.T, x *client) {
	if x.version != link.V5 {
		t.Skip("MQTT 3.1.1 has none")
	}
	p, c := x.connects(t, false, &packets.Properties{ReceiveMaximum: of(uint16(4))})
	var told []chan error
	for i := range 6 {
		told = append(told, c.publishing(link.Message{Topic: "a", Payload: bytes.Repeat([]byte("x"), i), QoS: 1 + byte(i)%2}))
	}
	p.hears(t, "PUBLISH 1 qos 1 a: ", "PUBLISH 2 qos 2 a: x", "PUBLISH 3 qos 1 a: xx", "PUBLISH 4 qos 2 a: xxx")
	p.ack(t, mqtt.PUBREC, 2)
	p.hears(t, "PUBREL 2")
	p.lose(c)
	p, c = x.connects(t, true, &packets.Properties{ReceiveMaximum: of(uint16(1)), MaximumPacketSize: of(uint32(12))}) // that of the last is larger
	p.hears(t, "PUBLISH 1 qos 1 a:  dup", "PUBREL 2")
	p.silent(t)
	p.ack(t, mqtt.PUBCOMP, 2) // it was no message of this connection, and gives nothing (section 4.9)
	p.silent(t)
	for i, want := range []string{"PUBLISH 3 qos 1 a: xx dup", "PUBLISH 4 qos 2 a: xxx dup"} {
		p.ack(t, mqtt.PUBACK, []uint16{1, 3}[i])
		p.hears(t, want)
	}
	p.ack(t, mqtt.PUBREC, 4)
	p.hears(t, "PUBREL 4")
	p.silent(t)
	p.ack(t, mqtt.PUBCOMP, 4)
	p.hears(t, "PUBLISH 5 qos 1 a: xxxx")
	p.ack(t, mqtt.PUBACK, 5)
	for i, done := range told {
		if err := <-done; i < 5 && err != nil || i == 5 && !errors.Is(err, link.ErrTooLarge) {
			t.Errorf("message %d: %v", i+1, err)
		}
	}
	p.lose(c)
}

// What was received with QoS 2 on a connection before, and is not released, counts for nothing of what the target may send on this one: its quota
// is new with each connection, and each PUBCOMP gives it one more, also for what it sent before, and for what nobody knows (section 4.9).
func (s *Suite) receivesAnew(t *testing.T, x *client) {
	if x.version != link.V5 {
		t.Skip("MQTT 3.1.1 has none")
	}
	x.receives = 2
	publish := func(p *peer, id uint16) {
		p.send(t, written(&packets.Publish{Topic: "a", QoS: 2, PacketID: id, Properties: &packets.Properties{}}))
	}
	send := func(p *peer, id uint16) {
		publish(p, id)
		p.hears(t, fmt.Sprintf("PUBREC %d", id))
	}
	p, c := x.connects(t, false, nil)
	send(p, 1)
	send(p, 2)
	p.lose(c)
	p, c = x.connects(t, true, nil)
	send(p, 3)
	send(p, 4)
	p.ack(t, mqtt.PUBREL, 1)
	p.hears(t, "PUBCOMP 1")
	send(p, 5)
	p.ack(t, mqtt.PUBREL, 9)
	p.hears(t, "PUBCOMP 9 code 146")
	send(p, 6)
	p.ack(t, mqtt.PUBREL, 3) // of this connection: the room is that of the next
	p.hears(t, "PUBCOMP 3")
	send(p, 7)
	publish(p, 8)
	p.hears(t, "DISCONNECT code 147")
	p.lose(c)
}
