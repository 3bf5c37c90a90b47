package scenario

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/internal/language/topic"
)

// longestText is how many bytes a text, or a will, of MQTT may have (5, section 1.5.4; 3.1.1, section 3.1.3.3).
const longestText = 65535

// validateProperties holds properties of messages to what MQTT can send.
func (r *reader) validateProperties(path string, g *Group, k *Kind) {
	p := &k.Properties
	r.validateUser(path, g, p.User)
	if why := unsendable(p.ContentType); why != "" {
		r.FailAt(path+".content_type", g.place, "%s", why)
	}
	b, _ := k.Bytes.(payload.Bytes)
	switch {
	case !p.Text:
	case k.bytes.random > 0:
		r.FailAt(path+".text", g.place, "bytes by chance are no UTF-8, and a broker may end the connection for it; remove text")
	case !utf8.Valid(b):
		r.FailAt(path+".text", g.place, "%s is no UTF-8, and a broker may end the connection for it; remove text", k.bytes.file)
	}
}

// validateUser holds user properties to what is filled in, and to what a text of MQTT is.
func (r *reader) validateUser(path string, g *Group, all []Property) {
	for _, p := range all {
		at := path + ".user_properties"
		if topic.Character(p.Name) == "" && len(p.Name) <= longestText { // else it is none to be shown
			at += "." + p.Name
		}
		for _, text := range []string{p.Name, p.Value} {
			why := topic.Unknown(text)
			if why == "" {
				why = unsendable(g.Fill(text, g.DeviceID(0), 0))
			}
			if why != "" {
				r.FailAt(at, g.place, "%s", why)
			}
		}
	}
}

// unsendable says why a text cannot be sent as one of MQTT; "" for nothing.
func unsendable(text string) string {
	if len(text) > longestText {
		return fmt.Sprintf("it has %d bytes; a text of MQTT has 65,535 at most", len(text))
	}
	if !utf8.ValidString(text) {
		return "it is no UTF-8"
	}
	return topic.Character(text)
}

// validateWill holds the message that the broker sends for a device.
func (r *reader) validateWill(path string, g *Group) {
	if g.Will == nil {
		return
	}
	if !r.Given(path + ".will.topic") {
		r.FailAt(path+".will", g.place, "where the will is sent is missing; write topic: devices/{device}/gone")
		return
	}
	r.validateTopic(path+".will.topic", g.place, g.Will.Topic, false)
	if why := topic.Unknown(g.Will.Payload); why != "" {
		r.FailAt(path+".will.payload", g.place, "%s", why)
	} else if n := len(g.Fill(g.Will.Payload, g.DeviceID(0), 0)); n > longestText {
		r.FailAt(path+".will.payload", g.place, "it has %d bytes; a will has 65,535 at most", n)
	}
	switch delay := g.Will.Delay; {
	case delay == 0 || r.Overlaps(path+".session"):
	case !g.Kept:
		r.FailAt(path+".will.delay", g.place, "a session that begins clean ends with its connection, and the will is sent then, without delay; "+
			"write session: {clean: false}, or remove it")
	case g.Expiry > 0 && g.Expiry < delay:
		r.FailAt(path+".will.delay", g.place, "the session ends %s after its connection, and the will is sent then at the latest; write a longer expiry, or a shorter delay",
			g.Expiry)
	}
}

// validateSession holds what the broker keeps of a device.
func (r *reader) validateSession(path string, g *Group, s *Scenario) {
	if g.Kept && s.Fleet.Client == "paho" {
		r.FailAt(path+".session.clean", g.place, "client paho keeps no sessions; write fleet: {client: lean}, or auto")
	}
	if !r.Given(path+".session.expiry") || r.Overlaps(path+".session") {
		return
	}
	switch {
	case !g.Kept:
		r.FailAt(path+".session.expiry", g.place, "a session that begins clean is forgotten with its connection; write clean: false too")
	case g.Expiry == 0:
		r.FailAt(path+".session.expiry", g.place, "the broker would keep nothing; write a time, or clean: true")
	}
}

// validateHearing holds what subscribers ask for to the deliveries to them that are measured.
func (r *reader) validateHearing(s *Scenario) {
	for i := range s.Fleet.Groups {
		g := &s.Fleet.Groups[i]
		path := fmt.Sprintf("fleet.groups[%d]", i)
		asPublished := g.Subscribe.RetainAsPublished && g.Subscribe.RetainHandling != RetainNone
		for _, k := range s.measuredFor(i) {
			if e := k.Properties.Expiry; g.Kept && e > 0 && e < k.from.Timeout {
				r.WarnAt(k.path+".mqtt5.expiry", k.from.place, "the broker forgets messages for devices of %s that are away for longer than %s, and their deliveries time out after %s: "+
					"they count as lost; write %[3]s or more, or remove it", g.Name, e, k.from.Timeout)
			}
			if k.Retain && asPublished {
				r.FailAt(path+".subscribe.retain_as_published", g.place, "messages of %s are retained and their deliveries are measured: nothing tells those that are sent "+
					"from those that the broker has kept; write retain_handling: none too, or remove it", k.of)
				asPublished = false // is said
			}
			if n := k.least(); g.MQTT5.MaximumPacket > 0 && n >= g.MQTT5.MaximumPacket {
				r.FailAt(path+".mqtt5.maximum_packet", g.place, "messages of %s have %d bytes at least: the broker would not deliver them; write more than that, or remove it",
					k.of, n)
				break
			}
		}
	}
}

// measuredKind is a kind of messages whose deliveries are measured, with what metrics call it.
type measuredKind struct {
	Kind
	of   string
	from *Group
	path string
}

// measuredFor are the kinds of messages whose deliveries are measured and that devices of the number-th group may get, as reckonFans found.
func (s *Scenario) measuredFor(number int) (all []measuredKind) {
	s.eachKind(func(g *Group, k *Kind, path string, _ int) {
		if k.Deliveries != 0 && slices.Contains(k.fan.hearers, number) {
			all = append(all, measuredKind{*k, k.Series(g), g, path})
		}
	})
	return all
}

// least is how many bytes each message has at least, as far as that is known.
func (c *Content) least() int {
	n := c.Size
	if b, ok := c.Bytes.(interface{ Mean() int }); ok {
		n = max(n, b.Mean())
	}
	if c.Payload != nil {
		n = max(n, c.Payload.Least())
	}
	return n
}
