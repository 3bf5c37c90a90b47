// Package page is the hub's page for people: devices and their twins, queries, live traffic, limits and faults, on the hub's own port.
// Everybody on this machine may look; who has the token may act, and does so by the hub's own REST calls.
package page

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"encoding/base64"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/httpserve"
	"github.com/twinfleet/twinfleet/internal/hub/pointing"
	"github.com/twinfleet/twinfleet/internal/hub/traffic"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
	"github.com/twinfleet/twinfleet/report/html"
)

//go:embed assets
var assets embed.FS

// Hub is what the page needs of a hub. Errors that are *iothub.Error are shown as what they are. A key names a device or a
// device/module.
type Hub interface {
	// List is the twins of devices in the order of their ids, after one and with a search in the id.
	List(after, search string, top int) []*twin.Twin
	// Twin is that of a device or a module.
	Twin(key string) (*twin.Twin, error)
	// Modules are the ids of a device's modules, in order.
	Modules(id string) ([]string, error)
	// Session is what the device side keeps of a device or a module.
	Session(key string) Session
	// Query answers one page of a query.
	Query(ctx context.Context, text string, size int, continuation string) (paging.Page, error)
	// Numbers are those of the hub now.
	Numbers() Numbers
	// Switch sets a fault.
	Switch(f Fault)
	// Identity of a device or a module, with its keys.
	Identity(key string) (registry.Identity, error)
	// Sign makes a token of the policy iothubowner, or of a device or a module with its key.
	Sign(i *registry.Identity, life time.Duration) string
	// Pointing is where the hub is, with the owner's key.
	Pointing() pointing.Options
}

// Session is what the device side keeps of a device or a module.
type Session struct {
	Connected bool     `json:"connected"` // now
	Kept      bool     `json:"kept"`      // the session outlives its connection
	Waiting   int      `json:"waiting"`   // cloud-to-device messages
	Listens   []string `json:"listens"`   // to what, in words
}

// Numbers are those of a hub.
type Numbers struct {
	Host      string              `json:"host"`      // in connection strings
	Address   string              `json:"address"`   // on which it listens
	Tier      string              `json:"tier"`      // empty for none, without limits
	Units     int                 `json:"units"`     // of the tier
	Devices   registry.Statistics `json:"devices"`   // identities
	Connected int                 `json:"connected"` // devices
	Sockets   int                 `json:"sockets"`   // of devices, also those before their CONNECT
	Packets   uint64              `json:"packets"`   // received of devices
	Telemetry uint64              `json:"telemetry"` // messages received
	Sessions  Sessions            `json:"sessions"`  // counted some seconds ago
	Classes   []Class             `json:"classes"`   // of operations
	QuotaUsed int64               `json:"quotaUsed"` // messages counted today
	Quota     int64               `json:"quota"`     // messages that the tier allows a day; 0 without a tier
	Refused   uint64              `json:"refused"`   // operations that came after that
	Faults    Faults              `json:"faults"`    // what is switched on
	DPS       *Provisioning       `json:"dps"`       // nil without a provisioning service
}

// Provisioning is the numbers of a provisioning service.
type Provisioning struct {
	Scope     string             `json:"scope"`     // what devices name it
	Endpoint  string             `json:"endpoint"`  // for devices, host:port
	Known     int                `json:"known"`     // registrations that are remembered
	Assigning int                `json:"assigning"` // registrations under way
	Results   map[string]uint64  `json:"results"`   // registrations by result
	Faults    ProvisioningFaults `json:"faults"`    // what is switched on
}

// ProvisioningFaults are what a provisioning service is set to do wrong. Shares go from 0 to 1.
type ProvisioningFaults struct {
	Throttle float64 `json:"throttle"` // share of registrations and polls that are answered with 429
	Fail     float64 `json:"fail"`     // share of registrations that fail
	Disable  float64 `json:"disable"`  // share of registrations that are answered as disabled
	Mute     float64 `json:"mute"`     // share of polls that get no answer
	Close    float64 `json:"close"`    // share of registrations in whose middle the connection ends
	Slow     float64 `json:"slow"`     // seconds that a registration takes longer
}

// Sessions counts sessions of devices and modules.
type Sessions struct {
	Kept    int `json:"kept"`    // those that outlive their connection
	Away    int `json:"away"`    // of them those without a connection
	Waiting int `json:"waiting"` // cloud-to-device messages that wait
}

// Class is the numbers of a class of operations. All but Name and Served are 0 without a tier.
type Class struct {
	Name     string  `json:"name"`     // as on /metrics
	Served   uint64  `json:"served"`   // operations
	Rate     float64 `json:"rate"`     // operations a second that the tier allows
	Tokens   float64 `json:"tokens"`   // left of the burst; below 0 when operations wait
	Waiting  int     `json:"waiting"`  // operations that wait now
	Wait     float64 `json:"wait"`     // seconds that one more would wait
	Delayed  uint64  `json:"delayed"`  // served after a wait
	Rejected uint64  `json:"rejected"` // shed with 429
}

// Faults are what a hub is set to do wrong.
type Faults struct {
	Refuse   float64 `json:"refuse"`   // seconds left
	Stall    float64 `json:"stall"`    // seconds left
	DropAcks float64 `json:"dropAcks"` // share of answers
	Slow     bool    `json:"slow"`     // operations take a time of service
}

// Fault is a fault to switch.
type Fault struct {
	Kind        string  `json:"kind"`        // stall, refuse, restart, drop, slow or dps
	Seconds     float64 `json:"seconds"`     // of stall, refuse and restart: how long; 0 ends a stall or a refusal
	Share       float64 `json:"share"`       // of drop: 0 to 1
	Servers     int     `json:"servers"`     // of slow: 1 or more; 0 ends it
	Time        float64 `json:"time"`        // of slow: milliseconds of one operation
	Exponential bool    `json:"exponential"` // of slow: times are exponential, else all alike

	DPS ProvisioningFaults `json:"dps"` // of dps: all that the provisioning service does wrong from now on
}

// Options of a Server.
type Options struct {
	Hub    Hub          // required
	REST   http.Handler // required: the hub's service side, which carries out what the page does
	Tap    *traffic.Tap // required
	Host   string       // the name by which the page may be asked for, beside those of loopback; empty for no other
	Remote bool         // others than this machine may ask, by any name; they need the token also to look
	Logger *slog.Logger // nil logs nothing
}

// Server serves the page. It has no goroutines of its own.
type Server struct {
	opts  Options
	token string
	mux   *http.ServeMux
	heavy chan struct{} // one list or query at a time: they may walk over all devices
	now   func() time.Time
}

// New makes a Server with a token of its own.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var b [24]byte
	rand.Read(b[:]) // never fails, by its own documentation
	s := &Server{opts: o, token: base64.RawURLEncoding.EncodeToString(b[:]), mux: http.NewServeMux(), heavy: make(chan struct{}, 1), now: time.Now}
	s.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { s.file(w, "hub.html") })
	s.mux.HandleFunc("GET "+Prefix+"{file}", func(w http.ResponseWriter, r *http.Request) { s.file(w, r.PathValue("file")) })
	read := func(pattern string, h http.HandlerFunc) { s.mux.HandleFunc(pattern, s.guarded(false, h)) }
	act := func(pattern string, h http.HandlerFunc) { s.mux.HandleFunc(pattern, s.guarded(true, h)) }
	read("GET "+Prefix+"api/numbers", s.numbers)
	read("GET "+Prefix+"api/devices", s.devices)
	read("GET "+Prefix+"api/states", s.states)
	read("GET "+Prefix+"api/device", s.device)
	read("POST "+Prefix+"api/query", s.query)
	read("GET "+Prefix+"api/traffic", s.traffic)
	read("GET "+Prefix+"api/connect", s.connect)
	act("GET "+Prefix+"api/token", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	act("GET "+Prefix+"api/connection", s.connection)
	act("POST "+Prefix+"api/fault", s.fault)
	act(Prefix+"do/{path...}", s.forward)
	return s
}

// Prefix is where all of the page lies but the page itself, which is at /.
const Prefix = "/page/"

// Owns reports whether a request is the page's: one that reads /, or of a path below Prefix.
func Owns(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, Prefix) || r.URL.Path == "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// Token lets who has it act. It is a secret.
func (s *Server) Token() string { return s.token }

// ServeHTTP answers for / and all below Prefix.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "+
		"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if !s.named(r.Host) {
		http.Error(w, "open the page as localhost, or by the name given with --hostname", http.StatusForbidden)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// named reports whether the page may be asked for by a name. One that somebody else points at loopback is not ours (DNS rebinding).
func (s *Server) named(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	ip := net.ParseIP(host)
	return s.opts.Remote || strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback() ||
		s.opts.Host != "" && strings.EqualFold(host, s.opts.Host)
}

// header must be in every request that is no plain read: a page of another site cannot send it without asking.
const header = "X-Twinfleet-Page"

// guarded lets a request pass that comes from this page, or from no page at all, and that has the token when it needs it.
func (s *Server) guarded(act bool, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !httpserve.SameOrigin(r) || r.Method != http.MethodGet && r.Header.Get(header) == "":
			fail(w, http.StatusForbidden, "only the page itself may do this")
		case (act || s.opts.Remote && !local(r)) && !s.allowed(r):
			fail(w, http.StatusUnauthorized, "the token is missing or wrong; the hub printed it when it started")
		default:
			next(w, r)
		}
	}
}

// allowed reports whether a request has the token. The comparison takes as long for every wrong one.
func (s *Server) allowed(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) == 1
}

// local reports whether a request comes from this machine; one that came by no network does.
func local(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func (s *Server) file(w http.ResponseWriter, name string) {
	b, err := assets.ReadFile("assets/" + name)
	if err != nil && name == "report.css" {
		b, err = html.Asset(name)
	}
	if err != nil {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	_, _ = w.Write(b) // who has gone does not miss it
}
