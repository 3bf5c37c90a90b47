package main

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
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
