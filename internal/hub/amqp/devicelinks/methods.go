package devicelinks

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/condition"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/peer"
	"github.com/twinfleet/twinfleet/internal/hub/calls"
	"github.com/twinfleet/twinfleet/internal/iothub"
)

// methodCalls is the link on which direct methods are called, methodAnswers the one on which a device answers them.
type (
	methodCalls   struct{ common }
	methodAnswers struct{ common }
)

func newMethodCalls(u *unit, r peer.Request) (link, error) {
	pair, err := pairOf[*methodCalls](u, r)
	return &methodCalls{common{pair: pair, snd: amqp.SenderSettled, rcv: amqp.ReceiverFirst}}, err
}

func newMethodAnswers(u *unit, r peer.Request) (link, error) {
	pair, err := pairOf[*methodAnswers](u, r)
	return &methodAnswers{common{pair: pair, snd: amqp.SenderSettled, rcv: amqp.ReceiverFirst}}, err
}

// Call implements devices.Outlet.
func (u *unit) Call(id uint64, method string, payload []byte) error {
	b := amqp.AppendProperties(nil, &amqp.Properties{CorrelationID: amqp.AppendUUID(nil, callID(id))})
	b, start := amqp.BeginSection(b, amqp.SectionApplicationProperties)
	b = amqp.AppendString(amqp.AppendString(b, "IoThub-methodname"), method)
	b = amqp.AppendData(amqp.EndMap(b, start, 1), payload)
	err := error(iothub.ErrDeviceNotOnline)
	each(u, func(l *methodCalls) {
		if err != nil { // of several links the first that takes it
			_, err = l.link.Send("", true, b)
		}
	})
	return err
}

// callID is the uuid of a call: version 8, which is for what somebody makes up (RFC 9562).
func callID(n uint64) (id [16]byte) {
	copy(id[:], "twinfl")
	id[6] = 0x80
	binary.BigEndian.PutUint64(id[8:], n&^(3<<62)|2<<62)
	return id
}

// callOf is the call of a uuid, or of its text; ok is false for none of this hub's.
func callOf(v amqp.Value) (n uint64, ok bool) {
	id, isUUID := v.UUID()
	if text, isText := v.Text(); isText {
		b, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
		if err != nil || len(b) != len(id) {
			return 0, false
		}
		id, isUUID = [16]byte(b), true
	}
	n = binary.BigEndian.Uint64(id[8:]) &^ (3 << 62)
	return n, isUUID && id == callID(n)
}

// Deliver implements engine.Handler.
func (l *methodAnswers) Deliver(d engine.Delivery) { l.unit.serve(d, l.take) }

func (l *methodAnswers) take(d engine.Delivery) {
	m, err := amqp.ParseMessage(d.Payload)
	if err != nil {
		l.settle(d, rejected(condition.Undecodable(err)))
		return
	}
	status, ok := m.Application.Get("IoThub-status").Int()
	payload, isBytes := m.Payload()
	if !ok || !isBytes || status != int64(int32(status)) {
		l.settle(d, rejected(iothub.ErrArgumentInvalid.With("The answer of a method needs IoThub-status, an int, and a body that is Data")))
		return
	}
	if id, ok := callOf(m.Properties.CorrelationID); ok { // a late answer is dropped
		l.unit.table.Answer(l.unit.client, l.unit, id, calls.Answer{Status: int(status), Payload: bytes.Clone(payload)})
	}
	l.settle(d, accepted())
}
