package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// healthTimeout is how long whoever is asked may take.
const healthTimeout = 5 * time.Second

func newHealth(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "health",
		Short: "Ask a run or a hub on this machine whether it is up",
		Long: `Ask a run or a hub on this machine whether it is up, by the address that serves its /metrics: for
health checks of containers, whose image has no other program that could ask. The setting is the
one of the process that is asked, so that TWINFLEET_METRICS_ADDR serves both.

Exit codes: 0 it is up, 1 it is not, 2 the usage is wrong.`,
		Example: "  twinfleet health\n  twinfleet health --metrics-addr 0.0.0.0:9465",
		Args:    cobra.NoArgs,
	}
	c.Flags().String("metrics-addr", "127.0.0.1:9464", "address that serves /metrics, as the run or the hub was given it")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := loadSettings(cmd)
		if err != nil {
			return err
		}
		return askHealth(cmd.Context(), e, s.v.GetString("metrics-addr"))
	}
	return c
}

// askHealth prints what an address says of itself; one that says anything but that it is up is an error.
func askHealth(ctx context.Context, e env, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" || port == "0" {
		return usagef("--metrics-addr %q: write host:port", addr)
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1" // who listens on every address listens there
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/healthz", nil)
	if err != nil {
		return usagef("--metrics-addr %q: %w", addr, err)
	}
	// No proxy stands between two processes of a machine.
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", req.URL, resp.Status)
	}
	_, err = e.stdout.Write(said)
	return err
}
