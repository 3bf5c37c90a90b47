package devicelinks

import (
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/condition"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/peer"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/errorbody"
	"github.com/twinfleet/twinfleet/internal/iothub/username"
)

// twinRequests is the link on which a device asks for its twin and reports; twinAnswers the one on which it reads answers, and changes of
// desired properties once it has asked for them. The two are a pair, by their correlation.
type (
	twinRequests struct {
		common
		arrays bool // the client may use arrays
	}
	twinAnswers struct {
		common
		notified bool // of changes; under the unit's lock
	}
)

// The properties of links that belong together, and of the version of their protocol.
const (
	correlation = "com.microsoft:channel-correlation-id"
	apiVersion  = "com.microsoft:api-version"
)

// maxPair is the longest correlation of a pair, in bytes: a word, and a device and a module.
const maxPair = 512

// pairOf is the correlation of a link, of which a unit has only one of a kind.
func pairOf[T link](u *unit, r peer.Request) (string, error) {
	pair := r.Property(correlation)
	if len(pair) > maxPair {
		return "", iothub.ErrArgumentInvalid.With("%s has at most %d bytes", correlation, maxPair)
	}
	for _, l := range u.links {
		if l, ok := l.(T); ok && l.base().pair == pair {
			return "", condition.New(condition.LinkConflict, "a link of this kind and correlation is attached")
		}
	}
	return pair, nil
}

func newTwinRequests(u *unit, r peer.Request) (link, error) {
	pair, err := pairOf[*twinRequests](u, r)
	name := username.Name{APIVersion: r.Property(apiVersion)}
	return &twinRequests{common{pair: pair, snd: amqp.SenderSettled, rcv: amqp.ReceiverFirst}, name.AllowsArrays()}, err
}

func newTwinAnswers(u *unit, r peer.Request) (link, error) {
	pair, err := pairOf[*twinAnswers](u, r)
	return &twinAnswers{common: common{pair: pair, snd: amqp.SenderSettled, rcv: amqp.ReceiverFirst}}, err
}

// answers is the other link of a pair; nil while there is none.
func (l *twinRequests) answers() (other *twinAnswers) {
	each(l.unit, func(a *twinAnswers) {
		if a.pair == l.pair {
			other = a
		}
	})
	return other
}

// Deliver implements engine.Handler.
func (l *twinRequests) Deliver(d engine.Delivery) { l.unit.serve(d, l.take) }

const (
	desiredResource  = "/properties/desired"
	reportedResource = "/properties/reported"
	notifyResource   = "/notifications/twin/properties/desired"
)

// take serves a request.
func (l *twinRequests) take(d engine.Delivery) {
	m, err := amqp.ParseMessage(d.Payload)
	if err != nil {
		l.settle(d, rejected(condition.Undecodable(err)))
		return
	}
	to := l.answers()
	if to == nil {
		l.settle(d, rejected(iothub.ErrInvalidOperation.With("no link is attached for the answer")))
		return
	}
	id := append(amqp.Value(nil), m.Properties.CorrelationID...)
	operation, _ := m.Annotations.Get("operation").Text()
	resource, _ := m.Annotations.Get("resource").Text()
	expect := int64(-1)
	if v, ok := m.Annotations.Get("version").Int(); ok {
		expect = v
	}
	body, ok := m.Payload()
	if !ok {
		operation = "" // it is none
	}
	l.settle(d, accepted())
	u, ctx := l.unit, l.unit.context()
	switch {
	case len(id) == 0:
		to.fail(id, iothub.ErrArgumentNull.With("Correlation id is missing or empty"))
	case operation == "GET" && (resource == "" || resource == "/"):
		_ = u.table.TwinOperation(ctx, u.client, nil, func([]byte) error {
			twin, err := u.table.Twin(ctx, u.client)
			if err != nil {
				return to.fail(id, err)
			}
			return to.answer(id, 200, -1, twin)
		}, func(error) {})
	case operation == "PATCH" && resource == reportedResource:
		_ = u.table.TwinOperation(ctx, u.client, body, func(patch []byte) error {
			version, err := u.table.Report(ctx, u.client, patch, expect, l.arrays)
			if err != nil {
				return to.fail(id, err)
			}
			return to.answer(id, 200, version, nil)
		}, func(error) {})
	case (operation == "PUT" || operation == "DELETE") && resource == notifyResource:
		u.mu.Lock()
		to.notified = operation == "PUT"
		u.mu.Unlock()
		_ = to.answer(id, 200, -1, nil)
	default:
		to.fail(id, iothub.ErrArgumentInvalid.With("There is no operation %q of the resource %q", clip(operation), clip(resource)))
	}
}

// clip shortens what a client sent for a text.
func clip(s string) string { return s[:min(len(s), 80)] }

// answer sends an answer; with a version when that is not negative, and a body unless it is nil. Who has gone reads none.
func (l *twinAnswers) answer(id amqp.Value, status int32, version int64, body []byte) error {
	if l.unit.peer.Faults().Dropping() {
		return nil
	}
	b, start := amqp.BeginSection(nil, amqp.SectionMessageAnnotations)
	b = amqp.AppendInt(amqp.AppendSymbol(b, "status"), status)
	n := 1
	if version >= 0 {
		b = amqp.AppendLong(amqp.AppendSymbol(b, "version"), version)
		n++
	}
	b = amqp.EndMap(b, start, n)
	b = amqp.AppendProperties(b, &amqp.Properties{CorrelationID: id})
	if body != nil {
		b = amqp.AppendData(b, body)
	}
	return l.link.Post(b)
}

// fail sends an error as an answer: clients read JSON alone.
func (l *twinAnswers) fail(id amqp.Value, err error) error {
	e := iothub.AsError(err)
	return l.answer(id, int32(e.Status), -1, errorbody.MQTT(e, condition.TrackingID(), time.Now()))
}

// Desired implements devices.Outlet.
func (u *unit) Desired(payload []byte, version int64) bool {
	told := false
	each(u, func(l *twinAnswers) {
		u.mu.Lock()
		notified := l.notified
		u.mu.Unlock()
		if !notified || u.peer.Faults().Dropping() {
			return
		}
		b, start := amqp.BeginSection(nil, amqp.SectionMessageAnnotations)
		b = amqp.AppendString(amqp.AppendSymbol(b, "resource"), desiredResource)
		b = amqp.AppendLong(amqp.AppendSymbol(b, "version"), version)
		b = amqp.AppendData(amqp.EndMap(b, start, 2), payload)
		told = l.link.Post(b) == nil || told
	})
	return told
}
