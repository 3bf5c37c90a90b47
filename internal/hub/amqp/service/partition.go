package service

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/condition"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/eventhub"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/peer"
	"github.com/twinfleet/twinfleet/internal/hub/consumers"
	"github.com/twinfleet/twinfleet/internal/hub/eventlog"
)

// Properties of a partition receiver's attach.
const (
	receiverName = "com.microsoft:receiver-name"
	epoch        = "com.microsoft:epoch"
)

// reader is a link by which a service reads a partition. Outcomes mean nothing to it: readers keep their positions themselves.
type reader struct {
	engine.Ignore
	link   *engine.Link
	place  *consumers.Attached
	events *eventlog.Reader

	pump    pump
	batch   []eventlog.Event // of who sends
	sent    int              // of the batch; the rest waits for credit, or for the peer to read
	delayed atomic.Bool      // it is looked once more whether the peer has read
}

// most is how many messages are taken from the log at once.
const most = 64

// A peer grants credit for more than it reads at once, over a slow network or of large messages. What it has not read yet waits in the
// log, and no more than about so many bytes on the connection; it is looked after a while whether it has.
const (
	mostUnread = 1 << 20
	lookAgain  = 20 * time.Millisecond
)

func (o Options) read(p *peer.Peer, request peer.Request, at eventhub.Address) (engine.Grant, error) {
	l, a := request.Link, request.Attach
	from, err := eventhub.From(a.Source.Filter)
	if err != nil {
		return engine.Grant{}, condition.New(condition.ArgumentError, err.Error())
	}
	r := &reader{link: l}
	want := consumers.Reader{Group: at.Group, Partition: at.Partition}
	want.Name, _ = a.Properties.Get(receiverName).Text()
	want.Epoch, want.HasEpoch = a.Properties.Get(epoch).Int()
	if at.Partition < 0 || at.Partition >= o.Log.Partitions() {
		return engine.Grant{}, refusal(eventlog.ErrNoPartition)
	}
	want.Stolen = func(why error) { l.Detach(refusal(why)) }
	if r.place, err = o.Groups.Attach(want); err != nil {
		return engine.Grant{}, refusal(err)
	}
	if r.events, err = o.Log.Open(p.Context(), at.Partition, from, r.deliver); err != nil {
		r.place.Detach()
		return engine.Grant{}, refusal(err)
	}
	return engine.Grant{Handler: r, SndSettleMode: amqp.SenderSettled, RcvSettleMode: amqp.ReceiverFirst}, nil
}

// refusal is why a partition is not read, or no longer.
func refusal(err error) *amqp.Error {
	name := amqp.InternalError
	switch {
	case errors.Is(err, consumers.ErrNoGroup), errors.Is(err, eventlog.ErrNoPartition):
		name = amqp.NotFound
	case errors.Is(err, consumers.ErrStolen):
		name = amqp.Stolen
	case errors.Is(err, consumers.ErrTooMany):
		name = amqp.LimitExceeded
	case errors.Is(err, eventlog.ErrPosition):
		name = condition.ArgumentError
	case errors.Is(err, eventlog.ErrOff):
		name = amqp.NotAllowed
	}
	return condition.New(name, err.Error())
}

// Credit implements engine.Handler.
func (r *reader) Credit() { r.deliver() }

// Detached implements engine.Handler.
func (r *reader) Detached() {
	r.events.Close()
	r.place.Detach()
}

// deliver sends what is new while there is credit.
func (r *reader) deliver() {
	r.pump.run(r.send)
}

func (r *reader) send() {
	for {
		n := r.link.Credit()
		if n == 0 {
			return
		}
		if r.sent == len(r.batch) {
			r.batch, r.sent = r.events.Take(r.batch[:0], min(n, most)), 0
		}
		if len(r.batch) == 0 {
			return
		}
		for ; r.sent < len(r.batch); r.sent++ {
			if r.link.Unread() > mostUnread {
				r.later()
				return
			}
			b := r.batch[r.sent].Bytes
			switch _, err := r.link.Send("", true, b); {
			case errors.Is(err, engine.ErrTooLarge):
				r.link.Detach(condition.TooLarge(len(b)))
				return
			case err != nil: // the credit was taken back: it is the first when there is more
				return
			}
		}
	}
}

// later delivers once more after a while.
func (r *reader) later() {
	if r.delayed.Swap(true) {
		return
	}
	time.AfterFunc(lookAgain, func() {
		r.delayed.Store(false)
		r.deliver()
	})
}
