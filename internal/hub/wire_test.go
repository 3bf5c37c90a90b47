package hub_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// dial opens a connection in clear, also to a hub without a port.
func dial(t testing.TB, h *hub.Hub) *wiretest.Wire {
	t.Helper()
	open := func() (net.Conn, error) { return net.Dial("tcp", h.Addr()) }
	if h.Addr() == "" {
		open = func() (net.Conn, error) { return h.Dial(t.Context()) }
	}
	nc, err := open()
	if err != nil {
		t.Fatal(err)
	}
	return wiretest.New(t, nc)
}

// dialTLS opens a connection with TLS.
func dialTLS(t testing.TB, h *hub.Hub, config *tls.Config) (*wiretest.Wire, error) {
	t.Helper()
	config.RootCAs, config.ServerName = h.CAPool(), "localhost"
	nc, err := tls.Dial("tcp", h.Addr(), config)
	if err != nil {
		return nil, err
	}
	return wiretest.New(t, nc), nil
}

// online connects a device over a new connection, with a session that is kept.
func online(t testing.TB, h *hub.Hub, id string, key sas.Key) *wiretest.Wire {
	t.Helper()
	w := dial(t, h)
	if _, code := w.Connect(wiretest.Login(id, key)); code != mqtt.Accepted {
		t.Fatalf("CONNACK %d; want 0", code)
	}
	return w
}

// answer is what REST answers.
type answer struct {
	status int
	header http.Header
	body   string
}

// member finds a member of the answer's JSON by its path, nil if there is none.
func (a answer) member(path ...string) any {
	var v any
	if json.Unmarshal([]byte(a.body), &v) != nil {
		return nil
	}
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// call speaks REST as a client of the policy iothubowner does; headers are pairs of name and value.
func call(t testing.TB, h *hub.Hub, method, path, body string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+cmp.Or(h.Addr(), "hub")+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	cs := h.ConnectionString("iothubowner")
	r.Header.Set("Authorization", sas.Sign(cs.HostName, cs.Key, cs.Policy, time.Now().Add(time.Hour)))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true}
	if h.Addr() == "" { // it has no port
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return h.Dial(ctx) }
	}
	resp, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// must is call for what has to succeed.
func must(t testing.TB, h *hub.Hub, method, path, body string, headers ...string) answer {
	t.Helper()
	a := call(t, h, method, path, body, headers...)
	if a.status >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
	return a
}

// eventually asks until the answer pleases.
func eventually(t testing.TB, what string, pleases func() bool) {
	t.Helper()
	for end := time.Now().Add(wiretest.Patience); !pleases(); {
		if time.Now().After(end) {
			t.Fatalf("it never came about: %s", what)
		}
		<-time.After(2 * time.Millisecond) // to ask without end would starve what is waited for
	}
}
