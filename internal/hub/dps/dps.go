// Package dps is a Device Provisioning Service beside an embedded hub, on the same port: devices that know a key or a
// certificate of an enrollment are given an identity at the hub.
package dps

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/bearer"
	"github.com/twinfleet/twinfleet/internal/hub/dps/allocate"
	"github.com/twinfleet/twinfleet/internal/hub/dps/attest"
	"github.com/twinfleet/twinfleet/internal/hub/dps/book"
	"github.com/twinfleet/twinfleet/internal/hub/dps/divert"
	"github.com/twinfleet/twinfleet/internal/hub/dps/enrollment"
	"github.com/twinfleet/twinfleet/internal/hub/dps/faults"
	"github.com/twinfleet/twinfleet/internal/hub/dps/front"
	"github.com/twinfleet/twinfleet/internal/hub/dps/limits"
	"github.com/twinfleet/twinfleet/internal/hub/dps/registration"
	"github.com/twinfleet/twinfleet/internal/hub/dps/rest"
	"github.com/twinfleet/twinfleet/internal/hub/keep"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/iothub/dps"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/uuid"
)

// DefaultGroup is the enrollment group that a service has from its beginning.
const DefaultGroup = "default"

// Options are what users decide about a service.
type Options struct {
	// IDScope is what devices name the service: 0ne and eight digits. One that was kept, else a random one, when empty.
	IDScope string
	// Delay is asked at every registration how long it is assigning; nil for no longer than it takes.
	Delay func() time.Duration
	// RetryAfter is what a device is told to wait before it polls; 3 s when 0.
	RetryAfter time.Duration
	// Limits are how much the service does in a time; zero for no limits.
	Limits limits.Limits
	// LinkedHubs are further names of the hub, which enrollments and rules may name as if they were other hubs.
	LinkedHubs []string
	// Rules decide about devices of enrollments with the allocation policy custom that have no webhook.
	Rules []allocate.Rule
	// Authorities are certificate authorities by the names with which groups refer to them, beside "hub", the hub's own.
	Authorities map[string]*x509.Certificate
	// RemoteWebhooks lets webhooks be asked elsewhere than on loopback.
	RemoteWebhooks bool
}

// Config is Options, and what the hub adds.
type Config struct {
	Options
	Logger   *slog.Logger // nil logs nothing
	Keeper   keep.Keeper  // keeps enrollments and registrations over restarts; in memory when nil
	Hub      registration.Hub
	HostName string // of the hub, with its port when that is not 8883: what devices are told
	// Endpoint is the address that services and devices reach, host:port.
	Endpoint string
	// Bearer says which bearer tokens services may show instead of shared access signatures; none by default.
	Bearer bearer.Verifier
	// Authority is the hub's certificate authority, which groups name as "hub"; nil for none.
	Authority *x509.Certificate
	// Issue signs certificates that devices ask for; nil refuses.
	Issue func(request *x509.CertificateRequest, deviceID string) ([][]byte, error)
}

// Service is a running provisioning service.
type Service struct {
	config   Config
	settings book.Settings
	book     *book.Book
	webhook  *allocate.Webhook
	core     *registration.Service
	front    *front.Front
	rest     *rest.Handler
	faults   *faults.Switch
}

// ErrOptions is the class of errors for options that no service can have.
var ErrOptions = errors.New("options of the provisioning service")

var scopeShape = regexp.MustCompile(`^0ne[0-9A-Fa-f]{8}$`)

// Open starts a service. The caller must Close it.
func Open(ctx context.Context, c Config) (*Service, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.IDScope != "" && !scopeShape.MatchString(c.IDScope) {
		return nil, fmt.Errorf("%w: the id scope %q is not 0ne and eight digits", ErrOptions, c.IDScope)
	}
	linked := append([]string{c.HostName}, c.LinkedHubs...)
	for _, rule := range c.Rules {
		if err := rule.Check(linked); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrOptions, err)
		}
	}
	b, err := book.Open(ctx, c.Keeper)
	if err != nil {
		return nil, fmt.Errorf("opening the provisioning service: %w", err)
	}
	s := &Service{config: c, book: b, faults: new(faults.Switch), webhook: allocate.NewWebhook(c.RemoteWebhooks)}
	if err := s.open(ctx, linked); err != nil {
		return nil, fmt.Errorf("opening the provisioning service: %w", err)
	}
	return s, nil
}

func (s *Service) open(ctx context.Context, linked []string) error {
	settings, err := s.book.Settings(ctx, func() (book.Settings, error) {
		return book.Settings{
			IDScope: fmt.Sprintf("0ne%08d", rand.IntN(1e8)), Primary: sas.NewKey().Base64(), Secondary: sas.NewKey().Base64(),
		}, s.addDefaultGroup()
	})
	if err != nil {
		return err
	}
	if s.config.IDScope != "" {
		settings.IDScope = s.config.IDScope
	}
	s.settings = settings
	keys, err := s.keys()
	if err != nil {
		return err
	}
	s.core = registration.New(registration.Options{
		Logger: s.config.Logger, Book: s.book, Hub: s.config.Hub, Faults: s.faults, Limits: s.config.Limits,
		Checker:   attest.Checker{IDScope: settings.IDScope, Enrollments: s.book, Authority: s.authority},
		Allocator: &allocate.Allocator{Linked: linked, Rules: s.config.Rules, Webhook: s.webhook},
		Delay:     s.config.Delay, RetryAfter: s.config.RetryAfter, Issue: s.config.Issue,
	})
	s.front = front.New(front.Options{Service: s.core, Faults: s.faults, Logger: s.config.Logger})
	s.rest = rest.New(rest.Options{
		Service: s.core, Book: s.book, Faults: s.faults, Keys: keys, Linked: linked, Logger: s.config.Logger, Bearer: s.config.Bearer,
		Authority: func(name string) bool { return s.authority(name) != nil },
		Limiter:   limits.New(s.config.Limits.Service, time.Minute, time.Now()),
	})
	return nil
}

// hubAuthority is how groups name the hub's own certificate authority.
const hubAuthority = "hub"

// authority finds a certificate authority; nil for none.
func (s *Service) authority(name string) *x509.Certificate {
	if cert := s.config.Authorities[name]; cert != nil || name != hubAuthority {
		return cert
	}
	return s.config.Authority
}

func (s *Service) keys() ([]sas.Key, error) {
	primary, err := sas.ParseKey(s.settings.Primary)
	secondary, err2 := sas.ParseKey(s.settings.Secondary)
	if err := errors.Join(err, err2); err != nil {
		return nil, fmt.Errorf("the key of %s: %w", dps.ServicePolicy, err)
	}
	return []sas.Key{primary, secondary}, nil
}

func (s *Service) addDefaultGroup() error {
	now := timestamp.Time{Time: time.Now()}
	_, err := s.book.Change(true, DefaultGroup, func(*enrollment.Enrollment) (*enrollment.Enrollment, error) {
		return &enrollment.Enrollment{
			GroupID:     DefaultGroup,
			Attestation: enrollment.Attestation{Type: enrollment.TypeSymmetricKey, SymmetricKey: enrollment.NewKeys()},
			Status:      registry.StatusEnabled, Allocation: enrollment.Hashed,
			ETag: `"` + uuid.New().String() + `"`, Created: now, Updated: now,
		}, nil
	})
	return err
}

// Close ends the service: its connections, and what is under way.
func (s *Service) Close() {
	s.front.Close()
	s.core.Close()
	s.webhook.Close()
}

// Fork gives MQTT connections of provisioning devices to the service, and others to the hub.
func (s *Service) Fork(hub func(net.Conn)) func(net.Conn) {
	return divert.Fork{Hub: hub, DPS: s.front.ServeConn}.Serve
}

// ForkLater is Fork for those who must not be held up, as requests of WebSockets.
func (s *Service) ForkLater(hub func(net.Conn)) func(net.Conn) {
	serve := s.Fork(hub)
	return func(nc net.Conn) { s.front.Accept(nc, serve) }
}

// Handler answers the service's requests over HTTP, and has hub answer others. MQTT over WebSocket is served at the root
// too, where the first .NET SDK looks for it, and at /mqtt, where the Java SDK does (the path of Eclipse Paho's client when it is given none).
func (s *Service) Handler(hub http.Handler, devices http.Handler) http.Handler {
	return s.rest.Before(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if (r.URL.Path == "/" || r.URL.Path == "/mqtt") && strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			devices.ServeHTTP(w, r)
			return
		}
		hub.ServeHTTP(w, r)
	}))
}

// WithConn is an http.Server's ConnContext: it makes client certificates known.
func WithConn(ctx context.Context, nc net.Conn) context.Context { return rest.WithConn(ctx, nc) }

// Faults is the switch that makes the service misbehave on purpose.
func (s *Service) Faults() *faults.Switch { return s.faults }

// IDScope is what devices name the service.
func (s *Service) IDScope() string { return s.settings.IDScope }

// Endpoint is the global endpoint for devices, host:port.
func (s *Service) Endpoint() string { return s.config.Endpoint }

// ConnectionString is the one of the service side.
func (s *Service) ConnectionString() connstring.Service {
	keys, err := s.keys()
	if err != nil { // Open would have failed
		return connstring.Service{}
	}
	return connstring.Service{HostName: s.config.Endpoint, Policy: dps.ServicePolicy, Key: keys[0]}
}

// GroupKey is the primary key of an enrollment group with symmetric keys; the zero key when there is none.
func (s *Service) GroupKey(id string) sas.Key {
	e := s.book.Enrollment(true, id)
	if e == nil {
		return sas.Key{}
	}
	primary, _ := e.Attestation.Keys()
	return primary
}

// Stats are numbers of a Service.
type Stats struct {
	registration.Stats
	Connections int // over MQTT
}

// Stats tells the numbers as they are now.
func (s *Service) Stats() Stats { return Stats{s.core.Stats(), s.front.Connections()} }

// Limit holds registrations and polls to other limits from now on.
func (s *Service) Limit(l limits.Limits) { s.core.Limit(l) }
