package target

import (
	"net/http"
	"net/url"
)

// The versions of MQTT that devices of a broker speak, as Target.MQTT has them.
const (
	MQTT311 = "3.1.1"
	MQTT5   = "5"
)

// Which addresses of a broker's name devices connect to, as Target.Addresses has them.
const (
	First = "first" // as the system chooses: the first that answers
	Every = "each"  // all of them in turn
)

// What devices do when a broker names another server, as Target.Redirect has it.
const (
	Refuse = "refuse"
	Follow = "follow"
)

// TLS is how devices speak TLS to a broker. The zero value is as the library has it, but for the version.
type TLS struct {
	ServerName string   // in the handshake and in the certificate; the host's name when empty
	MinVersion string   // "1.2" or "1.3"; 1.2 when empty
	ALPN       []string // protocols that are offered, the first is liked best; nil offers none
	Insecure   bool     // the certificate of the broker is not checked
}

// WebSocket is how devices ask a broker for a WebSocket.
type WebSocket struct {
	Headers     []Header // of the request, in the order of the file; values may be secrets
	SubProtocol string   // what is asked for; mqtt when empty
}

// Header is a field of an HTTP request.
type Header struct{ Name, Value string }

// Header are the fields as HTTP has them; nil for none.
func (w *WebSocket) Header() http.Header {
	if len(w.Headers) == 0 {
		return nil
	}
	all := make(http.Header)
	for _, h := range w.Headers {
		all.Add(h.Name, h.Value)
	}
	return all
}

// Through is the proxy on the way to a broker, which may hold a password; nil for none.
func (t *Target) Through() *url.URL {
	if t.Proxy == "" {
		return nil
	}
	u, err := url.Parse(t.Proxy)
	if err != nil || u.Host == "" {
		return nil // validation told of it
	}
	return u
}

// Opened is the host that sockets of this machine are opened to: the proxy's, or that of the target.
func (t *Target) Opened() (host string, err error) {
	if u := t.Through(); u != nil {
		return u.Hostname(), nil
	}
	x, err := t.Endpoint()
	return x.Host, err
}
