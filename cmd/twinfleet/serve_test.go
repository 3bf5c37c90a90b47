package main

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/metrics"
)

// Two runs at once: where nobody asked for the address the second takes another port and says so.
func TestMetricsAddressTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	m, err := serveMetrics(addr, true, metrics.NewRecorder(metrics.Options{}), log)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	if m.addr == addr || !strings.HasPrefix(m.addr, "127.0.0.1:") || !strings.Contains(said.String(), addr+" is taken") || !strings.Contains(said.String(), m.url()) {
		t.Errorf("serves at %s and said %q", m.addr, &said)
	}
	if _, err := serveMetrics(addr, false, metrics.NewRecorder(metrics.Options{}), log); !errors.Is(err, syscall.EADDRINUSE) || codeOf(err) != codeUsage {
		t.Errorf("an address that was asked for: %v; want that it is taken, and %d", err, codeUsage)
	}
}

// An address counts as asked for wherever it was written, also when it is the default one.
func TestGiven(t *testing.T) {
	given := func(args ...string) bool {
		c := &cobra.Command{}
		addCommonFlags(c)
		addLiveFlags(c)
		if err := c.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		s, err := loadSettings(c)
		if err != nil {
			t.Fatal(err)
		}
		return s.given("ui-addr")
	}
	if given() {
		t.Error("the default counts as given")
	}
	if !given("--ui-addr", "127.0.0.1:9466") {
		t.Error("a flag does not count as given")
	}
	t.Setenv("TWINFLEET_UI_ADDR", "127.0.0.1:9466")
	if !given() {
		t.Error("the environment does not count as given")
	}
}

// Figures on loopback answer to no other's name, since that may be an attacker's; elsewhere to any, and then it is said that others can read them.
func TestWhoReadsTheFigures(t *testing.T) {
	for addr, want := range map[string]struct {
		code int
		said bool
	}{"127.0.0.1:0": {http.StatusForbidden, false}, "0.0.0.0:0": {http.StatusOK, true}} {
		var said bytes.Buffer
		m, err := serveMetrics(addr, true, metrics.NewRecorder(metrics.Options{}), slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil {
			t.Fatal(err)
		}
		defer m.close()
		_, port, err := net.SplitHostPort(m.addr)
		if err != nil {
			t.Fatal(err)
		}
		for host, code := range map[string]int{"evil.example": want.code, "127.0.0.1:" + port: http.StatusOK, "localhost": http.StatusOK} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+"/metrics", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != code {
				t.Errorf("at %s as %s: %d; want %d", addr, host, resp.StatusCode, code)
			}
		}
		if got := strings.Contains(said.String(), "other machines can read /metrics over the network"); got != want.said {
			t.Errorf("at %s it said %q", addr, &said)
		}
	}
}
