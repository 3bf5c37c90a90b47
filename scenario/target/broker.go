package target

import (
	"fmt"
	"net"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/twinfleet/twinfleet/internal/language/topic"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

// brokerKeys are the keys that only a plain broker has.
func brokerKeys() []string {
	return []string{"topic", "username", "password", "mqtt", "tls", "websocket", "addresses", "proxy", "redirect"}
}

// validateBroker holds the address of a plain broker, and how it is spoken to.
func (t *Target) validateBroker(r Problems) {
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
		validatePort(r, path, u.Port())
	}
	if !web && (strings.Trim(u.Path, "/") != "" || u.RawQuery != "") || u.Fragment != "" {
		r.FailAt(path, problem.Place{}, "what stands behind the port is sent to nobody; only ws:// and wss:// have a path and a query")
	}
	for _, mistake := range []string{topic.Unknown(t.Username), topic.Character(t.Username)} {
		if mistake != "" {
			r.FailAt("target.username", problem.Place{}, "%s", mistake)
		}
	}
	t.validateTLS(r, u, web)
	t.validateWebSocket(r, web)
	t.validateProxy(r)
	if t.Addresses == Every && net.ParseIP(u.Hostname()) != nil {
		r.FailAt("target.addresses", problem.Place{}, "%s is an address itself, and each is of the addresses of a name; remove addresses", u.Hostname())
	}
	if t.Redirect == Follow && !t.V5() {
		r.FailAt("target.redirect", problem.Place{}, "only MQTT 5 names another server; write mqtt: 5, or remove redirect")
	}
}

// validateTLS holds what is said of TLS to what a broker of the scheme speaks.
func (t *Target) validateTLS(r Problems, u *url.URL, web bool) {
	const path = "target.tls"
	x := &t.TLS
	if !r.Given(path) {
		return
	}
	if u.Scheme != "mqtts" && u.Scheme != "wss" && u.Scheme != "ssl" {
		secure := map[bool]string{true: "wss", false: "mqtts"}[web]
		r.FailAt(path, problem.Place{}, "%s:// is in clear; write %s:// in target.hub, or remove tls", u.Scheme, secure)
		return
	}
	if x.ServerName != "" && !hostName(x.ServerName) {
		r.FailAt(path+".server_name", problem.Place{}, "%q is no name of a host, without a port, or an address", x.ServerName)
	}
	if r.Given(path+".alpn") && len(x.ALPN) == 0 {
		r.FailAt(path+".alpn", problem.Place{}, "there is no protocol in the list; write [mqtt], or remove alpn")
	}
	for i, protocol := range x.ALPN {
		at := fmt.Sprintf("%s.alpn[%d]", path, i)
		switch {
		case protocol == "" || len(protocol) > 255:
			r.FailAt(at, problem.Place{}, "a protocol has 1 to 255 bytes (RFC 7301), this one %d", len(protocol))
		case web && protocol == "h2":
			r.FailAt(at, problem.Place{}, "a WebSocket begins with HTTP/1.1; write http/1.1")
		case slices.Index(x.ALPN, protocol) < i:
			r.FailAt(at, problem.Place{}, "%q is in the list twice", protocol)
		}
	}
	if x.Insecure && t.CA != "" {
		r.FailAt(path+".insecure", problem.Place{}, "with insecure no certificate is checked, and target.ca is of no use; remove one of them")
	}
}

// validateWebSocket holds the request for a WebSocket.
func (t *Target) validateWebSocket(r Problems, web bool) {
	const path = "target.websocket"
	if !r.Given(path) {
		return
	}
	if !web {
		r.FailAt(path, problem.Place{}, "only ws:// and wss:// in target.hub are WebSockets; write one of them, or remove websocket")
		return
	}
	if s := t.WebSocket.SubProtocol; !httpguts.ValidHeaderFieldName(s) { // both are tokens (RFC 6455 section 4.1)
		r.FailAt(path+".subprotocol", problem.Place{}, "%q is no sub-protocol: letters, digits and hyphens, such as mqtt or mqttv3.1", s)
	}
	seen := make(map[string]bool)
	for _, h := range t.WebSocket.Headers {
		at, name := path+".headers."+h.Name, textproto.CanonicalMIMEHeaderKey(h.Name)
		switch {
		case !httpguts.ValidHeaderFieldName(h.Name):
			r.FailAt(at, problem.Place{}, "%q is no name of an HTTP header: letters, digits and hyphens", h.Name)
		case !httpguts.ValidHeaderFieldValue(h.Value):
			r.FailAt(at, problem.Place{}, "the value has characters that no HTTP header may have, such as the end of a line")
		case name == "Sec-Websocket-Protocol":
			r.FailAt(at, problem.Place{}, "the client sends it itself; write websocket.subprotocol")
		case forbidden(name):
			r.FailAt(at, problem.Place{}, "the client sends it itself, as the handshake needs it; remove it")
		case seen[name]:
			r.FailAt(at, problem.Place{}, "%s is given twice; small and capital letters do not differ", name)
		}
		seen[name] = true
	}
}

// forbidden reports whether a header is the client's own. Host is not: who stands in front of a broker may go by it.
func forbidden(name string) bool {
	return strings.HasPrefix(name, "Sec-Websocket-") ||
		slices.Contains([]string{"Connection", "Upgrade", "Content-Length", "Transfer-Encoding", "Trailer", "Te", "Keep-Alive"}, name)
}

// validateProxy holds the address of a proxy. Nothing that is said of it shows it: it may hold a password.
func (t *Target) validateProxy(r Problems) {
	const path = "target.proxy"
	if t.Proxy == "" {
		if r.Given(path) {
			r.FailAt(path, problem.Place{}, "it is empty; write http://user:password@proxy:3128 or socks5://proxy:1080, or remove proxy")
		}
		return
	}
	u, err := url.Parse(t.Proxy)
	switch {
	case err != nil || u.Hostname() == "":
		r.FailAt(path, problem.Place{}, "the address of the proxy is no URL such as http://user:password@proxy:3128; in a password, write %%40 for @, %%2F for / and %%3A for :")
		return
	case strings.Count(u.User.String(), "%40") > strings.Count(t.Proxy, "%40"):
		r.FailAt(path, problem.Place{}, "a user name or password of the proxy has an @ as it is; write %%40 for it")
		return
	case u.Scheme == "https":
		r.FailAt(path, problem.Place{}, "proxies over TLS are not spoken to; write http:// (TLS to the broker goes through it untouched), or socks5://")
		return
	case u.Scheme != "http" && u.Scheme != "socks5":
		r.FailAt(path, problem.Place{}, "unknown scheme %s://; use http (CONNECT) or socks5", u.Scheme)
		return
	case u.Port() == "":
		r.FailAt(path, problem.Place{}, "name the port of the proxy, such as %s://%s:%s", u.Scheme, u.Host, map[string]string{"http": "3128", "socks5": "1080"}[u.Scheme])
		return
	}
	validatePort(r, path, u.Port())
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		r.FailAt(path, problem.Place{}, "a proxy has no path; end with its port")
	}
	password, _ := u.User.Password()
	if name := u.User.Username(); u.Scheme == "socks5" && u.User != nil && (name == "" || len(name) > 255 || password == "" || len(password) > 255) {
		r.FailAt(path, problem.Place{}, "user name and password of SOCKS5 have 1 to 255 bytes each (RFC 1929)")
	}
	if u.Scheme == "http" && strings.Contains(u.User.Username(), ":") {
		r.FailAt(path, problem.Place{}, "a user name with a colon cannot be told from its password (RFC 7617)")
	}
}

// hostName reports whether a text can be the name of a host, or its address.
func hostName(s string) bool {
	if net.ParseIP(s) != nil {
		return true
	}
	return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_'
	})
}
