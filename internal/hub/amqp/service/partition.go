package service

import (
	"errors"

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

// reader is a link by which a service reads a partition.
type reader struct {
	link   *engine.Link
	place  *consumers.Attached
	events *eventlog.Reader

	pump  pump
	batch []eventlog.Event // of who sends
}

// most is how many messages are taken from the log at once.
const most = 64

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

// Deliver implements engine.Handler; the peer receives.
func (r *reader) Deliver(engine.Delivery) {}

// Credit implements engine.Handler.
func (r *reader) Credit() { r.deliver() }

// Outcome implements engine.Handler: readers keep their positions themselves.
func (r *reader) Outcome(o engine.Outcome) amqp.State { return o.State }

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
		r.batch = r.events.Take(r.batch[:0], min(n, most))
		if len(r.batch) == 0 {
			return
		}
		for _, e := range r.batch {
			if _, err := r.link.Send("", true, e.Bytes); err != nil {
				return
			}
		}
	}
}
