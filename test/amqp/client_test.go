package amqp

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
)

// dial connects; what it opens is closed after the case.
func dial(t *testing.T, opts amqp.ConnOptions) *amqp.Conn {
	t.Helper()
	conn := must[*amqp.Conn](t)(dialed(t, opts))
	return conn
}

func dialed(t *testing.T, opts amqp.ConnOptions) (*amqp.Conn, error) {
	t.Helper()
	opts.TLSConfig = hub.tls.Clone()
	if opts.HostName == "" {
		opts.HostName = "localhost"
	}
	conn, err := amqp.Dial(within(t), "amqps://"+hub.host, &opts)
	if err == nil {
		t.Cleanup(func() { _ = conn.Close() })
	}
	return conn, err
}

func session(t *testing.T, conn *amqp.Conn) *amqp.Session {
	t.Helper()
	return must[*amqp.Session](t)(conn.NewSession(within(t), nil))
}

func newUUID() amqp.UUID {
	var id amqp.UUID
	_, _ = rand.Read(id[:])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// cbs is a pair of links to $cbs.
type cbs struct {
	sender   *amqp.Sender
	receiver *amqp.Receiver
}

func newCBS(t *testing.T, s *amqp.Session) cbs {
	t.Helper()
	return cbs{
		must[*amqp.Sender](t)(s.NewSender(within(t), "$cbs", nil)),
		must[*amqp.Receiver](t)(s.NewReceiver(within(t), "$cbs", nil)),
	}
}

// put puts a token, and returns the status and the answer. The id may be of any of the types that an id has.
func (c cbs) put(t *testing.T, id any, audience, text string) (int32, *amqp.Message) {
	t.Helper()
	ctx, to, replyTo := within(t), "$cbs", "cbs"
	if err := c.sender.Send(ctx, &amqp.Message{
		Properties:            &amqp.MessageProperties{MessageID: id, To: &to, ReplyTo: &replyTo},
		ApplicationProperties: map[string]any{"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": audience},
		Value:                 text,
	}, nil); err != nil {
		t.Fatal("put-token:", err)
	}
	answer := must[*amqp.Message](t)(c.receiver.Receive(ctx, nil))
	if err := c.receiver.AcceptMessage(ctx, answer); err != nil {
		t.Fatal(err)
	}
	if answer.Properties == nil || answer.Properties.CorrelationID != id {
		t.Fatalf("the answer's correlation id is not %v (%T): %+v", id, id, answer.Properties)
	}
	status, ok := answer.ApplicationProperties["status-code"].(int32)
	if !ok {
		t.Fatalf("status-code is no int: %#v", answer.ApplicationProperties)
	}
	return status, answer
}

func (c cbs) authorize(t *testing.T, d identity) {
	t.Helper()
	if status, answer := c.put(t, "token", "localhost/devices/"+d.id, d.token(time.Hour)); status != 200 {
		t.Fatal(status, answer.ApplicationProperties)
	}
}

// online is a device with a connection and a session of its own.
func online(t *testing.T, opts amqp.ConnOptions) (identity, *amqp.Session) {
	t.Helper()
	d := newDevice(t)
	if opts.SASLType == nil {
		opts.SASLType = amqp.SASLTypeAnonymous()
	}
	s := session(t, dial(t, opts))
	newCBS(t, s).authorize(t, d)
	return d, s
}

// service is a session of a service with a policy's rights.
func service(t *testing.T, policy string) *amqp.Session {
	t.Helper()
	s := session(t, dial(t, amqp.ConnOptions{SASLType: amqp.SASLTypeAnonymous()}))
	if status, answer := newCBS(t, s).put(t, "token", hub.host, policyToken(policy)); status != 200 {
		t.Fatal(status, answer.ApplicationProperties)
	}
	return s
}

func sender(t *testing.T, s *amqp.Session, address string, opts *amqp.SenderOptions) *amqp.Sender {
	t.Helper()
	return must[*amqp.Sender](t)(s.NewSender(within(t), address, opts))
}

func receiver(t *testing.T, s *amqp.Session, address string, opts *amqp.ReceiverOptions) *amqp.Receiver {
	t.Helper()
	return must[*amqp.Receiver](t)(s.NewReceiver(within(t), address, opts))
}

func send(t *testing.T, s *amqp.Sender, m *amqp.Message) {
	t.Helper()
	if err := s.Send(within(t), m, nil); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, r *amqp.Receiver) *amqp.Message {
	t.Helper()
	return must[*amqp.Message](t)(r.Receive(within(t), nil))
}

// condition is that of the error that ended a link, a session or a connection, or refused a message; "" without one.
func condition(err error) amqp.ErrCond {
	var link *amqp.LinkError
	var sess *amqp.SessionError
	var conn *amqp.ConnError
	var e *amqp.Error
	switch {
	case errors.As(err, &link) && link.RemoteErr != nil:
		return link.RemoteErr.Condition
	case errors.As(err, &sess) && sess.RemoteErr != nil:
		return sess.RemoteErr.Condition
	case errors.As(err, &conn) && conn.RemoteErr != nil:
		return conn.RemoteErr.Condition
	case errors.As(err, &e):
		return e.Condition
	}
	return ""
}

// attachSender attaches a sender until it is refused: by the attach itself, or by the detach that follows it.
func refusedSender(ctx context.Context, s *amqp.Session, address string) error {
	l, err := s.NewSender(ctx, address, nil)
	if err != nil {
		return err
	}
	return l.Send(ctx, amqp.NewMessage([]byte("x")), nil)
}

func refusedReceiver(ctx context.Context, s *amqp.Session, address string) error {
	l, err := s.NewReceiver(ctx, address, nil)
	if err != nil {
		return err
	}
	_, err = l.Receive(ctx, nil)
	return err
}

// pair is a device's links to twin or methods: one to send, one to receive, bound by a correlation id.
type pair struct {
	sender   *amqp.Sender
	receiver *amqp.Receiver
}

func newPair(t *testing.T, s *amqp.Session, d identity, of, correlation string) pair {
	t.Helper()
	properties := map[string]any{"com.microsoft:channel-correlation-id": correlation, "com.microsoft:api-version": "2020-09-30"}
	return pair{
		sender(t, s, d.address(of), &amqp.SenderOptions{Properties: properties}),
		receiver(t, s, d.address(of), &amqp.ReceiverOptions{Properties: properties}),
	}
}

// ask asks something of a twin, and returns the answer's status and the answer.
func (p pair) ask(t *testing.T, operation, resource string, id any, body []byte) (int32, *amqp.Message) {
	t.Helper()
	m := amqp.NewMessage(body)
	m.Annotations = amqp.Annotations{"operation": operation}
	if resource != "" {
		m.Annotations["resource"] = resource
	}
	m.Properties = &amqp.MessageProperties{CorrelationID: id}
	send(t, p.sender, m)
	answer := receive(t, p.receiver)
	if answer.Properties == nil || answer.Properties.CorrelationID != id {
		t.Fatalf("the answer's correlation id is not %v (%T): %+v", id, id, answer.Properties)
	}
	status, ok := answer.Annotations["status"].(int32)
	if !ok {
		t.Fatalf("status is no int: %#v", answer.Annotations)
	}
	return status, answer
}

// websocketClient dials WebSockets of the hub.
func websocketClient() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: hub.tls.Clone()}}
}
