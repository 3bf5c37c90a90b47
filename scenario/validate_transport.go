package scenario

import (
	"fmt"

	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// validateTransport holds a group to what its transport can.
func (r *reader) validateTransport(path string, g *Group, t *target.Target) {
	over := g.Over()
	if can := t.Can(); can.Topics && !can.Twins && (over != target.MQTT || r.Given(path+".devices_per_connection")) {
		key := ".transport"
		if over == target.MQTT {
			key = ".devices_per_connection"
		}
		r.FailAt(path+key, g.place, "a plain broker speaks MQTT, one connection a device; remove it, and say mqtt://, mqtts://, ws:// or wss:// in target.hub")
		return
	}
	switch {
	case r.Given(path+".devices_per_connection") && !over.IsAMQP():
		r.FailAt(path+".devices_per_connection", g.place, "only AMQP has several devices on one connection; write transport: amqp or amqp_ws, or remove it")
	case g.Shared > 1 && g.Identity.Certificates() != nil && g.Identity.DPS == nil:
		r.FailAt(path+".devices_per_connection", g.place, "a certificate is of one device, and stands for its whole connection; give the devices keys, or write 1")
	case g.Shared > 1 && g.Identity.Certificates() != nil:
		r.FailAt(path+".devices_per_connection", g.place, "devices that provision with certificates connect with them, one a connection; give identity.dps a group_key, or write 1")
	}
	if over != target.HTTPS {
		return
	}
	for _, x := range []struct{ key, why string }{
		{"reported", "devices have no twins over https: they send telemetry; remove reported, or write another transport"},
		{"desired", "devices do not hear of desired properties over https; remove desired, or write another transport"},
		{"methods", "devices have no direct methods over https; remove methods, or write another transport"},
		{"keepalive", "nothing keeps a connection alive over https; remove keepalive"},
		{"telemetry.qos", "there is no quality of service over https: each message is answered; remove qos"},
		{"telemetry.retain", "nothing is retained over https; remove retain"},
	} {
		if r.Given(path + "." + x.key) {
			r.FailAt(path+"."+x.key, g.place, "%s", x.why)
		}
	}
}

// validateListening holds what the service side sends to devices to groups that hear of it.
func (r *reader) validateListening(s *Scenario) {
	deaf := func(path, group string, at problem.Place, what string) {
		if g := s.Group(group); g != nil && !g.Over().Twins() {
			r.FailAt(path, at, "the devices of %s speak https, over which there are no %s; name another group", group, what)
		}
	}
	for i := range s.Service.Rollouts {
		x := &s.Service.Rollouts[i]
		deaf(fmt.Sprintf("service.rollouts[%d].group", i), x.Group, x.place, "desired properties")
	}
	for i := range s.Service.Methods {
		x := &s.Service.Methods[i]
		deaf(fmt.Sprintf("service.methods[%d].group", i), x.Group, x.place, "direct methods")
	}
	for i := range s.Stages {
		for j, x := range s.Stages[i].Steps {
			if x.Desired != nil {
				deaf(fmt.Sprintf("stages[%d].steps[%d].desired.group", i, j), x.Desired.Group, s.Stages[i].place, "desired properties")
			}
		}
	}
}
