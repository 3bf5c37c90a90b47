package linktest

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/test/loopback"
)

// Mochi starts a broker that none of this project wrote, for as long as the test runs: in clear, with TLS, and over WebSocket.
func Mochi(t *testing.T) map[string]link.Dialer {
	t.Helper()
	broker := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := broker.AddHook(new(auth.AllowHook), nil); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate
	server.Close()
	clear, secure := local(t), local(t)
	web := listeners.NewWebsocket(listeners.Config{ID: "ws", Address: loopback.Free(t)})
	for _, l := range []listeners.Listener{
		listeners.NewNet("tcp", clear), listeners.NewNet("tls", tls.NewListener(secure, &tls.Config{Certificates: server.TLS.Certificates, MinVersion: tls.VersionTLS12})), web,
	} {
		if err := broker.AddListener(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := broker.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	for { // it does not tell when it listens
		if nc, err := net.Dial("tcp", web.Address()); err == nil {
			nc.Close()
			break
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the WebSocket listener does not come")
		case <-time.After(10 * time.Millisecond):
		}
	}
	trust := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	trust.ServerName = "example.com"
	return map[string]link.Dialer{
		"tcp": link.TCP(clear.Addr().String()), "tls": link.TLS(link.TCP(secure.Addr().String()), trust),
		"ws": link.WebSocket(link.TCP(web.Address()), "localhost", "/mqtt", link.WebMQTT),
	}
}

func local(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
