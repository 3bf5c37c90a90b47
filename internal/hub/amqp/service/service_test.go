package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"
	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/eventhub"
	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/consumers"
	"github.com/twinfleet/twinfleet/internal/hub/eventlog"
	"github.com/twinfleet/twinfleet/internal/hub/events"
	"github.com/twinfleet/twinfleet/internal/hub/lockqueue"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// anyone is a connection whose peer may do everything of the service side.
type anyone struct{ conn *Conn }

func (anyone) Plain(string, string) error { return nil }
func (anyone) External() error            { return nil }
func (anyone) Alarm()                     {}
func (anyone) Ended(error)                {}
func (a anyone) Attach(l *engine.Link, at *amqp.Attach) (engine.Grant, error) {
	if _, ok := a.conn.Owns(at); !ok {
		return engine.Grant{}, &amqp.Error{Condition: amqp.NotFound, Description: "nothing of the service side"}
	}
	l.Conn().Identified()
	return a.conn.Attach(l, at)
}

// notices is a queue that notes what becomes of its one notice.
type notices struct {
	mu      sync.Mutex
	waiting []Notice
	settled []string
	notify  func()
}

func (n *notices) Take(_ any, most int) []Notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := min(most, len(n.waiting))
	taken := n.waiting[:k]
	n.waiting = n.waiting[k:]
	return taken
}

func (n *notices) Settle(t lockqueue.Token, o lockqueue.Outcome) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.settled = append(n.settled, fmt.Sprint(t[0], map[lockqueue.Outcome]string{lockqueue.Complete: " complete", lockqueue.Reject: " reject", lockqueue.Abandon: " abandon"}[o]))
	if t[0] == 99 {
		return lockqueue.ErrLost
	}
	return nil
}

func (n *notices) Release(any) { n.note("release") }
func (n *notices) note(s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.settled = append(n.settled, s)
}

func (n *notices) Watch(notify func()) func() {
	n.notify = notify
	return func() { n.note("stop") }
}

func (n *notices) add(number byte) {
	n.mu.Lock()
	n.waiting = append(n.waiting, Notice{
		Token: lockqueue.Token{number}, Enqueued: time.UnixMilli(1764300000000), Tries: 2, Sequence: 7, Body: []byte(`[{"statusCode":"Success"}]`), UserID: "hub",
	})
	n.mu.Unlock()
	n.notify()
}

func (n *notices) seen() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.settled, ", ")
}

// rig is an endpoint with Microsoft's Go client connected to it.
type rig struct {
	log   *eventlog.Log
	sent  chan c2d.Message
	fails error
	queue notices

	client *goamqp.Conn
}

func newRig(t *testing.T) *rig {
	log, err := eventlog.New(eventlog.Options{Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{log: log, sent: make(chan c2d.Message, 10)}
	groups, err := consumers.New("readers")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	e := New(ctx, Options{
		Send: func(_ context.Context, client string, m c2d.Message) error {
			if client != "dev 1/x" && client != "d" {
				return iothub.ErrDeviceNotFound
			}
			if r.fails == nil {
				r.sent <- m
			}
			return r.fails
		},
		Feedback: &r.queue, Files: &r.queue, Log: log, Groups: groups, Describer: eventhub.Describer{Name: "hub", Created: time.Now(), Log: log},
		At: func() (string, int) { return "localhost", 5671 },
	})
	s := engine.New(engine.Options{User: func(*engine.Conn) engine.User { return anyone{e.Conn()} }, Patient: func() bool { return true }})
	near, far := memnet.Pipe()
	s.Accept(far)
	r.client, err = goamqp.NewConn(t.Context(), near, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.client.Close()
		cancel()
		s.Close()
		log.Close()
	})
	return r
}

func (r *rig) session(t *testing.T) *goamqp.Session {
	s, err := r.client.NewSession(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (r *rig) append(t *testing.T, device, payload string) {
	m := events.Message{DeviceID: device, Payload: []byte(payload)}
	durable := r.log.Append(device, m.Size(), func(b []byte, at eventlog.Position) []byte {
		return m.Append(b, at.Sequence, at.Offset, at.Enqueued)
	})
	if durable != nil {
		if err := durable(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func condition(err error) string {
	var remote *goamqp.Error
	var link *goamqp.LinkError
	if errors.As(err, &link) && link.RemoteErr != nil {
		return string(link.RemoteErr.Condition)
	}
	if errors.As(err, &remote) {
		return string(remote.Condition)
	}
	return fmt.Sprint(err)
}

func TestSend(t *testing.T) {
	r := newRig(t)
	sender, err := r.session(t).NewSender(t.Context(), "/messages/devicebound", nil)
	if err != nil {
		t.Fatal(err)
	}
	id := goamqp.UUID{0xab, 15: 1}
	send := func(to string, change func(*goamqp.Message)) error {
		m := &goamqp.Message{
			Properties:            &goamqp.MessageProperties{To: &to, MessageID: id, CorrelationID: uint64(7), UserID: []byte("me")},
			ApplicationProperties: map[string]any{"iothub-ack": "full", "alert": true}, Data: [][]byte{[]byte("hel"), []byte("lo")},
		}
		if change != nil {
			change(m)
		}
		return sender.Send(t.Context(), m, nil)
	}
	if err := send("/devices/dev%201/modules/x/messages/deviceBound", nil); err != nil {
		t.Fatal(err)
	}
	m := <-r.sent
	if m.MessageID != "ab000000-0000-0000-0000-000000000001" || m.CorrelationID != "7" || m.UserID != "me" || m.Ack != "full" ||
		string(m.Payload) != "hello" || len(m.Properties) != 1 || m.Properties[0].Value != "true" {
		t.Errorf("%+v", m)
	}
	for name, c := range map[string]struct {
		to, want string
		change   func(*goamqp.Message)
	}{
		"another device":  {"/devices/nobody/messages/devicebound", "amqp:not-found", nil},
		"nobody":          {"/devices//messages/devicebound", "com.microsoft:argument-error", nil},
		"no address":      {"", "com.microsoft:argument-error", nil},
		"telemetry":       {"/devices/d/messages/events", "com.microsoft:argument-error", nil},
		"an unknown ack":  {"/devices/d/messages/devicebound", "com.microsoft:argument-error", func(m *goamqp.Message) { m.ApplicationProperties["iothub-ack"] = "some" }},
		"a long id":       {"/devices/d/messages/devicebound", "com.microsoft:argument-error", func(m *goamqp.Message) { m.Properties.MessageID = strings.Repeat("x", 129) }},
		"a body of a map": {"/devices/d/messages/devicebound", "com.microsoft:argument-error", func(m *goamqp.Message) { m.Data, m.Value = nil, map[string]any{"a": 1} }},
		"a batch":         {"/devices/d/messages/devicebound", "com.microsoft:argument-error", func(m *goamqp.Message) { m.Format = amqp.FormatBatch }},
	} {
		if err := send(c.to, c.change); condition(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	r.fails = iothub.ErrMaximumQueueDepth
	if err := send("/devices/d/messages/devicebound", nil); condition(err) != "amqp:resource-limit-exceeded" {
		t.Error(err)
	}
}

func TestFeedback(t *testing.T) {
	r := newRig(t)
	receiver, err := r.session(t).NewReceiver(t.Context(), "messages/serviceBound/feedback", &goamqp.ReceiverOptions{
		SettlementMode: goamqp.ReceiverSettleModeSecond.Ptr(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, settle := range []func(context.Context, *goamqp.Message) error{
		receiver.AcceptMessage,
		receiver.ReleaseMessage,
		func(ctx context.Context, m *goamqp.Message) error { return receiver.RejectMessage(ctx, m, nil) },
		func(ctx context.Context, m *goamqp.Message) error { return receiver.ModifyMessage(ctx, m, nil) },
	} {
		r.queue.add(byte(i))
		m, err := receiver.Receive(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		at, _ := m.Annotations["iothub-enqueuedtime"].(time.Time)
		if *m.Properties.ContentType != feedbackType || string(m.Properties.UserID) != "hub" || at.UnixMilli() != 1764300000000 ||
			len(m.DeliveryTag) != 16 || !json.Valid(m.GetData()) || m.Header.DeliveryCount != 2 {
			t.Errorf("%+v %+v", m, m.Properties)
		}
		if err := settle(t.Context(), m); err != nil { // in second mode the hub has answered
			t.Fatal(err)
		}
	}
	if err := receiver.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.queue.seen(); got != "0 complete, 1 abandon, 2 reject, 3 abandon, stop, release" {
		t.Error(got)
	}
}

// A peer in second mode hears that the lock was lost.
func TestLockLost(t *testing.T) {
	got := settle(&notices{}, lockqueue.Token{99}, amqp.State{Code: amqp.Accepted})
	if got.Code != amqp.Rejected || got.Error.Condition != "com.microsoft:message-lock-lost" {
		t.Errorf("%+v", got)
	}
}

func (r *rig) partition(t *testing.T, s *goamqp.Session, address, filter string, properties map[string]any) (*goamqp.Receiver, error) {
	o := &goamqp.ReceiverOptions{Properties: properties, SettlementMode: goamqp.ReceiverSettleModeFirst.Ptr(), Credit: 3}
	if filter != "" {
		o.Filters = []goamqp.LinkFilter{goamqp.NewSelectorFilter(filter)}
	}
	return s.NewReceiver(t.Context(), address, o)
}

func TestPartitions(t *testing.T) {
	r := newRig(t)
	if err := r.log.Enable(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		r.append(t, "d", fmt.Sprint(i))
	}
	number := r.log.PartitionOf("d")
	address := fmt.Sprintf("hub/ConsumerGroups/$default/Partitions/%d", number)
	s := r.session(t)
	read := func(receiver *goamqp.Receiver, n int) (out []string) {
		for range n {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			m, err := receiver.Receive(ctx, nil)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprint(m.Annotations["x-opt-sequence-number"], ":", string(m.GetData())))
		}
		return out
	}
	all, err := r.partition(t, s, address, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(read(all, 10), " "); got != "0:0 1:1 2:2 3:3 4:4 5:5 6:6 7:7 8:8 9:9" {
		t.Error(got)
	}
	late, err := r.partition(t, s, address, "amqp.annotation.x-opt-sequence-number > '7'", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(read(late, 2), " "); got != "8:8 9:9" {
		t.Error(got)
	}
	latest, err := r.partition(t, s, address, "amqp.annotation.x-opt-offset > '@latest'", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.append(t, "d", "new")
	for _, receiver := range []*goamqp.Receiver{all, late, latest} {
		if got := read(receiver, 1); got[0] != "10:new" {
			t.Error(got)
		}
	}

	owner, err := r.partition(t, s, address, "amqp.annotation.x-opt-offset > '@latest'", map[string]any{"com.microsoft:epoch": int64(3)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := all.Receive(t.Context(), nil); condition(err) != "amqp:link:stolen" {
		t.Errorf("a reader beside one with an epoch: %v", err)
	}
	if _, err := r.partition(t, s, address, "", nil); condition(err) != "amqp:link:stolen" {
		t.Errorf("a reader without an epoch: %v", err)
	}
	if _, err := r.partition(t, s, address, "", map[string]any{"com.microsoft:epoch": int64(2)}); condition(err) != "amqp:link:stolen" {
		t.Errorf("a reader with a lower epoch: %v", err)
	}
	if _, err := r.partition(t, s, address, "", map[string]any{"com.microsoft:epoch": int64(3)}); err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Receive(t.Context(), nil); condition(err) != "amqp:link:stolen" {
		t.Errorf("the owner before: %v", err)
	}
	for where, want := range map[string]string{
		"hub/ConsumerGroups/$default/Partitions/2":  "amqp:not-found",
		"hub/ConsumerGroups/$default/Partitions/x":  "amqp:not-found",
		"hub/ConsumerGroups/strangers/Partitions/0": "amqp:not-found",
		"hub": "amqp:not-allowed",
		"other/ConsumerGroups/$default/Partitions/0": "amqp:not-found",
		"messages/events":                                      "amqp:link:redirect",
		"messages/events/$management":                          "amqp:link:redirect",
		"messages/events/ConsumerGroups/$Default/Partitions/0": "amqp:link:redirect",
		"messages/devicebound":                                 "amqp:not-allowed",
	} {
		if _, err := r.partition(t, s, where, "", nil); condition(err) != want {
			t.Errorf("%s: %v, want %s", where, err, want)
		}
	}
	if _, err := r.partition(t, s, address, "properties.a > '1'", nil); condition(err) != "com.microsoft:argument-error" {
		t.Errorf("a filter of another kind: %v", err)
	}
	if _, err := s.NewSender(t.Context(), "hub", nil); condition(err) != "amqp:unauthorized-access" {
		t.Errorf("sending to the event hub: %v", err)
	}
}

// Each answer comes on the link that its request names.
func TestRequestsFindTheirAnswers(t *testing.T) {
	r := newRig(t)
	for i := range 2 { // both sessions name their links alike
		s := r.session(t)
		to := "reply"
		receiver, err := s.NewReceiver(t.Context(), "$management", &goamqp.ReceiverOptions{TargetAddress: to})
		if err != nil {
			t.Fatal(err)
		}
		sender, err := s.NewSender(t.Context(), "hub/$management", nil)
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprint("request ", i)
		err = sender.Send(t.Context(), &goamqp.Message{
			Properties:            &goamqp.MessageProperties{MessageID: id, ReplyTo: &to},
			ApplicationProperties: map[string]any{"operation": "READ", "type": "com.microsoft:eventhub", "name": "hub"},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := receiver.Receive(t.Context(), nil)
		if err != nil || m.Properties.CorrelationID != id || m.ApplicationProperties["status-code"] != int32(200) {
			t.Errorf("%+v, %v", m, err)
		}
	}
	sender, err := r.session(t).NewSender(t.Context(), "$management", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := sender.Send(t.Context(), &goamqp.Message{Properties: &goamqp.MessageProperties{MessageID: "x"}}, nil); condition(err) != "amqp:not-found" {
		t.Errorf("nowhere to answer: %v", err)
	}
}
