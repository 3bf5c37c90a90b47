package linktest

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
)

// RunKept runs what needs a real broker, and a driver that keeps sessions, in the version of the suite. prefix is as of RunBroker.
func (s *Suite) RunKept(t *testing.T, dial link.Dialer, prefix string) {
	tests := map[string]func(t *testing.T, topic string){
		"messages under way outlive a cut": func(t *testing.T, topic string) { s.outlive(t, dial, topic) },
	}
	if s.Version == link.V5 {
		for name, test := range map[string]func(t *testing.T, dial link.Dialer, topic string){
			"properties arrive as they were sent":      s.properties,
			"aliases of both sides":                    s.aliases,
			"options and identifiers of filters":       s.filters,
			"a shared subscription":                    s.shares,
			"a client of the same name is told":        s.takenOver,
			"End ends the session, and Close does not": s.endOfSession,
			"a will with a delay":                      s.lateWill,
			"an id that the broker gives":              s.givenID,
		} {
			tests[name] = func(t *testing.T, topic string) { test(t, dial, topic) }
		}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, fmt.Sprintf("%s-kept-%x%d", prefix, name[:4], len(name)))
		})
	}
}

// outlive cuts a connection in the middle of many messages, until all are acknowledged: those with QoS 2 arrive once, those with QoS 1
// at least that.
func (s *Suite) outlive(t *testing.T, dial link.Dialer, topic string) {
	const n, cuts = 60, 5
	var kept link.Session
	with := func(o *link.Options) { o.CleanSession, o.Session = false, &kept }
	witness := s.open(t, dial, topic+"-witness", nil)
	witness.listen(t, topic+"/#", 2)
	told := make(chan error, n)
	c := s.open(t, dial, topic, with)
	for i := range n {
		c.Publish(link.Message{Topic: fmt.Sprintf("%s/%d", topic, i), QoS: 1 + byte(i)%2}, func(err error) { told <- err })
		if i%(n/cuts) < n/cuts-1 {
			continue
		}
		c.Abort()
		if err := c.ends(t); err != nil {
			t.Errorf("a connection that was cut ended with %v", err)
		}
		if c = s.open(t, dial, topic, with); !c.Conn.(link.Greeted).Greeting().Present {
			t.Fatal("the broker has forgotten the session")
		}
		for range n / cuts { // more with QoS 2 at once than some brokers take (Mosquitto 20) are not the subject
			select {
			case err := <-told:
				if err != nil {
					t.Error(err)
				}
			case err := <-c.over:
				t.Fatalf("the connection ended: %v", err)
			case <-time.After(patience):
				t.Fatal("not all messages were acknowledged")
			}
		}
	}
	last := link.Message{Topic: topic + "/last", QoS: 2}
	c.say(t, last)
	arrived := map[string]int{}
	for arrived[last.Topic] == 0 {
		select {
		case m := <-witness.messages:
			arrived[m.Topic]++
		case <-time.After(patience):
			t.Fatal("the last message did not arrive")
		}
	}
	for i := range n {
		if got := arrived[fmt.Sprintf("%s/%d", topic, i)]; got < 1 && (i%2 == 0 || !s.Forgetful) || got > 1 && i%2 == 1 {
			t.Errorf("message %d arrived %d times with QoS %d", i, got, 1+i%2)
		}
	}
	c.Conn.(link.Ender).End()
	_ = c.ends(t)
	witness.close(t)
}

// arrives is the next message.
func (c *session) arrives(t *testing.T) link.Message {
	t.Helper()
	select {
	case m := <-c.messages:
		return m
	case err := <-c.over:
		t.Fatalf("the connection ended: %v", err)
	case <-time.After(patience):
		t.Fatal("nothing arrived")
	}
	return link.Message{}
}

func (s *Suite) properties(t *testing.T, dial link.Dialer, topic string) {
	c := s.open(t, dial, topic, nil)
	c.listen(t, topic, 1)
	want := link.Properties{
		User: []link.UserProperty{{Name: "a", Value: "1"}, {Name: "a", Value: "ä"}}, ContentType: "text/plain", ResponseTopic: topic + "/answer",
		Correlation: []byte{0, 1}, Text: true, Expiry: time.Hour,
	}
	c.say(t, link.Message{Topic: topic, Payload: []byte("x"), QoS: 1, Properties: &want})
	m := c.arrives(t)
	if m.Properties == nil {
		t.Fatal("it arrived without properties")
	}
	if left := m.Properties.Expiry; left <= 0 || left > want.Expiry {
		t.Errorf("it expires in %v", left)
	}
	m.Properties.Expiry = want.Expiry
	if !reflect.DeepEqual(*m.Properties, want) {
		t.Errorf("%+v; want %+v", *m.Properties, want)
	}
	c.close(t)
}

func (s *Suite) aliases(t *testing.T, dial link.Dialer, topic string) {
	c := s.open(t, dial, topic, func(o *link.Options) { o.Aliases, o.TopicAliases = 3, 2 })
	c.listen(t, topic+"/#", 1)
	for range 3 {
		for _, part := range strings.Split("abcd", "") {
			m := link.Message{Topic: topic + "/" + part, Payload: []byte(part), QoS: 1}
			c.say(t, m)
			c.hears(t, m)
		}
	}
	c.close(t)
}

func (s *Suite) filters(t *testing.T, dial link.Dialer, topic string) {
	c := s.open(t, dial, topic, nil)
	other := s.open(t, dial, topic+"-other", nil)
	other.say(t, link.Message{Topic: topic + "/kept", QoS: 1, Retain: true})
	other.say(t, link.Message{Topic: topic + "-aside", QoS: 1}) // a broker may acknowledge a message before it has handed it on
	await(t, "subscribing", func(done func(error)) {
		c.Subscribe(done, link.Filter{Topic: topic + "/#", QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2, ID: 300})
	})
	c.say(t, link.Message{Topic: topic + "/own", QoS: 1})
	other.say(t, link.Message{Topic: topic + "/theirs", QoS: 1, Retain: true})
	m := c.arrives(t) // neither what was kept, nor what it sent itself
	if m.Topic != topic+"/theirs" || !m.Retain || m.Properties == nil || !reflect.DeepEqual(m.Properties.Subscriptions, []uint32{300}) {
		t.Errorf("%+v with %+v arrived", m, m.Properties)
	}
	for _, part := range []string{"kept", "theirs"} {
		other.say(t, link.Message{Topic: topic + "/" + part, QoS: 1, Retain: true}) // away with it
	}
	other.close(t)
	c.close(t)
}

func (s *Suite) shares(t *testing.T, dial link.Dialer, topic string) {
	sender, a, b := s.open(t, dial, topic, nil), s.open(t, dial, topic+"-a", nil), s.open(t, dial, topic+"-b", nil)
	for _, c := range []*session{a, b} {
		c.listen(t, "$share/group/"+topic, 1)
	}
	const n = 20
	for range n {
		sender.say(t, link.Message{Topic: topic, QoS: 1})
	}
	for range n {
		select {
		case <-a.messages:
		case <-b.messages:
		case <-time.After(patience):
			t.Fatal("not all arrived")
		}
	}
	for _, c := range []*session{sender, a, b} {
		c.close(t)
	}
	if len(a.messages)+len(b.messages) > 0 {
		t.Error("some arrived twice")
	}
}

func (s *Suite) takenOver(t *testing.T, dial link.Dialer, topic string) {
	first := s.open(t, dial, topic, nil)
	second := s.open(t, dial, topic, nil)
	var said *link.DisconnectedError
	if err := first.ends(t); !(s.Wordless && errors.Is(err, io.EOF)) && (!errors.As(err, &said) || !said.TakenOver()) {
		t.Errorf("it ended with %v", err)
	}
	second.close(t)
}

func (s *Suite) endOfSession(t *testing.T, dial link.Dialer, topic string) {
	kept := func(o *link.Options) { o.CleanSession = false }
	present := func(c *session) bool { return c.Conn.(link.Greeted).Greeting().Present }
	c := s.open(t, dial, topic, kept)
	c.close(t)
	if c = s.open(t, dial, topic, kept); !present(c) {
		t.Error("Close ended the session")
	}
	c.Conn.(link.Ender).End()
	if err := c.ends(t); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if c = s.open(t, dial, topic, nil); present(c) {
		t.Error("End kept the session")
	}
	c.close(t)
}

func (s *Suite) lateWill(t *testing.T, dial link.Dialer, topic string) {
	witness := s.open(t, dial, topic+"-witness", nil)
	witness.listen(t, topic, 1)
	will := link.Message{Topic: topic, Payload: []byte("gone"), QoS: 1}
	c := s.open(t, dial, topic, func(o *link.Options) {
		o.CleanSession, o.SessionExpiry, o.Will, o.WillDelay = false, time.Minute, &will, time.Second
	})
	began := time.Now()
	c.Abort()
	_ = c.ends(t)
	witness.hears(t, will)
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("the will came after %v; it was to come after 1s", took)
	}
	witness.close(t)
}

func (s *Suite) givenID(t *testing.T, dial link.Dialer, _ string) {
	c := s.open(t, dial, "", nil)
	if c.Conn.(link.Greeted).Greeting().ClientID == "" {
		t.Error("the broker gave none")
	}
	c.close(t)
}
