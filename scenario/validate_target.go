package scenario

import (
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/language/topic"
	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// finishTarget finds out what kind of target it is.
func (r *reader) finishTarget(t *Target) {
	switch {
	case r.Overlaps("target.hub"):
		t.Kind = unknownTarget // all that would follow from its kind is no mistake of its own
	case t.Hub == "embedded":
		t.Kind = Embedded
	case strings.Contains(t.Hub, "://"):
		t.Kind = Broker
		if t.Topic == "" {
			t.Topic = "devices/{device}/messages/events/"
		}
	case strings.Contains(t.Hub, "="):
		t.Kind = IoTHub
	default:
		t.Kind = unknownTarget
		r.FailAt("target.hub", problem.Place{},
			"this is no target; write embedded, a service connection string HostName=…;SharedAccessKeyName=…;SharedAccessKey=…, or mqtt://host:port of a broker")
	}
}

func (r *reader) validateTarget(t *Target) {
	switch t.Kind {
	case IoTHub:
		if c, err := connstring.ParseService(t.Hub); err != nil {
			r.FailAt("target.hub", problem.Place{}, "%v; or write embedded, or mqtt://host:port of a broker", err)
		} else if _, port, err := net.SplitHostPort(c.HostName); err == nil {
			r.validatePort(port)
		}
	case Broker:
		r.validateBroker(t)
	}
	if !t.Can().Faults {
		for _, key := range []string{"tier", "query_lag", "burst"} {
			if r.Given("target." + key) {
				r.FailAt("target."+key, problem.Place{}, "only the embedded hub has a %s; remove it, or write hub: embedded", key)
			}
		}
	}
	if !t.Can().Topics {
		for _, key := range []string{"topic", "username", "password"} {
			if r.Given("target." + key) {
				r.FailAt("target."+key, problem.Place{}, "only a plain broker has a %s; remove it", key)
			}
		}
	}
	if t.Can().Faults && t.Kind != unknownTarget && t.Tier == "" {
		for _, key := range []string{"units", "burst"} {
			if r.Given("target." + key) {
				r.FailAt("target."+key, problem.Place{}, "%s is a tier's, and without a tier there are no limits; write tier: S1", key)
			}
		}
	}
	if _, err := chance.ParseDistribution(t.QueryLag); t.QueryLag != "" && err != nil {
		r.FailAt("target.query_lag", problem.Place{}, "%v", err)
	}
}

// validateBroker holds the address of a plain broker.
func (r *reader) validateBroker(t *Target) {
	const path = "target.hub"
	u, err := url.Parse(t.Hub)
	if err != nil || u.Hostname() == "" {
		r.FailAt(path, problem.Place{}, "the address of the broker is no URL such as mqtt://broker:1883")
		return
	}
	web := u.Scheme == "ws" || u.Scheme == "wss"
	switch u.Scheme {
	case "mqtt", "mqtts", "ws", "wss", "tcp", "ssl":
	default:
		r.FailAt(path, problem.Place{}, "unknown scheme %s://; use mqtt, mqtts, ws or wss", u.Scheme)
		return
	}
	if u.User != nil {
		r.FailAt(path, problem.Place{}, "put user name and password into target.username and target.password")
	}
	if u.Port() != "" {
		r.validatePort(u.Port())
	}
	if !web && (strings.Trim(u.Path, "/") != "" || u.RawQuery != "") || u.Fragment != "" {
		r.FailAt(path, problem.Place{}, "what stands behind the port is sent to nobody; only ws:// and wss:// have a path and a query")
	}
	for _, mistake := range []string{topic.Unknown(t.Username), topic.Character(t.Username)} {
		if mistake != "" {
			r.FailAt("target.username", problem.Place{}, "%s", mistake)
		}
	}
}

func (r *reader) validatePort(port string) {
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		r.FailAt("target.hub", problem.Place{}, "there is no port %s; ports are 1 to 65535", port)
	}
}

// validateSources holds the local addresses of devices to be such, of the same version of IP as the target's.
func (r *reader) validateSources(s *Scenario) {
	var target net.IP
	if x, err := s.Target.Endpoint(); err == nil {
		target = net.ParseIP(x.Host)
	}
	for i, a := range s.Fleet.SourceAddresses {
		path := "fleet.source_addresses[" + strconv.Itoa(i) + "]"
		ip := net.ParseIP(a)
		switch {
		case ip == nil:
			r.FailAt(path, problem.Place{}, "%q is no address such as 127.0.0.2", a)
		case ip.IsMulticast() || ip.Equal(net.IPv4bcast):
			r.FailAt(path, problem.Place{}, "nobody can connect from %s; use an address of this machine", a)
		case target != nil && (ip.To4() == nil) != (target.To4() == nil):
			r.FailAt(path, problem.Place{}, "nobody can connect from %s to %s: one is IPv4, the other IPv6", a, target)
		}
	}
}
