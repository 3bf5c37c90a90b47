// Package target is what a scenario points its fleet at: how it is named, what kind it is of, what that kind can do.
package target

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
)

// Kind is what a target speaks. Who needs to know what it can do asks for its Capabilities instead.
type Kind uint8

// The kinds of targets.
const (
	Embedded Kind = iota // the hub in this process
	IoTHub               // a service connection string: Azure IoT Hub, or twinfleet hub
	Broker               // a plain MQTT broker: no twins
	// Apart is the embedded hub in a process of its own, which runs for one run and was given its tier and its query lag when it started.
	// No file names it: what is decoded is Embedded.
	Apart

	Unknown // of a scenario whose target cannot be read
)

// Capabilities is what a kind of target can do.
type Capabilities struct {
	Name      string // of the kind, for people
	Twins     bool   // devices have twins: reported and desired properties, direct methods
	Service   bool   // a service side tags, queries, rolls out and calls methods
	Registry  bool   // identities have to be there before the run, and stay when it is over
	Topics    bool   // the scenario names the topics, user names and passwords of devices
	Faults    bool   // the scenario sets its tier and its query lag, and may make it fail
	InProcess bool   // it lives in the run's own process: empty when the run starts, gone when it ends
}

// Can is what targets of the kind can do. Of a target that could not be read it is everything, so that no mistake follows.
func (k Kind) Can() Capabilities {
	switch k {
	case Embedded:
		return Capabilities{Name: "embedded hub", Twins: true, Service: true, Faults: true, InProcess: true}
	case IoTHub:
		return Capabilities{Name: "IoT Hub", Twins: true, Service: true, Registry: true}
	case Broker:
		return Capabilities{Name: "MQTT broker", Topics: true}
	case Apart:
		return Capabilities{Name: "embedded hub", Twins: true, Service: true}
	default:
		return Capabilities{Name: "unknown target", Twins: true, Service: true, Registry: true, Topics: true, Faults: true, InProcess: true}
	}
}

// The transports to a target in this process.
const (
	Auto   = "auto"   // leaves it to the machine that runs the scenario: see package fit
	TCP    = "tcp"    // by sockets
	Memory = "memory" // the same bytes, without any
)

// Target is what the fleet and the worker are pointed at.
type Target struct {
	Hub           string              // "embedded", a service connection string, or mqtt://, mqtts://, ws://, wss://; may be a secret
	Hubs          []string            // service connection strings of the hubs that devices are dealt to, of which Hub is the first; secrets; nil for Hub alone
	Kind          Kind                // follows from Hub
	CA            string              // file with certificates in PEM, the only ones to trust; the system's when empty
	Trusted       []*x509.Certificate // of that file
	Plain         bool                // speak MQTT and HTTP in clear; for a twinfleet hub on this machine
	Transport     string              // how devices reach a target in this process: Auto, TCP or Memory
	Keep          bool                // leave the identities that the run made
	Tier          string              // of a target with faults only
	Units         int                 // likewise
	Burst         time.Duration       // likewise: so much of the tier's rate may come at once
	QueryLag      string              // likewise
	Topic         string              // of a target with topics only: where devices send; {device}, {group} and {index} are replaced
	Username      string              // likewise
	Password      string              // likewise; a secret
	MQTT          string              // likewise: the version that devices speak, "3.1.1" or "5"
	TLS           TLS                 // likewise: how they speak TLS
	WebSocket     WebSocket           // likewise: how they ask for a WebSocket
	Addresses     string              // likewise: which addresses of its name they connect to, First or Every
	Proxy         string              // likewise: http://… or socks5://… of the proxy on the way; may hold a password; empty for none
	Redirect      string              // likewise: what they do when it names another server, Refuse or Follow
	ConsumerGroup string              // of a target with a registry: with which the reader of deliveries reads; $Default when empty
	Trial         *Trial              // of a target in this process only, and of no file: nil holds the limits as they are
}

// TrustRemedy is what to do about a target whose certificate is not trusted: what to write, and where.
const TrustRemedy = "name the file with the certificate to trust in target.ca: that of a twinfleet hub is what it prints as TWINFLEET_CA, that of a broker its " +
	"authority's in PEM"

// Trial is how the embedded hub stands for a day of a tier in a run of minutes: see the command plan --verify. Classes are named as on
// /metrics, twin_update.
type Trial struct {
	From   string             // the stage with which limits begin to hold; the first when empty
	Skips  map[string]Skip    // by the stage at whose end a time is left out
	Steady string             // the stage that stands for the day: what may come at once is used up when it begins; none when empty
	AtOnce map[string]float64 // operations of a class that may come at once in it all the same; 1 of those that are not named
	Share  float64            // of the day's messages that are left when it begins, what may be sent in it
}

// Skip is a time that is left out of a Trial.
type Skip struct {
	For      time.Duration      // that long
	Rates    map[string]float64 // operations of a class a second that would have come in it
	Messages float64            // that would have been counted in it
}

// Can is what the target can do.
func (t *Target) Can() Capabilities { return t.Kind.Can() }

// V5 reports whether devices speak MQTT 5.
func (t *Target) V5() bool { return t.MQTT == MQTT5 }

// Each are the targets of one hub each, which are all that the scenario names: itself when it names one.
func (t *Target) Each() []Target {
	if len(t.Hubs) < 2 {
		return []Target{*t}
	}
	all := make([]Target, len(t.Hubs))
	for i, hub := range t.Hubs {
		all[i] = *t
		all[i].Hub, all[i].Hubs = hub, nil
	}
	return all
}

// Several reports whether devices are dealt to more than one hub.
func (t *Target) Several() bool { return len(t.Hubs) > 1 }

// Destinations is to how many hubs devices are dealt, evenly; 1 for a target that is one. A source address has its local ports towards each of
// them: a connection is told by both its ends (RFC 9293, section 4), and hubs differ in their addresses or ports. Hubs of which some are behind
// one address and port have fewer.
func (t *Target) Destinations() int { return max(1, len(t.Hubs)) }

// Limited reports whether the target has the limits of a tier, and so may throttle.
func (t *Target) Limited() bool { return t.Tier != "" || t.Can().Registry && !t.Plain }

// Endpoint is where devices connect.
type Endpoint struct {
	Host   string // name or address
	Addr   string // host:port
	TLS    bool   // the connection is encrypted
	Scheme string // of a URL: mqtt, mqtts, ws, wss, tcp or ssl; empty without one
	Web    string // host of a WebSocket's URL, as it is written; empty for all others
	Path   string // of a WebSocket, with its query, which may hold a secret
	// SubProtocol is that of a WebSocket: what its messages carry.
	SubProtocol string
}

// mqttsPort is the port of MQTT over TLS (iot-mqtt-connect-to-iot-hub).
const mqttsPort = "8883"

// Endpoint is where devices connect that speak MQTT, to the first of several hubs; of a target in the run's process only its host is known before the run.
func (t *Target) Endpoint() (Endpoint, error) {
	switch t.Kind {
	case Embedded:
		return Endpoint{Host: "127.0.0.1"}, nil
	case IoTHub, Apart:
		c, err := connstring.ParseService(t.Hub)
		if err != nil {
			return Endpoint{}, fmt.Errorf("target.hub: %w", err)
		}
		x := Endpoint{Host: c.HostName, Addr: c.HostName, TLS: !t.Plain} // one port that speaks everything, as twinfleet hub does
		if host, _, err := net.SplitHostPort(c.HostName); err == nil {
			x.Host = host
		} else {
			x.Addr = net.JoinHostPort(c.HostName, mqttsPort)
		}
		return x, nil
	}
	u, err := url.Parse(t.Hub)
	if err != nil {
		return Endpoint{}, fmt.Errorf("target.hub is no URL") // the error holds it
	}
	x := Endpoint{Host: u.Hostname(), Scheme: u.Scheme, TLS: u.Scheme == "mqtts" || u.Scheme == "wss" || u.Scheme == "ssl"}
	ports := map[string]string{"mqtt": "1883", "tcp": "1883", "mqtts": mqttsPort, "ssl": mqttsPort, "ws": "80", "wss": "443"}
	x.Addr = net.JoinHostPort(x.Host, cmp.Or(u.Port(), ports[u.Scheme]))
	if u.Scheme == "ws" || u.Scheme == "wss" {
		x.Web, x.Path, x.SubProtocol = u.Host, cmp.Or(u.EscapedPath(), "/mqtt"), cmp.Or(t.WebSocket.SubProtocol, link.WebMQTT)
		if u.RawQuery != "" || u.ForceQuery {
			x.Path += "?" + u.RawQuery
		}
	}
	return x, nil
}

// Lag is how far behind the results of a target's queries may be: other hubs than the embedded one are
// allowed what the documentation calls normal, a few seconds (iot-hub-devguide-query-language).
func (t *Target) Lag() time.Duration {
	if !t.Can().Faults {
		return 5 * time.Second
	}
	_, most, random := strings.Cut(t.QueryLag, "..")
	if !random {
		most = t.QueryLag
	}
	lag, err := time.ParseDuration(strings.TrimSpace(most))
	if err != nil || lag <= 0 {
		return 0 // validation tells of what is no lag
	}
	return lag + time.Second
}
