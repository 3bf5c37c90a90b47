package service

import (
	"slices"
	"sync"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/condition"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/eventhub"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/peer"
)

// replies is a link by which a service gets the answers of $management.
type replies struct {
	engine.Ignore
	node *node
	link *engine.Link
	to   string // where requests want their answers: the address of its target
}

// Detached implements engine.Handler.
func (r *replies) Detached() { r.node.forget(r) }

// requests is a link by which a service asks $management.
type requests struct {
	engine.Ignore
	peer      *peer.Peer
	node      *node
	link      *engine.Link
	describer eventhub.Describer
}

func (o Options) requests(p *peer.Peer, r peer.Request, _ eventhub.Address) (engine.Grant, error) {
	h := &requests{peer: p, node: of(p), link: r.Link, describer: eventhub.Describer{Name: o.Name, Log: o.Log}}
	return engine.Grant{Handler: h, Credit: managementCredit, SndSettleMode: amqp.SenderMixed}, nil
}

// managementCredit is how many requests may be under way: each is answered at once.
const managementCredit = 100

func (o Options) answers(p *peer.Peer, r peer.Request, _ eventhub.Address) (engine.Grant, error) {
	to, _ := r.Attach.Target.Address.Text()
	reader := &replies{node: of(p), link: r.Link, to: to}
	reader.node.mu.Lock()
	defer reader.node.mu.Unlock()
	reader.node.replies = append(reader.node.replies, reader)
	return engine.Grant{Handler: reader, SndSettleMode: amqp.SenderSettled, RcvSettleMode: amqp.ReceiverFirst}, nil
}

// node is $management of one connection: who reads answers.
type node struct {
	mu      sync.Mutex // protects replies
	replies []*replies
}

type nodeKey struct{}

func of(p *peer.Peer) *node { return p.Value(nodeKey{}, func() any { return new(node) }).(*node) }

func (n *node) forget(r *replies) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.replies = slices.DeleteFunc(n.replies, func(other *replies) bool { return other == r })
}

// replyTo is the link for an answer: the one that is named, in the session of the request first; or the only one of that session, or of
// the connection.
func (n *node) replyTo(request *engine.Link, to string) *engine.Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	var together, named, all []*engine.Link
	for _, r := range n.replies {
		all = append(all, r.link)
		if r.link.Together(request) {
			if r.to == to {
				return r.link
			}
			together = append(together, r.link)
		} else if r.to == to && to != "" {
			named = append(named, r.link)
		}
	}
	for _, candidates := range [][]*engine.Link{together, named, all} {
		if len(candidates) == 1 {
			return candidates[0]
		}
	}
	return nil
}

// Deliver implements engine.Handler.
func (r *requests) Deliver(d engine.Delivery) {
	m, err := amqp.ParseMessage(d.Payload)
	if err != nil {
		r.link.Settle(d, amqp.State{Code: amqp.Rejected, Error: condition.Undecodable(err)})
		return
	}
	answer := r.node.replyTo(r.link, m.Properties.ReplyTo)
	if answer == nil {
		r.link.Settle(d, amqp.State{Code: amqp.Rejected, Error: &amqp.Error{
			Condition: amqp.NotFound, Description: "no receiver of $management is attached whose target is the reply-to of the request",
		}})
		return
	}
	r.link.Settle(d, amqp.State{Code: amqp.Accepted})
	_ = answer.Post(r.describer.Answer(r.peer.Context(), &m)) // a link that is gone wants none
}
