package service

import (
	"slices"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
)

// replies is a link by which a service gets the answers of $management.
type replies struct {
	engine.Ignore
	conn *Conn
	link *engine.Link
	to   string // where requests want their answers: the address of its target
}

// Deliver implements engine.Handler; the peer receives.
func (r *replies) Deliver(engine.Delivery) {}

// Detached implements engine.Handler.
func (r *replies) Detached() { r.conn.forget(r) }

// requests is a link by which a service asks $management.
type requests struct {
	engine.Ignore
	conn *Conn
	link *engine.Link
}

func (c *Conn) requests(l *engine.Link) (engine.Grant, error) {
	return engine.Grant{Handler: &requests{conn: c, link: l}, Credit: managementCredit, SndSettleMode: amqp.SenderMixed}, nil
}

// managementCredit is how many requests may be under way: each is answered at once.
const managementCredit = 100

func (c *Conn) answers(l *engine.Link, a *amqp.Attach) (engine.Grant, error) {
	to, _ := a.Target.Address.Text()
	r := &replies{conn: c, link: l, to: to}
	c.mu.Lock()
	c.replies = append(c.replies, r)
	c.mu.Unlock()
	return engine.Grant{Handler: r, SndSettleMode: amqp.SenderSettled, RcvSettleMode: amqp.ReceiverFirst}, nil
}

func (c *Conn) forget(r *replies) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replies = slices.DeleteFunc(c.replies, func(other *replies) bool { return other == r })
}

// replyTo is the link for an answer: the one that is named, in the session of the request first; or the only one of that session, or of
// the connection.
func (c *Conn) replyTo(request *engine.Link, to string) *engine.Link {
	c.mu.Lock()
	defer c.mu.Unlock()
	var together, named, all []*engine.Link
	for _, r := range c.replies {
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
		r.link.Settle(d, amqp.State{Code: amqp.Rejected, Error: &amqp.Error{Condition: amqp.DecodeError, Description: err.Error()}})
		return
	}
	answer := r.conn.replyTo(r.link, m.Properties.ReplyTo)
	if answer == nil {
		r.link.Settle(d, amqp.State{Code: amqp.Rejected, Error: &amqp.Error{
			Condition: amqp.NotFound, Description: "no receiver of $management is attached whose target is the reply-to of the request",
		}})
		return
	}
	r.link.Settle(d, amqp.State{Code: amqp.Accepted})
	e := r.conn.endpoint
	_ = answer.Post(e.opts.Describer.Answer(e.ctx, &m)) // a link that is gone wants none
}
