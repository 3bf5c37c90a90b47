// Package service is what services attach to over AMQP: cloud-to-device messages to send, feedback and file notifications to receive, and
// the Event-Hubs-compatible endpoint, from which they read what devices sent.
package service

import (
	"context"
	"log/slog"
	"strings"
	"sync"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/convert"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/eventhub"
	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/consumers"
	"github.com/twinfleet/twinfleet/internal/hub/eventlog"
)

// Options of an Endpoint.
type Options struct {
	// Send queues a message for a device or a module, by its key; when it returns the message is kept. Its errors reach the sender.
	Send func(ctx context.Context, client string, m c2d.Message) error
	// Feedback and Files are the queues of feedback records and of file notifications.
	Feedback, Files Queue
	Log             *eventlog.Log     // what devices sent
	Groups          *consumers.Groups // who reads it
	Describer       eventhub.Describer
	// At is the host and the port where the Event-Hubs-compatible endpoint is, as clients are sent there.
	At     func() (host string, port int)
	Logger *slog.Logger // nil logs nothing
}

// Endpoint is the service side of a hub. It is safe for concurrent use.
type Endpoint struct {
	opts Options
	ctx  context.Context // ends with the hub
}

// New makes an Endpoint. What waits on behalf of its links ends with ctx.
func New(ctx context.Context, o Options) *Endpoint {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Endpoint{opts: o, ctx: ctx}
}

// Resource is what a link leads to, of which a token must speak.
type Resource struct {
	Path     string // without a slash before it
	EventHub bool   // it is of the Event-Hubs-compatible endpoint, whose clients sign with the text of a key
}

// Conn is the service side as one connection has it. Its methods are called one at a time.
type Conn struct {
	endpoint *Endpoint

	mu      sync.Mutex // protects replies
	replies []*replies // receivers of $management
}

// Conn makes the service side of a connection.
func (e *Endpoint) Conn() *Conn { return &Conn{endpoint: e} }

// address is where a link leads: the target of a peer that sends, the source of one that receives.
func address(a *amqp.Attach) string {
	v := a.Source.Address
	if a.Role == amqp.RoleSender {
		v = a.Target.Address
	}
	text, _ := v.Text()
	return text
}

// Fixed addresses of the IoT hub, in lower case.
const (
	devicebound = "messages/devicebound"
	feedback    = "messages/servicebound/feedback"
	files       = "messages/servicebound/filenotifications"
	filesToo    = "messages/servicebound/fileuploadnotifications" // so one page of the documentation
)

// path is an address without a host, in lower case.
func path(address string) string {
	if _, after, absolute := strings.Cut(address, "://"); absolute {
		_, address, _ = strings.Cut(after, "/")
	}
	return strings.ToLower(strings.Trim(address, "/"))
}

// Owns says whether an attach is for the service side, and for what a token must speak then.
func (c *Conn) Owns(a *amqp.Attach) (r Resource, ok bool) {
	where := address(a)
	switch p := path(where); p {
	case devicebound, feedback, files, filesToo:
		return Resource{Path: p}, true
	}
	hub := eventhub.ParseAddress(where, c.endpoint.opts.Describer.Name)
	if hub.Kind == eventhub.None {
		return r, false
	}
	return Resource{Path: strings.Trim(path(where), "/"), EventHub: !hub.Device}, true
}

// usual credit of links on which services send (recorded from the service).
const credit = 1000

// Attach attaches a link of the service side, for which the peer has the right. The error is what the peer is told.
func (c *Conn) Attach(l *engine.Link, a *amqp.Attach) (engine.Grant, error) {
	where, o := address(a), &c.endpoint.opts
	sends := a.Role == amqp.RoleSender
	switch p := path(where); {
	case p == devicebound && sends:
		return engine.Grant{Handler: &sender{endpoint: c.endpoint, link: l}, Credit: credit, SndSettleMode: amqp.SenderMixed}, nil
	case p == feedback && !sends:
		return c.endpoint.receive(l, o.Feedback, feedbackType)
	case p == files && !sends, p == filesToo && !sends:
		return c.endpoint.receive(l, o.Files, filesType)
	case p == devicebound, p == feedback, p == files, p == filesToo:
		return engine.Grant{}, wrongWay(sends)
	}
	hub := eventhub.ParseAddress(where, o.Describer.Name)
	switch {
	case hub.Device && (sends && hub.Kind != eventhub.Management):
		return engine.Grant{}, wrongWay(sends)
	case hub.Device:
		host, port := o.At()
		return engine.Grant{}, eventhub.RedirectTo(host, port, o.Describer.Name, hub, convert.NewTrackingID())
	case hub.Kind == eventhub.Management && sends:
		return c.requests(l)
	case hub.Kind == eventhub.Management:
		return c.answers(l, a)
	case hub.Kind == eventhub.Partition && !sends:
		return c.endpoint.read(l, a, hub)
	case sends:
		return engine.Grant{}, &amqp.Error{Condition: amqp.UnauthorizedAccess, Description: "Unauthorized access. 'Send' claim(s) are required: devices " +
			"send, to their own addresses"}
	}
	return engine.Grant{}, &amqp.Error{
		Condition:   amqp.NotAllowed,
		Description: "The event hub itself is not read: read its partitions, " + o.Describer.Name + "/ConsumerGroups/$Default/Partitions/0 and so on",
	}
}

func wrongWay(sends bool) *amqp.Error {
	way := "messages are sent there, not received"
	if sends {
		way = "messages are received there, not sent"
	}
	return &amqp.Error{Condition: amqp.NotAllowed, Description: "The link leads the wrong way: " + way}
}

// sender queues what a service sends to devices.
type sender struct {
	engine.Ignore
	endpoint *Endpoint
	link     *engine.Link
}

// Deliver implements engine.Handler.
func (s *sender) Deliver(d engine.Delivery) {
	client, m, err := message(d)
	if err == nil {
		err = s.endpoint.opts.Send(s.endpoint.ctx, client, m)
	}
	if err != nil {
		s.link.Settle(d, convert.Rejected(err))
		return
	}
	s.link.Settle(d, amqp.State{Code: amqp.Accepted})
}
