package hub_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/events"
	"github.com/twinfleet/twinfleet/internal/hub/front"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
)

// bench is a hub with one device, dev-1, for a case of the contract.
type bench struct {
	*testing.T
	hub     *hub.Hub
	service *service.Client
	key     sas.Key
}

func newBench(t *testing.T) *bench {
	h, c := open(t, hub.Options{})
	d := newDevice(t, c, "dev-1")
	return &bench{t, h, c, d.Authentication.SymmetricKey.Primary}
}

func (b *bench) online() *wiretest.Wire {
	b.Helper()
	return online(b, b.hub, "dev-1", b.key)
}

func (b *bench) must(method, path, body string, headers ...string) answer {
	b.Helper()
	return must(b, b.hub, method, path, body, headers...)
}

func (b *bench) equal(what string, got, want any) {
	b.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		b.Errorf("%s: got %v; want %v", what, got, want)
	}
}

const (
	twinPath    = "/twins/dev-1?api-version=2021-04-12"
	devicePath  = "/devices/dev-1?api-version=2021-04-12"
	queryPath   = "/devices/query?api-version=2021-04-12"
	everything  = `{"query":"SELECT * FROM devices"}`
	nullInArray = `{"a":[{"b":null}]}`
)

// rawToken signs a token whose sr is written as it is given.
func rawToken(sr string, key sas.Key, policy string) string {
	se := fmt.Sprint(time.Now().Add(time.Hour).Unix())
	sig := base64.StdEncoding.EncodeToString(key.Sign(sr + "\n" + se))
	token := "SharedAccessSignature sr=" + sr + "&sig=" + url.QueryEscape(sig) + "&se=" + se
	if policy != "" {
		token += "&skn=" + policy
	}
	return token
}

// listener is a backend that keeps what it hears.
type listener struct {
	devices.Backend
	keys map[string]sas.Key

	mu        sync.Mutex // protects the following fields
	messages  []events.Message
	wills     int
	connected map[string]bool
}

func (l *listener) Credentials(id string) (registry.Credentials, error) {
	key, ok := l.keys[id]
	if !ok {
		return registry.Credentials{}, iothub.ErrDeviceNotFound
	}
	return registry.Credentials{Enabled: true, AuthType: registry.AuthSAS, Primary: key}, nil
}

func (l *listener) Active(string) {}

func (l *listener) Connected(id string, connected bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.connected == nil {
		l.connected = make(map[string]bool)
	}
	l.connected[id] = connected
}

func (l *listener) Telemetry(_ context.Context, _ string, batch devices.Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if batch.Will {
		l.wills++
	}
	for _, m := range batch.Messages() {
		m.Payload = bytes.Clone(m.Payload)
		l.messages = append(l.messages, m)
	}
	return nil
}

func (l *listener) message(t testing.TB) events.Message {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.messages) != 1 {
		t.Fatalf("%d messages came; want 1", len(l.messages))
	}
	return l.messages[0]
}

// pipe connects to a device side of its own, in memory, so that its clock may be a test's.
func pipe(t testing.TB, b devices.Backend, o front.Options) *wiretest.Wire {
	table := devices.New(devices.Options{Backend: b})
	o.Devices = table
	f := front.New(o)
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); f.ServeConn(server) }()
	t.Cleanup(func() { client.Close(); <-done; f.Close(); table.Close() })
	return wiretest.New(t, client)
}
