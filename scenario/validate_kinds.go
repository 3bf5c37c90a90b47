package scenario

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/internal/fleet/mark"
	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// validateMessages holds what a scenario says of messages, of where they come from, and of what devices of a plain broker listen to.
func (r *reader) validateMessages(s *Scenario) {
	if !s.Target.Can().Twins {
		r.validateTopic("target.topic", problem.Place{}, s.Target.Topic, false)
	}
	for i := range s.Fleet.Groups {
		g := &s.Fleet.Groups[i]
		path := fmt.Sprintf("fleet.groups[%d]", i)
		r.validateContents(path, g, s)
		if r.Given(path+".subscribe") && !g.Listens() {
			r.FailAt(path+".subscribe", g.place, "what the devices listen to is missing; write topics: [\"a/#\"]")
		}
		if !s.Target.Can().Topics {
			r.validateHubMessages(path, g)
			continue
		}
		if s.Target.Can().Twins {
			continue // of a target that could not be read nothing follows
		}
		r.validateFive(path, g, s)
		r.validateKinds(path, g, s)
		r.validateFilters(path, g)
		r.validateWill(path, g)
		r.validateSession(path, g, s)
	}
	r.validateReplies(s)
}

// validateContents holds what kinds of messages are made from.
func (r *reader) validateContents(path string, g *Group, s *Scenario) {
	for _, k := range g.Kinds() {
		at := path + "." + k.path
		r.validateContent(at, &k.Content, s.Target.Can().Topics, g.place)
		r.validateMark(at, g, k.Telemetry, &s.Target)
	}
}

// validateHubMessages holds a group of a hub to what only brokers have.
func (r *reader) validateHubMessages(path string, g *Group) {
	for _, key := range []string{"subscribe", "messages", "will", "mqtt5", "session.clean", "session.expiry", "telemetry.topic", "telemetry.mqtt5"} {
		if r.Given(path + "." + key) {
			r.FailAt(path+"."+key, g.place, "only devices of a plain broker have %s; remove it", key)
		}
	}
	if d := g.Telemetry.Deliveries; d > 1 || d == EverySubscriber {
		r.FailAt(path+".telemetry.deliveries", g.place, "a hub's messages have one reader, that of this run; write deliveries: 1")
	}
}

// validateFive holds what only MQTT 5 has to a target that is spoken to so.
func (r *reader) validateFive(path string, g *Group, s *Scenario) {
	if s.Target.V5() || r.Overlaps("target.mqtt") {
		return
	}
	keys := []string{
		"mqtt5", "session.expiry", "will.delay", "subscribe.no_local", "subscribe.retain_as_published", "subscribe.retain_handling", "subscribe.identifier",
		"subscribe.respond",
	}
	for _, k := range g.Kinds() {
		keys = append(keys, k.path+".mqtt5")
	}
	for _, key := range keys {
		if r.Given(path + "." + key) {
			r.FailAt(path+"."+key, g.place, "MQTT 3.1.1 has no such thing; write target: {mqtt: 5}, or remove it")
		}
	}
}

// validateKinds holds the kinds of a group's messages, their topics, and who gets them.
func (r *reader) validateKinds(path string, g *Group, s *Scenario) {
	names := make(map[string]bool)
	for i := range g.Messages {
		m, at := &g.Messages[i], fmt.Sprintf("%s.messages[%d]", path, i)
		switch {
		case m.Name == "":
			r.FailAt(at, m.place, "the kind of messages has no name")
		case names[m.Name]:
			r.FailAt(at+".name", m.place, "a second kind of messages named %s in the group; names must differ", m.Name)
		}
		names[m.Name] = true
		if m.Every == 0 {
			r.FailAt(at, m.place, "such messages would never be sent; write every: 10s (rates of stages are of telemetry)")
		}
		r.validatePace(at+".every", g, m.Every)
	}
	for _, k := range g.Kinds() {
		at := path + "." + k.path
		if k.Topic != "" {
			r.validateTopic(at+".topic", g.place, k.Topic, false)
		}
		if to := k.Properties.ReplyTo; to != "" || r.Given(at+".mqtt5.reply_to") {
			r.validateTopic(at+".mqtt5.reply_to", g.place, to, false)
			if g.Count > 1 && g.FillEqual(to) {
				r.FailAt(at+".mqtt5.reply_to", g.place, "all %d devices would have the responses of each other; put {device} into the topic", g.Count)
			}
		}
		r.validateProperties(at+".mqtt5", g, &k)
		r.validateDeliveries(at+".deliveries", g, &k, s)
	}
	r.validateUser(path+".mqtt5", g, g.MQTT5.User)
}

// FillEqual reports whether a template gives all devices of the group one text.
func (g *Group) FillEqual(template string) bool {
	return g.Fill(template, g.DeviceID(0), 0) == g.Fill(template, g.DeviceID(1), 1)
}

// validateMark holds the messages of a kind to what can carry the mark of deliveries that are measured: a JSON object, or over MQTT 5 any other.
func (r *reader) validateMark(path string, g *Group, t *Telemetry, at *target.Target) {
	remedy := "send objects, or remove deliveries"
	if at.Can().Topics {
		remedy = "send objects, or write target: {mqtt: 5}, where a user property carries it"
	}
	if t.Deliveries != 0 {
		r.validateReserved(path, g, t)
	}
	switch {
	case t.Deliveries == 0 || at.Can().Topics && at.V5() || payload.Objects(t.Source()):
	case t.Rows != nil:
		r.FailAt(path+".payload_file", g.place, "some rows are no JSON objects, which cannot carry the mark that deliveries are measured by; %s", remedy)
	default:
		r.FailAt(path+"."+t.key(), g.place, "only a JSON object can carry the mark that deliveries are measured by; %s", remedy)
	}
}

// validateReserved keeps the name of the mark free: with a member of its own a payload would have two, of which each reader takes the one it likes.
func (r *reader) validateReserved(path string, g *Group, t *Telemetry) {
	const why = "%s is the name of the mark that deliveries are measured by; give yours another name, or remove deliveries"
	if t.draft != nil && t.draft.Has(mark.Member) || t.Rows != nil && slices.Contains(t.Rows.Columns(), mark.Member) {
		r.FailAt(path+"."+t.key(), g.place, "the member "+why, mark.Member)
	}
	if slices.ContainsFunc(t.Properties.User, func(p Property) bool { return p.Name == mark.Member }) {
		r.FailAt(path+".mqtt5.user_properties."+mark.Member, g.place, "the user property "+why, mark.Member)
	}
}

// validateDeliveries holds the number of subscribers that get messages to those that there are.
func (r *reader) validateDeliveries(path string, g *Group, k *Kind, s *Scenario) {
	listeners := 0
	for i := range s.Fleet.Groups {
		if x := &s.Fleet.Groups[i]; x.Listens() {
			listeners += x.Count
		}
	}
	switch {
	case k.Deliveries > listeners:
		r.FailAt(path, g.place, "%d subscribers are to get each message, but the groups with subscribe have %d devices", k.Deliveries, listeners)
	case k.Deliveries == EverySubscriber && listeners == 0:
		r.FailAt(path, g.place, "nobody in this run subscribes; give a group subscribe: {topics: [%q]}", k.TopicOf(&s.Target))
	}
}

// TopicOf is the template of the topic that the messages go to: their own, or the target's.
func (t *Telemetry) TopicOf(at *target.Target) string { return cmp.Or(t.Topic, at.Topic) }

// shared begins a filter that is a shared subscription (MQTT 5 section 4.8.2).
const shared = "$share/"

// validateFilters holds what devices listen to.
func (r *reader) validateFilters(path string, g *Group) {
	for j, filter := range g.Subscribe.Topics {
		at := fmt.Sprintf("%s.subscribe.topics[%d]", path, j)
		if rest, ok := strings.CutPrefix(filter, shared); ok {
			name, of, whole := strings.Cut(rest, "/")
			if name == "" || !whole || of == "" || strings.ContainsAny(name, "+#") {
				r.FailAt(at, g.place, "a shared subscription is $share/NAME/FILTER, as in $share/workers/jobs/#")
				continue
			}
			if g.Subscribe.NoLocal {
				r.FailAt(path+".subscribe.no_local", g.place, "shared subscriptions cannot have it: MQTT 5 forbids it; remove it")
			}
			filter = of
		}
		r.validateTopic(at, g.place, filter, true)
	}
}

// mostReplies bounds the comparison of response topics of different groups: so many devices of each.
const mostReplies = 100_000

// validateReplies holds response topics of different groups apart: two that are alike would bring devices the responses of each other. With {device}
// they differ, as the ids do.
func (r *reader) validateReplies(s *Scenario) {
	asking := s.groupsThat((*Group).Requests)
	if len(asking) < 2 || r.Problems() > 0 {
		return
	}
	groups := make(map[string]string) // by topic
	s.eachKind(func(g *Group, k *Kind, path string, _ int) {
		to := k.Properties.ReplyTo
		if to == "" || strings.Contains(to, "{device}") {
			return
		}
		for i := range min(g.Count, mostReplies) {
			topic := g.Fill(to, "", i)
			if other, ok := groups[topic]; ok && other != g.Name {
				r.FailAt(path+".mqtt5.reply_to", g.place, "devices of %s have the response topic %s too, and would have the responses of each other; put {device} or {group} "+
					"into the topic", other, topic)
				return
			}
			groups[topic] = g.Name
			if !strings.Contains(to, "{index}") {
				return
			}
		}
	})
}
