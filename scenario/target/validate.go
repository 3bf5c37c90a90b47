package target

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// Problems is who is told of mistakes.
type Problems interface {
	// FailAt tells of a mistake in the value of a key, whose path is that of the scenario.
	FailAt(path string, at problem.Place, format string, a ...any)
	// Given reports whether the file says something under a path.
	Given(path string) bool
}

// Resolve finds out what kind of target it is and sets Kind, and the topic of a broker when none was given; known is false when it
// is none. With a list of hubs, the first of them is Hub.
func (t *Target) Resolve() (known bool) {
	if len(t.Hubs) > 0 {
		t.Hub, t.Kind = t.Hubs[0], IoTHub
		return true
	}
	switch {
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
		t.Kind = Unknown
	}
	return t.Kind != Unknown
}

// Validate holds what a scenario says of its target to what the kind allows.
func (t *Target) Validate(r Problems) {
	switch t.Kind {
	case IoTHub:
		if len(t.Hubs) > 0 {
			t.validateHubs(r)
		} else if c, err := connstring.ParseService(t.Hub); err != nil {
			r.FailAt("target.hub", problem.Place{}, "%v; or write embedded, or mqtt://host:port of a broker", err)
		} else if _, port, err := net.SplitHostPort(c.HostName); err == nil {
			validatePort(r, "target.hub", port)
		}
	case Broker:
		t.validateBroker(r)
	}
	if !t.Can().Faults {
		for _, key := range []string{"tier", "query_lag", "burst"} {
			if r.Given("target." + key) {
				r.FailAt("target."+key, problem.Place{}, "only the embedded hub has a %s; remove it, or write hub: embedded", key)
			}
		}
	}
	if !t.Can().InProcess && r.Given("target.transport") {
		r.FailAt("target.transport", problem.Place{}, "only the embedded hub can be reached in memory; remove it, or write hub: embedded")
	}
	if !t.Can().Topics {
		for _, key := range brokerKeys() {
			if r.Given("target." + key) {
				r.FailAt("target."+key, problem.Place{}, "only a plain broker has %s; remove it, or write mqtt:// or mqtts:// in target.hub", key)
			}
		}
	}
	if t.Can().Faults && t.Kind != Unknown && t.Tier == "" {
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

// validateHubs holds the hubs of a list to be hubs, each another.
func (t *Target) validateHubs(r Problems) {
	seen := make(map[string]int, len(t.Hubs))
	for i, hub := range t.Hubs {
		path := fmt.Sprintf("target.hubs[%d]", i)
		c, err := connstring.ParseService(hub)
		if err != nil {
			r.FailAt(path, problem.Place{}, "%v; a list names service connection strings of IoT hubs only: what else there is to load is target.hub", err)
			continue
		}
		host := strings.ToLower(c.HostName)
		if first, twice := seen[host]; twice {
			r.FailAt(path, problem.Place{}, "%s is target.hubs[%d] too; name every hub once", c.HostName, first)
			continue
		}
		seen[host] = i
		if _, port, err := net.SplitHostPort(c.HostName); err == nil {
			validatePort(r, path, port)
		}
	}
}

func validatePort(r Problems, path, port string) {
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		r.FailAt(path, problem.Place{}, "there is no port %s; ports are 1 to 65535", port)
	}
}
