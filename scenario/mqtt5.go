package scenario

import (
	"time"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/value"
)

// Property is a user property of MQTT 5: a name and a value, in which {device}, {group} and {index} are replaced.
type Property struct{ Name, Value string }

// Properties are those of a message, of MQTT 5. The zero value is none.
type Properties struct {
	User        []Property    // in the order of the file
	ContentType string        // empty for none
	Expiry      time.Duration // in whole seconds, after which the broker forgets the message; 0 for never
	Text        bool          // the payload is said to be UTF-8
	ReplyTo     string        // topic on which a response is expected, a template: the message is a request; empty for none
}

// MQTT5 is what devices ask for when they connect, of MQTT 5. The zero value asks for nothing.
type MQTT5 struct {
	ReceiveMaximum int        // unacknowledged messages with QoS above 0 that the broker may have under way to a device; 65,535 when 0
	MaximumPacket  int        // bytes of a packet that the broker may send; 4 MiB when 0
	TopicAliases   int        // topic aliases that each side may use; 0 for none
	User           []Property // of CONNECT
}

// Will is the message that the broker sends when it loses a device.
type Will struct {
	Topic   string        // a template
	Payload string        // a template of {device}, {group} and {index}; may be empty
	QoS     int           // 0 to 2
	Retain  bool          // set the retain flag
	Delay   time.Duration // of MQTT 5: the device may be back before
}

// The choices of subscribe.retain_handling, as MQTT 5 has them (section 3.8.3.1).
const (
	RetainSend = "send" // kept messages come with each SUBSCRIBE
	RetainNew  = "new"  // with the first of the session
	RetainNone = "none" // not at all
)

// seconds reads a time in whole seconds, which is all that MQTT 5 has.
func seconds(into *time.Duration) language.Value { return timing.Seconds(into) }

func propertiesKeys(p *Properties) []language.Key {
	return []language.Key{
		key("user_properties", value.TextsByName(func(name, text string) { p.User = append(p.User, Property{name, text}) }), means("none"),
			"Names with values; {device}, {group} and {index} are replaced."),
		key("content_type", value.Text(&p.ContentType), means("none"), "What the payload is, such as application/json."),
		key("expiry", seconds(&p.Expiry), means("never"), "After so long the broker forgets a message that it has not delivered; in whole seconds."),
		key("text", value.Bool(&p.Text), is("false"), "Say that the payload is UTF-8; a broker may refuse one that is not."),
		key("reply_to", value.Text(&p.ReplyTo), means("no response is expected"),
			"The topic on which a response is expected, best with {device} in it: each message is a request with correlation data, the device subscribes to the topic, "+
				"and the time until the response is there is the operation request."),
	}
}

func mqtt5Keys(m *MQTT5) []language.Key {
	return []language.Key{
		key("receive_maximum", value.Count(&m.ReceiveMaximum, 1, 65535), means("65535"),
			"Messages with QoS 1 and 2 that the broker may have under way to a device without its acknowledgement."),
		key("maximum_packet", value.Count(&m.MaximumPacket, 16, 4<<20), means("4194304"), "Bytes of the largest packet that the broker may send."),
		key("topic_aliases", value.Count(&m.TopicAliases, 1, 65535), means("none"),
			"Topic aliases that a device and the broker may use towards each other, as far as the other takes them."),
		key("user_properties", value.TextsByName(func(name, text string) { m.User = append(m.User, Property{name, text}) }), means("none"),
			"Those of CONNECT: names with values; {device}, {group} and {index} are replaced."),
	}
}

func willKeys(w *Will) []language.Key {
	return []language.Key{
		key("topic", value.Text(&w.Topic).Required(), none, "Where it is sent; {device}, {group} and {index} are replaced."),
		key("payload", value.Text(&w.Payload), means("empty"), "The message, as text; likewise."),
		key("qos", value.Count(&w.QoS, 0, 2), is("0"), "Quality of service."),
		key("retain", value.Bool(&w.Retain), is("false"), "Set the retain flag."),
		key("delay", seconds(&w.Delay), is("0s"), "MQTT 5: how long the broker waits with it; a device that is back before takes it back. In whole seconds."),
	}
}

func subscribeKeys(s *Subscribe) []language.Key {
	return []language.Key{
		key("topics", value.Texts(&s.Topics).Required(), none,
			"Topic filters, with the wildcards + and #; {device}, {group} and {index} are replaced. $share/NAME/FILTER is a shared subscription: one of those who have it "+
				"gets each message."),
		key("qos", value.Count(&s.QoS, 0, 2), is("1"), "The quality of service that is asked for; each report says where the broker grants a lower one."),
		key("no_local", value.Bool(&s.NoLocal), is("false"), "MQTT 5: not what the device sends itself."),
		key("retain_as_published", value.Bool(&s.RetainAsPublished), is("false"), "MQTT 5: messages come with the retain flag that their sender set."),
		key("retain_handling", value.OneOf(&s.RetainHandling, RetainSend, RetainNew, RetainNone), is(RetainSend),
			"MQTT 5: when kept messages come: send with each subscription, new with one that was not there before, none never."),
		key("identifier", value.Count(&s.Identifier, 1, 268_435_455), means("none"), "MQTT 5: the subscription identifier."),
		key("respond", value.Bool(&s.Respond), is("false"), "MQTT 5: answer each message that names a response topic, there, with its correlation data and its payload."),
	}
}
