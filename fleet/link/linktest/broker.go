package linktest

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
)

// patience is how long a real broker may take for something that takes it no time.
const patience = 30 * time.Second

// session is one connection to a real broker.
type session struct {
	link.Conn
	messages chan link.Message // with payloads of their own
	over     chan error
}

// open connects a client to a real broker; change, which may be nil, changes the options first.
func (s *Suite) open(t *testing.T, dial link.Dialer, id string, change func(*link.Options)) *session {
	t.Helper()
	c := &session{messages: make(chan link.Message, 2000), over: make(chan error, 1)}
	o := link.Options{ClientID: id, KeepAlive: time.Minute, CleanSession: true, Dial: dial, Handler: func(m link.Message) { c.messages <- *keep(&m) }}
	if change != nil {
		change(&o)
	}
	if o.Version = s.Version; o.Version == link.V5 && !o.CleanSession && o.SessionExpiry == 0 {
		o.SessionExpiry = time.Hour // as MQTT 3.1.1 has it, or nearly so
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var err error
	if c.Conn, err = s.Driver().Connect(ctx, o); err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	c.Serve(func(err error) { c.over <- err })
	return c
}

// ends waits for the end of a connection.
func (c *session) ends(t *testing.T) error {
	t.Helper()
	select {
	case err := <-c.over:
		return err
	case <-time.After(patience):
		t.Fatal("the connection did not end")
		return nil
	}
}

// close ends a connection politely.
func (c *session) close(t *testing.T) {
	t.Helper()
	c.Close()
	if err := c.ends(t); err != nil {
		t.Errorf("a connection that was closed ended with %v", err)
	}
}

// await waits until something is done.
func await(t *testing.T, what string, begin func(done func(error))) {
	t.Helper()
	result := make(chan error, 2)
	begin(func(err error) { result <- err })
	select {
	case err := <-result:
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	case <-time.After(patience):
		t.Fatalf("%s: no answer", what)
	}
}

func (c *session) listen(t *testing.T, topic string, qos byte) {
	t.Helper()
	await(t, "subscribing to "+topic, func(done func(error)) { c.Subscribe(done, link.Filter{Topic: topic, QoS: qos}) })
}

func (c *session) say(t *testing.T, m link.Message) {
	t.Helper()
	await(t, "publishing to "+m.Topic, func(done func(error)) { c.Publish(m, done) })
}

func (c *session) hears(t *testing.T, want link.Message) {
	t.Helper()
	select {
	case m := <-c.messages:
		if m.Topic != want.Topic || !bytes.Equal(m.Payload, want.Payload) || m.QoS != want.QoS || m.Retain != want.Retain {
			t.Errorf("%s with QoS %d, retained %v, %d bytes; want %s, %d, %v, %d", m.Topic, m.QoS, m.Retain, len(m.Payload), want.Topic, want.QoS, want.Retain,
				len(want.Payload))
		}
	case err := <-c.over:
		t.Fatalf("%s: the connection ended: %v", want.Topic, err)
	case <-time.After(patience):
		t.Fatalf("%s: nothing arrived", want.Topic)
	}
}

// RunBroker runs what needs a real broker: one that routes, retains, keeps sessions and sends wills. Several may use it at once:
// prefix keeps their topics and clients apart.
func (s *Suite) RunBroker(t *testing.T, dial link.Dialer, prefix string) {
	for name, test := range map[string]func(t *testing.T, topic string){
		"every quality of service": func(t *testing.T, topic string) {
			c := s.open(t, dial, topic, nil)
			c.listen(t, topic+"/#", 2)
			for qos := range byte(3) {
				m := link.Message{Topic: fmt.Sprintf("%s/%d", topic, qos), Payload: fmt.Appendf(nil, "with %d", qos), QoS: qos}
				c.say(t, m)
				c.hears(t, m)
			}
			c.close(t)
		},
		"many at once, in order": func(t *testing.T, topic string) {
			const n = 500
			c := s.open(t, dial, topic, nil)
			c.listen(t, topic, 1)
			acknowledged := make(chan error, n)
			for i := range n {
				c.Publish(link.Message{Topic: topic, Payload: fmt.Appendf(nil, "%d", i), QoS: 1}, func(err error) { acknowledged <- err })
			}
			for i := range n {
				c.hears(t, link.Message{Topic: topic, Payload: fmt.Appendf(nil, "%d", i), QoS: 1})
				if err := <-acknowledged; err != nil {
					t.Fatal(err)
				}
			}
			c.close(t)
		},
		"a large message": func(t *testing.T, topic string) {
			c := s.open(t, dial, topic, nil)
			c.listen(t, topic, 1)
			m := link.Message{Topic: topic, Payload: bytes.Repeat([]byte("large "), 40_000), QoS: 1}
			c.say(t, m)
			c.hears(t, m)
			c.close(t)
		},
		"what was retained": func(t *testing.T, topic string) {
			c := s.open(t, dial, topic, nil)
			m := link.Message{Topic: topic, Payload: []byte("kept"), QoS: 1, Retain: true}
			c.say(t, m)
			c.listen(t, topic, 1)
			c.hears(t, m)
			c.say(t, link.Message{Topic: topic, QoS: 1, Retain: true}) // away with it
			c.close(t)
		},
		"a will, when the connection is cut, and none when it is closed": func(t *testing.T, topic string) {
			witness := s.open(t, dial, topic+"-witness", nil)
			witness.listen(t, topic+"/#", 1)
			will := link.Message{Topic: topic + "/gone", Payload: []byte("gone"), QoS: 1}
			with := func(o *link.Options) { o.Will = &will }
			// Each has a name of its own: a broker that has not read the goodbye of one when another of its name comes sends its will, and is right.
			polite := s.open(t, dial, topic+"-polite", with)
			polite.close(t)
			rude := s.open(t, dial, topic+"-rude", with)
			rude.Abort()
			if err := rude.ends(t); err != nil {
				t.Errorf("a connection that was cut ended with %v", err)
			}
			witness.hears(t, will)
			last := link.Message{Topic: topic + "/last", QoS: 1}
			witness.say(t, last)
			witness.hears(t, last) // and not a second will before it
			witness.close(t)
		},
		"a session that goes on": func(t *testing.T, topic string) {
			kept := func(o *link.Options) { o.CleanSession = false }
			c := s.open(t, dial, topic, kept)
			c.listen(t, topic+"/#", 1)
			c.close(t)
			sender := s.open(t, dial, topic+"-sender", nil)
			m := link.Message{Topic: topic + "/x", Payload: []byte("while you were away"), QoS: 1}
			sender.say(t, m)
			// A broker may acknowledge a message before it has given it to the sessions that wait; it has when it acknowledges the next one.
			sender.say(t, link.Message{Topic: topic + "-aside", Payload: []byte("next"), QoS: 1})
			sender.close(t)
			c = s.open(t, dial, topic, kept)
			c.hears(t, m)
			c.close(t)
			s.open(t, dial, topic, nil).close(t) // and forgets the session
		},
		"a client of the same name takes over": func(t *testing.T, topic string) {
			first := s.open(t, dial, topic, nil)
			second := s.open(t, dial, topic, nil)
			if err := first.ends(t); err == nil {
				t.Error("a connection that another took over ended as if this side had wanted it")
			}
			second.close(t)
		},
		"a connection that says nothing is kept alive": func(t *testing.T, topic string) {
			c := s.open(t, dial, topic, func(o *link.Options) { o.KeepAlive = 4 * time.Second }) // a busy machine has 2 s for each ping
			select {
			case err := <-c.over:
				t.Errorf("it ended with %v", err)
			case <-time.After(8 * time.Second): // the broker waits for 6
			}
			c.close(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, prefix+"-"+fmt.Sprintf("%x", name[:4])+fmt.Sprint(len(name)))
		})
	}
}
