package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	goamqp "github.com/Azure/go-amqp"
	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/peer"
	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/consumers"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/eventlog"
	"github.com/twinfleet/twinfleet/internal/hub/events"
	"github.com/twinfleet/twinfleet/internal/hub/faults"
	"github.com/twinfleet/twinfleet/internal/hub/notices"
	"github.com/twinfleet/twinfleet/internal/hub/policy"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is the service side with Microsoft's Go client connected to it.
type rig struct {
	log      *eventlog.Log
	sent     chan c2d.Message
	fails    error
	feedback *notices.Queue

	client *goamqp.Conn
}

// nobody is no device.
type nobody struct{}

func (nobody) Authenticate(devices.Claim) (devices.Proof, error) {
	return devices.Proof{}, iothub.ErrDeviceNotFound
}

func newRig(t *testing.T, rights policy.Rights) *rig {
	return newRigOver(t, rights, func(nc net.Conn) net.Conn { return nc })
}

// newRigOver is newRig with a client whose end of the connection is wrapped.
func newRigOver(t *testing.T, rights policy.Rights, over func(net.Conn) net.Conn) *rig {
	log, err := eventlog.New(eventlog.Options{Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	queue := notices.ForFeedback(0)
	queue.Deliveries = 3
	r := &rig{log: log, sent: make(chan c2d.Message, 10), feedback: notices.New(queue)}
	groups, err := consumers.New("readers")
	if err != nil {
		t.Fatal(err)
	}
	key := sas.NewKey()
	ctx, cancel := context.WithCancel(context.Background())
	f := peer.New(peer.Options{
		Identities: nobody{}, Faults: faults.New(ctx, new(sync.WaitGroup)), Waits: true,
		Policies: policy.Set{"service": {Primary: key, Rights: rights}},
		Kinds: Kinds(Options{
			Send: func(_ context.Context, client string, m c2d.Message) error {
				if client != "dev 1/x" && client != "d" {
					return iothub.ErrDeviceNotFound
				}
				if r.fails == nil {
					r.sent <- m
				}
				return r.fails
			},
			Feedback: r.feedback, Files: r.feedback, Name: "hub", Log: log, Groups: groups,
			At: func() (string, int) { return "localhost", 5671 },
		}),
	})
	near, far := memnet.Pipe()
	f.Accept(far)
	token := sas.Sign("hub", key, "service", time.Now().Add(time.Hour))
	r.client, err = goamqp.NewConn(t.Context(), over(near), &goamqp.ConnOptions{SASLType: goamqp.SASLTypePlain("service@sas.root.hub", token)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.client.Close()
		cancel()
		f.Close()
		log.Close()
		r.feedback.Close()
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

func conditionOf(err error) string {
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
	r := newRig(t, policy.ServiceConnect)
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
		if err := send(c.to, c.change); conditionOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	r.fails = iothub.ErrMaximumQueueDepth
	if err := send("/devices/d/messages/devicebound", nil); conditionOf(err) != "amqp:resource-limit-exceeded" {
		t.Error(err)
	}
}

func TestFeedback(t *testing.T) {
	r := newRig(t, policy.ServiceConnect)
	receiver, err := r.session(t).NewReceiver(t.Context(), "messages/serviceBound/feedback", &goamqp.ReceiverOptions{
		SettlementMode: goamqp.ReceiverSettleModeSecond.Ptr(),
	})
	if err != nil {
		t.Fatal(err)
	}
	next := func(record string, deliveries uint32) *goamqp.Message {
		t.Helper()
		m, err := receiver.Receive(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		at, _ := m.Annotations["iothub-enqueuedtime"].(time.Time)
		if *m.Properties.ContentType != notices.FeedbackType || time.Since(at) > time.Minute || len(m.DeliveryTag) != 16 ||
			string(m.Properties.UserID) != "hub" || string(m.GetData()) != `["`+record+`"]` || m.Header.DeliveryCount != deliveries {
			t.Errorf("%s, %d, %+v %+v; want %s, %d", m.GetData(), m.Header.DeliveryCount, m, m.Properties, record, deliveries)
		}
		return m
	}
	settled := func(err error) { // in second mode the hub has answered
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	add := func(record string) {
		if _, err := r.feedback.Add(record, record); err != nil {
			t.Fatal(err)
		}
	}
	add("done")
	settled(receiver.AcceptMessage(t.Context(), next("done", 0)))
	add("later")
	settled(receiver.ReleaseMessage(t.Context(), next("later", 0)))
	settled(receiver.ModifyMessage(t.Context(), next("later", 1), nil))
	settled(receiver.RejectMessage(t.Context(), next("later", 2), nil))
	add("left")
	next("left", 0)
	if err := receiver.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if receiver, err = r.session(t).NewReceiver(t.Context(), "messages/servicebound/feedback", nil); err != nil {
		t.Fatal(err)
	}
	settled(receiver.AcceptMessage(t.Context(), next("left", 1))) // what a receiver has left is another's
	if n := r.feedback.Waiting(); n != 0 {
		t.Errorf("%d wait", n)
	}
}

// A link that takes no message as large as the next ends, and does not use up the tries that the message has.
func TestFeedbackThatIsTooLarge(t *testing.T) {
	r := newRig(t, policy.ServiceConnect)
	if _, err := r.feedback.Add("big", strings.Repeat("x", 100)); err != nil {
		t.Fatal(err)
	}
	small, err := r.session(t).NewReceiver(t.Context(), "messages/servicebound/feedback", &goamqp.ReceiverOptions{MaxMessageSize: 50})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := small.Receive(t.Context(), nil); conditionOf(err) != "amqp:link:message-size-exceeded" {
		t.Errorf("%v, %v", m, err)
	}
	whole, err := r.session(t).NewReceiver(t.Context(), "messages/servicebound/feedback", nil)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := whole.Receive(t.Context(), nil); err != nil || m.Header.DeliveryCount != 1 {
		t.Errorf("%+v, %v", m, err)
	}
}

// Who has no right to the service side attaches nothing of it.
func TestRights(t *testing.T) {
	r := newRig(t, policy.RegistryRead|policy.RegistryWrite|policy.DeviceConnect)
	s := r.session(t)
	for _, address := range []string{"messages/serviceBound/feedback", "messages/events", "hub/ConsumerGroups/$Default/Partitions/0", "hub/$management"} {
		if _, err := s.NewReceiver(t.Context(), address, nil); conditionOf(err) != "amqp:unauthorized-access" {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"messages/devicebound", "hub", "$management"} {
		if _, err := s.NewSender(t.Context(), address, nil); conditionOf(err) != "amqp:unauthorized-access" {
			t.Errorf("%s: %v", address, err)
		}
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
	r := newRig(t, policy.ServiceConnect)
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
	if _, err := all.Receive(t.Context(), nil); conditionOf(err) != "amqp:link:stolen" {
		t.Errorf("a reader beside one with an epoch: %v", err)
	}
	if _, err := r.partition(t, s, address, "", nil); conditionOf(err) != "amqp:link:stolen" {
		t.Errorf("a reader without an epoch: %v", err)
	}
	if _, err := r.partition(t, s, address, "", map[string]any{"com.microsoft:epoch": int64(2)}); conditionOf(err) != "amqp:link:stolen" {
		t.Errorf("a reader with a lower epoch: %v", err)
	}
	if _, err := r.partition(t, s, address, "", map[string]any{"com.microsoft:epoch": int64(3)}); err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Receive(t.Context(), nil); conditionOf(err) != "amqp:link:stolen" {
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
		"messages/devicebound":                                 "com.microsoft:argument-error",
	} {
		if _, err := r.partition(t, s, where, "", nil); conditionOf(err) != want {
			t.Errorf("%s: %v, want %s", where, err, want)
		}
	}
	if _, err := r.partition(t, s, address, "properties.a > '1'", nil); conditionOf(err) != "com.microsoft:argument-error" {
		t.Errorf("a filter of another kind: %v", err)
	}
	if _, err := s.NewSender(t.Context(), "hub", nil); conditionOf(err) != "amqp:unauthorized-access" {
		t.Errorf("sending to the event hub: %v", err)
	}
}

// gate is a connection on which nothing is read while it is shut.
type gate struct {
	net.Conn
	mu   sync.Mutex // protects shut
	cond *sync.Cond
	shut bool
}

func (g *gate) Read(b []byte) (int, error) {
	g.mu.Lock()
	for g.shut {
		g.cond.Wait()
	}
	g.mu.Unlock()
	return g.Conn.Read(b)
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	g.cond.Broadcast()
}

// A reader grants credit for far more than it reads at once, and takes it back: it keeps its connection, and gets every message once.
func TestAReaderThatIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *gate
		r := newRigOver(t, policy.ServiceConnect, func(nc net.Conn) net.Conn {
			g = &gate{Conn: nc}
			g.cond = sync.NewCond(&g.mu)
			return g
		})
		if err := r.log.Enable(t.Context()); err != nil {
			t.Fatal(err)
		}
		const messages = 60
		for i := range messages {
			r.append(t, "d", fmt.Sprint(i, strings.Repeat(" ", 300_000)))
		}
		address := fmt.Sprintf("hub/ConsumerGroups/$default/Partitions/%d", r.log.PartitionOf("d"))
		receiver, err := r.session(t).NewReceiver(t.Context(), address, &goamqp.ReceiverOptions{
			Credit: -1, SettlementMode: goamqp.ReceiverSettleModeFirst.Ptr(), RequestedSenderSettleMode: goamqp.SenderSettleModeSettled.Ptr(),
		})
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		take := func() {
			for m := receiver.Prefetched(); m != nil; m = receiver.Prefetched() {
				if text := strings.TrimSpace(string(m.GetData())); text != fmt.Sprint(got) {
					t.Fatalf("message %s came; want %d", text, got)
				}
				got++
			}
		}
		g.set(true)
		if err := receiver.IssueCredit(200); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		drained := make(chan error)
		go func() { drained <- receiver.DrainCredit(t.Context(), nil) }()
		synctest.Wait()
		g.set(false)
		if err := <-drained; err != nil {
			t.Fatal(err)
		}
		take()
		if got == 0 || got > 20 {
			t.Errorf("%d messages came to who reads nothing", got)
		}
		if err := receiver.IssueCredit(200); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if take(); got != messages {
			t.Errorf("%d messages came of %d", got, messages)
		}
	})
}

// A message that is larger than a reader takes ends its link: left out it would be lost without a word.
func TestAReaderOfSmallMessages(t *testing.T) {
	r := newRig(t, policy.ServiceConnect)
	if err := r.log.Enable(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.append(t, "d", strings.Repeat("x", 5000))
	address := fmt.Sprintf("hub/ConsumerGroups/$default/Partitions/%d", r.log.PartitionOf("d"))
	receiver, err := r.session(t).NewReceiver(t.Context(), address, &goamqp.ReceiverOptions{MaxMessageSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := receiver.Receive(t.Context(), nil); conditionOf(err) != "amqp:link:message-size-exceeded" {
		t.Error(err)
	}
}

// Each answer comes on the link that its request names.
func TestRequestsFindTheirAnswers(t *testing.T) {
	r := newRig(t, policy.ServiceConnect)
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
	if err := sender.Send(t.Context(), &goamqp.Message{Properties: &goamqp.MessageProperties{MessageID: "x"}}, nil); conditionOf(err) != "amqp:not-found" {
		t.Errorf("nowhere to answer: %v", err)
	}
}
