package devicelinks_test

import (
	"bytes"
	"context"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	client "github.com/Azure/go-amqp"
	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/hub/amqp/cbs"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/devicelinks"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/peer"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/events"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend knows every device; messages of "slow" wait until they are let through.
type backend struct {
	key sas.Key
	let chan struct{}

	mu   sync.Mutex
	got  []events.Message
	size int // of the first batch
}

func (b *backend) Credentials(string) (registry.Credentials, error) {
	return registry.Credentials{Enabled: true, AuthType: registry.AuthSAS, Primary: b.key, Secondary: b.key}, nil
}
func (*backend) DeviceTwin(string) ([]byte, error) { return []byte(`{}`), nil }
func (*backend) Report(context.Context, string, []byte, int64, bool) (int64, error) {
	return 2, nil
}
func (*backend) Connected(string, bool)                        {}
func (*backend) Active(string)                                 {}
func (*backend) QueueLength(string, int)                       {}
func (*backend) ModelID(context.Context, string, string) error { return nil }
func (b *backend) Telemetry(ctx context.Context, id string, batch devices.Batch) error {
	if id == "slow" {
		select {
		case <-b.let:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.got) == 0 {
		b.size = batch.Size
	}
	for _, m := range batch.Messages() {
		m.Payload = bytes.Clone(m.Payload)
		b.got = append(b.got, m)
	}
	return nil
}

// rig is a front with its devices, and a connection of a client that shows tokens of two of them.
func rig(t *testing.T, run func(t *testing.T, b *backend, s *client.Session)) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{key: sas.NewKey(), let: make(chan struct{})}
		table := devices.New(devices.Options{Backend: b})
		front := peer.New(peer.Options{
			Identities: table, Faults: table.Faults(), Waits: true, Kinds: append(cbs.Kinds(), devicelinks.Kinds(table)...),
		})
		a, server := memnet.Pipe()
		front.Take(server)
		c, err := client.NewConn(t.Context(), a, nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.NewSession(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		tokens, err := s.NewSender(t.Context(), "$cbs", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"slow", "fast"} {
			err := tokens.Send(t.Context(), &client.Message{
				Value:                 sas.Sign("h/devices/"+id, b.key, "", time.Now().Add(time.Hour)),
				ApplicationProperties: map[string]any{"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": id},
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
		}
		run(t, b, s)
		c.Close()
		front.Close()
		table.Close()
		synctest.Wait()
	})
}

func sender(t *testing.T, s *client.Session, id string) *client.Sender {
	t.Helper()
	snd, err := s.NewSender(t.Context(), "/devices/"+id+"/messages/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	return snd
}

// A device whose messages have to wait holds up no other of its session, and its own stay in their order.
func TestNobodyWaitsForAnother(t *testing.T) {
	rig(t, func(t *testing.T, b *backend, s *client.Session) {
		slow, fast := sender(t, s, "slow"), sender(t, s, "fast")
		var receipts []client.SendReceipt
		for i := range 20 {
			r, err := slow.SendWithReceipt(t.Context(), client.NewMessage([]byte{byte(i)}), nil)
			if err != nil {
				t.Fatal(err)
			}
			receipts = append(receipts, r)
		}
		for range 20 {
			if err := fast.Send(t.Context(), client.NewMessage([]byte("fast")), nil); err != nil {
				t.Fatal(err)
			}
		}
		if len(b.got) != 20 {
			t.Errorf("%d messages came; want those of the other device", len(b.got))
		}
		close(b.let)
		for _, r := range receipts {
			if state, err := r.Wait(t.Context()); err != nil {
				t.Errorf("%v, %v", state, err)
			}
		}
		for i, m := range b.got[20:] {
			if m.Payload[0] != byte(i) {
				t.Errorf("message %d is in the place of %d", m.Payload[0], i)
			}
		}
	})
}

// The properties of a message are where readers see them, as text whatever their types were; an application may name its own as it likes.
func TestPropertiesOfMessages(t *testing.T) {
	rig(t, func(t *testing.T, b *backend, s *client.Session) {
		at, made := time.UnixMilli(1700000000123).UTC(), time.UnixMilli(1600000000000).UTC()
		text := func(s string) *string { return &s }
		err := sender(t, s, "fast").Send(t.Context(), &client.Message{
			Annotations: client.Annotations{"iothub-interface-id": "i", "dt-subject": "c", "Diagnostic-Id": "d", "Correlation-Context": "x", "other": "o"},
			Properties: &client.MessageProperties{
				MessageID: client.UUID{0xab, 1}, CorrelationID: uint64(9), UserID: []byte("u"), To: text("/devices/fast"), ContentType: text("a/b"),
				ContentEncoding: text("utf-8"), AbsoluteExpiryTime: &at, CreationTime: &made,
			},
			ApplicationProperties: map[string]any{"n": nil, "$.mid": "not the system's", "iothub-ack": "full"}, Data: [][]byte{[]byte("p")},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for value, want := range map[any]string{true: "true", int32(-5): "-5", uint64(7): "7", 1.5: "1.5", "ä": "ä", at: "2023-11-14T22:13:20.123Z"} {
			m := client.NewMessage(nil)
			m.ApplicationProperties = map[string]any{"v": value}
			if err := sender(t, s, "fast").Send(t.Context(), m, nil); err != nil {
				t.Fatal(err)
			}
			if got, _ := b.got[len(b.got)-1].Properties.Get("v"); got != want {
				t.Errorf("%v is %q; want %q", value, got, want)
			}
		}
		want := events.Message{
			MessageID: "ab010000-0000-0000-0000-000000000000", CorrelationID: "9", UserID: "u", To: "/devices/fast", ContentType: "a/b",
			ContentEncoding: "utf-8", Expires: at, Created: made, InterfaceID: "i", Component: "c", DiagnosticID: "d", Trace: "x", Ack: "full",
			Properties: b.got[0].Properties, Payload: []byte("p"),
		}
		if got := b.got[0]; !reflect.DeepEqual(got, want) {
			t.Errorf("%+v\nwant %+v", got, want)
		}
		own := b.got[0].Properties
		mid, isOwn := own.Get("$.mid")
		if _, has := own.Get("n"); len(own) != 2 || mid != "not the system's" || !isOwn || !has {
			t.Errorf("the application's: %v", own)
		}
		if n := want.Metered(); b.size != n || n != len("p")+36+1+1+len("/devices/fast")+3+5+8+8+1+1+1+1+4+len("$.midnot the system'sn") {
			t.Errorf("%d bytes count; want %d", b.size, n)
		}
	})
}
