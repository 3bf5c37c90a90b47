package service

import (
	"errors"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/condition"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/locks"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/peer"
	"github.com/twinfleet/twinfleet/internal/hub/lockqueue"
	"github.com/twinfleet/twinfleet/internal/hub/notices"
)

// receiver is a link by which a service receives notices.
type receiver struct {
	engine.Ignore
	peer  *peer.Peer
	link  *engine.Link
	queue *notices.Queue
	kind  string // content type
	hub   string // the hub's name
	stop  func()
	pump  pump
}

func receive(p *peer.Peer, l *engine.Link, q *notices.Queue, kind, hub string) (engine.Grant, error) {
	r := &receiver{peer: p, link: l, queue: q, kind: kind, hub: hub}
	r.stop = q.Watch(r.deliver)
	return engine.Grant{Handler: r, SndSettleMode: amqp.SenderUnsettled, RcvSettleMode: amqp.ReceiverSecond}, nil
}

// Credit implements engine.Handler.
func (r *receiver) Credit() { r.deliver() }

// deliver sends what waits while there is credit.
func (r *receiver) deliver() {
	r.pump.run(r.send)
}

func (r *receiver) send() {
	for {
		n := r.link.Credit()
		if n == 0 {
			return
		}
		taken := r.queue.Take(r, min(n, 64))
		if len(taken) == 0 {
			return
		}
		for i, notice := range taken {
			b := r.encode(&notice)
			_, err := r.link.Send(locks.Tag(notice.Token), false, b)
			if err == nil {
				continue
			}
			if errors.Is(err, engine.ErrTooLarge) {
				r.link.Detach(condition.TooLarge(len(b)))
			}
			// Nobody has seen it: what cannot be sent stays, what has no credit any more goes back.
			for _, left := range taken[i:] {
				_, _ = r.queue.Settle(left.Token, lockqueue.Abandon) // a lock that was lost is free
			}
			return
		}
	}
}

func (r *receiver) encode(n *notices.Message) []byte {
	b, l := amqp.BeginList(amqp.AppendDescriptor(nil, amqp.SectionHeader))
	b = amqp.AppendBool(b, true) // durable
	b = amqp.AppendNull(amqp.AppendNull(amqp.AppendNull(b)))
	b = amqp.EndList(amqp.AppendUint(b, uint32(n.Deliveries)), l, 5)
	b, start := amqp.BeginSection(b, amqp.SectionMessageAnnotations)
	b = amqp.AppendTime(amqp.AppendSymbol(b, "iothub-enqueuedtime"), n.Enqueued)
	b = amqp.AppendUbyte(amqp.AppendSymbol(b, "iothub-deliverycount"), uint8(min(n.Deliveries, 255)))
	b = amqp.AppendUlong(amqp.AppendSymbol(b, "x-opt-sequence-number"), n.Sequence)
	b = amqp.EndMap(b, start, 3)
	p := amqp.Properties{UserID: []byte(r.hub), ContentType: r.kind, ContentEncoding: "utf-8"}
	return amqp.AppendData(amqp.AppendProperties(b, &p), n.Body)
}

// Outcome implements engine.Handler.
func (r *receiver) Outcome(o engine.Outcome) amqp.State {
	return locks.Settle(o, func(token lockqueue.Token, outcome lockqueue.Outcome) error {
		durable, err := r.queue.Settle(token, outcome)
		if err == nil && r.peer.Waits() {
			err = durable(r.peer.Context())
		}
		return err
	})
}

// Detached implements engine.Handler.
func (r *receiver) Detached() {
	r.stop()
	r.queue.Release(r)
}
