package counting

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"

	v311 "github.com/eclipse/paho.mqtt.golang/packets"

	v5 "github.com/eclipse/paho.golang/packets"
)

// kind is what a packet is, of those that count.
type kind uint8

const (
	other kind = iota
	connect
	connack
	publish
	puback
	pubrec
	pubrel
	pubcomp
	subscribe
	suback
)

// packet is one of MQTT, as it came, and what is read of it.
type packet struct {
	raw  []byte
	kind kind

	id      uint16
	client  string // of CONNECT
	kept    bool   // likewise: its session outlives the connection
	present bool   // of CONNACK: the session
	refused bool   // of CONNACK and acknowledgements
	qos     byte
	retain  bool
	topic   string
	alias   uint16
	mark    string        // of PUBLISH; "" for none
	reply   string        // of PUBLISH: where a response is expected
	about   string        // of PUBLISH: its correlation data
	expiry  time.Duration // of CONNECT: how long the session is kept; 0 for ever
	filters []filter      // of SUBSCRIBE
}

type filter struct {
	topic   string
	qos     byte
	noLocal bool
}

// version is the protocol's version that the CONNECT at the beginning names.
func version(r *bufio.Reader) (byte, error) {
	const most = 5 // of the fixed header
	begin, err := r.Peek(2)
	for n := 3; err == nil && begin[len(begin)-1]&0x80 != 0 && n <= most; n++ {
		begin, err = r.Peek(n)
	}
	if err != nil {
		return 0, err
	}
	name, err := r.Peek(len(begin) + 2)
	if err != nil {
		return 0, err
	}
	at := len(name) + int(binary.BigEndian.Uint16(name[len(begin):]))
	all, err := r.Peek(at + 1)
	if err != nil {
		return 0, err
	}
	return all[at], nil
}

// read reads a packet.
func read(r *bufio.Reader, version byte) (packet, error) {
	var raw bytes.Buffer
	in := io.TeeReader(r, &raw)
	if version == 5 {
		c, err := v5.ReadPacket(in)
		if err != nil {
			return packet{}, fmt.Errorf("MQTT 5: %w", err)
		}
		p := of5(c)
		p.raw = raw.Bytes()
		return p, nil
	}
	c, err := v311.ReadPacket(in)
	if err != nil {
		return packet{}, fmt.Errorf("MQTT 3.1.1: %w", err)
	}
	p := of311(c)
	p.raw = raw.Bytes()
	return p, nil
}

func of311(c v311.ControlPacket) (p packet) {
	p.id = c.Details().MessageID
	switch x := c.(type) {
	case *v311.ConnectPacket:
		p.kind, p.client, p.kept = connect, x.ClientIdentifier, !x.CleanSession
	case *v311.ConnackPacket:
		p.kind, p.present, p.refused = connack, x.SessionPresent, x.ReturnCode != 0
	case *v311.PublishPacket:
		p.kind, p.qos, p.retain, p.topic, p.mark = publish, x.Qos, x.Retain, x.TopicName, inPayload(x.Payload)
	case *v311.PubackPacket:
		p.kind = puback
	case *v311.PubrecPacket:
		p.kind = pubrec
	case *v311.PubrelPacket:
		p.kind = pubrel
	case *v311.PubcompPacket:
		p.kind = pubcomp
	case *v311.SubscribePacket:
		p.kind = subscribe
		for i, topic := range x.Topics {
			p.filters = append(p.filters, filter{topic: topic, qos: x.Qoss[i]})
		}
	case *v311.SubackPacket:
		p.kind = suback
	}
	return p
}

func of5(c *v5.ControlPacket) (p packet) {
	p.id = c.PacketID()
	switch x := c.Content.(type) {
	case *v5.Connect:
		p.kind, p.client = connect, x.ClientID
		if s := x.Properties.SessionExpiryInterval; s != nil && *s > 0 {
			p.kept = true
			if *s < math.MaxUint32 {
				p.expiry = time.Duration(*s) * time.Second
			}
		}
	case *v5.Connack:
		p.kind, p.present, p.refused = connack, x.SessionPresent, x.ReasonCode >= 0x80
	case *v5.Publish:
		p.kind, p.qos, p.retain, p.topic, p.mark = publish, x.QoS, x.Retain, x.Topic, inPayload(x.Payload)
		p.reply, p.about = x.Properties.ResponseTopic, string(x.Properties.CorrelationData)
		if x.Properties.TopicAlias != nil {
			p.alias = *x.Properties.TopicAlias
		}
		for _, u := range x.Properties.User {
			if u.Key == "_delivery" {
				p.mark = u.Value
			}
		}
	case *v5.Puback:
		p.kind, p.refused = puback, x.ReasonCode >= 0x80
	case *v5.Pubrec:
		p.kind, p.refused = pubrec, x.ReasonCode >= 0x80
	case *v5.Pubrel:
		p.kind = pubrel
	case *v5.Pubcomp:
		p.kind, p.refused = pubcomp, x.ReasonCode >= 0x80
	case *v5.Subscribe:
		p.kind = subscribe
		for _, s := range x.Subscriptions {
			p.filters = append(p.filters, filter{s.Topic, s.QoS, s.NoLocal})
		}
	case *v5.Suback:
		p.kind = suback
	}
	return p
}

// inPayload is the mark that a JSON object has; "" when it has none.
func inPayload(body []byte) string {
	var x struct {
		Mark string `json:"_delivery"`
	}
	if json.Unmarshal(body, &x) != nil {
		return ""
	}
	return x.Mark
}

// answer is an acknowledgement, which is the same in both versions when all is well.
func answer(k kind, id uint16) []byte {
	first := map[kind]byte{puback: 0x40, pubrec: 0x50, pubrel: 0x62, pubcomp: 0x70}[k]
	return binary.BigEndian.AppendUint16([]byte{first, 2}, id)
}
