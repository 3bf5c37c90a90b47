package main

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/export"
	"github.com/twinfleet/twinfleet/internal/export/endpoint"
	"github.com/twinfleet/twinfleet/metrics"
)

// addPushFlags gives a command the flags of what pushes metrics to others.
func addPushFlags(c *cobra.Command) {
	f := c.Flags()
	f.String("pushgateway", "", "URL of a Pushgateway that metrics are pushed to")
	f.String("prometheus-remote-write", "", "URL of a receiver of Prometheus's remote write; /api/v1/write when it has no path")
	f.String("otlp", "", "URL of an OpenTelemetry receiver of metrics (OTLP over HTTP); /v1/metrics when it has no path")
	for _, name := range []string{"pushgateway", "prometheus-remote-write", "otlp"} {
		f.String(name+"-auth-file", "", fmt.Sprintf("file with user:password, or Bearer and a token; or set %s", authVariable(name)))
	}
	f.Duration("push-every", 5*time.Second, "time between two pushes of metrics; a last one follows at the end")
}

// authVariable is the environment variable with the secret of an endpoint.
func authVariable(name string) string {
	return "TWINFLEET_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "_AUTH"
}

// startPush begins to push metrics to the endpoints that the settings name.
func startPush(s settings, rec *metrics.Recorder, log *slog.Logger) (*export.Exporter, error) {
	o := export.Options{Recorder: rec, Logger: log, Every: s.v.GetDuration("push-every")}
	if o.Every < time.Second {
		return nil, usagef("--push-every %s: a second is the least", o.Every)
	}
	for name, e := range map[string]*endpoint.Endpoint{"pushgateway": &o.Pushgateway, "prometheus-remote-write": &o.RemoteWrite, "otlp": &o.OTLP} {
		e.URL = s.v.GetString(name)
		var err error
		// No flag has this name, so that the secret is in no list of processes: it comes from the environment alone.
		if e.Auth, err = endpoint.ParseAuth(s.v.GetString(name + "-auth")); err != nil {
			return nil, usagef("%s: %w", authVariable(name), err)
		}
		if file := s.v.GetString(name + "-auth-file"); file != "" {
			if e.Auth, err = endpoint.ReadAuth(file); err != nil {
				return nil, usagef("--%s-auth-file: %w", name, err)
			}
		}
	}
	p, err := export.Start(o)
	if err != nil {
		return nil, withCode(codeUsage, err)
	}
	return p, nil
}
