package target

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/target/reach"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// insecureNote is what each report says of a target whose certificate is not checked.
const insecureNote = "the broker's certificate was not checked (target.tls.insecure): whoever was on the way could read and change what devices sent"

// openBroker opens a plain broker.
func (t *Target) openBroker(o *Options) error {
	s := &t.sc.Target
	x, err := s.Endpoint()
	if err != nil {
		return err
	}
	t.brokers = &brokers{open: func(x spec.Endpoint) *place { return t.brokerAt(x, o) }, others: make(map[string]*place)}
	t.places = []*place{t.brokers.open(x)}
	t.Name = x.Scheme + "://" + x.Addr
	if u := s.Through(); u != nil {
		t.Name += " through " + u.Scheme + "://" + u.Host // without its password
	}
	if s.TLS.Insecure {
		t.Name += " (certificate not checked)"
		t.Note = insecureNote
	}
	return nil
}

// brokerAt settles how devices reach the broker, or another server that it names.
func (t *Target) brokerAt(x spec.Endpoint, o *Options) *place {
	s := &t.sc.Target
	var sources []net.IP
	for _, a := range t.sc.Fleet.SourceAddresses {
		sources = append(sources, net.ParseIP(a)) // all are addresses: it was validated
	}
	w := reach.Way{Addr: x.Addr, Sources: sources, Every: s.Addresses == spec.Every, Resolver: o.Resolver, Proxy: s.Through()}
	bare, through := w.Dialers()
	if o.Dial != nil {
		bare, through = o.Dial, nil
	}
	if o.Watch != nil {
		bare = o.Watch(bare)
	}
	p := &place{endpoint: x, roots: trusted(s), web: s.WebSocket.Header(), ways: make(map[spec.DeviceTransport]way)}
	p.certTLS = brokerTLS(&s.TLS, x.Host, p.roots)
	shared := brokerTLS(&s.TLS, x.Host, p.roots)
	shared.ClientSessionCache = tls.NewLRUClientSessionCache(64)
	p.ways[spec.MQTT] = way{dial: bare, through: through, secure: p.securely(x, shared), web: p.webOn(x)}
	return p
}

// brokerTLS is how devices speak TLS to a broker of a name.
func brokerTLS(s *spec.TLS, host string, roots *x509.CertPool) *tls.Config {
	name, _, _ := strings.Cut(host, "%") // no certificate has the zone of an address
	config := clientTLS(name, roots)
	if s.ServerName != "" {
		config.ServerName = s.ServerName
	}
	if s.MinVersion == "1.3" {
		config.MinVersion = tls.VersionTLS13
	}
	config.NextProtos, config.InsecureSkipVerify = s.ALPN, s.Insecure // which the scenario asked for, and every report says
	return config
}

// brokers are the servers that a broker names instead of itself, as far as they are known. It is safe for concurrent use.
type brokers struct {
	open   func(x spec.Endpoint) *place
	mu     sync.Mutex
	others map[string]*place // by address
}

// mostOthers bounds the servers that are remembered.
const mostOthers = 256

// at is how devices reach the server of an endpoint.
func (b *brokers) at(x spec.Endpoint) *place {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.others[x.Addr]; p != nil {
		return p
	}
	if len(b.others) >= mostOthers {
		clear(b.others)
	}
	p := b.open(x)
	b.others[x.Addr] = p
	return p
}

// Redirects reports whether devices go to another server that the target names.
func (t *Target) Redirects() bool { return t.sc.Target.Redirect == spec.Follow }

// Redirected is what the connection of a device needs to another server, which the target named in a server reference (MQTT 5 section 4.11):
// the same credentials, and the same TLS but for the name of the server, where the scenario gives none. A reference without a port means the
// target's, and of several servers devices take each its own, in turn. Errors match reach.ErrReference; only brokers name others.
func (t *Target) Redirected(index int, id, reference string) (o link.Options, address string, err error) {
	if t.brokers == nil {
		return o, "", fmt.Errorf("%w: the target is no broker", reach.ErrReference)
	}
	servers, err := reach.References(reference)
	if err != nil {
		return o, "", err
	}
	server, x := servers[index%len(servers)], t.Endpoint()
	_, port, _ := net.SplitHostPort(x.Addr)
	if server.Port != "" {
		port = server.Port
	}
	x.Host, x.Addr = server.Host, net.JoinHostPort(server.Host, port)
	if x.Web != "" {
		x.Web = x.Addr
	}
	return t.linkAt(t.brokers.at(x), index, id), x.Addr, nil
}
