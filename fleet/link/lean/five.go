package lean

import (
	"errors"
	"io"
	"strings"
	"time"
	"unsafe"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
	"github.com/twinfleet/twinfleet/internal/mqtt/v5"
)

// five is what a connection of MQTT 5 has beyond one of 3.1.1. The lock of the connection protects what changes.
type five struct {
	greeting    link.Greeting
	keepAlive   int    // seconds that the target says; -1 when it leaves it to this side
	maximum     int    // bytes of a packet that the target takes
	identifiers bool   // it takes subscription identifiers
	limit       int    // bytes of a packet that this side takes
	receives    int    // messages with QoS above 0, of this connection, that the target may have unacknowledged
	quota       int    // how many more of them this side may send
	most        int    // what quota began with: the target's Receive Maximum
	unsent      int    // messages among the awaited that wait for the quota
	broken      error  // why the connection ends that this side says DISCONNECT about
	aliases     uint16 // how many this side may use
	using       map[string]uint16
	before      []uint16          // messages with QoS 2 that came on a connection before, of which this one's receive maximum knows nothing (section 4.9)
	mayUse      uint16            // aliases that the target may use
	topics      map[uint16]string // of those that it has used
}

// v5 is nil on a connection of MQTT 3.1.1.
func (c *conn) v5() *five {
	if c.more == nil {
		return nil
	}
	return c.five
}

func seconds(d, most time.Duration) uint32 { return uint32(max(0, min(d, most)) / time.Second) }

func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func users(all []link.UserProperty) []v5.User {
	if len(all) == 0 {
		return nil
	}
	out := make([]v5.User, len(all))
	for i, u := range all {
		out[i] = v5.User{Name: bytesOf(u.Name), Value: bytesOf(u.Value)}
	}
	return out
}

// properties are those of a message that is sent.
func properties(p *link.Properties) (out v5.Properties) {
	if p == nil {
		return out
	}
	if p.Text {
		out.SetNumber(v5.PayloadFormat, 1)
	}
	if p.Expiry > 0 {
		out.SetNumber(v5.MessageExpiry, seconds(p.Expiry, link.MaxExpiry))
	}
	if p.ContentType != "" {
		out.SetField(v5.ContentType, bytesOf(p.ContentType))
	}
	if p.ResponseTopic != "" {
		out.SetField(v5.ResponseTopic, bytesOf(p.ResponseTopic))
	}
	if p.Correlation != nil {
		out.SetField(v5.CorrelationData, p.Correlation)
	}
	out.User = users(p.User)
	return out
}

// arrivedWith are the properties of a message that arrived; nil for none.
func arrivedWith(p *v5.Properties) *link.Properties {
	var out link.Properties
	some := len(p.User) > 0 || len(p.IDs) > 0
	if v, ok := p.Number(v5.PayloadFormat); ok {
		some, out.Text = true, v == 1
	}
	if v, ok := p.Number(v5.MessageExpiry); ok {
		some, out.Expiry = true, time.Duration(v)*time.Second
	}
	if v, ok := p.Field(v5.ContentType); ok {
		some, out.ContentType = true, stringOf(v)
	}
	if v, ok := p.Field(v5.ResponseTopic); ok {
		some, out.ResponseTopic = true, stringOf(v)
	}
	if v, ok := p.Field(v5.CorrelationData); ok {
		some, out.Correlation = true, v
	}
	if !some {
		return nil
	}
	for _, u := range p.User {
		out.User = append(out.User, link.UserProperty{Name: stringOf(u.Name), Value: stringOf(u.Value)})
	}
	out.Subscriptions = p.IDs
	return &out
}

// connect5 is the CONNECT of MQTT 5.
func connect5(o link.Options) *v5.Connect {
	m := &v5.Connect{ClientID: []byte(o.ClientID), CleanStart: o.CleanSession, KeepAlive: uint16(o.KeepAlive / time.Second)}
	if o.Username != "" {
		m.HasUsername, m.Username = true, []byte(o.Username)
	}
	if o.Password != nil {
		m.HasPassword, m.Password = true, []byte(o.Password())
	}
	if o.SessionExpiry > 0 {
		m.SetNumber(v5.SessionExpiry, seconds(o.SessionExpiry, link.MaxExpiry))
	}
	if o.ReceiveMaximum > 0 {
		m.SetNumber(v5.ReceiveMaximum, uint32(o.ReceiveMaximum))
	}
	m.SetNumber(v5.MaximumPacketSize, uint32(limit(o)))
	if o.TopicAliases > 0 {
		m.SetNumber(v5.TopicAliasMaximum, uint32(o.TopicAliases))
	}
	m.User = users(o.User)
	if w := o.Will; w != nil {
		m.Will = &v5.Will{Topic: []byte(w.Topic), Payload: w.Payload, QoS: w.QoS, Retain: w.Retain, Properties: properties(w.Properties)}
		if o.WillDelay > 0 {
			m.Will.SetNumber(v5.WillDelay, seconds(o.WillDelay, link.MaxExpiry))
		}
	}
	return m
}

// limit is how many bytes a packet of the target may have.
func limit(o link.Options) int {
	if o.MaximumPacket > 0 {
		return int(o.MaximumPacket)
	}
	return maxPacket
}

// greeted takes the CONNACK of MQTT 5. One of two bytes is of a target that does not speak it, or not with this side.
func greeted(body []byte, o link.Options) (*five, error) {
	if len(body) == 2 {
		if code := body[1]; code > 1 && code != v5.UnsupportedVersion {
			return nil, &link.RefusedError{Code: code}
		}
		return nil, link.ErrNotMQTT5
	}
	var m v5.Connack
	if err := v5.DecodeConnack(body, &m); err != nil {
		return nil, errors.Join(link.ErrViolation, err)
	}
	switch {
	case m.Code == v5.UnsupportedVersion:
		return nil, link.ErrNotMQTT5
	case m.Code != 0:
		server, _ := m.Field(v5.ServerReference)
		words, _ := m.Field(v5.ReasonString)
		return nil, &link.RefusedError{Code: m.Code, Server: string(server), Words: string(words)}
	case m.SessionPresent && o.CleanSession:
		return nil, errors.Join(link.ErrViolation, mqtt.Violation("3.2.2.1.1", "a session after a clean start"))
	}
	if _, ok := m.Field(v5.AuthMethod); ok {
		return nil, errors.Join(link.ErrAuth, mqtt.Violation("4.12", "an authentication method that was not asked for"))
	}
	number := func(id v5.ID, otherwise uint32) int {
		if v, ok := m.Number(id); ok {
			return int(v)
		}
		return int(otherwise)
	}
	id, _ := m.Field(v5.AssignedClientID)
	f := &five{
		greeting: link.Greeting{
			Present: m.SessionPresent, ClientID: string(id), QoS: byte(number(v5.MaximumQoS, 2)), Retain: number(v5.RetainAvailable, 1) == 1,
			Expiry: time.Duration(number(v5.SessionExpiry, seconds(o.SessionExpiry, link.MaxExpiry))) * time.Second,
			Shared: number(v5.SharedAvailable, 1) == 1, Wildcard: number(v5.WildcardAvailable, 1) == 1,
		},
		keepAlive: -1, maximum: number(v5.MaximumPacketSize, 1<<32-1), identifiers: number(v5.IdentifiersAvailable, 1) == 1, limit: limit(o),
		receives: 65_535, quota: number(v5.ReceiveMaximum, 65_535), aliases: min(o.Aliases, uint16(number(v5.TopicAliasMaximum, 0))), mayUse: o.TopicAliases,
	}
	f.most = f.quota
	if v, ok := m.Number(v5.ServerKeepAlive); ok {
		f.keepAlive = int(v)
	}
	if o.ReceiveMaximum > 0 {
		f.receives = int(o.ReceiveMaximum)
	}
	return f, nil
}

// packet is a message as a PUBLISH, without an alias.
func packet(m *link.Message) *v5.Publish {
	return &v5.Publish{QoS: m.QoS, Retain: m.Retain, Topic: bytesOf(m.Topic), Payload: m.Payload, Properties: properties(m.Properties)}
}

// refuses says why the target does not take a message; nil when it does.
func (f *five) refuses(m *link.Message) error {
	size := packet(m).Size()
	switch {
	case size == 0:
		return errUnwritable
	case size > f.maximum:
		return link.ErrTooLarge
	case m.QoS > f.greeting.QoS:
		return link.ErrQoS
	case m.Retain && !f.greeting.Retain:
		return link.ErrRetain
	}
	return nil
}

// publish sends a message, which the target takes. A topic has its alias from its first message on, as long as there are some. The
// caller holds the lock.
func (c *conn) publish(m *link.Message, id uint16, dup bool) {
	f := c.five
	p := packet(m)
	p.PacketID, p.Dup = id, dup
	alias, known := f.using[m.Topic]
	if !known && len(f.using) < int(f.aliases) {
		alias = uint16(len(f.using)) + 1
	}
	if alias > 0 {
		with := *p
		with.SetNumber(v5.TopicAlias, uint32(alias))
		if known {
			with.Topic = nil
		}
		if size := with.Size(); size > 0 && size <= f.maximum {
			p = &with
			if !known {
				if f.using == nil {
					f.using = make(map[string]uint16)
				}
				f.using[strings.Clone(m.Topic)] = alias
			}
		}
	}
	c.send(func(b []byte) []byte { return v5.AppendPublish(b, p) })
}

// credit takes back what the end of a message gives for sending, and sends what waited for it. The caller holds the lock.
func (c *conn) credit() {
	f := c.v5()
	if f == nil {
		return
	}
	f.quota++
	if c.gone() != nil {
		return
	}
	for i := 0; f.unsent > 0 && f.quota > 0 && i < len(c.awaited); i++ {
		if a := &c.awaited[i]; a.due != sent && a.by != mqtt.PUBCOMP {
			c.transmit(i)
		}
	}
}

// subscribe5 says why the target does not take a SUBSCRIBE; nil when it does.
func (f *five) subscribe5(filters []v5.Subscription, id uint32) error {
	size := len(v5.AppendSubscribe(nil, 1, id, filters...))
	switch {
	case size == 0:
		return errUnwritable
	case size > f.maximum:
		return link.ErrTooLarge
	case id > 0 && !f.identifiers:
		return link.ErrIdentifiers
	}
	for _, x := range filters {
		switch name := stringOf(x.Filter); {
		case !f.greeting.Shared && strings.HasPrefix(name, "$share/"):
			return link.ErrShared
		case !f.greeting.Wildcard && strings.ContainsAny(name, "+#"):
			return link.ErrWildcard
		}
	}
	return nil
}

// topic is that of a message that arrived, by its alias if it has one (section 3.3.2.3.4).
func (f *five) topic(m *v5.Publish) (string, error) {
	n, ok := m.Number(v5.TopicAlias)
	alias := uint16(n)
	known := f.topics[alias]
	switch {
	case !ok:
		return stringOf(m.Topic), nil
	case alias > f.mayUse:
		return "", link.ErrTopicAlias
	case len(m.Topic) > 0:
		if known != stringOf(m.Topic) {
			if f.topics == nil {
				f.topics = make(map[uint16]string)
			}
			known = string(m.Topic)
			f.topics[alias] = known
		}
	case known == "":
		return "", link.ErrTopicAlias
	}
	return known, nil
}

// take5 acts on a packet of MQTT 5.
func (c *conn) take5(p mqtt.Packet) error {
	size := 1 + len(p.Body)
	for n := len(p.Body); ; n >>= 7 {
		size++
		if n <= 0x7f {
			break
		}
	}
	if size > c.limit {
		return link.ErrPacketMaximum
	}
	switch p.Type {
	case mqtt.PUBLISH:
		var m v5.Publish
		if err := v5.DecodePublish(p, &m); err != nil {
			return err
		}
		topic, err := c.topic(&m)
		if err != nil {
			return err
		}
		return c.arrived(m.PacketID, link.Message{Topic: topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, Properties: arrivedWith(&m.Properties)})
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		var m v5.Ack
		if err := v5.DecodeAck(p.Type, p.Body, &m); err != nil {
			return err
		}
		if p.Type == mqtt.PUBREL {
			c.released(m.PacketID)
		} else {
			words, _ := m.Field(v5.ReasonString)
			c.acknowledged(p.Type, m.PacketID, m.Code, words)
		}
	case mqtt.SUBACK:
		var m v5.Codes
		if err := v5.DecodeCodes(p.Type, p.Body, &m); err != nil {
			return err
		}
		words, _ := m.Field(v5.ReasonString)
		return c.subscribed(m.PacketID, m.Codes, words)
	case mqtt.PINGRESP:
		c.pong()
	case mqtt.DISCONNECT:
		var m v5.Reason
		if err := v5.DecodeReason(p.Type, p.Body, &m); err != nil {
			return err
		}
		if _, ok := m.Number(v5.SessionExpiry); ok {
			return mqtt.Violation("3.14.2.2.2", "a server that says how long a session lasts")
		}
		server, _ := m.Field(v5.ServerReference)
		words, _ := m.Field(v5.ReasonString)
		return &link.DisconnectedError{Code: m.Code, Server: string(server), Words: string(words)}
	case v5.AUTH:
		return link.ErrAuth
	case mqtt.UNSUBACK: // of nobody
	default:
		return mqtt.Violation("2.1.2", "a packet that only clients send")
	}
	return nil
}

// farewell says why this side ends a connection whose target broke the protocol (section 4.13), and reports whether it did. The caller
// holds the lock.
func (c *conn) farewell(why error) bool {
	f := c.v5()
	if f == nil || c.shut() != nil {
		return false
	}
	var broken link.ProtocolError
	if !errors.As(why, &broken) {
		return false
	}
	code := v5.ProtocolError
	switch broken {
	case link.ErrPacketMaximum:
		code = v5.TooLarge
	case link.ErrReceiveMax:
		code = v5.ReceiveMaxExceeded
	case link.ErrTopicAlias:
		code = v5.AliasInvalid
	case link.ErrViolation:
		code = v5.Malformed
	}
	c.send(func(b []byte) []byte { return v5.AppendDisconnect(b, code, new(v5.Properties)) })
	f.broken = why
	c.wire.Leave(why, farewellTime)
	return true
}

// noConnack is why there is no connection whose target ended it before CONNACK. One that does not know MQTT 5 may do no more.
func noConnack(o link.Options, err error) error {
	if o.Version == link.V5 && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		return errors.Join(link.ErrNoConnack5, link.ErrNoConnack, err)
	}
	return errors.Join(link.ErrNoConnack, err)
}

// check is that of the version of a connection.
func (c *conn) check() (framing.Check, int) {
	if f := c.v5(); f != nil {
		return v5.CheckHeader, f.limit
	}
	return framing.V311, maxPacket
}
