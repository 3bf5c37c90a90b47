package link_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/paho"
	"github.com/twinfleet/twinfleet/metrics/reason"
	"github.com/twinfleet/twinfleet/test/loopback"
)

// certificate is a new one that signs itself, for a name and until a time.
func certificate(t *testing.T, name string, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// secured serves TLS: a handshake, and then silence.
func secured(t *testing.T, config *tls.Config) string {
	return loopback.Serve(t, func(nc net.Conn) { _, _ = io.Copy(io.Discard, tls.Server(nc, config)) })
}

// Each way in which a connection is not to be had has a reason of its own, over real sockets.
func TestReasons(t *testing.T) {
	const name = "broker.example"
	tomorrow := time.Now().Add(24 * time.Hour)
	good, roots := certificate(t, name, tomorrow)
	old, oldRoots := certificate(t, name, time.Now().Add(-24*time.Hour))
	client := func(roots *x509.CertPool, name string) *tls.Config {
		return &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12}
	}
	server := func(cert tls.Certificate, most uint16, demand tls.ClientAuthType) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10, MaxVersion: most, ClientAuth: demand}
	}
	plainTLS := secured(t, server(good, 0, tls.NoClientCert))
	hangsUp := loopback.Serve(t, func(nc net.Conn) { _, _ = nc.Read(make([]byte, 1)) })
	babbles := loopback.Serve(t, func(nc net.Conn) {
		_, _ = nc.Write([]byte("220 mail.example ESMTP\r\n"))
		_, _ = io.Copy(io.Discard, nc)
	})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/teapot":
			w.WriteHeader(http.StatusTeapot)
		case "/half":
			w.Header().Set("Upgrade", "h2c")
			w.WriteHeader(http.StatusSwitchingProtocols)
		default:
			http.NotFound(w, r)
		}
	}))
	defer web.Close()
	webAddr := web.Listener.Addr().String()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	for _, tt := range []struct {
		name string
		dial link.Dialer
		want string
	}{
		{"closed port", link.TCP(closed), "nothing listens at the target"},
		{"no such name", link.TCP("no-such-host.invalid:1883"), "the target's name "}, // was not found, or could not be resolved without a name server
		{"source of another family", link.TCP("[::1]:1883", net.IPv4(127, 0, 0, 1)), "no address of the target fits the source address"},
		{"source of another machine", link.TCP(closed, net.IPv4(192, 0, 2, 1)), "the source address is not one of this machine"},
		{"untrusted", link.TLS(link.TCP(plainTLS), client(oldRoots, name)), "the target's certificate is not trusted"},
		{
			"expired", link.TLS(link.TCP(secured(t, server(old, 0, tls.NoClientCert))), client(oldRoots, name)),
			"the target's certificate has expired, or is not valid yet",
		},
		{"another name", link.TLS(link.TCP(plainTLS), client(roots, "other.example")), "the target's certificate is for another name"},
		{
			"client certificate, TLS 1.3", link.TLS(link.TCP(secured(t, server(good, tls.VersionTLS13, tls.RequireAnyClientCert))), client(roots, name)),
			"the target demands a client certificate",
		},
		{
			"client certificate, TLS 1.2", link.TLS(link.TCP(secured(t, server(good, tls.VersionTLS12, tls.RequireAnyClientCert))), client(roots, name)),
			"the target refused the TLS handshake (handshake failure)",
		},
		{
			"old TLS", link.TLS(link.TCP(secured(t, server(good, tls.VersionTLS11, tls.NoClientCert))), client(roots, name)),
			"the target refused the TLS handshake (protocol version not supported)",
		},
		{"TLS to a port that talks first", link.TLS(link.TCP(babbles), client(roots, name)), "the target does not speak TLS"},
		{"TLS to a port that hangs up", link.TLS(link.TCP(hangsUp), client(roots, name)), "the target closed the connection in the TLS handshake"},
		{"TLS to a web server", link.TLS(link.TCP(webAddr), client(roots, name)), "the target does not speak TLS"},
		{"WebSocket to no page", link.WebSocket(link.TCP(webAddr), "broker", "/mqtt", link.WebMQTT), "the WebSocket upgrade was refused with 404"},
		{"WebSocket to a teapot", link.WebSocket(link.TCP(webAddr), "broker", "/teapot", link.WebMQTT), "the WebSocket upgrade was refused with 418"},
		{"WebSocket to another upgrade", link.WebSocket(link.TCP(webAddr), "broker", "/half", link.WebMQTT), "the target did not answer the WebSocket upgrade as HTTP does"},
		{"WebSocket to another protocol", link.WebSocket(link.TCP(babbles), "broker", "/mqtt", link.WebMQTT), "the target did not answer the WebSocket upgrade as HTTP does"},
		{"WebSocket to a port that hangs up", link.WebSocket(link.TCP(hangsUp), "broker", "/mqtt", link.WebMQTT), "the target closed the connection in the WebSocket handshake"},
		{"MQTT to a TLS port", link.TCP(plainTLS), "the target closed the connection before CONNACK"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			_, err := paho.New().Connect(ctx, link.Options{ClientID: "dev", KeepAlive: time.Minute, Dial: tt.dial, Handler: func(link.Message) {}})
			if got := reason.Of(err); !strings.HasPrefix(got, tt.want) {
				t.Errorf("%q (%v); want %q", got, err, tt.want)
			}
		})
	}
}
