package scenario

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// finishTarget finds out what kind of target it is.
func (r *reader) finishTarget(t *target.Target) {
	switch {
	case r.Overlaps("target.hub") || r.Overlaps("target.hubs"):
		t.Kind = target.Unknown // all that would follow from its kind is no mistake of its own
	case r.Given("target.hubs") && r.Given("target.hub"):
		r.FailAt("target.hubs", problem.Place{}, "target.hub is given too; put all hubs into target.hubs, and remove target.hub")
		t.Kind, t.Hubs = target.Unknown, nil
	case r.Given("target.hubs") && len(t.Hubs) == 0:
		r.FailAt("target.hubs", problem.Place{}, "there is no hub in the list; write [${HUB_A}, ${HUB_B}], or target.hub for one")
		t.Kind = target.Unknown
	case !t.Resolve():
		r.FailAt("target.hub", problem.Place{}, "this is no target; write embedded, a service connection string "+
			"HostName=…;SharedAccessKeyName=…;SharedAccessKey=…, or mqtt://host:port of a broker")
	}
}

// longestGroup is the longest name of a consumer group (event-hubs-quotas).
const longestGroup = 50

// validateConsumerGroup holds the name of a consumer group to what Event Hubs takes, where there is one to read with.
func (r *reader) validateConsumerGroup(s *Scenario) {
	g := s.Target.ConsumerGroup
	switch {
	case g == "":
	case !s.Target.Can().Registry:
		r.FailAt("target.consumer_group", problem.Place{}, "only an IoT Hub elsewhere has consumer groups; remove it")
	case len(g) > longestGroup || strings.ContainsFunc(g, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`/'"\?#`, c) }):
		r.FailAt("target.consumer_group", problem.Place{}, "this is no name of a consumer group: letters, digits, - . _ and $, at most %d", longestGroup)
	}
}

// validateVersion holds the client of devices to the version of MQTT that they speak.
func (r *reader) validateVersion(s *Scenario) {
	if s.Target.Kind == target.Broker && s.Target.V5() && s.Fleet.Client == "paho" {
		r.FailAt("fleet.client", problem.Place{}, "only lean speaks MQTT 5; write client: lean or auto, or mqtt: 3.1.1 in target")
	}
}

// validateSources holds the local addresses of devices to be such, of the same version of IP as the target's.
func (r *reader) validateSources(s *Scenario) {
	var hosts []net.IP
	for _, t := range s.Target.Each() {
		if host, err := t.Opened(); err == nil {
			if ip := net.ParseIP(host); ip != nil {
				hosts = append(hosts, ip)
			}
		}
	}
	for i, a := range s.Fleet.SourceAddresses {
		path := "fleet.source_addresses[" + strconv.Itoa(i) + "]"
		ip := net.ParseIP(a)
		other := slices.IndexFunc(hosts, func(of net.IP) bool { return (ip.To4() == nil) != (of.To4() == nil) })
		switch {
		case ip == nil:
			r.FailAt(path, problem.Place{}, "%q is no address such as 127.0.0.2", a)
		case ip.IsMulticast() || ip.Equal(net.IPv4bcast):
			r.FailAt(path, problem.Place{}, "nobody can connect from %s; use an address of this machine", a)
		case other >= 0:
			r.FailAt(path, problem.Place{}, "nobody can connect from %s to %s: one is IPv4, the other IPv6", a, hosts[other])
		}
	}
}

// validateHubs holds what a scenario asks of several hubs to what can be asked of them together.
func (r *reader) validateHubs(s *Scenario) {
	if !s.Target.Several() {
		return
	}
	for i := range s.Fleet.Groups {
		g := &s.Fleet.Groups[i]
		path := fmt.Sprintf("fleet.groups[%d]", i)
		if g.Identity.DPS != nil {
			r.FailAt(path+".identity.dps", g.place, "a provisioning service assigns devices by its own rules, and the run deals them to target.hubs; name one hub in target.hub")
		}
		if g.Measured() {
			r.FailAt(path+".telemetry.deliveries", g.place, "deliveries are read at one hub; name one in target.hub, or remove deliveries")
		}
	}
}

// severalSQL holds a query to what several hubs answer together.
func (r *reader) severalSQL(path string, q *tree.Query, t *target.Target, at problem.Place) {
	if !t.Several() || q == nil {
		return
	}
	if _, why := q.OverParts(); why != "" {
		r.FailAt(path, at, "the answers of several hubs to %s do not add up to one; ask for COUNT() or for the devices, or name one hub in target.hub", why)
	}
}
