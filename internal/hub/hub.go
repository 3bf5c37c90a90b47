// Package hub is the embedded hub: a local Azure IoT Hub that speaks its wire protocols to devices
// (MQTT and AMQP, each also over WebSocket) and to services (REST), all on one port, in clear and over TLS.
package hub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/peer"
	"github.com/twinfleet/twinfleet/internal/hub/bearer"
	"github.com/twinfleet/twinfleet/internal/hub/blobs"
	"github.com/twinfleet/twinfleet/internal/hub/bodies"
	"github.com/twinfleet/twinfleet/internal/hub/certs"
	"github.com/twinfleet/twinfleet/internal/hub/configurations"
	"github.com/twinfleet/twinfleet/internal/hub/consumers"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/dps"
	"github.com/twinfleet/twinfleet/internal/hub/eventlog"
	"github.com/twinfleet/twinfleet/internal/hub/faults"
	"github.com/twinfleet/twinfleet/internal/hub/front"
	"github.com/twinfleet/twinfleet/internal/hub/jobs"
	"github.com/twinfleet/twinfleet/internal/hub/keep"
	"github.com/twinfleet/twinfleet/internal/hub/mux"
	"github.com/twinfleet/twinfleet/internal/hub/notices"
	"github.com/twinfleet/twinfleet/internal/hub/page"
	"github.com/twinfleet/twinfleet/internal/hub/policy"
	"github.com/twinfleet/twinfleet/internal/hub/rest"
	"github.com/twinfleet/twinfleet/internal/hub/rest/device"
	"github.com/twinfleet/twinfleet/internal/hub/store"
	"github.com/twinfleet/twinfleet/internal/hub/throttle"
	"github.com/twinfleet/twinfleet/internal/hub/throttle/bucket"
	"github.com/twinfleet/twinfleet/internal/hub/traffic"
	"github.com/twinfleet/twinfleet/internal/hub/transfer"
	"github.com/twinfleet/twinfleet/internal/hub/uploads"
	"github.com/twinfleet/twinfleet/internal/hub/websocket"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/memnet"
)

// Options of a Hub. The zero value is a hub in memory, without limits, on a free loopback port.
type Options struct {
	Logger *slog.Logger // nil logs nothing
	// Listen is the address of the port; "127.0.0.1:0" when empty, which takes a free port.
	Listen string
	// NoPort opens no port: only Dial reaches the hub. So it can run in virtual time.
	NoPort bool
	// ExtraListen are further addresses that speak the same, such as 127.0.0.1:443 for clients
	// whose port is fixed.
	ExtraListen []string
	// AllowRemote lets the hub listen elsewhere than on loopback: anyone who reaches it can load it.
	AllowRemote bool
	// HostName is what connection strings call the hub; "localhost" when empty.
	HostName string
	// CertDir keeps the certificate authority and the server certificate; in memory when empty.
	CertDir string
	// DataDir keeps identities, twins, sessions, queued messages, what is kept of telemetry and policies over restarts; in memory when empty.
	DataDir string
	// Tier and Units make the hub behave like so many units of a tier; "" is without limits.
	// Limits begin to hold when Arm is called.
	Tier  string
	Units int
	// ArmByRequest has the owner of the hub call Arm over REST, too (iothub.ArmPath): for a run that makes its identities in a hub of another
	// process before the limits hold. No other hub has the endpoint.
	ArmByRequest bool
	// Shape is how bursts are served and how long operations wait before they are shed.
	Shape bucket.Shape
	// QueryLag is how long a change stays hidden from queries; nil for not at all.
	QueryLag func() time.Duration
	// ConfigurationsEvery is how long after a change of a twin or a configuration the twins are held against target
	// conditions; see configurations.Options. Two seconds when 0.
	ConfigurationsEvery time.Duration
	// TokenGrace, ThrottledCode and QuotaCode, see front.Options; MessageTTL, see devices.Options.
	TokenGrace, MessageTTL   time.Duration
	ThrottledCode, QuotaCode byte
	// TelemetryLog is how many bytes of messages of devices are kept for those who read them, once somebody has: 64 MiB when 0, at least
	// 1 MiB. Below 0 none ever are.
	TelemetryLog int64
	// TelemetryRetention is how long such a message is kept; a day when 0.
	TelemetryRetention time.Duration
	// TelemetryAlways keeps such messages from the start.
	TelemetryAlways bool
	// ConsumerGroups are the groups of those who read messages, beside $Default; any group when nil.
	ConsumerGroups []string
	// FeedbackEvery is how long feedback of cloud-to-device messages waits for more before services get it, in one batch; 15 s when 0,
	// as with the service (iot-hub-devguide-messages-c2d), and not at all when negative.
	FeedbackEvery time.Duration
	// Bearer says which bearer tokens services may show instead of shared access signatures; none by default.
	Bearer bearer.Verifier
	// ClientCAs are authorities whose certificates devices of type certificateAuthority may show, beside
	// the hub's own.
	ClientCAs []*x509.Certificate
	// DPS adds a provisioning service on the same port; nil for none.
	DPS *dps.Options
	// Page serves a page for people at the port's root: see package page.
	Page bool
}

// Hub is a running hub.
type Hub struct {
	opts      Options
	log       *slog.Logger
	store     *store.Store
	devices   *devices.Table
	front     *front.Front
	amqp      *peer.Front
	feedback  *notices.Queue // of cloud-to-device messages
	files     *notices.Queue // of files that were uploaded
	jobs      *jobs.Runner
	dps       *dps.Service // nil without one
	configs   *configurations.Manager
	storage   *blobs.Storage
	moves     *transfer.Runner
	uploads   *uploads.Uploads
	mux       *mux.Mux
	limiter   *throttle.Limiter
	ca        *certs.Authority
	policies  policy.Set
	events    *eventlog.Log
	consumers *consumers.Groups
	server    *http.Server
	page      *page.Server // nil without one
	tap       traffic.Tap

	cancel    context.CancelFunc
	wg        sync.WaitGroup
	listeners []net.Listener
	served    operations
	dropped   atomic.Int64 // the day on which connections ended for the quota, counted from 1970
	telemetry atomic.Uint64
	wills     atomic.Uint64
	closeOnce sync.Once
	closeErr  error
}

// bodyTimeout is how long the hub waits, in all, for the body of a request; the largest has 4 MB.
const bodyTimeout = time.Minute

// ErrNotLoopback is returned for an address that others could reach without Options.AllowRemote.
var ErrNotLoopback = errors.New("the embedded hub listens on loopback only")

// Open starts a hub. It serves until Close.
func Open(ctx context.Context, o Options) (*Hub, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.HostName == "" {
		o.HostName = "localhost"
	}
	h := &Hub{opts: o, log: o.Logger, served: newOperations()}
	if err := h.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the embedded hub: %w", err), h.Close())
	}
	return h, nil
}

func (h *Hub) open(ctx context.Context) (err error) {
	if err := h.listen(ctx); err != nil {
		return err
	}
	var limits tier.Limits // without a tier: no limits
	if h.opts.Tier != "" {
		if limits, err = tier.For(tier.Tier(h.opts.Tier), h.opts.Units); err != nil {
			return err
		}
		h.limiter = throttle.New(limits, h.opts.Shape)
	}
	if h.ca, err = certs.Open(h.opts.CertDir, h.opts.HostName); err != nil {
		return err
	}
	if h.policies, err = policy.Open(h.opts.DataDir); err != nil {
		return err
	}
	h.store, err = store.Open(ctx, store.Options{
		Logger: h.log, DataDir: h.opts.DataDir, QueryLag: h.opts.QueryLag,
		OnDesired: h.notifyDesired,
		OnGone:    h.gone,
	})
	if err != nil {
		return err
	}
	if err := h.openEvents(ctx); err != nil {
		return err
	}
	reported, err := h.openNotices(ctx)
	if err != nil {
		return err
	}
	h.devices = devices.New(devices.Options{
		Backend: (*backend)(h), Logger: h.log, Policy: h.devicePolicy, ClientCAs: h.clientCAs(), Admit: h.admitDevice,
		MessageTTL: h.opts.MessageTTL, Keeper: h.keeper(), Feedback: h.addFeedback, Reported: reported,
	})
	if err := h.devices.Load(ctx); err != nil {
		return err
	}
	h.front = front.New(front.Options{
		Devices: h.devices, Logger: h.log, TokenGrace: h.opts.TokenGrace, ThrottledCode: h.opts.ThrottledCode, QuotaCode: h.opts.QuotaCode,
		Waits: h.waits(),
	})
	h.amqp = h.amqpFront()
	h.jobs = jobs.New(jobs.Options{
		Hub: (*services)(h), Source: h.store, Admit: h.admitJob, Meter: h.meter, Active: limits.ActiveJobs, Keeper: h.keeper(), Logger: h.log,
	})
	if err := h.jobs.Load(ctx); err != nil {
		return err
	}
	if h.opts.DPS != nil {
		if h.dps, err = dps.Open(ctx, h.provisioning()); err != nil {
			return err
		}
	}
	h.configs, err = configurations.New(ctx, configurations.Options{
		Store: h.store, Every: h.opts.ConfigurationsEvery, Most: limits.Configurations, Logger: h.log,
	})
	if err != nil {
		return err
	}
	storage := "" // in memory
	if h.opts.DataDir != "" {
		storage = filepath.Join(h.opts.DataDir, "storage")
	}
	h.storage = blobs.New(blobs.Options{Dir: storage})
	if h.moves, err = transfer.New(ctx, transfer.Options{Registry: h.store, Storage: h.storage, Logger: h.log}); err != nil {
		return err
	}
	if h.uploads, err = uploads.New(ctx, uploads.Options{Storage: h.storage, Signer: h.signer(), Notify: h.AddFileNotification, Keeper: h.keeper()}); err != nil {
		return err
	}
	h.serve()
	return nil
}

// listen opens the ports first: a port that is taken is the likeliest failure, and nothing else has started then.
func (h *Hub) listen(ctx context.Context) error {
	if h.opts.NoPort {
		return nil
	}
	var lc net.ListenConfig
	for _, addr := range append([]string{h.opts.Listen}, h.opts.ExtraListen...) {
		if err := h.checkLoopback(addr); err != nil {
			return err
		}
		l, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		h.listeners = append(h.listeners, l)
	}
	return nil
}

func (h *Hub) checkLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address %q: write host:port: %w", addr, err)
	}
	if ip := net.ParseIP(host); h.opts.AllowRemote || host == "localhost" || (ip != nil && ip.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("%w, not on %s", ErrNotLoopback, addr)
}

func (h *Hub) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	take, accept := h.front.Take, h.front.Accept
	if h.dps != nil {
		take, accept = h.dps.Fork(take), h.dps.ForkLater(accept)
	}
	h.mux = mux.New(mux.Options{TLS: h.ca.ServerConfig(), MQTT: take, AMQP: h.amqp.Take, Logger: h.log})
	var arm func()
	if h.opts.ArmByRequest {
		arm = h.Arm
	}
	api := rest.New(rest.Options{
		Registry: h.store, Twins: h.store, Source: h.store, Modules: h.store.Modules(), Devices: (*services)(h), Jobs: h.jobs,
		Configurations: h.configs, Transfers: h.moves, Storage: h.storage, Signer: h.signer(),
		Policies: h.policies, Bearer: h.opts.Bearer, Admit: h.admitService, Meter: h.meter, Arm: arm, Wait: h.devices.Faults().Wait, Logger: h.log,
	})
	https := device.New(device.Options{
		Devices: (*overHTTPS)(h), Queue: (*overHTTPS)(h), Uploads: h.uploads, HostName: h.opts.HostName, Admit: (*overHTTPS)(h).admit, Wait: h.devices.Faults().Wait, Logger: h.log,
	})
	sockets := websocket.Handler(map[string]func(net.Conn){websocket.MQTT: accept, websocket.AMQP: h.amqp.Accept})
	eventHubs, services := websocket.Handler(map[string]func(net.Conn){websocket.AMQP: h.amqp.Accept}), https.Before(api)
	if h.dps != nil {
		services = h.dps.Handler(services, websocket.Handler(map[string]func(net.Conn){websocket.MQTT: accept}))
	}
	services = h.tapped(bodies.Guard(services, bodyTimeout))
	var people http.Handler
	if h.page = h.pageFor(h.tapped(api)); h.page != nil {
		people = bodies.Guard(h.page, bodyTimeout)
	}
	// No ServeMux: it cleans paths up, and answers those that it would change with a redirect.
	root := func(w http.ResponseWriter, r *http.Request) {
		switch path := strings.TrimSuffix(r.URL.Path, "/"); { // azure-uamqp-c writes one behind it
		case path == websocket.Path:
			sockets.ServeHTTP(w, r)
		case path == websocket.EventHubsPath:
			eventHubs.ServeHTTP(w, r)
		case people != nil && page.Owns(r) && !upgrades(r): // the first .NET SDK opens its WebSocket at the root
			people.ServeHTTP(w, r)
		default:
			services.ServeHTTP(w, r)
		}
	}
	h.server = &http.Server{
		Handler: http.HandlerFunc(root), ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(h.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			return device.WithConn(dps.WithConn(websocket.WithConn(ctx, nc), nc), nc)
		},
		BaseContext: func(net.Listener) context.Context { return ctx }, // what waits inside a request ends with the hub
	}
	h.wg.Go(func() {
		if err := h.server.Serve(h.mux.HTTP()); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			h.log.Error("serving HTTP ended", "error", err)
		}
	})
	for _, l := range h.listeners {
		h.wg.Go(func() { h.mux.Serve(ctx, l) })
	}
}

// keeper keeps what outlives the program beside the devices; nil when nothing does.
func (h *Hub) keeper() keep.Keeper {
	if h.opts.DataDir == "" {
		return nil
	}
	return h.store
}

// Close stops the hub: connections end, goroutines end, what was acknowledged is on disk.
func (h *Hub) Close() error {
	h.closeOnce.Do(func() {
		var errs []error
		for _, l := range h.listeners {
			errs = append(errs, ignoreClosed(l.Close()))
		}
		if h.cancel != nil {
			h.cancel()
		}
		if h.server != nil {
			errs = append(errs, ignoreClosed(h.server.Close()))
		}
		// Before the devices go: that they are gone is no failure of a job's.
		if h.jobs != nil {
			h.jobs.Close()
		}
		if h.front != nil {
			h.front.Close()
		}
		if h.amqp != nil {
			h.amqp.Close()
		}
		if h.devices != nil {
			h.devices.Close()
		}
		for _, q := range []*notices.Queue{h.feedback, h.files} {
			if q != nil {
				q.Close()
			}
		}
		if h.mux != nil {
			h.mux.Close()
		}
		if h.dps != nil {
			h.dps.Close()
		}
		h.wg.Wait()
		if h.moves != nil {
			h.moves.Close()
		}
		if h.configs != nil {
			h.configs.Close()
		}
		if h.events != nil {
			h.events.Close()
		}
		if h.store != nil {
			errs = append(errs, h.store.Close())
		}
		h.closeErr = errors.Join(errs...)
	})
	return h.closeErr
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Addr is the address of the port; "" without one.
func (h *Hub) Addr() string {
	if h.opts.NoPort {
		return ""
	}
	return h.listeners[0].Addr().String()
}

// Addrs are the addresses of all ports; none without one.
func (h *Hub) Addrs() []string {
	all := make([]string, len(h.listeners))
	for i, l := range h.listeners {
		all[i] = l.Addr().String()
	}
	return all
}

// ConnectionString is the one of a shared access policy, with the port in its host name.
func (h *Hub) ConnectionString(policy string) connstring.Service {
	host := h.opts.HostName
	if _, port, err := net.SplitHostPort(h.Addr()); err == nil {
		host = net.JoinHostPort(host, port)
	}
	return connstring.Service{HostName: host, Policy: policy, Key: h.policies[policy].Primary}
}

// CA is the file with the authority's certificate, or "" when it lives in memory.
func (h *Hub) CA() string { return h.ca.Path() }

// CAPool trusts the hub's certificates.
func (h *Hub) CAPool() *x509.CertPool { return h.ca.Pool() }

// DeviceCertificate makes a certificate with which a device of type certificateAuthority may connect.
func (h *Hub) DeviceCertificate(id string) (tls.Certificate, error) { return h.ca.Device(id) }

// clientCAs trusts the authorities whose certificates devices may show.
func (h *Hub) clientCAs() *x509.CertPool {
	pool := h.ca.Pool()
	for _, cert := range h.opts.ClientCAs {
		pool.AddCert(cert)
	}
	return pool
}

// Arm begins to hold the limits of the tier.
func (h *Hub) Arm() { h.limiter.Arm() }

// Sustain, Resume and Skip are those of throttle.Limiter, for trials.
func (h *Hub) Sustain(atOnce map[tier.Class]float64, share float64) { h.limiter.Sustain(atOnce, share) }

// Resume takes a Sustain back.
func (h *Hub) Resume() { h.limiter.Resume() }

// Skip lets a time pass in an instant.
func (h *Hub) Skip(d time.Duration, rates map[tier.Class]float64, messages float64) {
	h.limiter.Skip(d, rates, messages)
}

// Faults is the switch that makes the hub misbehave on purpose.
func (h *Hub) Faults() *faults.Switch { return h.devices.Faults() }

// errRestart is why connections end when the hub restarts.
var errRestart = errors.New("the hub restarts")

// Restart closes all connections, of devices and of services, and refuses new ones for a time.
func (h *Hub) Restart(down time.Duration) {
	h.devices.Faults().Refuse(down)
	h.mux.Refuse(down)
	disconnect := h.mux.Open() // who comes back at once, having been told, stays
	h.amqp.Disconnect(&amqp.Error{Condition: amqp.ConnectionForced, Description: errRestart.Error()})
	h.devices.DisconnectAll(errRestart)
	disconnect()
}

// Dial is a connection to the hub that never touches the network. It speaks all that the port does.
func (h *Hub) Dial(context.Context) (net.Conn, error) {
	client, server := memnet.Pipe()
	h.mux.ServeConn(server)
	return client, nil
}

// Stats are numbers of the hub.
type Stats struct {
	Devices    registry.Statistics   // identities
	Connected  int                   // devices
	Front      front.Stats           // connections and packets of MQTT
	AMQP       int                   // connections of AMQP
	Remembered int                   // devices and modules of which something is: a connection, a session, messages, or calls
	Telemetry  uint64                // messages received
	Wills      uint64                // of them wills
	Events     eventlog.Stats        // of them those that are kept for who reads them
	Served     map[tier.Class]uint64 // operations, also without a tier
	Throttles  []throttle.Stat       // nil without a tier
	QuotaUsed  int64                 // messages counted today
	Quota      int64                 // messages that the tier allows a day; 0 without a tier
	Refused    uint64                // operations that came after the day's messages were used up
	DPS        *dps.Stats            // nil without a provisioning service
}

// Stats tells the numbers as they are now.
func (h *Hub) Stats() Stats {
	used, quota := h.limiter.Quota()
	stats := Stats{
		Devices: h.store.Statistics(), Connected: h.store.ConnectedCount(), Front: h.front.Stats(), AMQP: h.amqp.Connections(), Remembered: h.devices.Remembered(),
		Telemetry: h.telemetry.Load(), Wills: h.wills.Load(), Events: h.events.Stats(),
		Served: h.served.snapshot(), Throttles: h.limiter.Stats(), QuotaUsed: used, Quota: quota,
		Refused: h.limiter.Refused(),
	}
	if h.dps != nil {
		provisioning := h.dps.Stats()
		stats.DPS = &provisioning
	}
	return stats
}
