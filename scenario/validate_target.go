package scenario

import (
	"net"
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// finishTarget finds out what kind of target it is.
func (r *reader) finishTarget(t *target.Target) {
	switch {
	case r.Overlaps("target.hub"):
		t.Kind = target.Unknown // all that would follow from its kind is no mistake of its own
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

// validateSources holds the local addresses of devices to be such, of the same version of IP as the target's.
func (r *reader) validateSources(s *Scenario) {
	var of net.IP
	if x, err := s.Target.Endpoint(); err == nil {
		of = net.ParseIP(x.Host)
	}
	for i, a := range s.Fleet.SourceAddresses {
		path := "fleet.source_addresses[" + strconv.Itoa(i) + "]"
		ip := net.ParseIP(a)
		switch {
		case ip == nil:
			r.FailAt(path, problem.Place{}, "%q is no address such as 127.0.0.2", a)
		case ip.IsMulticast() || ip.Equal(net.IPv4bcast):
			r.FailAt(path, problem.Place{}, "nobody can connect from %s; use an address of this machine", a)
		case of != nil && (ip.To4() == nil) != (of.To4() == nil):
			r.FailAt(path, problem.Place{}, "nobody can connect from %s to %s: one is IPv4, the other IPv6", a, of)
		}
	}
}
