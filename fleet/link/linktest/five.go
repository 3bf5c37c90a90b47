package linktest

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/metrics/reason"
)

func of[T any](v T) *T { return &v }

// RunFive runs what drivers are held to that speak MQTT 5.
func (s *Suite) RunFive(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"CONNECT": s.connect5, "CONNACK": s.connack5, "publish": s.publish5, "receive maximum": s.receiveMaximum, "aliases": s.aliases5,
		"what the target does not take": s.unsupported5, "arrivals": s.arrivals5, "subscribe": s.subscribe5, "the target's DISCONNECT": s.disconnect5,
		"the target breaks the protocol": s.hostile5, "the end": s.ends5,
	} {
		t.Run(name, test)
	}
}

// five runs a test of a connection, in a bubble of virtual time.
func (s *Suite) five(t *testing.T, name string, answer *packets.Properties, o link.Options, test func(t *testing.T, p *peer, c *connection)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o.Version = link.V5
			p, c, err := s.dial(t, accept(link.V5, false, answer), o)
			if err != nil {
				t.Fatal(err)
			}
			test(t, p, c)
			c.Conn.Abort()
			<-c.served
			p.nc.Close()
		})
	})
}

// result is told how an operation ended, once.
func result(begin func(done func(error))) chan error {
	told := make(chan error, 2)
	begin(func(err error) { told <- err })
	return told
}

func (c *connection) publishing(m link.Message) chan error {
	return result(func(done func(error)) { c.Publish(m, done) })
}

func (s *Suite) connect5(t *testing.T) {
	o := link.Options{
		Username: "name", Password: func() string { return "secret" }, KeepAlive: time.Minute, CleanSession: true, SessionExpiry: 90 * time.Second,
		ReceiveMaximum: 7, MaximumPacket: 1000, TopicAliases: 3, User: []link.UserProperty{{Name: "a", Value: "1"}, {Name: "a", Value: "2"}}, WillDelay: 5 * time.Second,
		Will: &link.Message{
			Topic: "w", Payload: []byte("gone"), QoS: 1, Retain: true,
			Properties: &link.Properties{ContentType: "text/plain", Expiry: time.Minute, Text: true, User: []link.UserProperty{{Name: "k", Value: "v"}}},
		},
	}
	s.five(t, "says all that was asked for", nil, o, func(t *testing.T, p *peer, _ *connection) {
		x, want := p.five, &packets.Connect{
			ProtocolName: "MQTT", ProtocolVersion: 5, ClientID: "dev", UsernameFlag: true, Username: "name", PasswordFlag: true, Password: []byte("secret"), KeepAlive: 60, CleanStart: true,
			WillFlag: true, WillTopic: "w", WillMessage: []byte("gone"), WillQOS: 1, WillRetain: true,
			Properties: &packets.Properties{
				SessionExpiryInterval: of(uint32(90)), ReceiveMaximum: of(uint16(7)), MaximumPacketSize: of(uint32(1000)), TopicAliasMaximum: of(uint16(3)),
				User: []packets.User{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}},
			},
			WillProperties: &packets.Properties{
				ContentType: "text/plain", MessageExpiry: of(uint32(60)), PayloadFormat: of(byte(1)), WillDelayInterval: of(uint32(5)), User: []packets.User{{Key: "k", Value: "v"}},
			},
		}
		if !reflect.DeepEqual(x, want) {
			t.Errorf("%v; want %v", x, want)
		}
	})
	s.five(t, "a session for ever, and a password without a name", nil, link.Options{SessionExpiry: link.MaxExpiry, Password: func() string { return "token" }},
		func(t *testing.T, p *peer, _ *connection) {
			if x := p.five; *x.Properties.SessionExpiryInterval != 1<<32-1 || x.UsernameFlag || string(x.Password) != "token" || *x.Properties.MaximumPacketSize != 4<<20 {
				t.Errorf("%v", x)
			}
		})
}

func (s *Suite) connack5(t *testing.T) {
	s.five(t, "what it says is told", &packets.Properties{
		AssignedClientID: "given", SessionExpiryInterval: of(uint32(10)), MaximumQOS: of(byte(1)), RetainAvailable: of(byte(0)), SharedSubAvailable: of(byte(0)),
		WildcardSubAvailable: of(byte(0)),
	}, link.Options{SessionExpiry: time.Hour}, func(t *testing.T, _ *peer, c *connection) {
		want := link.Greeting{ClientID: "given", Expiry: 10 * time.Second, QoS: 1}
		if got := c.Conn.(link.Greeted).Greeting(); got != want {
			t.Errorf("%+v; want %+v", got, want)
		}
	})
	s.five(t, "what it does not say is as asked for", nil, link.Options{SessionExpiry: time.Hour}, func(t *testing.T, _ *peer, c *connection) {
		want := link.Greeting{Expiry: time.Hour, QoS: 2, Retain: true, Shared: true, Wildcard: true}
		if got := c.Conn.(link.Greeted).Greeting(); got != want {
			t.Errorf("%+v; want %+v", got, want)
		}
	})
	s.five(t, "the target's keep-alive holds", &packets.Properties{ServerKeepAlive: of(uint16(10))}, link.Options{KeepAlive: time.Hour},
		func(t *testing.T, p *peer, _ *connection) {
			began := time.Now()
			p.hears(t, "PINGREQ")
			if took := time.Since(began); took != 10*time.Second {
				t.Errorf("the first PINGREQ after %v", took)
			}
		})
	for code := 0x80; code <= 0xff; code++ {
		if code == 0x84 {
			continue // see below
		}
		synctest.Test(t, func(t *testing.T) {
			answer := written(&packets.Connack{ReasonCode: byte(code), Properties: &packets.Properties{ServerReference: "other:1883", ReasonString: "no"}})
			_, _, err := s.dial(t, answer, link.Options{Version: link.V5})
			var refused *link.RefusedError
			if !errors.As(err, &refused) || int(refused.Code) != code || refused.Server != "other:1883" || refused.Words != "no" {
				t.Errorf("reason code %d: %v", code, err)
			}
		})
	}
	for name, tt := range map[string]struct{ answer, want string }{
		"a target of 3.1.1 says no":          {"\x20\x02\x00\x01", link.ErrNotMQTT5.Reason()},
		"a target of 3.1.1 says yes":         {"\x20\x02\x00\x00", link.ErrNotMQTT5.Reason()},
		"a target that says its version":     {"\x20\x03\x00\x84\x00", link.ErrNotMQTT5.Reason()},
		"likewise as 3.1.1 has it":           {"\x20\x02\x00\x84", link.ErrNotMQTT5.Reason()},
		"a target of 3.1.1 that is busy":     {"\x20\x02\x00\x03", "connection refused: server unavailable (return code 3)"},
		"a target that closes":               {"", link.ErrNoConnack5.Reason()},
		"HTTP":                               {"HTTP/1.1 400 Bad Request\r\n\r\n", "the target speaks HTTP, not MQTT"},
		"a property that there is not":       {"\x20\x05\x00\x00\x02\x7e\x00", "the target broke the MQTT protocol"},
		"a session after a clean start":      {"\x20\x03\x01\x00\x00", "the target broke the MQTT protocol"},
		"a method of authentication":         {"\x20\x07\x00\x00\x04\x15\x00\x01a", link.ErrAuth.Reason()},
		"more than it was told that it may":  {"\x20\xff\xff\x7f", link.ErrPacketMaximum.Reason()},
		"a return code of 3.1.1, and length": {"\x20\x03\x00\x05\x00", "the target broke the MQTT protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, _, err := s.dial(t, []byte(tt.answer), link.Options{Version: link.V5, CleanSession: true, MaximumPacket: 1000})
				if got := reason.Of(err); got != tt.want {
					t.Errorf("%s (%v); want %s", got, err, tt.want)
				}
			})
		})
	}
}

func (s *Suite) publish5(t *testing.T) {
	s.five(t, "with properties", nil, link.Options{}, func(t *testing.T, p *peer, c *connection) {
		told := c.publishing(link.Message{Topic: "a", Payload: []byte("x"), QoS: 0, Retain: true, Properties: &link.Properties{
			User: []link.UserProperty{{Name: "n", Value: "v"}}, ContentType: "c", ResponseTopic: "r", Correlation: []byte{1}, Expiry: 3 * time.Second, Text: true,
		}})
		x, err := p.packet()
		if err != nil {
			t.Fatal(err)
		}
		want := &packets.Properties{
			User: []packets.User{{Key: "n", Value: "v"}}, ContentType: "c", ResponseTopic: "r", CorrelationData: []byte{1}, MessageExpiry: of(uint32(3)), PayloadFormat: of(byte(1)),
		}
		if m := x.Content.(*packets.Publish); !m.Retain || !reflect.DeepEqual(m.Properties, want) {
			t.Errorf("%v", m)
		}
		if err := <-told; err != nil {
			t.Error(err)
		}
	})
	s.five(t, "reason codes of acknowledgements", nil, link.Options{}, func(t *testing.T, p *peer, c *connection) {
		for _, tt := range []struct {
			qos    byte
			answer packets.Packet
			code   byte
			words  string
		}{
			{1, &packets.Puback{PacketID: 1, ReasonCode: 0x10, Properties: &packets.Properties{}}, 0, ""}, // nobody wants it, and all is well
			{1, &packets.Puback{PacketID: 2, ReasonCode: 0x97, Properties: &packets.Properties{ReasonString: "full"}}, 0x97, "full"},
			{2, &packets.Pubrec{PacketID: 3, ReasonCode: 0x90, Properties: &packets.Properties{ReasonString: "odd"}}, 0x90, "odd"}, // and no PUBREL
		} {
			told := c.publishing(link.Message{Topic: "a", QoS: tt.qos})
			p.next()
			p.send(t, written(tt.answer))
			err := <-told
			var refused *link.RefusedError
			if tt.code == 0 && err != nil || tt.code != 0 && (!errors.As(err, &refused) || refused.Code != tt.code || !refused.Message || refused.Words != tt.words) {
				t.Errorf("%v: %v", tt.answer, err)
			}
		}
		told := c.publishing(link.Message{Topic: "a", QoS: 2})
		p.hears(t, "PUBLISH 4 qos 2 a: ")
		p.send(t, written(&packets.Pubrec{PacketID: 4, ReasonCode: 0x10, Properties: &packets.Properties{}}))
		p.hears(t, "PUBREL 4")
		p.send(t, written(&packets.Pubcomp{PacketID: 4, ReasonCode: 0x92, Properties: &packets.Properties{}})) // it has done so before
		if err := <-told; err != nil {
			t.Error(err)
		}
	})
	s.five(t, "acknowledgements of what there is not", nil, link.Options{}, func(t *testing.T, p *peer, c *connection) {
		told := c.publishing(link.Message{Topic: "a", QoS: 1})
		p.hears(t, "PUBLISH 1 qos 1 a: ")
		for _, kind := range []mqtt.Type{mqtt.PUBACK, mqtt.PUBCOMP} {
			p.ack(t, kind, 9)
		}
		p.ack(t, mqtt.PUBCOMP, 1) // of another quality of service
		p.ack(t, mqtt.PUBREC, 9)
		p.hears(t, "PUBREL 9 code 146")
		p.ack(t, mqtt.PUBREL, 9)
		p.hears(t, "PUBCOMP 9 code 146")
		if len(told) > 0 {
			t.Fatal("told")
		}
		p.ack(t, mqtt.PUBACK, 1)
		p.ack(t, mqtt.PUBACK, 1)
		synctest.Wait()
		if len(told) != 1 || <-told != nil || len(c.lost) > 0 {
			t.Error("not told once that all is well")
		}
	})
}

func (s *Suite) receiveMaximum(t *testing.T) {
	few := &packets.Properties{ReceiveMaximum: of(uint16(2))}
	s.five(t, "what is above waits, in its order", few, link.Options{}, func(t *testing.T, p *peer, c *connection) {
		var told []chan error
		payload := []byte("0")
		for i, qos := range []byte{1, 2, 1, 2, 1} {
			payload[0] = '1' + byte(i) // a message is not kept by reference
			told = append(told, c.publishing(link.Message{Topic: "a", Payload: payload, QoS: qos}))
			if i == 0 {
				p.hears(t, "PUBLISH 1 qos 1 a: 1")
			} else if i == 1 {
				p.hears(t, "PUBLISH 2 qos 2 a: 2")
			}
		}
		p.silent(t)
		if err := <-c.publishing(link.Message{Topic: "now"}); err != nil { // with QoS 0 it takes no part
			t.Error(err)
		}
		p.hears(t, "PUBLISH 0 qos 0 now: ")
		p.ack(t, mqtt.PUBREC, 2)
		p.hears(t, "PUBREL 2")
		p.silent(t) // PUBREC gives nothing back
		p.ack(t, mqtt.PUBACK, 1)
		p.hears(t, "PUBLISH 3 qos 1 a: 3")
		p.ack(t, mqtt.PUBCOMP, 2)
		p.hears(t, "PUBLISH 4 qos 2 a: 4")
		p.send(t, written(&packets.Pubrec{PacketID: 4, ReasonCode: 0x80, Properties: &packets.Properties{}}))
		p.hears(t, "PUBLISH 5 qos 1 a: 5")
		p.ack(t, mqtt.PUBACK, 3)
		p.ack(t, mqtt.PUBACK, 5)
		for i, x := range told {
			if err := <-x; (err != nil) != (i == 3) {
				t.Errorf("message %d: %v", i+1, err)
			}
		}
	})
	s.five(t, "what waits is lost with the connection", few, link.Options{}, func(t *testing.T, p *peer, c *connection) {
		var told []chan error
		for range 5 {
			told = append(told, c.publishing(link.Message{Topic: "a", QoS: 1}))
		}
		p.hears(t, "PUBLISH 1 qos 1 a: ", "PUBLISH 2 qos 1 a: ")
		p.nc.Close()
		for _, x := range told {
			if err := <-x; !errors.Is(err, link.ErrLost) {
				t.Errorf("%v; want %v", err, link.ErrLost)
			}
		}
	})
}

func (s *Suite) aliases5(t *testing.T) {
	s.five(t, "as many as both have", &packets.Properties{TopicAliasMaximum: of(uint16(2)), MaximumPacketSize: of(uint32(60))}, link.Options{Aliases: 5},
		func(t *testing.T, p *peer, c *connection) {
			long := strings.Repeat("t", 50) // whose packet has no room for an alias
			for _, tt := range []struct{ topic, want string }{
				{long + "tttt", "PUBLISH 0 qos 0 " + long + "tttt: x"},
				{"a", "PUBLISH 0 qos 0 a: x alias 1"},
				{"b", "PUBLISH 0 qos 0 b: x alias 2"},
				{"c", "PUBLISH 0 qos 0 c: x"},
				{"a", "PUBLISH 0 qos 0 : x alias 1"},
				{"b", "PUBLISH 0 qos 0 : x alias 2"},
				{"c", "PUBLISH 0 qos 0 c: x"},
			} {
				told := c.publishing(link.Message{Topic: tt.topic, Payload: []byte("x")})
				p.hears(t, tt.want)
				if err := <-told; err != nil {
					t.Error(err)
				}
			}
		})
	s.five(t, "as many as this side wants", &packets.Properties{TopicAliasMaximum: of(uint16(9))}, link.Options{Aliases: 1}, func(t *testing.T, p *peer, c *connection) {
		for _, topic := range []string{"a", "b"} {
			c.publishing(link.Message{Topic: topic})
		}
		p.hears(t, "PUBLISH 0 qos 0 a:  alias 1", "PUBLISH 0 qos 0 b: ")
	})
	s.five(t, "of the target", nil, link.Options{TopicAliases: 2}, func(t *testing.T, p *peer, c *connection) {
		for _, tt := range []struct {
			topic string
			alias uint16
			want  string
		}{{"a", 1, "a"}, {"", 1, "a"}, {"b", 2, "b"}, {"", 1, "a"}, {"c", 1, "c"}, {"", 1, "c"}, {"", 2, "b"}} {
			p.send(t, written(&packets.Publish{Topic: tt.topic, Properties: &packets.Properties{TopicAlias: of(tt.alias)}}))
			if m := <-c.messages; m.Topic != tt.want {
				t.Errorf("%q by alias %d arrived as %q", tt.topic, tt.alias, m.Topic)
			}
		}
	})
}

func (s *Suite) unsupported5(t *testing.T) {
	s.five(t, "is refused on this side", &packets.Properties{
		MaximumPacketSize: of(uint32(40)), MaximumQOS: of(byte(1)), RetainAvailable: of(byte(0)), SharedSubAvailable: of(byte(0)), WildcardSubAvailable: of(byte(0)),
		SubIDAvailable: of(byte(0)),
	}, link.Options{}, func(t *testing.T, p *peer, c *connection) {
		for _, tt := range []struct {
			m    link.Message
			want error
		}{
			{link.Message{Topic: "a", Payload: make([]byte, 40)}, link.ErrTooLarge},
			{link.Message{Topic: "a", QoS: 1, Properties: &link.Properties{ContentType: strings.Repeat("c", 40)}}, link.ErrTooLarge},
			{link.Message{Topic: "a", QoS: 2}, link.ErrQoS},
			{link.Message{Topic: "a", Retain: true}, link.ErrRetain},
		} {
			if err := <-c.publishing(tt.m); !errors.Is(err, tt.want) {
				t.Errorf("%+v: %v; want %v", tt.m, err, tt.want)
			}
		}
		for filter, want := range map[link.Filter]error{
			{Topic: "$share/x/a"}: link.ErrShared, {Topic: "a/#"}: link.ErrWildcard, {Topic: "a", ID: 1}: link.ErrIdentifiers,
			{Topic: strings.Repeat("a", 40)}: link.ErrTooLarge,
		} {
			if err := c.subscribe(filter); !errors.Is(err, want) {
				t.Errorf("%+v: %v; want %v", filter, err, want)
			}
		}
		told := c.publishing(link.Message{Topic: "a", Payload: []byte(strings.Repeat("x", 34))}) // 40 bytes
		if got := p.next(); !strings.HasPrefix(got, "PUBLISH 0 qos 0 a: xxx") || <-told != nil {
			t.Errorf("the largest that fits: %s", got)
		}
	})
}

func (s *Suite) arrivals5(t *testing.T) {
	s.five(t, "with properties", nil, link.Options{}, func(t *testing.T, p *peer, c *connection) {
		// Paho writes one subscription identifier; this has two.
		p.send(t, []byte("\x33\x25\x00\x01a\x00\x07\x1e\x01\x01\x02\x00\x00\x00\x03\x03\x00\x01c\x08\x00\x01r\x09\x00\x01\x09\x26\x00\x01n\x00\x00\x0b\x05\x0b\x80\x01x"))
		want := link.Message{Topic: "a", Payload: []byte("x"), QoS: 1, Retain: true, Properties: &link.Properties{
			User: []link.UserProperty{{Name: "n"}}, ContentType: "c", ResponseTopic: "r", Correlation: []byte{9}, Expiry: 3 * time.Second, Text: true, Subscriptions: []uint32{5, 128},
		}}
		if m := <-c.messages; !reflect.DeepEqual(m, want) {
			t.Errorf("%+v %+v; want %+v %+v", m, m.Properties, want, want.Properties)
		}
		p.hears(t, "PUBACK 7")
		p.send(t, written(&packets.Publish{Topic: "a", Properties: &packets.Properties{}}))
		if m := <-c.messages; m.Properties != nil {
			t.Errorf("without: %+v", m.Properties)
		}
	})
	s.five(t, "with QoS 2, twice", nil, link.Options{ReceiveMaximum: 1}, func(t *testing.T, p *peer, c *connection) {
		for _, dup := range []bool{false, true} {
			p.send(t, written(&packets.Publish{Topic: "a", QoS: 2, PacketID: 3, Duplicate: dup, Properties: &packets.Properties{}}))
			p.hears(t, "PUBREC 3")
		}
		p.ack(t, mqtt.PUBREL, 3)
		p.hears(t, "PUBCOMP 3")
		p.send(t, written(&packets.Publish{Topic: "b", QoS: 2, PacketID: 3, Properties: &packets.Properties{}}))
		p.hears(t, "PUBREC 3")
		if len(c.messages) != 2 {
			t.Errorf("%d messages arrived; want 2", len(c.messages))
		}
	})
}

func (s *Suite) subscribe5(t *testing.T) {
	filter := link.Filter{Topic: "$share/g/a/#", QoS: 1, RetainAsPublished: true, RetainHandling: 2, ID: 77}
	s.five(t, "with options", nil, link.Options{}, func(t *testing.T, p *peer, c *connection) {
		for _, tt := range []struct {
			codes []byte
			want  string
		}{
			{[]byte{1, 0}, ""},
			{[]byte{0, 0}, "the target granted QoS 0 where QoS 1 was asked for"},
			{[]byte{1, 0x8f}, "a topic filter was refused: topic filter invalid (return code 143)"},
			{[]byte{0x9e, 0}, "a topic filter was refused: shared subscriptions not supported (return code 158)"},
		} {
			told := result(func(done func(error)) { c.Subscribe(done, filter, link.Filter{Topic: "b", NoLocal: true, ID: 77}) })
			x, err := p.packet()
			if err != nil {
				t.Fatal(err)
			}
			m := x.Content.(*packets.Subscribe)
			want := []packets.SubOptions{{Topic: "$share/g/a/#", QoS: 1, RetainAsPublished: true, RetainHandling: 2}, {Topic: "b", NoLocal: true}}
			if !reflect.DeepEqual(m.Subscriptions, want) || *m.Properties.SubscriptionIdentifier != 77 {
				t.Errorf("%v", m)
			}
			p.send(t, written(&packets.Suback{PacketID: m.PacketID, Reasons: tt.codes, Properties: &packets.Properties{ReasonString: "so"}}))
			err = <-told
			var failed *link.SubscriptionError
			if reason.Of(err) != tt.want || err != nil && tt.codes[0] > 0 && !errors.Is(err, link.ErrSubscription) || errors.As(err, &failed) && failed.Words != "so" {
				t.Errorf("%v: %v; want %s", tt.codes, err, tt.want)
			}
		}
	})
	for _, codes := range [][]byte{{0}, {0, 0, 0}} {
		s.five(t, fmt.Sprintf("%d codes for two filters", len(codes)), nil, link.Options{}, func(t *testing.T, p *peer, c *connection) {
			told := result(func(done func(error)) { c.Subscribe(done, filter, filter) })
			p.next()
			p.send(t, written(&packets.Suback{PacketID: 1, Reasons: codes, Properties: &packets.Properties{}}))
			p.hears(t, "DISCONNECT code 130")
			if err := <-told; !errors.Is(err, link.ErrSuback) {
				t.Errorf("%v; want %v", err, link.ErrSuback)
			}
		})
	}
}

func (s *Suite) disconnect5(t *testing.T) {
	for code, server := range map[byte]string{0x00: "", 0x8e: "", 0x9d: "other:1883", 0x89: ""} {
		s.five(t, fmt.Sprintf("with code %d", code), nil, link.Options{}, func(t *testing.T, p *peer, c *connection) {
			told := c.publishing(link.Message{Topic: "a", QoS: 1})
			p.next()
			p.send(t, written(&packets.Disconnect{ReasonCode: code, Properties: &packets.Properties{ServerReference: server, ReasonString: server}}))
			for what, err := range map[string]error{"the end": <-c.lost, "a message": <-told} {
				var said *link.DisconnectedError
				if !errors.As(err, &said) || said.Code != code || said.Server != server || said.Words != server || what == "a message" && !errors.Is(err, link.ErrLost) {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

// What breaks the protocol ends the connection, and the target is told why.
func (s *Suite) hostile5(t *testing.T) {
	alias := func(topic string, n uint16) string {
		return string(written(&packets.Publish{Topic: topic, Properties: &packets.Properties{TopicAlias: &n}}))
	}
	two := func(id uint16) string {
		return string(written(&packets.Publish{Topic: "a", QoS: 2, PacketID: id, Properties: &packets.Properties{}}))
	}
	for name, tt := range map[string]struct {
		sent string
		want link.ProtocolError
		said string
	}{
		"an alias above the maximum":           {alias("a", 3), link.ErrTopicAlias, "DISCONNECT code 148"},
		"an alias without a topic":             {alias("", 2), link.ErrTopicAlias, "DISCONNECT code 148"},
		"alias 0":                              {alias("a", 0), link.ErrViolation, "DISCONNECT code 129"},
		"no topic":                             {"\x30\x03\x00\x00\x00", link.ErrViolation, "DISCONNECT code 129"},
		"a property of another packet":         {"\x30\x09\x00\x01a\x05\x11\x00\x00\x00\x01", link.ErrViolation, "DISCONNECT code 129"},
		"a property twice":                     {"\x30\x08\x00\x01a\x04\x01\x00\x01\x00", link.ErrViolation, "DISCONNECT code 129"},
		"more at once than it may":             {two(1) + two(2), link.ErrReceiveMax, "DISCONNECT code 147"},
		"a larger packet than it may":          {"\x30\xc7\x01" + strings.Repeat("x", 199), link.ErrPacketMaximum, "DISCONNECT code 149"},
		"a length that is far larger":          {"\x30\xff\xff\xff\x7f", link.ErrPacketMaximum, "DISCONNECT code 149"},
		"an authentication that nobody wanted": {"\xf0\x02\x18\x00", link.ErrAuth, "DISCONNECT code 130"},
		"a packet of clients":                  {"\xc0\x00", link.ErrViolation, "DISCONNECT code 129"},
		"a session's time in DISCONNECT":       {"\xe0\x07\x8e\x05\x11\x00\x00\x00\x00", link.ErrViolation, "DISCONNECT code 129"},
		"a SUBACK without codes":               {"\x90\x03\x00\x01\x00", link.ErrViolation, "DISCONNECT code 129"},
	} {
		s.five(t, name, nil, link.Options{TopicAliases: 2, ReceiveMaximum: 1, MaximumPacket: 200}, func(t *testing.T, p *peer, c *connection) {
			told := c.publishing(link.Message{Topic: "mine", QoS: 1})
			p.hears(t, "PUBLISH 1 qos 1 mine: ")
			writing := make(chan struct{})
			go func() {
				defer close(writing)
				_, _ = p.nc.Write([]byte(tt.sent))
			}()
			got := p.next()
			for strings.HasPrefix(got, "PUBREC") {
				got = p.next()
			}
			if got != tt.said || p.next() != io.EOF.Error() {
				t.Errorf("the target got %s; want %s, and the end", got, tt.said)
			}
			for what, err := range map[string]error{"the end": <-c.lost, "a message": <-told} {
				var broken link.ProtocolError
				if !errors.As(err, &broken) || broken != tt.want {
					t.Errorf("%s: %v; want %v", what, err, tt.want)
				}
			}
			p.nc.Close()
			<-writing
		})
	}
}

func (s *Suite) ends5(t *testing.T) {
	kept := link.Options{SessionExpiry: time.Hour}
	s.five(t, "Close keeps the session", nil, kept, func(t *testing.T, p *peer, c *connection) {
		c.Conn.Close()
		p.hears(t, "DISCONNECT", io.EOF.Error())
	})
	s.five(t, "nothing is sent after DISCONNECT", &packets.Properties{ReceiveMaximum: of(uint16(1))}, link.Options{}, func(t *testing.T, p *peer, c *connection) {
		first := c.publishing(link.Message{Topic: "a", QoS: 1})
		c.publishing(link.Message{Topic: "b", QoS: 1})
		p.hears(t, "PUBLISH 1 qos 1 a: ")
		c.Conn.Close()
		p.ack(t, mqtt.PUBACK, 1) // which makes room for the other (section 3.14.4)
		if err := <-first; err != nil {
			t.Error(err)
		}
		p.hears(t, "DISCONNECT", "EOF")
	})
	for what, leave := range map[string]func(link.Conn){
		"Close": link.Conn.Close, "End": func(c link.Conn) { c.(link.Ender).End() },
	} {
		s.five(t, "the last word is why the protocol was broken, not that of "+what, nil, kept, func(t *testing.T, p *peer, c *connection) {
			p.send(t, []byte("\xc0\x00")) // a packet of clients
			synctest.Wait()               // its DISCONNECT is not read yet
			leave(c.Conn)
			p.hears(t, "DISCONNECT code 129", "EOF")
			<-c.served
			if len(c.lost) == 0 || !errors.Is(<-c.lost, link.ErrViolation) {
				t.Error("the end does not say why")
			}
		})
	}
	s.five(t, "End ends it", nil, kept, func(t *testing.T, p *peer, c *connection) {
		c.Conn.(link.Ender).End()
		p.hears(t, "DISCONNECT expiry 0", io.EOF.Error())
		<-c.served
		if len(c.lost) > 0 {
			t.Error(<-c.lost)
		}
	})
	s.five(t, "End that the target does not read", nil, kept, func(t *testing.T, _ *peer, c *connection) {
		c.Conn.(link.Ender).End()
		<-c.served
		if len(c.lost) == 0 || !errors.Is(<-c.lost, link.ErrLost) {
			t.Error("it was told that its session has ended")
		}
	})
}
