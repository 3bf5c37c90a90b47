package reach

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Server is another server that a target names.
type Server struct {
	Host string // name or address, without brackets
	Port string // empty when the reference has none
}

// ErrReference is returned for what names no server.
var ErrReference = errors.New("the server reference names no server")

// mostServers bounds how many servers of a reference are thought of.
const mostServers = 16

// References are the servers of a server reference (MQTT 5 section 4.11): a list with spaces between them of host, host:port and [address]:port.
// What is none of that is passed over; an error matches ErrReference, when none is left.
func References(reference string) ([]Server, error) {
	var all []Server
	for _, one := range strings.Fields(reference) {
		if s, ok := parseServer(one); ok && len(all) < mostServers {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: %.80q; host, host:port and [address]:port are understood", ErrReference, reference)
	}
	return all, nil
}

func parseServer(s string) (Server, bool) {
	host, port := s, ""
	switch {
	case net.ParseIP(s) != nil: // also of IPv6 without brackets
	case strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]"):
		host = s[1 : len(s)-1]
	case strings.Contains(s, ":"):
		var err error
		if host, port, err = net.SplitHostPort(s); err != nil {
			return Server{}, false
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || port[0] == '+' {
			return Server{}, false
		}
	}
	if strings.Contains(host, ":") && net.ParseIP(host) == nil || !named(host) {
		return Server{}, false
	}
	return Server{host, port}, true
}

// named reports whether a text has the characters of a host's name or address.
func named(host string) bool {
	return host != "" && len(host) <= 253 && !strings.ContainsFunc(host, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._:", c)
	})
}
