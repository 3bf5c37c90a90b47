package fleet_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	dialect "github.com/twinfleet/twinfleet/fleet/protocol/iothub"
	"github.com/twinfleet/twinfleet/fleet/protocol/plain"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// hub is a hub in memory, behind the driver's interface: it answers after a latency, and can stall,
// refuse and drop. All of it works in virtual time.
type hub struct {
	mu      sync.Mutex
	latency time.Duration
	lag     time.Duration // of a message to its subscribers, on top
	stalled time.Time     // until when nothing is answered
	code    byte          // of CONNACK
	away    bool          // dialling fails
	mute    bool          // nothing that is published is answered
	twins   bool
	open    map[string]*conn
	record
	desired string // the whole section, as a new connection reads it
	// copies is how often a plain broker hands a message to each of its subscribers; nil for once.
	copies func(m link.Message) int
	// read is told of each message that reached the hub; nil for nobody.
	read func(m link.Message)
}

// record is what a hub keeps, by device and in order. A test reads it by told: that a goroutine has long ended says nothing to the race detector.
type record struct {
	dials    map[string][]time.Time
	reports  map[string][]string // bodies
	messages map[string][]link.Message
	replies  map[string][]reply // to direct methods
}

func (h *hub) told() record {
	h.mu.Lock()
	defer h.mu.Unlock()
	return record{maps.Clone(h.dials), maps.Clone(h.reports), maps.Clone(h.messages), maps.Clone(h.replies)}
}

type reply struct {
	topic string
	at    time.Time
}

func newHub() *hub {
	return &hub{
		latency: time.Millisecond, twins: true, desired: `{"$version":1}`,
		record: record{map[string][]time.Time{}, map[string][]string{}, map[string][]link.Message{}, map[string][]reply{}},
		open:   map[string]*conn{},
	}
}

// The hub is the fleet's Target too.
func (h *hub) Link(_ int, id string) link.Options { return link.Options{ClientID: id} }

func (h *hub) Protocol() protocol.Protocol {
	if h.twins {
		return dialect.Protocol{}
	}
	return plain.Protocol{
		Topic:  func(d protocol.Device) string { return topics.Telemetry(d.ID, nil) },
		Listen: func(protocol.Device) []link.Filter { return []link.Filter{{Topic: "#", QoS: 1}} },
	}
}

func (h *hub) Connect(ctx context.Context, o link.Options) (link.Conn, error) {
	h.mu.Lock()
	h.dials[o.ClientID] = append(h.dials[o.ClientID], time.Now())
	code, away := h.code, h.away
	h.mu.Unlock()
	if err := h.wait(ctx); err != nil {
		return nil, err
	}
	if away {
		return nil, link.ErrLost
	}
	if code != 0 {
		return nil, &link.RefusedError{Code: code}
	}
	c := &conn{hub: h, options: o, waiting: make(map[*time.Timer]func(error))}
	h.mu.Lock()
	h.open[o.ClientID] = c
	h.mu.Unlock()
	return c, nil
}

func (h *hub) wait(ctx context.Context) error {
	timer := time.NewTimer(h.delay())
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *hub) delay() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.latency + max(0, time.Until(h.stalled))
}

func (h *hub) stall(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stalled = time.Now().Add(d)
}

func (h *hub) isMute() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mute
}

func (h *hub) set(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

// drop ends connections without a word; those of all devices when none is named.
func (h *hub) drop(ids ...string) {
	h.mu.Lock()
	var gone []*conn
	for id, c := range h.open {
		if len(ids) == 0 || id == ids[0] {
			gone = append(gone, c)
		}
	}
	h.mu.Unlock()
	for _, c := range gone {
		c.end(link.ErrLost)
	}
}

// tell sends a message to a device.
func (h *hub) tell(id string, m link.Message) {
	h.mu.Lock()
	c := h.open[id]
	h.mu.Unlock()
	c.options.Handler(m)
}

type conn struct {
	hub     *hub
	options link.Options
	mu      sync.Mutex
	closed  bool
	over    func(error) // is told of that, and why
	waiting map[*time.Timer]func(error)
	filters []link.Filter // the hub's
}

// end closes the connection, unless it was closed.
func (c *conn) end(why error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	left := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for timer, done := range left {
		timer.Stop()
		done(link.ErrLost)
	}
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if c.hub.open[c.options.ClientID] == c {
		delete(c.hub.open, c.options.ClientID)
	}
	if c.over != nil {
		go c.over(why)
	}
}

func (c *conn) Close() { c.end(nil) }
func (c *conn) Abort() { c.end(nil) }

func (c *conn) Serve(over func(error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = over
	if c.closed {
		go over(link.ErrLost)
	}
}

func (c *conn) Subscribe(done func(error), filters ...link.Filter) {
	c.after(c.hub.delay(), func(err error) {
		if err == nil {
			c.hub.set(func() { c.filters = filters })
		}
		done(err)
	}, link.Message{})
}

// route hands a message to whoever subscribed to all of a device's messages, after the broker's latency.
func (h *hub) route(m link.Message) {
	if h.read != nil {
		h.read(m)
	}
	for _, c := range h.open {
		for _, f := range c.filters {
			if h.twins || (f.Topic != "#" && f.Topic != m.Topic) {
				continue
			}
			n := 1
			if h.copies != nil {
				n = h.copies(m)
			}
			for range n {
				time.AfterFunc(h.latency+h.lag, func() {
					c.mu.Lock()
					closed := c.closed
					c.mu.Unlock()
					if !closed {
						c.options.Handler(m)
					}
				})
			}
		}
	}
}

// after calls done after a delay, and then answers, unless the connection ends first.
func (c *conn) after(delay time.Duration, done func(error), answer link.Message) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		done(link.ErrLost)
		return
	}
	defer c.mu.Unlock()
	var timer *time.Timer
	timer = time.AfterFunc(delay, func() {
		c.mu.Lock()
		_, mine := c.waiting[timer]
		delete(c.waiting, timer)
		c.mu.Unlock()
		if !mine {
			return
		}
		done(nil)
		if answer.Topic != "" {
			c.options.Handler(answer)
		}
	})
	c.waiting[timer] = done
}

func (c *conn) Publish(m link.Message, done func(error)) {
	topic, err := topics.Parse(m.Topic)
	if err != nil {
		panic(err)
	}
	delay := c.hub.delay()
	if c.hub.isMute() {
		delay = time.Hour
	}
	c.after(delay, done, c.hub.take(c.options.ClientID, topic, m))
}

// take keeps what a device sent and returns the answer.
func (h *hub) take(id string, topic topics.Topic, m link.Message) link.Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch topic.Kind {
	case topics.KindTwinGet:
		return link.Message{Topic: topics.TwinResponse(200, topic.RequestID), Payload: fmt.Appendf(nil, `{"desired":%s,"reported":{}}`, h.desired)}
	case topics.KindReport:
		h.reports[id] = append(h.reports[id], string(m.Payload))
		return link.Message{Topic: topics.ReportAccepted(topic.RequestID, int64(len(h.reports[id]))+1)}
	case topics.KindMethodResponse:
		h.replies[id] = append(h.replies[id], reply{m.Topic, time.Now()})
	default:
		m.Payload = bytes.Clone(m.Payload)
		h.messages[id] = append(h.messages[id], m)
		h.route(m)
	}
	return link.Message{}
}

// newFleet makes a fleet of one group of robots on the hub.
func newFleet(t *testing.T, h *hub, seed uint64, n int, g fleet.Group) (*fleet.Fleet, *metrics.Recorder) {
	t.Helper()
	g.Name = "robots"
	for i := range n {
		g.IDs = append(g.IDs, fmt.Sprintf("robots-%03d", i))
	}
	rec := metrics.NewRecorder(metrics.Options{})
	f, err := fleet.New(fleet.Config{Seed: seed, Groups: []fleet.Group{g}, Target: h, Driver: h, Recorder: rec})
	if err != nil {
		t.Fatal(err)
	}
	return f, rec
}

// to brings a fleet to a number of devices over a time.
func to(t *testing.T, f *fleet.Fleet, n int, over time.Duration) {
	t.Helper()
	if err := f.Scale(t.Context(), schedule.Curve{{Duration: over, From: float64(f.Active()), To: float64(n)}}); err != nil {
		t.Fatal(err)
	}
}

// weights is a choice, for tests.
func weights(t *testing.T, names string, w ...float64) chance.Weighted[string] {
	t.Helper()
	c, err := chance.NewWeighted(strings.Fields(names), w)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// types is a connectivity without memory.
func types(t *testing.T, names string, w ...float64) chance.Chain[string] {
	return chance.NewChain(weights(t, names, w...), nil)
}

func compile(t *testing.T, v any) *payload.Template {
	t.Helper()
	p, err := payload.Compile(v)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// balanced holds the books of a fleet that has stopped: what was scheduled was started or dropped, and
// what was started has ended.
func balanced(t fataler, s *metrics.Snapshot) {
	t.Helper()
	for i := range s.Series {
		if x := &s.Series[i]; x.Started() != x.Ended() {
			t.Errorf("%s %s: %d started, %d ended, %d unanswered", x.Operation, x.Group, x.Started(), x.Ended(), x.Count(metrics.Unanswered))
		}
	}
}

// fataler is what tests and properties have in common.
type fataler interface {
	Helper()
	Errorf(format string, a ...any)
	Fatalf(format string, a ...any)
}
