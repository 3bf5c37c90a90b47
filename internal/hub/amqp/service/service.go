// Package service is what services attach to over AMQP: cloud-to-device messages to send, feedback and file notifications to receive, and
// the Event-Hubs-compatible endpoint, from which they read what devices sent.
package service

import (
	"context"
	"fmt"
	"slices"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/address"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/condition"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/eventhub"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/peer"
	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/consumers"
	"github.com/twinfleet/twinfleet/internal/hub/eventlog"
	"github.com/twinfleet/twinfleet/internal/hub/notices"
	"github.com/twinfleet/twinfleet/internal/hub/policy"
)

// Options of the service side.
type Options struct {
	// Send queues a message for a device or a module, by its key; when it returns the message is kept. Its errors reach the sender.
	Send            func(ctx context.Context, client string, m c2d.Message) error
	Feedback, Files *notices.Queue       // of cloud-to-device messages, and of files that were uploaded
	Name            string               // of the hub, and of its event hub
	Log             *eventlog.Log        // what devices sent
	Groups          *consumers.Groups    // who reads it
	At              func() (string, int) // host and port of the Event-Hubs-compatible endpoint, as clients are sent there
}

// usual credit of links on which services send (recorded from the service).
const credit = 1000

// Kinds are the links of services. Who may use them has a policy's right ServiceConnect.
func Kinds(o Options) []peer.Kind {
	const sends, receives = true, false // what the service does
	type attacher = func(*peer.Peer, peer.Request) (engine.Grant, error)
	type hubAttacher = func(*peer.Peer, peer.Request, eventhub.Address) (engine.Grant, error)
	fixed := func(sending bool, attach attacher, path ...string) peer.Kind {
		return peer.Kind{
			Sends: sending,
			Match: func(a address.Address) bool { return a.Is(path...) },
			Attach: func(p *peer.Peer, r peer.Request) (engine.Grant, error) {
				if err := p.AsPolicy(r.Link, policy.ServiceConnect, r.Address); err != nil {
					return engine.Grant{}, err
				}
				return attach(p, r)
			},
		}
	}
	parse := func(a address.Address) eventhub.Address { return eventhub.ParseAddress(a, o.Name) }
	hub := func(sending bool, attach hubAttacher, kinds ...eventhub.Kind) peer.Kind {
		return peer.Kind{
			Sends: sending,
			Match: func(a address.Address) bool { return slices.Contains(kinds, parse(a).Kind) },
			Attach: func(p *peer.Peer, r peer.Request) (engine.Grant, error) {
				at := parse(r.Address)
				if err := p.AsPolicy(r.Link, policy.ServiceConnect, at.Resource(r.Address, o.Name)); err != nil {
					return engine.Grant{}, err
				}
				if at.Device {
					host, port := o.At()
					return engine.Grant{}, eventhub.RedirectTo(host, port, o.Name, at)
				}
				return attach(p, r, at)
			},
		}
	}
	send := func(p *peer.Peer, r peer.Request) (engine.Grant, error) {
		return engine.Grant{Handler: &sender{peer: p, link: r.Link, send: o.Send}, Credit: credit, SndSettleMode: amqp.SenderMixed}, nil
	}
	receiving := func(q *notices.Queue, kind string) attacher {
		return func(p *peer.Peer, r peer.Request) (engine.Grant, error) {
			return receive(p, r.Link, q, kind, o.Name)
		}
	}
	refusing := func(why func(at eventhub.Address) *amqp.Error) hubAttacher {
		return func(_ *peer.Peer, _ peer.Request, at eventhub.Address) (engine.Grant, error) {
			return engine.Grant{}, why(at)
		}
	}
	files := receiving(o.Files, notices.FileType)
	return []peer.Kind{
		fixed(sends, send, "messages", "devicebound"),
		fixed(receives, receiving(o.Feedback, notices.FeedbackType), "messages", "serviceBound", "feedback"),
		fixed(receives, files, "messages", "serviceBound", "filenotifications"),
		fixed(receives, files, "messages", "serviceBound", "fileuploadnotifications"), // as one page of the documentation has it
		hub(sends, o.requests, eventhub.Management),
		hub(receives, o.answers, eventhub.Management),
		hub(receives, o.read, eventhub.Partition),
		hub(receives, refusing(func(at eventhub.Address) *amqp.Error {
			return condition.New(amqp.NotFound, fmt.Sprintf("The messaging entity %.100q could not be found: the event hub is %q", at.Hub, o.Name))
		}), eventhub.Elsewhere),
		hub(receives, refusing(func(eventhub.Address) *amqp.Error {
			return condition.New(amqp.NotAllowed, "The event hub itself is not read: read its partitions, "+
				o.Name+"/ConsumerGroups/$Default/Partitions/0 and so on")
		}), eventhub.Hub),
		hub(sends, refusing(func(eventhub.Address) *amqp.Error {
			return condition.Unauthorized("Unauthorized access. 'Send' claim(s) are required: devices send, to addresses of their own")
		}), eventhub.Hub, eventhub.Partition),
	}
}
