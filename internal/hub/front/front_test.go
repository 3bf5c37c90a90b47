package front_test

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

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/front"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/memnet"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend is a hub of devices with one key and twins that count their reports. Modules have keys of their own.
type backend struct {
	key     sas.Key
	modules map[string]sas.Key
	twin    []byte // of all

	mu        sync.Mutex // protects the following fields
	disabled  bool
	deleted   bool
	connected bool
	reports   int64
	messages  int
	queue     int
	told      []string // what was said of whom
}

// tell notes what was said of a device or a module.
func (b *backend) tell(what, client string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = append(b.told, what+" "+client)
}

func (b *backend) Credentials(id string) (registry.Credentials, error) {
	if !strings.HasPrefix(id, "dev-") {
		return registry.Credentials{}, iothub.ErrDeviceNotFound
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	key := b.key
	if strings.Contains(id, "/") {
		var ok bool
		if key, ok = b.modules[id]; !ok {
			return registry.Credentials{}, iothub.ErrModuleNotFound
		}
	}
	if b.deleted {
		return registry.Credentials{}, iothub.ErrDeviceNotFound
	}
	return registry.Credentials{Enabled: !b.disabled, AuthType: registry.AuthSAS, Primary: key}, nil
}

func (b *backend) DeviceTwin(client string) ([]byte, error) {
	b.tell("twin", client)
	if b.twin == nil {
		return []byte("{}"), nil
	}
	return b.twin, nil
}

func (b *backend) Report(_ context.Context, client string, _ []byte, _ int64, _ bool) (int64, error) {
	b.tell("report", client)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reports++
	return b.reports + 1, nil
}

func (b *backend) Connected(client string, connected bool) {
	b.tell(fmt.Sprint("connected ", connected), client)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.connected = connected
}

func (b *backend) ModelID(_ context.Context, client, model string) error {
	b.tell("model "+model, client)
	return nil
}

func (b *backend) Active(client string) { b.tell("active", client) }

func (b *backend) Telemetry(_ context.Context, client string, batch devices.Batch) error {
	b.tell("telemetry", client)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages += batch.Count
	return nil
}

func (b *backend) QueueLength(_ string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = n
}

func (b *backend) heard() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.messages
}

// side is a device side in memory, in the bubble of a test.
type side struct {
	*testing.T
	*front.Front
	*devices.Table
	backend *backend
	pipe    func() (client, server net.Conn)
}

// Close closes the front, and then what is below it.
func (s side) Close() { s.Front.Close(); s.Table.Close() }

// options of a device side.
type options struct {
	front.Options
	devices devices.Options
}

// open opens a device side.
func open(t *testing.T, b devices.Backend, o options, pipe func() (client, server net.Conn)) side {
	o.devices.Backend = b
	table := devices.New(o.devices)
	o.Devices = table
	s := side{t, front.New(o.Options), table, nil, pipe}
	s.backend, _ = b.(*backend)
	return s
}

// inBubble runs a test with a device side whose time is the test's own.
func inBubble(t *testing.T, o options, test func(side)) {
	t.Helper()
	for _, x := range []struct {
		name  string
		waits bool
		pipe  func() (client, server net.Conn)
	}{{"a goroutine a connection", false, net.Pipe}, {"watched connections", false, memnet.Pipe}, {"watched connections that may wait", true, memnet.Pipe}} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &backend{key: sas.NewKey()}
				o := o
				o.Waits = x.waits || o.devices.Admit != nil
				s := open(t, b, o, x.pipe)
				t.Cleanup(s.Close)
				test(s)
			})
		})
	}
}

func (s side) dial() *wiretest.Wire {
	client, server := s.pipe()
	done := make(chan struct{})
	go func() { defer close(done); s.Take(server) }()
	s.Cleanup(func() { client.Close(); <-done })
	return wiretest.New(s, client)
}

// online connects dev-1 with a kept session.
func (s side) online() *wiretest.Wire {
	s.Helper()
	w := s.dial()
	if _, code := w.Connect(wiretest.Login("dev-1", s.backend.key)); code != mqtt.Accepted {
		s.Fatalf("CONNACK %d", code)
	}
	return w
}

// lasted is how long it takes until the connection ends.
func lasted(w *wiretest.Wire) time.Duration {
	began := time.Now()
	for range w.Frames {
	}
	return time.Since(began)
}

func TestWhatTimeEnds(t *testing.T) {
	t.Run("no CONNECT", func(t *testing.T) {
		inBubble(t, options{}, func(s side) {
			if got := lasted(s.dial()); got != 30*time.Second {
				s.Errorf("closed after %v; want 30s", got)
			}
		})
	})
	t.Run("half a CONNECT", func(t *testing.T) {
		inBubble(t, options{Options: front.Options{ConnectTimeout: time.Second}}, func(s side) {
			w := s.dial()
			w.Send([]byte{0x10, 40, 0, 4, 'M'})
			if got := lasted(w); got != time.Second {
				s.Errorf("closed after %v; want 1s", got)
			}
		})
	})
	t.Run("a token, some minutes after it expired", func(t *testing.T) {
		inBubble(t, options{Options: front.Options{TokenGrace: 7 * time.Minute}}, func(s side) {
			w := s.dial()
			c := wiretest.Login("dev-1", s.backend.key)
			c.KeepAlive, c.HasWill, c.WillTopic = 0, true, []byte("devices/dev-1/messages/events/")
			expiry := time.Now().Add(10 * time.Minute).Truncate(time.Second)
			c.Password = []byte(sas.Sign("localhost/devices/dev-1", s.backend.key, "", expiry))
			w.Connect(c)
			<-time.After(12 * time.Minute)
			w.Silent() // after its expiry, within the grace
			lasted(w)
			if want := expiry.Add(7 * time.Minute); !time.Now().Equal(want) {
				s.Errorf("closed at %v; want %v", time.Now(), want)
			}
			synctest.Wait()
			if s.backend.heard() != 1 || s.backend.connected {
				s.Errorf("%d wills, connected %t; want 1, false", s.backend.heard(), s.backend.connected)
			}
		})
	})
	t.Run("a device that does not read", func(t *testing.T) {
		inBubble(t, options{Options: front.Options{WriteTimeout: 5 * time.Second}}, func(s side) {
			client, server := net.Pipe()
			done := make(chan struct{})
			go func() { defer close(done); s.ServeConn(server) }()
			c := wiretest.Login("dev-1", s.backend.key)
			c.HasUsername, c.HasPassword = true, true
			began := time.Now()
			if _, err := client.Write(mqtt.AppendConnect(nil, &c)); err != nil {
				s.Fatal(err)
			}
			<-done // nobody reads the CONNACK
			if got := time.Since(began); got != 5*time.Second {
				s.Errorf("closed after %v; want 5s", got)
			}
			client.Close()
		})
	})
	t.Run("Close, whatever the connection has said", func(t *testing.T) {
		inBubble(t, options{}, func(s side) {
			silent, online := s.dial(), s.online()
			synctest.Wait()
			s.Close()
			silent.Closed("Close")
			online.Closed("Close")
			s.dial().Closed("a connection after Close")
		})
	})
}

func TestMessages(t *testing.T) {
	send := func(s side, payloads ...string) {
		s.Helper()
		for _, p := range payloads {
			if err := s.Send("dev-1", c2d.Message{Payload: []byte(p)}); err != nil {
				s.Fatal(err)
			}
		}
	}
	t.Run("wait for the device, and are gone when it has them", func(t *testing.T) {
		inBubble(t, options{}, func(s side) {
			send(s, "a", "b")
			w := s.online()
			w.Subscribe(1, topics.FilterC2D("dev-1"))
			for _, want := range []string{"a", "b"} {
				f := w.Expect(mqtt.PUBLISH)
				if f.Payload != want || f.QoS != 1 {
					s.Errorf("message %q with QoS %d; want %q with 1", f.Payload, f.QoS, want)
				}
				w.Send(mqtt.AppendAck(nil, mqtt.PUBACK, f.ID))
			}
			send(s, "c")
			f := w.Expect(mqtt.PUBLISH)
			w.Send(mqtt.AppendAck(nil, mqtt.PUBACK, f.ID))
			w.Silent()
			if s.backend.queue != 0 {
				s.Errorf("%d messages wait; want 0", s.backend.queue)
			}
		})
	})
	t.Run("come once more when they were not acknowledged, ten times", func(t *testing.T) {
		inBubble(t, options{}, func(s side) {
			w := s.online()
			w.Subscribe(1, topics.FilterC2D("dev-1"))
			send(s, "a")
			for n := range 10 {
				f := w.Expect(mqtt.PUBLISH)
				if f.Payload != "a" {
					s.Fatalf("delivery %d: %q", n, f.Payload)
				}
				w.Conn.Close()
				synctest.Wait()
				w = s.online() // the kept session needs no SUBSCRIBE
			}
			w.Silent()
		})
	})
	t.Run("must be acknowledged in their order", func(t *testing.T) {
		inBubble(t, options{}, func(s side) {
			w := s.online()
			w.Subscribe(1, topics.FilterC2D("dev-1"))
			send(s, "a", "b")
			w.Expect(mqtt.PUBLISH)
			second := w.Expect(mqtt.PUBLISH)
			w.Send(mqtt.AppendAck(nil, mqtt.PUBACK, second.ID))
			w.Closed("an acknowledgement out of order")
		})
	})
	t.Run("fifty fit, an hour they last, and a purge takes them all", func(t *testing.T) {
		inBubble(t, options{}, func(s side) {
			for range 50 {
				send(s, "x")
			}
			if err := s.Send("dev-1", c2d.Message{}); !errors.Is(err, iothub.ErrMaximumQueueDepth) {
				s.Errorf("the 51st: %v", err)
			}
			<-time.After(61 * time.Minute)
			send(s, "late")
			if s.backend.queue != 1 {
				s.Errorf("%d messages wait; want 1", s.backend.queue)
			}
			if n := s.Purge("dev-1"); n != 1 || s.backend.queue != 0 {
				s.Errorf("purged %d, %d wait", n, s.backend.queue)
			}
			if err := s.Send("dev-1", c2d.Message{Payload: []byte("short"), Expires: time.Now().Add(time.Minute)}); err != nil {
				s.Fatal(err)
			}
			<-time.After(2 * time.Minute)
			w := s.online()
			w.Subscribe(1, topics.FilterC2D("dev-1"))
			w.Silent()
		})
	})
}

func TestMethods(t *testing.T) {
	type result struct {
		status  int
		payload string
		err     error
	}
	invoke := func(s side, timeout time.Duration) chan result {
		out := make(chan result, 1)
		go func() {
			ctx, cancel := context.WithTimeout(s.Context(), timeout)
			defer cancel()
			status, payload, err := s.InvokeMethod(ctx, "dev-1", "reboot", []byte(`{"in":1}`))
			out <- result{status, string(payload), err}
		}()
		return out
	}
	inBubble(t, options{}, func(s side) {
		if r := <-invoke(s, time.Minute); !errors.Is(r.err, iothub.ErrDeviceNotOnline) {
			s.Errorf("an absent device: %v", r.err)
		}
		w := s.online()
		if r := <-invoke(s, time.Minute); !errors.Is(r.err, iothub.ErrDeviceNotOnline) {
			s.Errorf("a device that did not subscribe: %v", r.err)
		}
		w.Subscribe(0, topics.FilterMethods)
		call := invoke(s, time.Minute)
		f := w.Expect(mqtt.PUBLISH)
		rid, ok := strings.CutPrefix(f.Topic, "$iothub/methods/POST/reboot/?$rid=")
		if !ok || f.Payload != `{"in":1}` || f.QoS != 0 {
			s.Fatalf("call: %s %s, QoS %d", f.Topic, f.Payload, f.QoS)
		}
		w.Publish(0, topics.MethodResponse(207, rid), `{"out":2}`)
		if r := <-call; r.status != 207 || r.payload != `{"out":2}` || r.err != nil {
			s.Errorf("answer: %+v", r)
		}
		late := invoke(s, time.Second)
		f = w.Expect(mqtt.PUBLISH)
		if r := <-late; !errors.Is(r.err, iothub.ErrMethodTimeout) {
			s.Errorf("no answer: %v", r.err)
		}
		_, rid, _ = strings.Cut(f.Topic, "$rid=")
		w.Publish(0, topics.MethodResponse(200, rid), "{}")
		w.Silent() // an answer that is late is passed over
		broken := invoke(s, time.Minute)
		w.Expect(mqtt.PUBLISH)
		w.Conn.Close()
		if r := <-broken; !errors.Is(r.err, iothub.ErrDeviceNotOnline) {
			s.Errorf("a device that goes meanwhile: %v", r.err)
		}
	})
}

func TestFaults(t *testing.T) {
	t.Run("refuse", func(t *testing.T) {
		inBubble(t, options{}, func(s side) {
			there := s.online()
			s.Faults().Refuse(time.Minute)
			s.dial().Closed("a connection while refused")
			there.Silent()
			<-time.After(time.Minute)
			s.online()
		})
	})
	t.Run("stall", func(t *testing.T) {
		inBubble(t, options{}, func(s side) {
			w := s.online()
			synctest.Wait() // what is read with the CONNECT is served as if it had come before
			s.Faults().Stall(5 * time.Second)
			began := time.Now()
			w.Publish(1, topics.Telemetry("dev-1", nil), "x")
			w.Expect(mqtt.PUBACK)
			if got := time.Since(began); got != 5*time.Second {
				s.Errorf("acknowledged after %v; want 5s", got)
			}
		})
	})
	t.Run("drop answers", func(t *testing.T) {
		inBubble(t, options{}, func(s side) {
			w := s.online()
			w.Subscribe(0, topics.FilterTwinResponses)
			s.Faults().DropAcks(1)
			w.Publish(1, topics.Telemetry("dev-1", nil), "x")
			w.Publish(1, topics.Report("1"), "{}")
			w.Silent()
			if s.backend.heard() != 1 || s.backend.reports != 1 {
				s.Errorf("%d messages, %d reports; the hub must have taken both", s.backend.heard(), s.backend.reports)
			}
			s.Faults().DropAcks(0.5)
			for range 80 {
				w.Publish(1, topics.Telemetry("dev-1", nil), "x")
			}
			w.Send(mqtt.AppendEmpty(nil, mqtt.PINGREQ))
			acks := 0
			for w.Next().Kind == mqtt.PUBACK {
				acks++
			}
			if acks < 16 || acks > 64 {
				s.Errorf("%d of 80 were acknowledged; want about half", acks)
			}
			s.Faults().DropAcks(0)
			w.Publish(1, topics.Telemetry("dev-1", nil), "x")
			w.Expect(mqtt.PUBACK)
		})
	})
}

// What a device sees of a throttle (the contract's section 5.3).
func TestThrottled(t *testing.T) {
	shed := iothub.ErrThrottled.With("slow down")
	admit := func(class tier.Class, err error, wait time.Duration) func(context.Context, tier.Class, int) error {
		return func(_ context.Context, c tier.Class, _ int) error {
			if c != class {
				return nil
			}
			<-time.After(wait)
			return err
		}
	}
	t.Run("a connection waits for its CONNACK", func(t *testing.T) {
		inBubble(t, options{devices: devices.Options{Admit: admit(tier.ClassConnect, nil, 8*time.Second)}}, func(s side) {
			began := time.Now()
			s.online()
			if got := time.Since(began); got != 8*time.Second {
				s.Errorf("CONNACK after %v; want 8s", got)
			}
		})
	})
	t.Run("or is refused with code 3", func(t *testing.T) {
		inBubble(t, options{devices: devices.Options{Admit: admit(tier.ClassConnect, shed, 0)}}, func(s side) {
			w := s.dial()
			if _, code := w.Connect(wiretest.Login("dev-1", s.backend.key)); code != mqtt.Unavailable {
				s.Errorf("CONNACK %d; want 3", code)
			}
			w.Closed("code 3")
		})
	})
	for name, class := range map[string]tier.Class{"a twin that is read": tier.ClassTwinRead, "a report": tier.ClassTwinUpdate} {
		t.Run(name+" is answered with 429", func(t *testing.T) {
			inBubble(t, options{devices: devices.Options{Admit: admit(class, shed, 0)}}, func(s side) {
				w := s.online()
				w.Subscribe(0, topics.FilterTwinResponses)
				topic := topics.TwinGet("7")
				if class == tier.ClassTwinUpdate {
					topic = topics.Report("7")
				}
				w.Publish(0, topic, "{}")
				f := w.Expect(mqtt.PUBLISH)
				if f.Topic != "$iothub/twin/res/429/?$rid=7" || !strings.Contains(f.Payload, `"errorCode":429001`) || !strings.Contains(f.Payload, "slow down") {
					s.Errorf("%s %s", f.Topic, f.Payload)
				}
			})
		})
	}
	t.Run("telemetry is late", func(t *testing.T) {
		inBubble(t, options{devices: devices.Options{Admit: admit(tier.ClassTelemetry, nil, 3*time.Second)}}, func(s side) {
			w, began := s.online(), time.Now()
			w.Publish(1, topics.Telemetry("dev-1", nil), "x")
			w.Expect(mqtt.PUBACK)
			if got := time.Since(began); got != 3*time.Second {
				s.Errorf("acknowledged after %v; want 3s", got)
			}
		})
	})
	t.Run("or ends the connection", func(t *testing.T) {
		inBubble(t, options{devices: devices.Options{Admit: admit(tier.ClassTelemetry, shed, 0)}}, func(s side) {
			w := s.online()
			w.Publish(1, topics.Telemetry("dev-1", nil), "x")
			w.Closed("telemetry that is shed")
			if s.backend.heard() != 0 {
				s.Error("the message was taken all the same")
			}
		})
	})
}

func TestIdentityEnds(t *testing.T) {
	inBubble(t, options{}, func(s side) {
		w := s.online()
		w.Subscribe(0, topics.FilterDesired)
		s.backend.mu.Lock()
		s.backend.disabled = true
		s.backend.mu.Unlock()
		s.Disconnect("dev-1", iothub.ErrDeviceDisabled)
		w.Closed("a device that was disabled")
		second := s.dial()
		if _, code := second.Connect(wiretest.Login("dev-1", s.backend.key)); code != mqtt.NotAuthorized {
			s.Errorf("CONNACK %d for a disabled device; want 5", code)
		}
		s.backend.mu.Lock()
		s.backend.disabled = false
		s.backend.mu.Unlock()
		w = s.online()
		s.Forget("dev-1")
		w.Closed("a device that was deleted")
		w = s.online() // made anew: nothing of the old session is left
		s.NotifyDesired("dev-1", []byte("{}"), 2)
		w.Silent()
	})
}

// Many devices at once, more than there are workers that stay: each is served, and they all come to their end.
func TestCrowd(t *testing.T) {
	b := &backend{key: sas.NewKey()}
	s := open(t, b, options{}, net.Pipe)
	defer s.Close()
	var crowd sync.WaitGroup
	for i := range 300 {
		id := fmt.Sprint("dev-", i)
		w := s.dial()
		crowd.Go(func() {
			_, code := w.Connect(wiretest.Login(id, b.key))
			for range 20 {
				w.Publish(1, topics.Telemetry(id, nil), "x")
				if w.Next().Kind != mqtt.PUBACK {
					t.Errorf("%s: no PUBACK", id)
				}
			}
			if code != mqtt.Accepted {
				t.Errorf("%s: CONNACK %d", id, code)
			}
		})
	}
	crowd.Wait()
	if b.heard() != 300*20 {
		t.Errorf("%d messages; want %d", b.heard(), 300*20)
	}
	if got := s.Stats().Connections; got != 300 {
		t.Errorf("%d connections; want 300", got)
	}
}
