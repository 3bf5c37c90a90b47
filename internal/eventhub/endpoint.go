package eventhub

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/amqp"
)

// endpoint is where the messages of an IoT Hub are read.
type endpoint struct {
	addr string // host:port
	host string
	hub  string // the event hub's name, as addresses have it
}

// longestName is the longest name of a host, or of an event hub, that is believed.
const longestName = 255

// managing is what the IoT Hub redirects from.
const managing = "messages/events/$management"

// redirected asks for what is read elsewhere. A hub refuses it, and says where: at the earliest when it has answered, as if there were such
// a link.
func (c *conn) redirected() (*endpoint, error) {
	l := &link{name: "where", receives: true, source: managing}
	c.attach(l)
	err := c.until("the address of the endpoint", func() bool { return l.ended != nil })
	switch {
	case err != nil && l.up:
		return nil, fmt.Errorf("it does not redirect from %s: %w", managing, err)
	case err != nil:
		return nil, err
	}
	if l.ended.Condition != amqp.Redirect {
		return nil, refusal("the link to "+managing, l.ended)
	}
	return endpointOf(l.ended.Info)
}

// endpointOf reads the information of a redirect (AMQP 1.0 part 2, section 2.8.18, with the address as the service has it).
func endpointOf(info amqp.Value) (*endpoint, error) {
	text := func(key string) string {
		s, _ := info.Get(key).Text()
		return s
	}
	host, address := text("hostname"), text("address")
	if host == "" {
		host = text("network-host")
	}
	port := int64(5671)
	if n, ok := info.Get("port").Int(); ok {
		port = n
	}
	_, rest, ok := strings.Cut(address, "://")
	authority, path, found := strings.Cut(rest, "/")
	hub, _, _ := strings.Cut(path, "/")
	if host == "" {
		host, _, _ = net.SplitHostPort(authority)
	}
	switch {
	case !ok || !found || hub == "" || len(hub) > longestName || strings.HasPrefix(hub, "$"):
		return nil, fmt.Errorf("%w: a redirect whose address names no event hub", ErrProtocol)
	case !isHost(host):
		return nil, fmt.Errorf("%w: a redirect that names no host", ErrProtocol)
	case port < 1 || port > 65535:
		return nil, fmt.Errorf("%w: a redirect to port %d", ErrProtocol, port)
	}
	return &endpoint{addr: net.JoinHostPort(host, strconv.FormatInt(port, 10)), host: host, hub: hub}, nil
}

// isHost reports whether a text may be the name or the address of a host.
func isHost(s string) bool {
	return s != "" && len(s) <= longestName && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == ':')
	})
}

// partition is the address of a partition for a consumer group.
func (e *endpoint) partition(group, id string) string {
	return e.hub + "/ConsumerGroups/" + group + "/Partitions/" + id
}

// management is the address of what tells of the event hub.
func (e *endpoint) management() string { return e.hub + "/$management" }

// audience is what a token for all of the event hub is for.
func (e *endpoint) audience() string { return "sb://" + e.host + "/" + e.hub }

// refusal is an error with which the hub ended something: one that lasts matches ErrRefused.
func refusal(what string, e *amqp.Error) error {
	class := ErrLost
	switch e.Condition {
	case amqp.UnauthorizedAccess, amqp.NotFound, amqp.NotAllowed, amqp.InvalidField, amqp.NotImplemented, amqp.Stolen, amqp.LimitExceeded,
		"com.microsoft:argument-error", "com.microsoft:argument-out-of-range", "com.microsoft:iot-hub-not-found-error",
		"com.microsoft:iot-hub-suspended":
		class = ErrRefused
	}
	return fmt.Errorf("%s: %w: %s", what, class, line(e.Error()))
}

// longestLine is the most bytes of a text of the hub's that errors hold.
const longestLine = 300

// line makes a line of a text of the hub's, which may be of any length and hold anything.
func line(s string) string {
	if len(s) > longestLine {
		s = s[:longestLine] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
