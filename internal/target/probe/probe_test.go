package probe_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/target/probe"
	"github.com/twinfleet/twinfleet/scenario"
)

// The path and the query of a broker's URL go out as they were written, and nothing tells the query.
func TestWebSocketURLVerbatim(t *testing.T) {
	asked := make(chan string, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.RequestURI
		http.NotFound(w, r)
	}))
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.Start()
	defer server.Close()
	for url, want := range map[string]string{
		"": "/mqtt", "?token=s3cret": "/mqtt?token=s3cret", "/plant%2F7/mqtt?token=s3cret%2Bx&a=b": "/plant%2F7/mqtt?token=s3cret%2Bx&a=b", "/a%20b": "/a%20b",
	} {
		sc, err := scenario.Decode("broker.yaml",
			[]byte("target: {hub: \"ws://"+server.Listener.Addr().String()+url+"\"}\nfleet: {groups: [{name: g, telemetry: {every: 1s}}]}\n"+
				"stages: [{name: s, duration: 1s}]\n"), scenario.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := probe.New(t.Context(), sc)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Handshake(t.Context())
		if got := <-asked; got != want {
			t.Errorf("%q: asked for %s; want %s", url, got, want)
		}
		if err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(string(sc.Source), "s3cret") {
			t.Errorf("%q: %v\n%s", url, err, sc.Source)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}
