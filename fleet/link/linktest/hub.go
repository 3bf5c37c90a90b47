package linktest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/fleet/link"
)

// Hub is an IoT hub with one device, and room for one connection of it.
type Hub struct {
	Device   string                                // its id
	Host     string                                // of the hub, for user names
	Password func() string                         // a token
	Desire   func(t *testing.T, properties string) // has the service change desired properties
}

// dial changes options so that they are those of the hub's device.
func (h *Hub) dial(o *link.Options) {
	o.Username, o.Password = h.Host+"/"+h.Device+"/?api-version=2021-04-12", h.Password
}

// hearsAbout waits for a message whose topic begins with something, and whose payload contains something.
func (c *session) hearsAbout(t *testing.T, topic, payload string) {
	t.Helper()
	select {
	case m := <-c.messages:
		if !strings.HasPrefix(m.Topic, topic) || !strings.Contains(string(m.Payload), payload) {
			t.Errorf("%s %s; want %s… %s", m.Topic, m.Payload, topic, payload)
		}
	case err := <-c.over:
		t.Fatalf("%s: the connection ended: %v", topic, err)
	case <-t.Context().Done():
		t.Fatalf("%s: nothing arrived", topic)
	}
}

// RunHub runs what an IoT hub does with its device, one after the other: make makes a hub for each.
func (s *Suite) RunHub(t *testing.T, dial link.Dialer, make func(t *testing.T, name string) *Hub) {
	for name, test := range map[string]func(t *testing.T, h *Hub){
		"a twin is read": func(t *testing.T, h *Hub) {
			c := s.open(t, dial, h.Device, h.dial)
			c.listen(t, "$iothub/twin/res/#", 0)
			c.say(t, link.Message{Topic: "$iothub/twin/GET/?$rid=1"})
			c.hearsAbout(t, "$iothub/twin/res/200/?$rid=1", `"reported":{"$version":1}`)
			c.close(t)
		},
		"a report is acknowledged, with its version": func(t *testing.T, h *Hub) {
			c := s.open(t, dial, h.Device, h.dial)
			c.listen(t, "$iothub/twin/res/#", 0)
			c.say(t, link.Message{Topic: "$iothub/twin/PATCH/properties/reported/?$rid=2", Payload: []byte(`{"connectivity":{"type":"cellular"}}`)})
			c.hearsAbout(t, "$iothub/twin/res/204/?$rid=2&$version=2", "")
			c.close(t)
		},
		"a desired property arrives": func(t *testing.T, h *Hub) {
			c := s.open(t, dial, h.Device, h.dial)
			c.listen(t, "$iothub/twin/PATCH/properties/desired/#", 0)
			h.Desire(t, `{"interval":15}`)
			c.hearsAbout(t, "$iothub/twin/PATCH/properties/desired/?$version=2", `"interval":15`)
			c.close(t)
		},
		"telemetry with QoS 0 and 1": func(t *testing.T, h *Hub) {
			c := s.open(t, dial, h.Device, h.dial)
			for qos := range byte(2) {
				c.say(t, link.Message{Topic: "devices/" + h.Device + "/messages/events/", Payload: []byte(`{"temperature":21}`), QoS: qos})
			}
			c.close(t)
		},
		"a message with QoS 2, which no IoT hub takes, ends the connection": func(t *testing.T, h *Hub) {
			c := s.open(t, dial, h.Device, h.dial)
			c.Publish(link.Message{Topic: "devices/" + h.Device + "/messages/events/", QoS: 2}, func(error) {})
			if err := c.ends(t); err == nil {
				t.Error("it ended as if this side had wanted it")
			}
		},
		"a message to another device's topic ends it": func(t *testing.T, h *Hub) {
			c := s.open(t, dial, h.Device, h.dial)
			c.Publish(link.Message{Topic: "devices/somebody-else/messages/events/", QoS: 1}, func(error) {})
			if err := c.ends(t); err == nil {
				t.Error("it ended as if this side had wanted it")
			}
		},
		"a device that connects once more takes over": func(t *testing.T, h *Hub) {
			first := s.open(t, dial, h.Device, h.dial)
			second := s.open(t, dial, h.Device, h.dial)
			if err := first.ends(t); err == nil {
				t.Error("a connection that another took over ended as if this side had wanted it")
			}
			second.close(t)
		},
		"a wrong token is refused": func(t *testing.T, h *Hub) {
			o := link.Options{ClientID: h.Device, CleanSession: true, Dial: dial}
			h.dial(&o)
			o.Password = func() string { return "SharedAccessSignature sr=x&sig=x&se=4000000000" }
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			c, err := s.Driver().Connect(ctx, o)
			var refused *link.RefusedError
			if !errors.As(err, &refused) || refused.Code != 5 {
				t.Errorf("%v, %v; want return code 5", c, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { test(t, make(t, name)) })
	}
}
