package amqp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
)

const batchFormat = 0x80013700

// Connections and their credentials.
func TestCredentials(t *testing.T) {
	t.Parallel()
	t.Run("PLAIN with a device's token, by the hub's short name and by its whole", func(t *testing.T) {
		t.Parallel()
		for _, name := range []string{"localhost", hub.host} {
			d := newDevice(t)
			s := session(t, dial(t, amqp.ConnOptions{SASLType: amqp.SASLTypePlain(d.id+"@sas."+name, d.token(time.Hour))}))
			send(t, sender(t, s, d.address("messages/events"), nil), amqp.NewMessage([]byte("x")))
		}
	})
	t.Run("PLAIN with a policy's token", func(t *testing.T) {
		t.Parallel()
		d, to := newDevice(t), ""
		to = d.address("messages/devicebound")
		s := session(t, dial(t, amqp.ConnOptions{SASLType: amqp.SASLTypePlain("service@sas.root.localhost", policyToken("service"))}))
		m := amqp.NewMessage([]byte("x"))
		m.Properties = &amqp.MessageProperties{To: &to}
		send(t, sender(t, s, "/messages/devicebound", nil), m)
		if waiting(t, d) != 1 {
			t.Error("the message does not wait")
		}
	})
	t.Run("PLAIN with a wrong token is refused", func(t *testing.T) {
		t.Parallel()
		d := newDevice(t)
		wrong := identity{d.id, "AAAA"}
		for _, text := range []string{wrong.token(time.Hour), d.token(-time.Minute), newDevice(t).token(time.Hour), "no token"} {
			if _, err := dialed(t, amqp.ConnOptions{SASLType: amqp.SASLTypePlain(d.id+"@sas.localhost", text)}); err == nil {
				t.Error("it is accepted:", text[:20])
			}
		}
	})
	t.Run("put-token answers an id in its type: text, number, UUID, bytes", func(t *testing.T) {
		t.Parallel()
		d := newDevice(t)
		c := newCBS(t, session(t, dial(t, amqp.ConnOptions{})))
		for _, id := range []any{"text", uint64(7), uint64(70000), newUUID()} {
			if status, _ := c.put(t, id, "localhost/devices/"+d.id, d.token(time.Hour)); status != 200 {
				t.Error(id, status)
			}
		}
	})
	t.Run("a wrong, an ended and an unknown device's token are answered, and the connection goes on", func(t *testing.T) {
		t.Parallel()
		d := newDevice(t)
		s := session(t, dial(t, amqp.ConnOptions{}))
		c := newCBS(t, s)
		nobody := identity{"nobody-at-all", d.key}
		for what, text := range map[string]string{"wrong": identity{d.id, "AAAA"}.token(time.Hour), "ended": d.token(-time.Minute), "unknown": nobody.token(time.Hour), "none": "x"} {
			if status, answer := c.put(t, what, "localhost/devices/"+d.id, text); status < 400 || status > 404 {
				t.Error(what, status, answer.ApplicationProperties)
			}
		}
		c.authorize(t, d)
		send(t, sender(t, s, d.address("messages/events"), nil), amqp.NewMessage([]byte("x")))
	})
	t.Run("a token that is not renewed ends its links alone", func(t *testing.T) {
		t.Parallel()
		short, long := newDevice(t), newDevice(t)
		s := session(t, dial(t, amqp.ConnOptions{}))
		c := newCBS(t, s)
		c.authorize(t, long)
		if status, _ := c.put(t, "short", "localhost/devices/"+short.id, short.token(2*time.Second)); status != 200 {
			t.Fatal(status)
		}
		r := receiver(t, s, short.address("messages/devicebound"), nil)
		other := sender(t, s, long.address("messages/events"), nil)
		if _, err := r.Receive(within(t), nil); condition(err) != "amqp:unauthorized-access" {
			t.Error(err)
		}
		send(t, other, amqp.NewMessage([]byte("x")))
	})
	t.Run("a token that is renewed on the connection keeps its links", func(t *testing.T) {
		t.Parallel()
		d := newDevice(t)
		s := session(t, dial(t, amqp.ConnOptions{}))
		c := newCBS(t, s)
		l := func() *amqp.Sender {
			c.put(t, "first", "localhost/devices/"+d.id, d.token(2*time.Second))
			return sender(t, s, d.address("messages/events"), nil)
		}()
		c.put(t, "second", "localhost/devices/"+d.id, d.token(time.Hour))
		for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			send(t, l, amqp.NewMessage([]byte("x")))
		}
	})
}

// Links that the hub refuses, and why.
func TestRefusals(t *testing.T) {
	t.Parallel()
	d, s := online(t, amqp.ConnOptions{})
	other := newDevice(t)
	for _, c := range []struct {
		what, address string
		condition     amqp.ErrCond
		receives      bool
	}{
		{"telemetry of another device", other.address("messages/events"), "amqp:unauthorized-access", false},
		{"messages of another device", other.address("messages/devicebound"), "amqp:unauthorized-access", true},
		{"the twin of another device", other.address("twin"), "amqp:unauthorized-access", true},
		{"an address that is none", "/somewhere/else", "com.microsoft:argument-error", false},
		{"a device's address with another end", d.address("messages/nothing"), "com.microsoft:argument-error", false},
		{"sending to the place of a service", "/messages/devicebound", "amqp:unauthorized-access", false},
		{"feedback for a device", "/messages/serviceBound/feedback", "amqp:unauthorized-access", true},
	} {
		t.Run(c.what+" is "+string(c.condition), func(t *testing.T) {
			try := refusedSender
			if c.receives {
				try = refusedReceiver
			}
			if err := try(within(t), s, c.address); condition(err) != c.condition {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("and the connection goes on", func(t *testing.T) {
		send(t, sender(t, s, d.address("messages/events"), nil), amqp.NewMessage([]byte("x")))
	})
	t.Run("without a token a link is refused", func(t *testing.T) {
		if err := refusedSender(within(t), session(t, dial(t, amqp.ConnOptions{})), d.address("messages/events")); condition(err) != "amqp:unauthorized-access" {
			t.Error(err)
		}
	})
	t.Run("a policy without ServiceConnect sends no messages to devices", func(t *testing.T) {
		if err := refusedSender(within(t), service(t, "registryReadWrite"), "/messages/devicebound"); condition(err) != "amqp:unauthorized-access" {
			t.Error(err)
		}
	})
}

// Telemetry, as clients send it that do not run here.
func TestTelemetry(t *testing.T) {
	t.Parallel()
	t.Run("a batch of the format that C, Java and .NET use is as many events", func(t *testing.T) {
		t.Parallel()
		d, s := online(t, amqp.ConnOptions{})
		batch := &amqp.Message{Format: batchFormat}
		for n := range 3 {
			inner := amqp.NewMessage(fmt.Appendf(nil, `{"n":%d}`, n))
			inner.Properties = &amqp.MessageProperties{MessageID: fmt.Sprint("m", n)}
			inner.ApplicationProperties = map[string]any{"of": "three"}
			batch.Data = append(batch.Data, must[[]byte](t)(inner.MarshalBinary()))
		}
		send(t, sender(t, s, d.address("messages/events"), nil), batch)
		for n, e := range eventsOf(t, d, 3) {
			if string(e.GetData()) != fmt.Sprintf(`{"n":%d}`, n) || e.Properties.MessageID != fmt.Sprint("m", n) || e.ApplicationProperties["of"] != "three" {
				t.Errorf("event %d: %s %+v %v", n, e.GetData(), e.Properties, e.ApplicationProperties)
			}
		}
	})
	t.Run("frames of 4096 bytes, both ways, as Java asks for", func(t *testing.T) {
		t.Parallel()
		d, s := online(t, amqp.ConnOptions{MaxFrameSize: 4096})
		send(t, sender(t, s, d.address("messages/events"), nil), amqp.NewMessage(bytes.Repeat([]byte("x"), 200_000)))
		if got := eventsOf(t, d, 1)[0].GetData(); len(got) != 200_000 {
			t.Error(len(got))
		}
		text := strings.Repeat("y", 50_000)
		sendTo(t, d, text)
		r := receiver(t, s, d.address("messages/devicebound"), nil)
		m := receive(t, r)
		if got := string(m.GetData()); got != `"`+text+`"` {
			t.Error(len(got))
		}
		if err := r.AcceptMessage(within(t), m); err != nil {
			t.Error(err)
		}
	})
	t.Run("settled by the sender: no answer, and it is there", func(t *testing.T) {
		t.Parallel()
		d, s := online(t, amqp.ConnOptions{})
		send(t, sender(t, s, d.address("messages/events"), &amqp.SenderOptions{SettlementMode: amqp.SenderSettleModeSettled.Ptr()}), amqp.NewMessage([]byte("x")))
		eventsOf(t, d, 1)
	})
	t.Run("ids that are a UUID, a number and text are text to readers", func(t *testing.T) {
		t.Parallel()
		d, s := online(t, amqp.ConnOptions{})
		l, id := sender(t, s, d.address("messages/events"), nil), newUUID()
		want := []string{id.String(), "7", "text"}
		for _, one := range []any{id, uint64(7), "text"} {
			m := amqp.NewMessage([]byte("x"))
			m.Properties = &amqp.MessageProperties{MessageID: one, CorrelationID: one}
			send(t, l, m)
		}
		for n, e := range eventsOf(t, d, 3) {
			if fmt.Sprint(e.Properties.MessageID) != want[n] {
				t.Errorf("%v, not %s", e.Properties.MessageID, want[n])
			}
		}
	})
	t.Run("several sections of data are one body, and a value's text too", func(t *testing.T) {
		t.Parallel()
		d, s := online(t, amqp.ConnOptions{})
		l := sender(t, s, d.address("messages/events"), nil)
		send(t, l, &amqp.Message{Data: [][]byte{[]byte("one"), []byte("two")}})
		send(t, l, &amqp.Message{Value: "three"})
		got := eventsOf(t, d, 2)
		if string(got[0].GetData()) != "onetwo" || string(got[1].GetData()) != "three" {
			t.Errorf("%q %q", got[0].GetData(), got[1].GetData())
		}
	})
	t.Run("one larger than 256 KB is refused alone", func(t *testing.T) {
		t.Parallel()
		d, s := online(t, amqp.ConnOptions{})
		l := sender(t, s, d.address("messages/events"), nil)
		if err := l.Send(within(t), amqp.NewMessage(make([]byte, 300_000)), nil); condition(err) != "amqp:link:message-size-exceeded" {
			t.Error(err)
		}
		send(t, l, amqp.NewMessage([]byte("x")))
	})
	t.Run("a thousand messages from ten links at once", func(t *testing.T) {
		t.Parallel()
		d, s := online(t, amqp.ConnOptions{})
		done := make(chan error)
		for range 10 {
			l := sender(t, s, d.address("messages/events"), nil)
			go func() {
				for range 100 {
					if err := l.Send(t.Context(), amqp.NewMessage([]byte("x")), nil); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range 10 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("a client that wants to hear every few seconds hears, with nothing to say", func(t *testing.T) {
		t.Parallel()
		d, s := online(t, amqp.ConnOptions{IdleTimeout: 10 * time.Second}) // it asks for half of that, and ends a connection on which nothing comes for the whole
		l := sender(t, s, d.address("messages/events"), nil)
		time.Sleep(11 * time.Second)
		send(t, l, amqp.NewMessage([]byte("x")))
	})
}

// Messages to a device, settled in two steps as .NET does: the call returns when the hub has settled.
func TestMessages(t *testing.T) {
	t.Parallel()
	second := func(t *testing.T, d identity, s *amqp.Session) *amqp.Receiver {
		return receiver(t, s, d.address("messages/devicebound"), &amqp.ReceiverOptions{SettlementMode: amqp.ReceiverSettleModeSecond.Ptr(), Credit: 5})
	}
	t.Run("accepted in two steps is gone when the call returns", func(t *testing.T) {
		t.Parallel()
		d, s := online(t, amqp.ConnOptions{})
		sendTo(t, d, "x", "iothub-messageid", "m1", "iothub-app-colour", "blue")
		r := second(t, d, s)
		m := receive(t, r)
		if m.Properties.MessageID != "m1" || m.ApplicationProperties["colour"] != "blue" || m.Properties.To == nil || *m.Properties.To != d.address("messages/devicebound") {
			t.Errorf("%+v %v", m.Properties, m.ApplicationProperties)
		}
		if len(m.DeliveryTag) != 16 {
			t.Errorf("a tag of %d bytes", len(m.DeliveryTag))
		}
		for key, kind := range map[string]any{"iothub-enqueuedtime": time.Time{}, "iothub-deliverycount": uint8(0), "x-opt-sequence-number": uint64(0)} {
			if got := m.Annotations[key]; fmt.Sprintf("%T", got) != fmt.Sprintf("%T", kind) {
				t.Errorf("%s is a %T", key, got)
			}
		}
		if err := r.AcceptMessage(within(t), m); err != nil {
			t.Fatal(err)
		}
		if waiting(t, d) != 0 {
			t.Error("it still waits")
		}
	})
	t.Run("released comes again, rejected does not", func(t *testing.T) {
		t.Parallel()
		d, s := online(t, amqp.ConnOptions{})
		sendTo(t, d, "x")
		r := second(t, d, s)
		if err := r.ReleaseMessage(within(t), receive(t, r)); err != nil {
			t.Fatal(err)
		}
		if err := r.ModifyMessage(within(t), receive(t, r), nil); err != nil {
			t.Fatal(err)
		}
		if err := r.RejectMessage(within(t), receive(t, r), nil); err != nil {
			t.Fatal(err)
		}
		if waiting(t, d) != 0 {
			t.Error("it still waits")
		}
	})
	t.Run("only as many are locked as there is credit for", func(t *testing.T) {
		t.Parallel()
		d, s := online(t, amqp.ConnOptions{})
		for n := range 4 {
			sendTo(t, d, n)
		}
		first := receiver(t, s, d.address("messages/devicebound"), &amqp.ReceiverOptions{Credit: -1})
		if err := first.IssueCredit(1); err != nil {
			t.Fatal(err)
		}
		m := receive(t, first)
		if string(m.GetData()) != "0" {
			t.Errorf("%s", m.GetData())
		}
		if err := first.AcceptMessage(within(t), m); err != nil {
			t.Fatal(err)
		}
		eventually(t, "three wait", func() bool { return waiting(t, d) == 3 })
	})
	t.Run("a link that goes gives back what it had", func(t *testing.T) {
		t.Parallel()
		d, s := online(t, amqp.ConnOptions{})
		sendTo(t, d, "x")
		r := second(t, d, s)
		receive(t, r)
		if err := r.Close(within(t)); err != nil {
			t.Fatal(err)
		}
		again := second(t, d, s)
		if err := again.AcceptMessage(within(t), receive(t, again)); err != nil {
			t.Error(err)
		}
	})
}

// Twins and methods with the ids of Java and C.
func TestTwinsAndMethods(t *testing.T) {
	t.Parallel()
	for name, id := range map[string]any{"text": "text-1", "a UUID": newUUID()} {
		t.Run("a twin is read, reported and told of with ids that are "+name, func(t *testing.T) {
			t.Parallel()
			d, s := online(t, amqp.ConnOptions{})
			p := newPair(t, s, d, "twin", "twin:"+newUUID().String())
			status, answer := p.ask(t, "GET", "", id, []byte(" "))
			var twin struct{ Desired, Reported map[string]any }
			if err := json.Unmarshal(answer.GetData(), &twin); err != nil || status != 200 || twin.Desired["$version"] != 1.0 || twin.Reported["$version"] != 1.0 {
				t.Fatalf("%d %v %s", status, err, answer.GetData())
			}
			status, answer = p.ask(t, "PATCH", "/properties/reported", id, []byte(`{"a":{"b":1}}`))
			if version, ok := answer.Annotations["version"].(int64); status/100 != 2 || !ok || version != 2 {
				t.Errorf("%d %#v", status, answer.Annotations)
			}
			if status, _ = p.ask(t, "PUT", "/notifications/twin/properties/desired", id, nil); status != 200 {
				t.Fatal(status)
			}
			rest(t, "PATCH", "/twins/"+d.id, map[string]any{"properties": map[string]any{"desired": map[string]any{"rate": 5}}}, "If-Match", "*")
			told := receive(t, p.receiver)
			if told.Properties != nil && told.Properties.CorrelationID != nil || told.Annotations["resource"] != "/properties/desired" || string(told.GetData()) != `{"rate":5,"$version":2}` {
				t.Errorf("%+v %v %s", told.Properties, told.Annotations, told.GetData())
			}
			if version, ok := told.Annotations["version"].(int64); !ok || version != 2 {
				t.Errorf("%#v", told.Annotations)
			}
			if status, answer = p.ask(t, "PATCH", "/properties/reported", id, []byte(`{"list":[{"a":null}]`)); status != 400 || !json.Valid(answer.GetData()) {
				t.Errorf("%d %s", status, answer.GetData())
			}
			if status, _ = p.ask(t, "DELETE", "/notifications/twin/properties/desired", id, nil); status != 200 {
				t.Error(status)
			}
		})
	}
	t.Run("a method's id is a UUID, and comes back as one or as text", func(t *testing.T) {
		t.Parallel()
		d, s := online(t, amqp.ConnOptions{})
		p := newPair(t, s, d, "methods/devicebound", d.id)
		for n, text := range []bool{false, true} {
			done := make(chan map[string]any)
			go func() {
				_, answer := rest(t, "POST", "/twins/"+d.id+"/methods", map[string]any{"methodName": "reboot", "payload": map[string]any{"a": n}, "responseTimeoutInSeconds": 10})
				done <- answer
			}()
			m := receive(t, p.receiver)
			id, ok := m.Properties.CorrelationID.(amqp.UUID)
			if !ok || m.ApplicationProperties["IoThub-methodname"] != "reboot" || string(m.GetData()) != fmt.Sprintf(`{"a":%d}`, n) {
				t.Fatalf("%#v %v %s", m.Properties, m.ApplicationProperties, m.GetData())
			}
			answer := amqp.NewMessage(fmt.Appendf(nil, `{"n":%d}`, n))
			answer.Properties = &amqp.MessageProperties{CorrelationID: id}
			if text {
				answer.Properties.CorrelationID = id.String()
			}
			answer.ApplicationProperties = map[string]any{"IoThub-status": int32(200 + n)}
			send(t, p.sender, answer)
			if got := <-done; got["status"] != float64(200+n) || got["payload"].(map[string]any)["n"] != float64(n) {
				t.Error(got)
			}
		}
	})
}

// Many devices on one connection.
func TestSharing(t *testing.T) {
	t.Parallel()
	const count = 20
	t.Run("a session for each device, with the same names of links, as .NET and Java", func(t *testing.T) {
		t.Parallel()
		conn := dial(t, amqp.ConnOptions{SASLType: amqp.SASLTypeAnonymous()})
		c := newCBS(t, session(t, conn))
		for range count {
			d := newDevice(t)
			c.authorize(t, d)
			s := session(t, conn)
			l := sender(t, s, d.address("messages/events"), &amqp.SenderOptions{Name: "TelemetrySenderLink"})
			receiver(t, s, d.address("messages/devicebound"), &amqp.ReceiverOptions{Name: "C2DReceiverLink"})
			send(t, l, amqp.NewMessage([]byte("x")))
			if twinOf(t, d)["connectionState"] != "Connected" {
				t.Error("it is not connected")
			}
		}
	})
	t.Run("one session for all devices, as C", func(t *testing.T) {
		t.Parallel()
		s := session(t, dial(t, amqp.ConnOptions{}))
		c := newCBS(t, s)
		for range count {
			d := newDevice(t)
			c.authorize(t, d)
			sendTo(t, d, d.id)
			r := receiver(t, s, d.address("messages/devicebound"), nil)
			m := receive(t, r)
			if string(m.GetData()) != `"`+d.id+`"` {
				t.Errorf("%s", m.GetData())
			}
			if err := r.AcceptMessage(within(t), m); err != nil {
				t.Error(err)
			}
			send(t, sender(t, s, d.address("messages/events"), nil), amqp.NewMessage([]byte("x")))
		}
	})
	t.Run("a policy's token opens links of any device", func(t *testing.T) {
		t.Parallel()
		s := service(t, "device")
		for range 3 {
			d := newDevice(t)
			send(t, sender(t, s, d.address("messages/events"), nil), amqp.NewMessage([]byte("x")))
		}
	})
	t.Run("a device that is deleted, or taken over, loses its links alone", func(t *testing.T) {
		t.Parallel()
		s := session(t, dial(t, amqp.ConnOptions{}))
		c := newCBS(t, s)
		devices := []identity{newDevice(t), newDevice(t), newDevice(t)}
		var links []*amqp.Receiver
		for _, d := range devices {
			c.authorize(t, d)
			links = append(links, receiver(t, s, d.address("messages/devicebound"), nil))
		}
		rest(t, "DELETE", "/devices/"+devices[0].id, nil, "If-Match", "*")
		if _, err := links[0].Receive(within(t), nil); condition(err) == "" {
			t.Errorf("deleted: %v", err)
		}
		elsewhere := session(t, dial(t, amqp.ConnOptions{}))
		newCBS(t, elsewhere).authorize(t, devices[1])
		sender(t, elsewhere, devices[1].address("messages/events"), nil)
		if _, err := links[1].Receive(within(t), nil); condition(err) == "" {
			t.Errorf("taken over: %v", err)
		}
		sendTo(t, devices[2], "still")
		receive(t, links[2])
	})
	t.Run("sessions that come and go, and links in them", func(t *testing.T) {
		t.Parallel()
		d := newDevice(t)
		conn := dial(t, amqp.ConnOptions{SASLType: amqp.SASLTypeAnonymous()})
		for range 50 {
			s := session(t, conn)
			newCBS(t, s).authorize(t, d)
			if err := s.Close(within(t)); err != nil {
				t.Fatal(err)
			}
		}
		s := session(t, conn)
		for range 20 {
			l := sender(t, s, d.address("messages/events"), nil)
			send(t, l, amqp.NewMessage([]byte("x")))
			if err := l.Close(within(t)); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "its last link took the device along", func() bool { return twinOf(t, d)["connectionState"] == "Disconnected" })
	})
}
