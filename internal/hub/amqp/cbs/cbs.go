// Package cbs is the node $cbs, to which clients send the tokens that say who they are (claims-based security, and the SDKs).
package cbs

import (
	"errors"
	"slices"
	"sync"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/address"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/condition"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/peer"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// credit is how many requests may be under way (recorded).
const credit = 100

// Kinds are the links of $cbs: one that takes tokens, and one that answers.
func Kinds() []peer.Kind {
	match := func(a address.Address) bool { return a.Is("$cbs") }
	return []peer.Kind{
		{Sends: true, Match: match, Attach: func(p *peer.Peer, r peer.Request) (engine.Grant, error) {
			return engine.Grant{Handler: &requests{peer: p, link: r.Link, node: of(p)}, Credit: credit}, nil
		}},
		{Match: match, Attach: func(p *peer.Peer, r peer.Request) (engine.Grant, error) {
			n := of(p)
			n.add(r.Link)
			return engine.Grant{Handler: &answers{link: r.Link, node: n}}, nil
		}},
	}
}

type key struct{}

// node is $cbs of one connection: who reads answers.
type node struct {
	mu      sync.Mutex // protects readers
	readers []*engine.Link
}

func of(p *peer.Peer) *node { return p.Value(key{}, func() any { return new(node) }).(*node) }

func (n *node) add(l *engine.Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.readers = append(n.readers, l)
}

func (n *node) remove(l *engine.Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.readers = slices.DeleteFunc(n.readers, func(other *engine.Link) bool { return other == l })
}

// reader is the link that answers requests of another: one of its session, or any.
func (n *node) reader(of *engine.Link) *engine.Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	var any *engine.Link
	for _, l := range n.readers {
		if any = l; l.Together(of) {
			break
		}
	}
	return any
}

type answers struct {
	engine.Ignore
	link *engine.Link
	node *node
}

// Detached implements engine.Handler.
func (a *answers) Detached() { a.node.remove(a.link) }

type requests struct {
	engine.Ignore
	peer *peer.Peer
	link *engine.Link
	node *node
}

// Deliver implements engine.Handler.
func (r *requests) Deliver(d engine.Delivery) {
	m, err := amqp.ParseMessage(d.Payload)
	if err != nil {
		r.link.Settle(d, amqp.State{Code: amqp.Rejected, Error: condition.Undecodable(err)})
		return
	}
	status, text := r.put(&m)
	r.link.Settle(d, amqp.State{Code: amqp.Accepted})
	reader := r.node.reader(r.link)
	if reader == nil {
		return
	}
	p := amqp.Properties{CorrelationID: m.Properties.MessageID}
	if m.Properties.ReplyTo != "" {
		p.To = amqp.AppendString(nil, m.Properties.ReplyTo)
	}
	b := amqp.AppendProperties(nil, &p)
	b, start := amqp.BeginSection(b, amqp.SectionApplicationProperties)
	b = amqp.AppendInt(amqp.AppendString(b, "status-code"), status)
	b = amqp.AppendString(amqp.AppendString(b, "status-description"), text)
	_ = reader.Post(amqp.EndMap(b, start, 2)) // who has gone reads no answer
}

// put carries out a request, and returns its status.
func (r *requests) put(m *amqp.Message) (status int32, text string) {
	if !m.Application.Get("operation").Is("put-token") {
		return 400, "The operation must be put-token."
	}
	if kind := m.Application.Get("type"); !kind.Is("servicebus.windows.net:sastoken") && !kind.Is("amqp:sastoken") {
		return 400, "The type must be servicebus.windows.net:sastoken."
	}
	if name, ok := m.Application.Get("name").Text(); !ok || name == "" {
		return 400, "The audience is missing."
	}
	token, ok := m.Value.Text()
	if !ok {
		return 400, "The token must be the message's value, a string."
	}
	return statusOf(r.peer.PutToken(token))
}

// statusOf is how an error is answered. No text has a part of the token.
func statusOf(err error) (int32, string) {
	var e *iothub.Error
	switch {
	case err == nil:
		return 200, "OK"
	case errors.Is(err, sas.ErrMalformed):
		return 400, "The token is malformed."
	case errors.Is(err, sas.ErrSignature):
		return 401, "The specified SAS token has an invalid signature. It does not match either the primary or secondary key."
	case errors.Is(err, sas.ErrExpired):
		return 401, "The specified SAS token is expired."
	case errors.Is(err, peer.ErrTooManyTokens):
		return 500, "The maximum number of tokens per connection (1000) has been reached."
	case errors.Is(err, iothub.ErrDeviceNotFound), errors.Is(err, iothub.ErrModuleNotFound):
		return 404, iothub.AsError(err).Message
	case errors.As(err, &e):
		return 401, e.Message
	}
	return 401, "Unauthorized: " + err.Error()
}
