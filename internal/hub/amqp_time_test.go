package hub_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
)

// inVirtualTime runs a test with a hub without a port.
func inVirtualTime(t *testing.T, o hub.Options, run func(t *testing.T, h *hub.Hub, c *service.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.NoPort = true
		h, c := open(t, o)
		run(t, h, c)
	})
}

// virtualConn is amqpConn for a bubble, in which all is closed before its end.
func virtualConn(t *testing.T, h *hub.Hub, o *amqp.ConnOptions) *amqp.Conn {
	t.Helper()
	nc, err := h.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := amqp.NewConn(t.Context(), nc, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// threeSenders are links of three new devices, in one session of a connection that has shown a token of each for an hour.
func threeSenders(t *testing.T, conn *amqp.Conn, c *service.Client) (s *amqp.Session, keys []sas.Key, senders []*amqp.Sender) {
	t.Helper()
	s = amqpSession(t, conn)
	for i := range 3 {
		id := fmt.Sprintf("dev-%d", i)
		keys = append(keys, newDevice(t, c, id).Authentication.SymmetricKey.Primary)
		if status, text := putToken(t, conn, "localhost/devices/"+id, deviceToken(id, keys[i], time.Hour)); status != 200 {
			t.Fatalf("%d %s", status, text)
		}
		snd, err := s.NewSender(t.Context(), "/devices/"+id+"/messages/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		senders = append(senders, snd)
	}
	return s, keys, senders
}

// A token that expires takes the links of its identity along, after the grace, and only these; one that is renewed in band keeps them.
func TestAMQPTokenExpiry(t *testing.T) {
	inVirtualTime(t, hub.Options{TokenGrace: 10 * time.Minute}, func(t *testing.T, h *hub.Hub, c *service.Client) {
		conn := virtualConn(t, h, nil)
		_, keys, senders := threeSenders(t, conn, c)
		time.Sleep(50 * time.Minute)
		putToken(t, conn, "localhost/devices/dev-1", deviceToken("dev-1", keys[1], time.Hour))
		// Who may act for any device may for this one, too.
		policy := sas.Sign("localhost", h.ConnectionString("device").Key, "device", time.Now().Add(70*time.Minute))
		time.Sleep(19 * time.Minute)
		for i, snd := range senders {
			if err := snd.Send(t.Context(), amqp.NewMessage(nil), nil); err != nil {
				t.Errorf("dev-%d within the grace: %v", i, err)
			}
		}
		time.Sleep(2 * time.Minute)
		for _, i := range []int{0, 2} {
			if condition, text := refusal(senders[i].Send(t.Context(), amqp.NewMessage(nil), nil)); condition != "amqp:unauthorized-access" || text != "Token Invalid." {
				t.Errorf("dev-%d after it: %s %s", i, condition, text)
			}
		}
		if err := senders[1].Send(t.Context(), amqp.NewMessage(nil), nil); err != nil {
			t.Errorf("dev-1, renewed: %v", err)
		}
		if status, text := putToken(t, conn, "localhost", policy); status != 200 {
			t.Fatalf("%d %s", status, text)
		}
		time.Sleep(50 * time.Minute)
		if err := senders[1].Send(t.Context(), amqp.NewMessage(nil), nil); err != nil {
			t.Errorf("dev-1, by the policy's token: %v", err)
		}
		conn.Close()
	})
}

// SASL PLAIN is for as long as its token, grace and all: then the connection ends.
func TestAMQPPlainExpiry(t *testing.T) {
	inVirtualTime(t, hub.Options{TokenGrace: time.Minute}, func(t *testing.T, h *hub.Hub, c *service.Client) {
		key := newDevice(t, c, "dev-1").Authentication.SymmetricKey.Primary
		began := time.Now()
		conn := virtualConn(t, h, &amqp.ConnOptions{SASLType: amqp.SASLTypePlain("dev-1@sas.localhost", deviceToken("dev-1", key, time.Hour))})
		if status, _ := putToken(t, conn, "localhost/devices/dev-1", deviceToken("dev-1", key, 2*time.Hour)); status != 401 {
			t.Errorf("another token: %d", status)
		}
		<-conn.Done()
		var gone *amqp.ConnError
		if err := conn.Err(); !errors.As(err, &gone) || gone.RemoteErr == nil || gone.RemoteErr.Condition != "amqp:unauthorized-access" {
			t.Errorf("the connection ended with %v", err)
		}
		if d := time.Since(began).Round(time.Second); d != 61*time.Minute {
			t.Errorf("after %v", d)
		}
		conn.Close()
	})
}

// A connection has a thousand tokens; renewing one is none more.
func TestAMQPManyTokens(t *testing.T) {
	inVirtualTime(t, hub.Options{}, func(t *testing.T, h *hub.Hub, _ *service.Client) {
		conn := virtualConn(t, h, nil)
		s := amqpSession(t, conn)
		snd, err := s.NewSender(t.Context(), "$cbs", nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.NewReceiver(t.Context(), "$cbs", &amqp.ReceiverOptions{Credit: 100})
		if err != nil {
			t.Fatal(err)
		}
		key := h.ConnectionString("service").Key
		put := func(i int) (int32, string) {
			if err := snd.Send(t.Context(), &amqp.Message{
				Properties:            &amqp.MessageProperties{MessageID: fmt.Sprint(i)},
				ApplicationProperties: map[string]any{"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": "x"},
				Value:                 sas.Sign(fmt.Sprintf("localhost/hub/%d", i), key, "service", time.Now().Add(time.Hour)),
			}, nil); err != nil {
				t.Fatal(err)
			}
			m := receive(t, r)
			return m.ApplicationProperties["status-code"].(int32), m.ApplicationProperties["status-description"].(string)
		}
		for i := range 1001 {
			status, text := put(i)
			if want := map[bool]int32{true: 200, false: 500}[i < 1000]; status != want {
				t.Fatalf("token %d: %d %s", i+1, status, text)
			}
			if i == 1000 && !strings.Contains(text, "1000") {
				t.Error(text)
			}
		}
		if status, text := put(5); status != 200 {
			t.Errorf("renewed: %d %s", status, text)
		}
		conn.Close()
	})
}

// A message whose lock is over comes again; who settles the lock that was is told so.
func TestAMQPLostLock(t *testing.T) {
	inVirtualTime(t, hub.Options{}, func(t *testing.T, h *hub.Hub, c *service.Client) {
		key := newDevice(t, c, "dev-1").Authentication.SymmetricKey.Primary
		conn := virtualConn(t, h, nil)
		putToken(t, conn, "localhost/devices/dev-1", deviceToken("dev-1", key, time.Hour))
		r, err := amqpSession(t, conn).NewReceiver(t.Context(), "/devices/dev-1/messages/devicebound",
			&amqp.ReceiverOptions{Credit: 10, SettlementMode: amqp.ReceiverSettleModeSecond.Ptr()})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SendC2D(t.Context(), "dev-1", []byte("m")); err != nil {
			t.Fatal(err)
		}
		first := receive(t, r)
		time.Sleep(61 * time.Second)
		again := receive(t, r)
		if again.Annotations["iothub-deliverycount"] != uint8(1) {
			t.Errorf("annotations %v", again.Annotations)
		}
		if condition, text := refusal(r.AcceptMessage(t.Context(), first)); condition != "com.microsoft:message-lock-lost" {
			t.Errorf("the lock that was: %s %s", condition, text)
		}
		if err := r.AcceptMessage(t.Context(), again); err != nil {
			t.Error(err)
		}
		conn.Close()
	})
}

// While the hub stalls nothing is answered; answers that are to be lost are.
func TestAMQPFaults(t *testing.T) {
	inVirtualTime(t, hub.Options{}, func(t *testing.T, h *hub.Hub, c *service.Client) {
		key := newDevice(t, c, "dev-1").Authentication.SymmetricKey.Primary
		conn := virtualConn(t, h, nil)
		putToken(t, conn, "localhost/devices/dev-1", deviceToken("dev-1", key, time.Hour))
		snd, err := amqpSession(t, conn).NewSender(t.Context(), "/devices/dev-1/messages/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		h.Faults().Stall(30 * time.Second)
		began := time.Now()
		if err := snd.Send(t.Context(), amqp.NewMessage(nil), nil); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d != 30*time.Second {
			t.Errorf("answered after %v", d)
		}
		h.Faults().DropAcks(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := snd.Send(ctx, amqp.NewMessage(nil), nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without an answer: %v", err)
		}
		h.Faults().DropAcks(0)
		if err := snd.Send(t.Context(), amqp.NewMessage(nil), nil); err != nil {
			t.Error(err)
		}
		h.Faults().Refuse(time.Second)
		nc, err := h.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := amqp.NewConn(t.Context(), nc, nil); err == nil {
			t.Error("a connection of a hub that refuses")
		}
		nc.Close()
		conn.Close()
	})
}
