package fleet

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/internal/fleet/mark"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// kind is one kind of messages of a group, resolved: its telemetry, which has no name and comes first, or one of its Kinds.
type kind struct {
	Kind
	number           int // among those of the group
	series           *metrics.Series
	delivery         *metrics.Series // nil unless deliveries are measured
	request          *metrics.Series // nil unless messages are requests
	draws            chance.Stream   // of payloads
	property         bool            // marks are user properties: payloads need not be objects
	duplicates, late atomic.Int64    // copies of messages
	missing          atomic.Int64    // likewise
	outOfOrder       atomic.Int64    // likewise
	retained         atomic.Int64    // copies that this fleet's subscribers got, of whichever fleet's messages
}

// measures reports whether deliveries of some kind of the group's messages are measured.
func (g *group) measures() bool {
	for _, k := range g.kinds {
		if k.delivery != nil {
			return true
		}
	}
	return false
}

// errRequests is returned for requests without properties, which have the topic of their responses.
var errRequests = errors.New("requests need Properties with a response topic")

// addKinds resolves the kinds of messages that a group's devices send.
func (f *Fleet) addKinds(g *group) error {
	all := append([]Kind{{Telemetry: g.Telemetry}}, g.Group.Kinds...)
	for i, x := range all {
		if x.Requests && x.Properties == nil {
			return errRequests
		}
		label := metrics.KindOf(g.Name, x.Name)
		k := &kind{Kind: x, number: i, series: f.cfg.Recorder.Series(metrics.OpTelemetry, label), draws: f.streams.payload}
		if x.Name != "" {
			k.draws = chance.NewStream(f.cfg.Seed, "payload "+x.Name)
		}
		if x.Deliveries != 0 {
			k.property = x.Payload != nil && !payload.Objects(x.Payload)
			k.delivery = f.cfg.Recorder.Series(metrics.OpDelivery, label)
			f.measures = f.measures || len(g.IDs) > 0
		}
		if x.Requests {
			k.request = f.cfg.Recorder.Series(metrics.OpRequest, label)
		}
		g.kinds = append(g.kinds, k)
	}
	return nil
}

// withMark are properties with the mark of a message whose delivery is measured.
func withMark(p *link.Properties, text string) *link.Properties {
	var x link.Properties
	if p != nil {
		x = *p
	}
	x.User = append(slices.Clip(x.User), link.UserProperty{Name: mark.Member, Value: text})
	return &x
}

// activity is the activity that the kind is.
func (k *kind) activity(f *Fleet) *activity {
	a := &activity{
		Activity: Activity{Operation: metrics.OpTelemetry, Every: k.Every, Rated: k.Rated},
		series:   k.series,
		start: func(d *device, conn link.Conn, turn int64, intended, free time.Time) {
			d.send(k, conn, turn, intended, free)
		},
	}
	if k.Name == "" {
		a.rhythm = func(i int) schedule.Rhythm { return f.calendar.Messages(i, k.Every, k.Gaps, k.Sync) }
	} else {
		a.rhythm = f.calendar.Activity("messages "+k.Name, k.Every, k.Gaps, k.Sync)
	}
	return a
}

// topicOf is where a device's messages of the kind go; those of its telemetry it remembers.
func (d *device) topicOf(k *kind) string {
	if k.number > 0 {
		return d.topicFor(k)
	}
	if d.topic == "" {
		d.topic = d.topicFor(k)
	}
	return d.topic
}

func (d *device) topicFor(k *kind) string {
	if k.Topic != nil {
		return k.Topic(d.who)
	}
	return d.group.protocol.Telemetry(d.who)
}

// send sends one message of a kind. It waits in pending for its acknowledgement like a twin request; a request for its response, too.
func (d *device) send(k *kind, conn link.Conn, turn int64, intended, free time.Time) {
	buffer := d.fleet.pools.buffers.Get().(*[]byte)
	body := (*buffer)[:0]
	marked, reserve := k.delivery != nil, 0
	which := mark.Mark{Device: d.index, Kind: k.number, Turn: turn}
	if marked && !k.property {
		reserve = mark.Size(d.fleet.run, which)
	}
	if k.Payload != nil {
		body = d.render(body, k.Payload, k.draws, turn, reserve)
	} else {
		body = append(body, "{}"...)
	}
	if marked && !k.property {
		body = mark.Stamp(body, d.fleet.run, which)
	}
	m := link.Message{Topic: d.topicOf(k), Payload: body, QoS: k.QoS, Retain: k.Retain}
	if k.Telemetry.Properties != nil {
		m.Properties = k.Telemetry.Properties(d.who)
	}
	if marked && k.property {
		m.Properties = withMark(m.Properties, mark.Text(d.fleet.run, which))
	}
	what := sending{marked: marked, turn: turn, kind: k}
	var sent time.Time
	stays := d.keeps != nil && k.QoS > 0
	op := d.newOperation()
	op.stays = stays
	what.rid, sent = d.started(k.series, op, intended, free)
	if k.request != nil {
		op := d.newOperation()
		op.stays, op.asks = stays, true
		what.request, _ = d.started(k.request, op, intended, free)
		m.Properties = d.withCorrelation(m.Properties, k, what.request)
	}
	if marked {
		d.expect(k, turn, intended, free, sent)
	}
	d.publish(conn, m, what)
	d.release(buffer, body)
}
