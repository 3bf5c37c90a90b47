package service

import (
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/convert"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/lockqueue"
)

// Queue hands messages out under locks, to whichever receiver asks first.
type Queue interface {
	// Take locks up to most of the messages that wait, for a holder.
	Take(holder any, most int) []Notice
	// Settle ends a message with an outcome; its lock may be lost.
	Settle(token lockqueue.Token, o lockqueue.Outcome) error
	// Release unlocks what a holder has not settled.
	Release(holder any)
	// Watch has notify called whenever there may be something to Take, until stop is called. It must wait for nobody, and may be
	// called once more while it is stopped.
	Watch(notify func()) (stop func())
}

// Notice is a message of a Queue.
type Notice struct {
	Token    lockqueue.Token // of its lock
	Enqueued time.Time
	Tries    int    // that it was handed out before
	Sequence uint64 // of the queue
	Body     []byte // JSON
	UserID   string // the hub's name; empty for none
}

// Content types of notices: the official SDKs refuse others.
const (
	feedbackType = "application/vnd.microsoft.iothub.feedback.json"
	filesType    = "application/vnd.microsoft.iothub.filenotification.json"
)

// receiver is a link by which a service receives notices.
type receiver struct {
	link  *engine.Link
	queue Queue
	kind  string // content type
	stop  func()
	pump  pump
}

func (e *Endpoint) receive(l *engine.Link, q Queue, kind string) (engine.Grant, error) {
	r := &receiver{link: l, queue: q, kind: kind}
	r.stop = q.Watch(r.deliver)
	return engine.Grant{Handler: r, SndSettleMode: amqp.SenderUnsettled, RcvSettleMode: amqp.ReceiverSecond}, nil
}

// Deliver implements engine.Handler; the peer receives.
func (r *receiver) Deliver(engine.Delivery) {}

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
			_, err := r.link.Send(string(notice.Token[:]), false, r.encode(&notice))
			if err == nil {
				continue
			}
			// Nobody has seen it: what cannot be sent stays, what has no credit any more goes back.
			for _, left := range taken[i:] {
				_ = r.queue.Settle(left.Token, lockqueue.Abandon) // a lock that was lost is free
			}
			return
		}
	}
}

func (r *receiver) encode(n *Notice) []byte {
	b, l := amqp.BeginList(amqp.AppendDescriptor(nil, amqp.SectionHeader))
	b = amqp.AppendBool(b, true) // durable
	b = amqp.AppendNull(amqp.AppendNull(amqp.AppendNull(b)))
	b = amqp.EndList(amqp.AppendUint(b, uint32(n.Tries)), l, 5)
	b, start := amqp.BeginSection(b, amqp.SectionMessageAnnotations)
	b = amqp.AppendTime(amqp.AppendSymbol(b, "iothub-enqueuedtime"), n.Enqueued)
	b = amqp.AppendUbyte(amqp.AppendSymbol(b, "iothub-deliverycount"), uint8(min(n.Tries, 255)))
	b = amqp.AppendUlong(amqp.AppendSymbol(b, "x-opt-sequence-number"), n.Sequence)
	b = amqp.EndMap(b, start, 3)
	p := amqp.Properties{ContentType: r.kind, ContentEncoding: "utf-8"}
	if n.UserID != "" {
		p.UserID = []byte(n.UserID)
	}
	return amqp.AppendData(amqp.AppendProperties(b, &p), n.Body)
}

// Outcome implements engine.Handler.
func (r *receiver) Outcome(o engine.Outcome) amqp.State {
	if len(o.Tag) != len(lockqueue.Token{}) {
		return o.State
	}
	return settle(r.queue, lockqueue.Token([]byte(o.Tag)), o.State)
}

// settle carries out an outcome under a lock, and says what a peer in second mode is answered.
func settle(q Queue, token lockqueue.Token, s amqp.State) amqp.State {
	outcome := lockqueue.Complete
	switch {
	case s.Code == amqp.Released, s.Code == amqp.Modified && !s.UndeliverableHere:
		outcome = lockqueue.Abandon
	case s.Code == amqp.Rejected, s.Code == amqp.Modified:
		outcome = lockqueue.Reject
	}
	if err := q.Settle(token, outcome); err != nil {
		return amqp.State{Code: amqp.Rejected, Error: &amqp.Error{Condition: convert.MessageLockLost, Description: err.Error()}}
	}
	return s
}

// Detached implements engine.Handler.
func (r *receiver) Detached() {
	r.stop()
	r.queue.Release(r)
}
