package target_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/internal/target/reach"
	"github.com/twinfleet/twinfleet/metrics/reason"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/test/loopback"
)

// broker opens a scenario's broker.
func broker(t *testing.T, line string, o target.Options) *target.Target {
	t.Helper()
	text := "target: " + line + "\nfleet: {groups: [{name: robots, count: 4}]}\nstages: [{name: s, devices: 1}]\n"
	sc, err := scenario.Decode("x.yaml", []byte(text), scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o.Scenario = sc
	x, err := target.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

// Devices speak TLS to a broker as the scenario says, and what is not checked is said.
func TestBrokerTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{NextProtos: []string{"mqtt", "http/1.1"}, MaxVersion: tls.VersionTLS12}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	at := server.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(at)
	for _, tt := range []struct{ line, want, note string }{
		{"{hub: 'mqtts://HOST', ca: CA}", "TLS 1.2 ", ""},
		{"{hub: 'mqtts://HOST', ca: CA, tls: {alpn: [x, mqtt]}}", "TLS 1.2 mqtt", ""},
		{"{hub: 'mqtts://HOST', ca: CA, tls: {server_name: example.com}}", "TLS 1.2 ", ""},
		{"{hub: 'mqtts://HOST', ca: CA, tls: {server_name: other.net}}", "the target's certificate is for another name", ""},
		{"{hub: 'mqtts://HOST', ca: CA, tls: {min_version: 1.3}}", "the target refused the TLS handshake (protocol version not supported)", ""},
		{"{hub: 'mqtts://HOST', ca: CA, tls: {alpn: [other]}}", "the target refused the TLS handshake (no application protocol)", ""},
		{"{hub: 'mqtts://HOST'}", reason.Untrusted, ""},
		{"{hub: 'mqtts://HOST', tls: {insecure: true, server_name: other.net}}", "TLS 1.2 ", "not checked"},
		{"{hub: 'wss://HOST', ca: CA, tls: {alpn: [http/1.1]}}", "the WebSocket upgrade was refused with 404", ""},
		{"{hub: 'wss://HOST', ca: CA, tls: {min_version: '1.3'}}", "the target refused the TLS handshake (protocol version not supported)", ""},
	} {
		x := broker(t, strings.NewReplacer("HOST", at, "CA", ca).Replace(tt.line), target.Options{})
		nc, err := x.Link(0, "robots-000000").Dial(t.Context())
		got := reason.Of(err)
		if err == nil {
			state := nc.(*tls.Conn).ConnectionState()
			got = tls.VersionName(state.Version) + " " + state.NegotiatedProtocol
			nc.Close()
		}
		if got != tt.want {
			t.Errorf("%s: %s (%v); want %s", tt.line, got, err, tt.want)
		}
		if said := strings.Contains(x.Note, "not checked") && strings.Contains(x.Name, "not checked"); said != (tt.note != "") || x.Note != "" && !said {
			t.Errorf("%s: %s, %s", tt.line, x.Name, x.Note)
		}
	}
	// Another server is asked for by its own name, with the same trust: localhost is not in the certificate.
	x := broker(t, fmt.Sprintf("{hub: 'mqtts://%s', ca: %s, mqtt: 5, redirect: follow}", at, ca), target.Options{})
	o, _, err := x.Redirected(0, "robots-000000", "localhost:"+port)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Dial(t.Context()); reason.Of(err) != "the target's certificate is for another name" {
		t.Errorf("another server by its name: %v", err)
	}
}

// Devices that are sent elsewhere bring the same credentials, and each takes one of the servers.
func TestRedirected(t *testing.T) {
	here := listener(t)
	line := fmt.Sprintf("{hub: 'mqtt://%s', username: 'u-{device}', password: 'p-{index}', mqtt: 5, redirect: follow}", here)
	x := broker(t, line, target.Options{})
	_, port, _ := net.SplitHostPort(here)
	there := listener(t)
	for index, want := range []string{there, here, there, here} {
		id := fmt.Sprintf("robots-%06d", index)
		o, server, err := x.Redirected(index, id, there+" 127.0.0.1")
		if err != nil || server != want {
			t.Fatalf("%s, %v; want %s", server, err, want)
		}
		if o.ClientID != id || o.Username != "u-"+id || o.Password() != fmt.Sprintf("p-%d", index) && o.Password() != fmt.Sprintf("p-%06d", index) {
			t.Errorf("%s, %s, %s", o.ClientID, o.Username, o.Password())
		}
		nc, err := o.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := nc.RemoteAddr().String(); got != want {
			t.Errorf("device %d is at %s; want %s, for which the port %s holds when the reference has none", index, got, want, port)
		}
		nc.Close()
	}
	if _, _, err := x.Redirected(0, "robots-000000", "mqtt://there"); !errors.Is(err, reach.ErrReference) {
		t.Errorf("what names no server: %v", err)
	}
}

// listener takes connections and says nothing.
func listener(t *testing.T) string {
	t.Helper()
	return loopback.Serve(t, func(nc net.Conn) { _, _ = io.Copy(io.Discard, nc) })
}

type resolver []string

func (r resolver) LookupHost(context.Context, string) ([]string, error) { return r, nil }

// Devices take the addresses of a name in turn, and are seen to fail at that where nobody is.
func TestBrokerAddresses(t *testing.T) {
	_, port, _ := net.SplitHostPort(listener(t))
	failed := make(chan error, 9)
	watch := func(dial link.Dialer) link.Dialer {
		return func(ctx context.Context) (net.Conn, error) {
			nc, err := dial(ctx)
			failed <- err
			return nc, err
		}
	}
	x := broker(t, fmt.Sprintf("{hub: 'mqtt://broker.example:%s', addresses: each}", port), target.Options{Resolver: resolver{"127.0.0.1", "127.0.0.66"}, Watch: watch})
	for i := range 4 {
		nc, err := x.Link(i, "robots-00000"+fmt.Sprint(i)).Dial(t.Context())
		if (err != nil) != (i%2 == 1) {
			t.Errorf("connection %d: %v", i, err)
		}
		if seen := <-failed; !errors.Is(seen, err) {
			t.Errorf("connection %d: %v was seen, %v came", i, seen, err)
		}
		if err == nil {
			nc.Close()
		}
	}
}

// A proxy's password is in no name of the target.
func TestProxyName(t *testing.T) {
	x := broker(t, "{hub: 'mqtt://broker.example', proxy: 'http://u:s3cret@127.0.0.1:1'}", target.Options{})
	if x.Name != "mqtt://broker.example:1883 through http://127.0.0.1:1" {
		t.Error(x.Name)
	}
	if _, err := x.Link(0, "robots-000000").Dial(t.Context()); reason.Of(err) != "nothing listens at the proxy" {
		t.Errorf("nobody at the proxy: %v", err)
	}
}
