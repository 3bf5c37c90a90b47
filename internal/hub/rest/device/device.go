// Package device is what devices do over HTTPS, on the paths that they share with the service side: they send messages, ask for those
// that wait for them, and upload files (iot-hub-devguide-endpoints). A device is never connected by it.
package device

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/deviceauth"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/events"
	"github.com/twinfleet/twinfleet/internal/hub/lockqueue"
	"github.com/twinfleet/twinfleet/internal/hub/rest/reply"
	"github.com/twinfleet/twinfleet/internal/hub/rest/route"
	"github.com/twinfleet/twinfleet/internal/hub/uploads"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/apiversion"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/errorbody"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

// Devices is the devices and modules of the hub, known by their keys. Errors that are *iothub.Error reach the client.
type Devices interface {
	// Authenticate checks that a client is who it says, by a shared access signature or, without one, by the certificates of its
	// connection. Errors are iothub.ErrDeviceNotFound, iothub.ErrModuleNotFound, iothub.ErrDeviceDisabled, and what is wrong with what
	// was shown.
	Authenticate(client, token string, chain []*x509.Certificate) (events.Auth, error)
	// Active tells that a device sent something.
	Active(client string)
	// Telemetry takes messages that a device sent at once, all of them or none. They count as one operation of their size together.
	Telemetry(ctx context.Context, client string, b devices.Batch) error
}

// Queue is the cloud-to-device messages that wait for devices.
type Queue interface {
	// Receive gives out the next message that waits for a device, for so long. It is false when none does.
	Receive(client string, lock time.Duration) (devices.Delivery, bool)
	// Settle takes what a device says of a message, and returns when that is kept. The error is iothub.ErrMessageLockLost when it does not
	// hold it any more.
	Settle(ctx context.Context, client string, token lockqueue.Token, o lockqueue.Outcome) error
}

// Uploads is the file uploads of devices; see uploads.Uploads.
type Uploads interface {
	Begin(ctx context.Context, device, name, host string) (uploads.Upload, error)
	End(ctx context.Context, device, id string, success bool) error
}

// Options of a Server. Required are those in the first block.
type Options struct {
	Devices  Devices
	Uploads  Uploads
	Queue    Queue
	HostName string // of the hub, where a request does not say it

	// Admit waits until an operation of a class may go on, or returns the error for the client. Telemetry is admitted by Devices. Nil lets
	// everything pass.
	Admit func(ctx context.Context, class tier.Class) error
	// Wait holds a request back, for the fault switch; nil for none.
	Wait   func(ctx context.Context)
	Logger *slog.Logger // nil logs nothing
}

// Server answers the requests of devices.
type Server struct{ opts Options }

// New makes a Server.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Wait == nil {
		o.Wait = func(context.Context) {}
	}
	if o.Admit == nil {
		o.Admit = func(context.Context, tier.Class) error { return nil }
	}
	return &Server{o}
}

type connKey struct{}

// WithConn makes the connection below a request known: the client certificate is there. It is for an http.Server's ConnContext.
func WithConn(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, nc)
}

// caller is who asks, and what for.
type caller struct {
	device string
	client string // the device id, or device/module
	token  string // of a message that it was given, or of an upload
	auth   events.Auth
}

// operation answers a request whose sender is who it says. Its body is at most so large, and read.
type operation struct {
	most int64 // bytes of body
	do   func(w http.ResponseWriter, r *http.Request, c *caller) error
}

// Before gives requests of devices to the Server, and others to next. Method and number of segments tell them apart, not the
// credentials: those decide what is allowed. Words of paths may be in any case, as SDKs write them; ids may not.
func (s *Server) Before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		op, c := s.find(r)
		if op == nil {
			next.ServeHTTP(w, r)
			return
		}
		reply.Begin(w)
		s.opts.Wait(r.Context())
		if err := s.answer(w, r, op, c); err != nil {
			reply.Error(w, r, err, errorbody.FormText, s.opts.Logger)
		}
	})
}

// find is what a request of a device asks for; nil for a request of another.
func (s *Server) find(r *http.Request) (*operation, *caller) {
	parts, ok := route.Segments(r)
	if !ok || len(parts) < 3 || !strings.EqualFold(parts[0], "devices") {
		return nil, nil
	}
	c := &caller{device: parts[1], client: parts[1]}
	is := func(method string, words ...string) bool {
		if r.Method != method || len(parts) != 2+len(words) {
			return false
		}
		for i, word := range words {
			if word != "" && !strings.EqualFold(parts[2+i], word) {
				return false
			}
		}
		return true
	}
	switch {
	case is(http.MethodPost, "messages", "events"):
		return &operation{maxBody, s.send}, c
	case is(http.MethodPost, "modules", "", "messages", "events"):
		c.client = entity.Key(c.device, parts[3])
		return &operation{maxBody, s.send}, c
	case is(http.MethodGet, "messages", "devicebound"):
		return &operation{0, s.receive}, c
	case is(http.MethodDelete, "messages", "devicebound", ""), is(http.MethodPost, "messages", "devicebound", "", "abandon"):
		c.token = parts[4]
		return &operation{0, s.settle}, c
	case is(http.MethodPost, "files"):
		return &operation{maxDocument, s.beginUpload}, c
	case is(http.MethodPost, "files", "notifications"):
		return &operation{maxDocument, s.endUpload}, c
	case is(http.MethodPost, "files", "notifications", ""):
		c.token = parts[4]
		return &operation{maxDocument, s.endUpload}, c
	default:
		return nil, nil
	}
}

// answer checks who asks and how, reads the body, and answers. Who is not who it says is refused before its body is read.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, op *operation, c *caller) error {
	if err := module(r, c); err != nil {
		return err
	}
	if err := s.authenticate(r, c); err != nil {
		return err
	}
	if !apiversion.Of(r.URL.Query()).Valid() {
		return iothub.ErrInvalidProtocol
	}
	if err := body(w, r, op.most); err != nil {
		return err
	}
	s.opts.Devices.Active(c.client)
	return op.do(w, r, c)
}

// headerModule names the module that a request of a device is from: the module id, or device/module.
const headerModule = "x-ms-edge-moduleId"

// module takes the module that a header names.
func module(r *http.Request, c *caller) error {
	named := r.Header.Get(headerModule)
	if named == "" {
		return nil
	}
	if device, id := entity.Split(named); id != "" {
		if device != c.device {
			return iothub.ErrArgumentInvalid.With("the header %s names a module of another device", headerModule)
		}
		named = id
	}
	if key := entity.Key(c.device, named); c.client == c.device || c.client == key {
		c.client = key
		return nil
	}
	return iothub.ErrArgumentInvalid.With("the header %s names another module than the path", headerModule)
}

func (s *Server) authenticate(r *http.Request, c *caller) error {
	if _, id := entity.Split(c.client); c.device == "" || strings.Contains(c.device, "/") || strings.Contains(id, "/") || strings.HasSuffix(c.client, "/") {
		return iothub.ErrDeviceNotFound.With("no id of the hub has a slash, or is empty") // clients know what this means (azure-iot-sdk-node, e2etests)
	}
	token := r.Header.Get("Authorization")
	chain := deviceauth.Chain(r.Context().Value(connKey{}))
	if token == "" && len(chain) == 0 {
		return iothub.ErrUnauthorized.With("Authorization header missing, and no client certificate: a device shows a shared access signature made " +
			"with its key, or its certificate")
	}
	auth, err := s.opts.Devices.Authenticate(c.client, token, chain)
	switch {
	case errors.Is(err, iothub.ErrDeviceDisabled):
		return iothub.ErrUnauthorized.With("Unauthorized: the device is disabled")
	case err != nil && iothub.AsError(err) == iothub.ErrServer: // what is wrong with a token or a certificate
		return iothub.ErrUnauthorizedAccess.With("Unauthorized: %v", err)
	}
	c.auth = auth
	return err
}
