package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/twinfleet/twinfleet/internal/httpserve"
	"github.com/twinfleet/twinfleet/internal/oserr"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/prom"
)

// metricsServer serves /metrics. A nil one serves nothing.
type metricsServer struct {
	server *http.Server
	addr   string
	ended  chan struct{}
}

// serveMetrics listens at an address; with an empty one it returns nil. Where another port will do, as of an address
// that nobody asked for, it takes one when this one is taken, by another run perhaps, and says so.
func serveMetrics(addr string, another bool, rec *metrics.Recorder, log *slog.Logger) (*metricsServer, error) {
	return serveHandler(addr, another, prom.Handler(rec), log)
}

// serveHandler is serveMetrics for whoever knows the figures.
func serveHandler(addr string, another bool, figures http.Handler, log *slog.Logger) (*metricsServer, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", addr)
	if another && oserr.Is(err, oserr.InUse) {
		if l, err = net.Listen("tcp", freePort(addr)); err == nil {
			log.Warn(addr+" is taken, by another run perhaps; --metrics-addr gives another", "metrics", "http://"+l.Addr().String()+"/metrics")
		}
	}
	if err != nil {
		return nil, usagef("--metrics-addr %s: %w; give another address, or \"\" for none", addr, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", figures)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	m := &metricsServer{
		server: httpserve.New(mux, log), addr: httpserve.Reached(l.Addr()), ended: make(chan struct{}),
	}
	if !httpserve.Exposed(l.Addr()) { // who listens elsewhere is called by whatever names the machine has
		m.server.Handler = httpserve.ByAddress(mux)
	}
	httpserve.Warn(log, l.Addr(), "/metrics", "it holds names of the scenario")
	go func() {
		defer close(m.ended)
		if err := m.server.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			log.Error("serving metrics ended", "error", err)
		}
	}()
	return m, nil
}

// freePort is an address with any port that is free.
func freePort(addr string) string {
	host, _, _ := net.SplitHostPort(addr)
	return net.JoinHostPort(host, "0")
}

func (m *metricsServer) url() string {
	if m == nil {
		return ""
	}
	return "http://" + m.addr + "/metrics"
}

// close lets a scrape that is under way end, and waits for the server.
func (m *metricsServer) close() {
	if m == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if m.server.Shutdown(ctx) != nil {
		m.server.Close()
	}
	<-m.ended
}
