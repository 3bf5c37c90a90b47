package front_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/front"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// mute connects a device that reads nothing.
func (s side) mute(id string, filters ...string) io.Writer {
	s.Helper()
	client, server := s.pipe()
	done := make(chan struct{})
	go func() { defer close(done); s.Take(server) }()
	s.Cleanup(func() { client.Close(); <-done })
	c := wiretest.Login(id, s.backend.key)
	c.HasUsername, c.HasPassword = true, true
	b := mqtt.AppendConnect(nil, &c)
	for i, f := range filters {
		b = mqtt.AppendSubscribe(b, uint16(i+1), mqtt.Subscription{Filter: []byte(f), QoS: 1})
	}
	if _, err := client.Write(b); err != nil {
		s.Fatal(err)
	}
	synctest.Wait()
	return client
}

// Whoever tells something to a device that does not read what it is sent does not wait for it; nor does who ends its connection.
func TestNobodyWaitsForWhoDoesNotRead(t *testing.T) {
	inBubble(t, options{}, func(s side) {
		s.backend.twin = bytes.Repeat([]byte("x"), 64<<10)
		for _, what := range []func(id string){
			func(id string) { s.Disconnect(id, iothub.ErrDeviceDisabled) },
			s.Forget,
			func(id string) { s.mute(id) },
		} {
			nc := s.mute("dev-1", topics.FilterTwinResponses, topics.FilterDesired, topics.FilterMethods, topics.FilterC2D("dev-1"))
			began := time.Now()
			for range 50 {
				if _, err := nc.Write(mqtt.AppendPublish(nil, topics.TwinGet("1"), nil, 0, false, false, 0)); err != nil {
					s.Fatal(err)
				}
			}
			if !s.NotifyDesired("dev-1", []byte("{}"), 2) {
				s.Error("the device is not told")
			}
			if err := s.Send("dev-1", c2d.Message{}); err != nil {
				s.Error(err)
			}
			ctx, cancel := context.WithCancel(s.Context())
			cancel()
			if _, _, err := s.InvokeMethod(ctx, "dev-1", "m", nil); !errors.Is(err, iothub.ErrMethodTimeout) {
				s.Error(err)
			}
			what("dev-1")
			if took := time.Since(began); took != 0 {
				s.Errorf("it took %v", took)
			}
			s.Forget("dev-1")
			time.Sleep(time.Minute)
		}
	})
}

// What waits for a device that does not read is bounded: the connection ends, and others never notice.
func TestWhoDoesNotReadIsDropped(t *testing.T) {
	inBubble(t, options{Options: front.Options{WriteTimeout: time.Hour}}, func(s side) {
		s.backend.twin = bytes.Repeat([]byte("x"), 256<<10)
		nc, other := s.mute("dev-1", topics.FilterTwinResponses), s.device("dev-2")
		began, sent := time.Now(), 0
		for ; sent < 100; sent++ {
			if _, err := nc.Write(mqtt.AppendPublish(nil, topics.TwinGet("1"), nil, 0, false, false, 0)); err != nil {
				break
			}
			other.Publish(0, topics.Report("1"), "{}")
			other.Expect(mqtt.PUBLISH)
			synctest.Wait()
		}
		if sent < 16 || sent > 70 || s.Stats().Connections != 1 || time.Since(began) != 0 {
			s.Errorf("after %d twins of 256 KB and %v there are %d connections; want 1, the other's", sent, time.Since(began), s.Stats().Connections)
		}
	})
}

// moduleLogin is the CONNECT of a module, with a token for a resource.
func moduleLogin(client string, key sas.Key, resource, policy string) mqtt.Connect {
	c := wiretest.Login(client, key)
	c.Password = []byte(sas.Sign("localhost/"+resource, key, policy, time.Now().Add(time.Hour)))
	return c
}

func TestModuleLogin(t *testing.T) {
	owner := sas.NewKey()
	policy := func(name string) (a, b sas.Key, ok bool) { return owner, sas.Key{}, name == "device" }
	inBubble(t, options{devices: devices.Options{Policy: policy}}, func(s side) {
		own := sas.NewKey()
		s.backend.modules = map[string]sas.Key{"dev-1/m": own}
		for _, tt := range []struct {
			name string
			c    mqtt.Connect
			code byte
		}{
			{"its own key", moduleLogin("dev-1/m", own, "devices/dev-1/modules/m", ""), mqtt.Accepted},
			{"its own key, for all of the hub", moduleLogin("dev-1/m", own, "", ""), mqtt.Accepted},
			{"a policy", moduleLogin("dev-1/m", owner, "devices/dev-1/modules/m", "device"), mqtt.Accepted},
			{"another policy", moduleLogin("dev-1/m", owner, "devices/dev-1/modules/m", "service"), mqtt.NotAuthorized},
			{"its device's key", moduleLogin("dev-1/m", s.backend.key, "devices/dev-1/modules/m", ""), mqtt.NotAuthorized},
			{"its device's token", moduleLogin("dev-1/m", s.backend.key, "devices/dev-1", ""), mqtt.NotAuthorized},
			{"another module's resource", moduleLogin("dev-1/m", own, "devices/dev-1/modules/m2", ""), mqtt.NotAuthorized},
			{"a module that does not exist", moduleLogin("dev-1/m2", own, "devices/dev-1/modules/m2", ""), mqtt.NotAuthorized},
			{"one of another device", moduleLogin("dev-2/m", own, "devices/dev-2/modules/m", ""), mqtt.NotAuthorized},
			{"its key for its device", moduleLogin("dev-1", own, "devices/dev-1/modules/m", ""), mqtt.NotAuthorized},
		} {
			w := s.dial()
			if _, code := w.Connect(tt.c); code != tt.code {
				s.Errorf("%s: CONNACK %d; want %d", tt.name, code, tt.code)
			}
			w.Conn.Close()
			synctest.Wait()
		}
	})
}

// A module's session is the module's, and ends with it.
func TestModuleSession(t *testing.T) {
	inBubble(t, options{}, func(s side) {
		own := sas.NewKey()
		s.backend.modules = map[string]sas.Key{"dev-1/m": own}
		login := moduleLogin("dev-1/m", own, "devices/dev-1/modules/m", "")
		login.HasWill, login.WillTopic = true, []byte("devices/dev-1/modules/m/messages/events/")
		w := s.dial()
		w.Connect(login)
		w.Subscribe(0, topics.FilterTwinResponses, topics.FilterDesired, topics.FilterMethods)
		w.Publish(0, topics.TwinGet("1"), "")
		w.Publish(0, topics.Report("2"), "{}")
		w.Publish(0, "devices/dev-1/modules/m/messages/events/", "x")
		w.Expect(mqtt.PUBLISH)
		w.Expect(mqtt.PUBLISH)
		if s.NotifyDesired("dev-1", []byte("{}"), 2) || !s.NotifyDesired("dev-1/m", []byte("{}"), 3) {
			s.Error("desired properties of the module are not the device's")
		}
		if f := w.Expect(mqtt.PUBLISH); f.Topic != topics.Desired(3) {
			s.Errorf("%s", f.Topic)
		}
		called := make(chan error, 1)
		go func() {
			status, _, err := s.InvokeMethod(s.Context(), "dev-1/m", "reboot", nil)
			called <- errors.Join(err, map[bool]error{false: fmt.Errorf("status %d", status)}[status == 7])
		}()
		topic, err := topics.Parse(w.Expect(mqtt.PUBLISH).Topic)
		if err != nil {
			s.Fatal(err)
		}
		w.Publish(0, topics.MethodResponse(7, topic.RequestID), "")
		if err := <-called; err != nil {
			s.Error(err)
		}
		s.Disconnect("dev-1", iothub.ErrDeviceDisabled)
		w.Silent()
		s.Disconnect("dev-1/m", iothub.ErrDeviceDisabled)
		w.Closed("a module that was disabled")
		synctest.Wait()
		s.backend.mu.Lock()
		for _, told := range s.backend.told {
			if !strings.HasSuffix(told, " dev-1/m") {
				s.Errorf("the hub is told: %s", told)
			}
		}
		for _, want := range []string{"connected true", "twin", "report", "telemetry", "active", "connected false"} {
			if !slices.Contains(s.backend.told, want+" dev-1/m") {
				s.Errorf("the hub is not told: %s", want)
			}
		}
		s.backend.mu.Unlock()
		w = s.dial()
		if _, code := w.Connect(login); code != mqtt.Accepted {
			s.Fatalf("CONNACK %d", code)
		}
		w.Publish(0, topics.Telemetry("dev-1", nil), "x")
		w.Closed("telemetry of its device")
		login.WillTopic = []byte("devices/dev-1/messages/events/")
		w = s.dial()
		w.Conn.Write(mqtt.AppendConnect(nil, &mqtt.Connect{
			ClientID: login.ClientID, HasUsername: true, Username: login.Username, HasPassword: true, Password: login.Password,
			HasWill: true, WillTopic: login.WillTopic,
		}))
		w.Closed("a will of its device")
	})
}

// Nothing is remembered of who was refused, nor of who went and left nothing.
func TestWhatIsRemembered(t *testing.T) {
	inBubble(t, options{}, func(s side) {
		for i := range 20 {
			w := s.dial()
			c := moduleLogin(fmt.Sprint("dev-1/m", i), s.backend.key, "", "")
			if _, code := w.Connect(c); code != mqtt.NotAuthorized {
				s.Fatalf("CONNACK %d", code)
			}
			w.Closed("a module that does not exist")
			c = wiretest.Login(fmt.Sprint("dev-", i), s.backend.key)
			c.CleanSession = true
			w = s.dial()
			if _, code := w.Connect(c); code != mqtt.Accepted {
				s.Fatalf("CONNACK %d", code)
			}
			w.Conn.Close()
			s.Purge(fmt.Sprint("dev-", i))
			if _, _, err := s.InvokeMethod(s.Context(), "none", "m", nil); !errors.Is(err, iothub.ErrDeviceNotOnline) {
				s.Error(err)
			}
			if err := s.Send("none", c2d.Message{}); !errors.Is(err, iothub.ErrDeviceNotFound) {
				s.Error(err)
			}
		}
		synctest.Wait()
		if n := s.Remembered(); n != 0 {
			s.Errorf("%d devices are remembered; want none", n)
		}
		s.online()
		if n := s.Remembered(); n != 1 {
			s.Errorf("%d devices are remembered; want 1", n)
		}
	})
}

// An id that is too long is nobody's.
func TestLongIDs(t *testing.T) {
	inBubble(t, options{}, func(s side) {
		for id, want := range map[string]byte{
			"dev-" + strings.Repeat("x", 124):   mqtt.Accepted,
			"dev-" + strings.Repeat("x", 125):   mqtt.NotAuthorized,
			"dev-1/" + strings.Repeat("x", 128): mqtt.Accepted,
			"dev-1/" + strings.Repeat("x", 129): mqtt.NotAuthorized,
		} {
			s.backend.modules = map[string]sas.Key{id: s.backend.key}
			w := s.dial()
			if _, code := w.Connect(moduleLogin(id, s.backend.key, "", "")); code != want {
				s.Errorf("an id of %d bytes: CONNACK %d; want %d", len(id), code, want)
			}
		}
	})
}

// Who waited in the throttle is looked at again.
func TestIdentityEndsInTheThrottle(t *testing.T) {
	for name, change := range map[string]func(*backend){
		"disabled":          func(b *backend) { b.disabled = true },
		"deleted":           func(b *backend) { b.deleted = true },
		"given another key": func(b *backend) { b.key = sas.NewKey() },
		"token expired":     func(*backend) {},
	} {
		t.Run(name, func(t *testing.T) {
			admit := func(_ context.Context, c tier.Class, _ int) error {
				if c == tier.ClassConnect {
					<-time.After(30 * time.Second)
				}
				return nil
			}
			inBubble(t, options{devices: devices.Options{Admit: admit}}, func(s side) {
				w := s.dial()
				c := wiretest.Login("dev-1", s.backend.key)
				c.HasUsername, c.HasPassword = true, true
				c.HasWill, c.WillTopic = true, []byte("devices/dev-1/messages/events/")
				if name == "token expired" {
					c.Password = []byte(sas.Sign("localhost/devices/dev-1", s.backend.key, "", time.Now().Add(10*time.Second)))
				}
				w.Send(mqtt.AppendConnect(nil, &c))
				time.Sleep(15 * time.Second)
				s.backend.mu.Lock()
				change(s.backend)
				s.backend.mu.Unlock()
				if _, code, err := mqtt.DecodeConnack(w.Expect(mqtt.CONNACK).Body); err != nil || code != mqtt.NotAuthorized {
					s.Errorf("CONNACK %d, %v; want 5", code, err)
				}
				w.Closed("a connection that is refused")
				synctest.Wait()
				if n := s.Remembered(); n != 0 || s.backend.heard() != 0 || s.backend.connected {
					s.Errorf("%d remembered, %d wills, connected %t; want nothing", n, s.backend.heard(), s.backend.connected)
				}
			})
		})
	}
}

// late is a hub whose device ends after it was found to be who it says, and before its connection is known.
type late struct {
	*backend
	asked int
	err   error
}

func (l *late) Credentials(id string) (c registry.Credentials, err error) {
	if l.asked++; l.asked > 1 {
		if l.err != nil {
			return c, l.err
		}
		c.Enabled = false
		return c, nil
	}
	return l.backend.Credentials(id)
}

// Who ends just when its connection begins has no session.
func TestIdentityEndsAtTheLastMoment(t *testing.T) {
	for _, why := range []error{nil, iothub.ErrDeviceNotFound} {
		synctest.Test(t, func(t *testing.T) {
			b := &backend{key: sas.NewKey()}
			s := open(t, &late{b, 0, why}, options{}, net.Pipe)
			t.Cleanup(s.Close)
			w := s.dial()
			if _, code := w.Connect(wiretest.Login("dev-1", b.key)); code != mqtt.NotAuthorized {
				t.Errorf("CONNACK %d; want 5", code)
			}
			w.Closed("a connection that is refused")
			synctest.Wait()
			if n := s.Remembered(); why != nil && n != 0 {
				t.Errorf("%d devices are remembered", n)
			}
		})
	}
}

// What no packet can hold is not sent as another: the connection ends, or the caller is told.
func TestWhatNoPacketHolds(t *testing.T) {
	for _, topic := range []func(rid string) string{topics.TwinGet, topics.Report} {
		inBubble(t, options{}, func(s side) {
			w := s.device("dev-1")
			rid := strings.Repeat("r", 65_400)
			w.Publish(0, topic(rid), "{}")
			if f := w.Expect(mqtt.PUBLISH); !strings.Contains(f.Topic, rid) {
				s.Errorf("answered on a topic of %d bytes", len(f.Topic))
			}
			reports := s.reported()
			w.Publish(0, topic(strings.Repeat("r", mqtt.MaxField-len(topic("")))), "{}")
			w.Closed("a request id that fills its topic")
			if s.reported() != reports {
				s.Error("and what it asked for was done")
			}
		})
	}
	inBubble(t, options{}, func(s side) {
		w := s.online()
		w.Subscribe(1, topics.FilterC2D("dev-1"), topics.FilterMethods)
		property := func(n int, char string) topics.Bag {
			return topics.Bag{{Name: "p", Value: strings.Repeat(char, n), HasValue: true}}
		}
		for name, m := range map[string]c2d.Message{
			"a property of 180 KB":                  {Properties: property(180<<10, "x")},
			"a property of 64 KB":                   {Properties: property(64<<10, "x")},
			"a property of 22 KB, which is encoded": {Properties: property(22<<10, " ")},
			"a body and a property":                 {Properties: property(1000, "x"), Payload: make([]byte, 64<<10-1000)},
			"a body":                                {Payload: make([]byte, 64<<10+1)},
		} {
			if err := s.Send("dev-1", m); !errors.Is(err, iothub.ErrMessageTooLarge) {
				s.Errorf("%s: %v; want MessageTooLarge", name, err)
			}
		}
		if err := s.Send("dev-1", c2d.Message{Properties: property(21<<10, " "), Payload: make([]byte, 32<<10)}); err != nil {
			s.Error(err)
		}
		f := w.Expect(mqtt.PUBLISH)
		if len(f.Payload) != 32<<10 || len(f.Topic) < 63<<10 {
			s.Errorf("a topic of %d bytes and %d bytes came", len(f.Topic), len(f.Payload))
		}
		w.Send(mqtt.AppendAck(nil, mqtt.PUBACK, f.ID))
		if _, _, err := s.InvokeMethod(s.Context(), "dev-1", strings.Repeat("m", 66_000), nil); !errors.Is(err, iothub.ErrMessageTooLarge) {
			s.Errorf("a long method name: %v", err)
		}
		w.Silent()
	})
}

// Who takes what is left packet by packet, each just in time, does not hold a connection that has ended.
func TestWhoReadsSlowlyIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{key: sas.NewKey()}
		f := open(t, b, options{}, nil)
		t.Cleanup(f.Close)
		client, server := net.Pipe()
		over := make(chan struct{})
		go func() { defer close(over); f.ServeConn(server) }()
		c := wiretest.Login("dev-1", b.key)
		c.HasUsername, c.HasPassword = true, true
		out := mqtt.AppendConnect(nil, &c)
		out = append(out, bytes.Repeat(mqtt.AppendEmpty(nil, mqtt.PINGREQ), 100)...)
		if _, err := client.Write(append(out, 0xf0, 0)); err != nil { // which ends it
			t.Fatal(err)
		}
		began, read := time.Now(), make(chan struct{})
		go func() {
			defer close(read)
			for {
				time.Sleep(9 * time.Second)
				if _, err := client.Read(make([]byte, 2)); err != nil {
					return
				}
			}
		}()
		<-over
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("it took %v", took)
		}
		client.Close()
		<-read
	})
}
