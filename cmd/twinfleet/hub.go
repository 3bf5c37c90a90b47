package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/gc"
	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/bearer"
	"github.com/twinfleet/twinfleet/internal/hub/consumers"
	"github.com/twinfleet/twinfleet/internal/hub/dps"
	"github.com/twinfleet/twinfleet/internal/hub/hubmetrics"
	"github.com/twinfleet/twinfleet/internal/hub/querylag"
	"github.com/twinfleet/twinfleet/internal/hub/throttle/bucket"
	"github.com/twinfleet/twinfleet/internal/hub/wholefile"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/nearby"
	"github.com/twinfleet/twinfleet/internal/swarm/launch"
	"github.com/twinfleet/twinfleet/metrics"
)

func newHub(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "hub",
		Short: "Run the embedded hub alone: a local IoT Hub for devices and services",
		Long: `Run the embedded hub alone. One port speaks MQTT, AMQP, both over WebSocket, and HTTPS for devices and services,
each in clear and over TLS. It prints a service connection string that scenarios and the official SDKs take, and the one with which
readers of Event Hubs get what devices send.
A Device Provisioning Service is on the same port, with an enrollment group that is ready for devices.`,
		Example: "  twinfleet hub\n  twinfleet hub --data ./hub-data --tier S1 --units 2\n  twinfleet hub --query-lag 500ms..3s\n  twinfleet hub --dps-delay 2s..20s --dps-limits azure",
		Args:    cobra.NoArgs,
	}
	addCommonFlags(c)
	f := c.Flags()
	f.String("listen", "127.0.0.1:8883", "address of the port; port 0 takes a free one")
	f.StringSlice("extra-listen", nil, "further addresses that speak the same, such as 127.0.0.1:443")
	f.Bool("allow-remote", false, "let the hub listen elsewhere than on loopback")
	f.String("hostname", "localhost", "host name in connection strings and in the certificate")
	f.String("cert-dir", "", "directory of the certificates, made at the first start (default: a twinfleet directory in the user's configuration)")
	f.String("data", "", "directory that keeps identities and twins over restarts; in memory when not given")
	f.String("tier", "", "behave like a tier: F1, B1, B2, B3, S1, S2 or S3; without limits when not given")
	f.Int("units", 1, "units of the tier")
	f.Bool("armed", true, "hold the tier's limits from the start; with false from when the owner asks for it: POST "+iothub.ArmPath)
	f.String("query-lag", "", "how long a change stays hidden from queries: 2s, or evenly random: 500ms..3s")
	f.Uint64("seed", 1, "seed of the query lag")
	f.Duration("burst", time.Minute, "so much of a tier's rate may come at once, after a quiet time as long")
	f.Duration("backlog", 10*time.Second, "so much of a tier's rate may wait behind the burst; below 0 nothing waits")
	f.Duration("max-wait", 10*time.Second, "longest wait of a throttled operation; what would wait longer is shed")
	f.Bool("split-twin-limits", false, "give services limits for twins of their own, beside those of devices")
	f.Uint8("throttled-connack", 3, "CONNACK return code for a connection that a throttle sheds")
	f.Uint8("quota-connack", 5, "CONNACK return code for a connection when the day's messages are used up")
	f.Duration("token-grace", 5*time.Minute, "how long after its token's expiry a device is disconnected")
	f.Duration("c2d-ttl", time.Hour, "how long a cloud-to-device message without expiry waits for its device")
	f.Duration("feedback-every", 15*time.Second, "how long feedback of cloud-to-device messages waits for more, to be told in one batch; 0 for not at all")
	f.Int("telemetry-log", 64, "MiB of messages of devices that are kept for those who read them, once somebody has; 0 keeps none")
	f.Duration("telemetry-retention", 24*time.Hour, "how long such a message is kept")
	f.Bool("telemetry-always", false, "keep such messages from the start, not only once somebody has read some")
	f.StringSlice("consumer-groups", nil, "consumer groups beside $Default; any group when not given")
	f.String("accept-bearer", "", "accept bearer tokens of services: any, or those of a test issuer: issuer=NAME,key=FILE (an RSA public key in PEM, or the secret of HS256)")
	f.String("connection-string-file", "", "file that takes the service connection string, for its owner alone, instead of standard output")
	addDPSFlags(f)
	f.String("metrics-addr", "", "address that serves /metrics; none when empty")
	f.Bool("page", true, "serve a page for people at the port's root")
	f.Bool("json", false, "print one line of JSON for programs instead of text")
	c.RunE = func(cmd *cobra.Command, _ []string) error { return runHub(cmd.Context(), e, cmd) }
	return c
}

func runHub(ctx context.Context, e env, cmd *cobra.Command) error {
	s, err := loadSettings(cmd)
	if err != nil {
		return err
	}
	log, err := s.logger(e.stderr)
	if err != nil {
		return err
	}
	opts := hub.Options{
		Logger: log, Listen: s.v.GetString("listen"), ExtraListen: s.v.GetStringSlice("extra-listen"), AllowRemote: s.v.GetBool("allow-remote"),
		HostName: s.v.GetString("hostname"), CertDir: s.v.GetString("cert-dir"), DataDir: s.v.GetString("data"),
		Tier: s.v.GetString("tier"), Units: s.v.GetInt("units"), Shape: bucket.Shape{
			Burst: s.v.GetDuration("burst"), Backlog: s.v.GetDuration("backlog"),
			MaxWait: s.v.GetDuration("max-wait"), SplitTwins: s.v.GetBool("split-twin-limits"),
		},
		TokenGrace: s.v.GetDuration("token-grace"), MessageTTL: s.v.GetDuration("c2d-ttl"),
		ThrottledCode: uint8(s.v.GetUint("throttled-connack")), QuotaCode: uint8(s.v.GetUint("quota-connack")), Page: s.v.GetBool("page"),
	}
	opts.ArmByRequest = !s.v.GetBool("armed")
	opts.TelemetryRetention, opts.TelemetryAlways = s.v.GetDuration("telemetry-retention"), s.v.GetBool("telemetry-always")
	if opts.FeedbackEvery = s.v.GetDuration("feedback-every"); opts.FeedbackEvery <= 0 {
		opts.FeedbackEvery = -1 // at once
	}
	opts.ConsumerGroups = s.v.GetStringSlice("consumer-groups")
	if opts.TelemetryLog, err = telemetryLog(s.v.GetInt("telemetry-log")); err != nil {
		return err
	}
	if opts.TelemetryRetention <= 0 {
		return usagef("--telemetry-retention: %s is not above 0", opts.TelemetryRetention)
	}
	if opts.QueryLag, err = querylag.Parse(s.v.GetString("query-lag"), s.v.GetUint64("seed")); err != nil {
		return usagef("--query-lag: %w", err)
	}
	if opts.Bearer, err = bearer.Parse(s.v.GetString("accept-bearer")); err != nil {
		return usagef("%s: %w", bearer.Switch, err)
	}
	if opts.DPS, err = dpsOptions(s); err != nil {
		return err
	}
	if opts.CertDir == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return usagef("--cert-dir must be given: %w", err)
		}
		opts.CertDir = filepath.Join(dir, "twinfleet", "certs")
	}
	e.outlive()
	soft, stop := context.WithCancel(ctx)
	defer stop()
	hard, done := e.stopperSaying(ctx, log, "stopping: the hub ends its connections; once more stops at once", stop)
	defer done()
	defer gc.Sparing.Tune()()
	h, err := hub.Open(ctx, opts)
	switch {
	case errors.Is(err, hub.ErrNotLoopback):
		return usagef("%w; --allow-remote lets it, and lets anyone who reaches it load it", err)
	case errors.Is(err, consumers.ErrName):
		return usagef("--consumer-groups: %w", err)
	case errors.Is(err, dps.ErrOptions):
		return withCode(codeUsage, err)
	case errors.Is(err, tier.ErrTier):
		return usagef("--tier and --units: %w", err)
	case err != nil:
		return err
	}
	if !opts.ArmByRequest {
		h.Arm()
	}
	alone := whenOrphaned(soft, log, func(ctx context.Context) {
		if launch.Survives() {
			unused(ctx, orphanKeep, use(h))
		}
		stop()
	})
	defer alone()
	rec := metrics.NewRecorder(metrics.Options{})
	rec.SetRun(metrics.RunLabels{Version: versionText()})
	hubmetrics.Register(rec, h)
	forget := leaveWord(h, log)
	defer forget()
	var server *metricsServer
	err = writeConnectionString(s.v.GetString("connection-string-file"), h)
	if err == nil { // who finds /metrics finds the file
		server, err = serveMetrics(s.v.GetString("metrics-addr"), false, rec, log)
	}
	if err == nil {
		err = announce(e, h, s.v.GetBool("json"), server.url(), s.v.GetString("connection-string-file"))
	}
	if err == nil {
		select {
		case <-soft.Done():
		case <-hard.Done():
		}
	}
	server.close()
	return firstOf(err, h.Close())
}

// use is how much a hub was used since the last time that it was asked: devices that are connected, and what was served.
func use(h *hub.Hub) func() uint64 {
	var before uint64
	return func() uint64 {
		stats, served := h.Stats(), uint64(0)
		for _, n := range stats.Served {
			served += n
		}
		since := served - before
		before = served
		return since + uint64(stats.Connected)
	}
}

// telemetryLog is the bytes of --telemetry-log.
func telemetryLog(mebibytes int) (int64, error) {
	const most = 1 << 20 // a tebibyte
	switch {
	case mebibytes < 0 || mebibytes > most:
		return 0, usagef("--telemetry-log: %d is not from 0 to %d", mebibytes, most)
	case mebibytes == 0:
		return -1, nil
	}
	return int64(mebibytes) << 20, nil
}

// writeConnectionString leaves the service connection string in a file that only its owner may read, for runs elsewhere; an empty
// name leaves none.
func writeConnectionString(file string, h *hub.Hub) error {
	if file == "" {
		return nil
	}
	text := h.ConnectionString("iothubowner").Reveal() + "\n"
	if err := wholefile.Replace(file, []byte(text), 0o600); err != nil {
		return usagef("--connection-string-file: %w", err)
	}
	return nil
}

// leaveWord has runs on this machine find the hub's certificate by themselves. It is a comfort: when it fails the hub runs on. The
// returned function takes the word back.
func leaveWord(h *hub.Hub, log *slog.Logger) (forget func()) {
	var takes []func() error
	leave := func(addr string) error {
		dir, err := nearby.Dir()
		if err != nil {
			return err
		}
		ca, err := filepath.Abs(h.CA())
		if err != nil {
			return err
		}
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			return err
		}
		take, err := nearby.Leave(dir, n, nearby.Hub{Address: addr, CA: ca, PID: os.Getpid()})
		if err == nil {
			takes = append(takes, take)
		}
		return err
	}
	for _, addr := range h.Addrs() {
		if err := leave(addr); err != nil {
			log.Warn("runs on this machine will not find the hub's certificate by themselves", "address", addr, "error", err)
		}
	}
	return func() {
		for _, take := range takes {
			if err := take(); err != nil {
				log.Warn("a file is left behind", "error", err)
			}
		}
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// announcement is what a program that starts the hub needs to know. It holds keys: it goes to
// standard output, to whoever started the hub, and nowhere else.
type announcement struct {
	Address          string            `json:"address"`
	Port             int               `json:"port"`
	ConnectionString string            `json:"connectionString,omitempty"` // unless it is in a file
	EventHub         string            `json:"eventHub"`                   // the EntityPath of the Event-Hubs-compatible endpoint
	EventHubs        string            `json:"eventHubConnectionString,omitempty"`
	CA               string            `json:"ca"`
	CADir            string            `json:"caDir"`
	Policies         map[string]string `json:"policies"`
	Metrics          string            `json:"metrics,omitempty"`
	DPS              *provisioning     `json:"dps,omitempty"`
	Page             string            `json:"page,omitempty"` // with the token
}

// announce says where the hub is. When a file has the connection string no secret is said.
func announce(e env, h *hub.Hub, asJSON bool, metricsURL, file string) error {
	text, dps, page := h.ConnectionString("iothubowner").Reveal(), provisioningOf(h), h.PageURL()
	if file != "" { // what is printed is kept where others read it
		text = ""
		page, _, _ = strings.Cut(page, "#")
		if dps != nil {
			dps.ConnectionString, dps.GroupKey = "", ""
		}
	}
	if asJSON {
		_, port, _ := net.SplitHostPort(h.Addr())
		a := announcement{Address: h.Addr(), ConnectionString: text, EventHub: h.EventHubName(), CA: h.CA(), CADir: filepath.Dir(h.CA()), Policies: make(map[string]string), Metrics: metricsURL, DPS: dps, Page: page}
		a.Port, _ = strconv.Atoi(port)
		if file == "" {
			a.EventHubs = h.EventHubConnectionString("service")
		}
		for _, name := range []string{"iothubowner", "service", "device", "registryRead", "registryReadWrite"} {
			if file == "" {
				a.Policies[name] = h.ConnectionString(name).Key.Base64()
			}
		}
		return json.NewEncoder(e.stdout).Encode(a)
	}
	fmt.Fprintf(e.stdout, "The embedded hub listens on %s: MQTT, AMQP, both over WebSocket, and HTTPS, in clear and over TLS.\n\n", h.Addr())
	if file == "" {
		fmt.Fprintf(e.stdout, "  export TWINFLEET_HUB='%s'\n", text)
		fmt.Fprintf(e.stdout, "  export TWINFLEET_EVENTHUB='%s'\n", h.EventHubConnectionString("service"))
	} else {
		fmt.Fprintf(e.stdout, "  export TWINFLEET_HUB_FILE='%s'\n", file)
	}
	fmt.Fprintf(e.stdout, "  export TWINFLEET_CA='%s'\n\n", h.CA())
	if file == "" {
		fmt.Fprintf(e.stdout, "The first is the service connection string, the second that of the Event-Hubs-compatible endpoint, for who reads\nwhat devices send; the third is the certificate to trust.\n")
	} else {
		fmt.Fprintf(e.stdout, "The first is the file with the service connection string, the second the certificate to trust.\n")
	}
	announceDPS(e.stdout, dps)
	if page != "" && file != "" {
		fmt.Fprintf(e.stdout, "\nA page to look at it is at %s\n", page)
	} else if page != "" {
		fmt.Fprintf(e.stdout, "\nA page to look at it, with the token to change things and lines for each SDK:\n\n  %s\n\n", page)
	}
	if metricsURL != "" {
		fmt.Fprintf(e.stdout, "Metrics are at %s.\n", metricsURL)
	}
	_, err := fmt.Fprintln(e.stdout, "Ctrl-C stops the hub.")
	return err
}
