package hub_test

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/front"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// The checklist of the contract's section 1.10, one case an item, in its order.
func TestChecklist(t *testing.T) {
	t.Parallel()
	for i, item := range []struct {
		name string
		run  func(*bench)
	}{
		{"TLS from 1.2 on, with a client certificate or without", func(b *bench) {
			cert, err := b.hub.DeviceCertificate("dev-1")
			if err != nil {
				b.Fatal(err)
			}
			for name, config := range map[string]*tls.Config{
				"1.2": {MaxVersion: tls.VersionTLS12}, "1.3": {MinVersion: tls.VersionTLS13}, "with a certificate": {Certificates: []tls.Certificate{cert}},
			} {
				w, err := dialTLS(b, b.hub, config)
				if err != nil {
					b.Fatal(err)
				}
				if _, code := w.Connect(wiretest.Login("dev-1", b.key)); code != mqtt.Accepted {
					b.Errorf("%s: CONNACK %d", name, code)
				}
			}
			if _, err := dialTLS(b, b.hub, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
				b.Error("TLS 1.1 is accepted")
			}
		}},
		{"the client id must be the user name's", func(b *bench) {
			for _, c := range []mqtt.Connect{
				{ClientID: []byte("dev-2"), Username: []byte("localhost/dev-1/?api-version=2021-04-12")},
				{ClientID: []byte("DEV-1"), Username: []byte("localhost/dev-1/?api-version=2021-04-12")},
				{ClientID: []byte("dev-1"), Username: []byte("localhost/dev-1/module/?api-version=2021-04-12")},
				{ClientID: []byte("dev-1"), Username: []byte("dev-1")},
			} {
				w := dial(b, b.hub)
				c.Password = wiretest.Login("dev-1", b.key).Password
				if _, code := w.Connect(c); code != mqtt.NotAuthorized {
					b.Errorf("client id %s as %s: CONNACK %d; want 5", c.ClientID, c.Username, code)
				}
				w.Closed("CONNACK 5")
			}
		}},
		{"tokens: wrong key, expired, malformed, of another device", func(b *bench) {
			host := "localhost/devices/dev-1"
			for name, password := range map[string]string{
				"wrong key":      sas.Sign(host, sas.NewKey(), "", time.Now().Add(time.Hour)),
				"expired":        sas.Sign(host, b.key, "", time.Now().Add(-time.Minute)),
				"malformed":      "SharedAccessSignature sr=x",
				"no token":       "password",
				"another device": sas.Sign("localhost/devices/dev-10", b.key, "", time.Now().Add(time.Hour)),
				"part of the id": sas.Sign("localhost/devices/dev", b.key, "", time.Now().Add(time.Hour)),
				"no policy":      sas.Sign(host, b.key, "nobody", time.Now().Add(time.Hour)),
				"weak policy":    sas.Sign(host, b.hub.ConnectionString("service").Key, "service", time.Now().Add(time.Hour)),
			} {
				c := wiretest.Login("dev-1", b.key)
				c.Password = []byte(password)
				w := dial(b, b.hub)
				if _, code := w.Connect(c); code != mqtt.NotAuthorized {
					b.Errorf("%s: CONNACK %d; want 5", name, code)
				}
				w.Closed(name)
			}
			c := wiretest.Login("dev-1", b.key)
			c.Password = []byte(sas.Sign("localhost", b.hub.ConnectionString("device").Key, "device", time.Now().Add(time.Hour)))
			if _, code := dial(b, b.hub).Connect(c); code != mqtt.Accepted {
				b.Errorf("the policy device: CONNACK %d", code)
			}
		}},
		{"a session is taken over; connection state and activity are kept", func(b *bench) {
			never := "0001-01-01T00:00:00Z"
			b.equal("activity before", b.must("GET", devicePath, "").member("lastActivityTime"), never)
			old := b.online()
			fresh := b.online()
			old.Closed("a second connection")
			fresh.Publish(1, topics.Telemetry("dev-1", nil), "x")
			fresh.Expect(mqtt.PUBACK)
			a := b.must("GET", devicePath, "")
			b.equal("state", a.member("connectionState"), "Connected")
			if a.member("lastActivityTime") == never || a.member("connectionStateUpdatedTime") == never {
				b.Errorf("identity: %s", a.body)
			}
			fresh.Send(mqtt.AppendEmpty(nil, mqtt.DISCONNECT))
			eventually(b, "the device is disconnected", func() bool { return b.must("GET", twinPath, "").member("connectionState") == "Disconnected" })
		}},
		{"a clean session brings nothing back, and takes nothing with it", func(b *bench) {
			kept := b.online()
			kept.Subscribe(0, topics.FilterDesired)
			clean := dial(b, b.hub)
			c := wiretest.Login("dev-1", b.key)
			c.CleanSession = true
			if present, _ := clean.Connect(c); present {
				b.Error("a clean session is called present")
			}
			b.must("PATCH", twinPath, `{"properties":{"desired":{"a":1}}}`)
			clean.Silent()
			clean.Subscribe(0, topics.FilterDesired)
			clean.Conn.Close()
			after := b.online()
			b.must("PATCH", twinPath, `{"properties":{"desired":{"a":2}}}`)
			after.Silent()
		}},
		{"twin operations with QoS 1 are acknowledged before they are answered", func(b *bench) {
			w := b.online()
			w.Subscribe(1, topics.FilterTwinResponses)
			w.Publish(1, topics.Report("1"), `{"a":1}`)
			w.Expect(mqtt.PUBACK)
			b.equal("answer", w.Expect(mqtt.PUBLISH).Topic, "$iothub/twin/res/204/?$rid=1&$version=2")
		}},
		{"responses and notifications have QoS 0, at most QoS 1 is granted", func(b *bench) {
			w := b.online()
			b.equal("granted", w.Subscribe(2, topics.FilterTwinResponses, topics.FilterDesired), []byte{1, 1})
			b.equal("granted", w.Subscribe(0, topics.FilterMethods), []byte{0})
			w.Publish(1, topics.TwinGet("1"), "")
			w.Expect(mqtt.PUBACK)
			b.equal("QoS of a response", w.Expect(mqtt.PUBLISH).QoS, 0)
			b.must("PATCH", twinPath, `{"properties":{"desired":{"a":1}}}`)
			b.equal("QoS of a notification", w.Expect(mqtt.PUBLISH).QoS, 0)
		}},
		{"what ends a connection", func(b *bench) {
			for name, send := range map[string]func(*wiretest.Wire){
				"QoS 2":                   func(w *wiretest.Wire) { w.Publish(2, topics.Telemetry("dev-1", nil), "x") },
				"an unknown topic":        func(w *wiretest.Wire) { w.Publish(0, "any/topic", "x") },
				"a topic of the hub":      func(w *wiretest.Wire) { w.Publish(0, topics.TwinResponse(200, "1"), "x") },
				"another device's topic":  func(w *wiretest.Wire) { w.Publish(0, topics.Telemetry("dev-2", nil), "x") },
				"an unknown filter":       func(w *wiretest.Wire) { w.SendSubscribe(0, "any/topic") },
				"all topics":              func(w *wiretest.Wire) { w.SendSubscribe(0, "#") },
				"another device's filter": func(w *wiretest.Wire) { w.SendSubscribe(0, topics.FilterC2D("dev-2")) },
				"an oversize message": func(w *wiretest.Wire) {
					w.Publish(1, topics.Telemetry("dev-1", nil), strings.Repeat("x", 256<<10+1))
				},
				"an endless message": func(w *wiretest.Wire) { w.Send(append([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, make([]byte, 1000)...)) },
				"a second CONNECT": func(w *wiretest.Wire) {
					c := wiretest.Login("dev-1", b.key)
					w.Send(mqtt.AppendConnect(nil, &c))
				},
				"no packet at all": func(w *wiretest.Wire) { w.Send([]byte{0xf0, 0}) },
			} {
				w := b.online()
				send(w)
				w.Closed(name)
			}
			w := b.online()
			w.Publish(1, topics.Telemetry("dev-1", nil), strings.Repeat("x", 256<<10))
			w.Expect(mqtt.PUBACK)
		}},
		{"one and a half times the keep-alive, at most 1,767 s", func(b *bench) {
			for _, tt := range []struct {
				keepAlive uint16
				want      time.Duration
			}{{60, 90 * time.Second}, {1177, 1765500 * time.Millisecond}, {2000, 1767 * time.Second}, {0, 1767 * time.Second}} {
				synctest.Test(b.T, func(t *testing.T) {
					key := sas.NewKey()
					w := pipe(t, &listener{keys: map[string]sas.Key{"dev-1": key}}, front.Options{})
					c := wiretest.Login("dev-1", key)
					c.KeepAlive = tt.keepAlive
					w.Connect(c)
					<-time.After(30 * time.Second) // of the bubble's clock
					w.Silent()
					began := time.Now()
					for range w.Frames {
						t.Error("a packet came")
					}
					// The deadline moves with the first packet after a quarter of the time, so it may come that much sooner.
					if got := time.Since(began); got > tt.want || got < tt.want-30*time.Second {
						t.Errorf("keep-alive %d: closed after %v; want %v", tt.keepAlive, got, tt.want)
					}
				})
			}
		}},
		{"the will is sent when a connection breaks, not when it is ended", func(b *bench) {
			c := wiretest.Login("dev-1", b.key)
			c.HasWill, c.WillQoS, c.WillTopic, c.WillPayload = true, 1, []byte("devices/dev-1/messages/events/a=b"), []byte("gone")
			w := dial(b, b.hub)
			w.Connect(c)
			w.Conn.Close()
			eventually(b, "the will is sent", func() bool { return b.hub.Stats().Wills == 1 })
			w = dial(b, b.hub)
			w.Connect(c)
			w.Send(mqtt.AppendEmpty(nil, mqtt.DISCONNECT))
			w.Closed("DISCONNECT")
			b.equal("wills", b.hub.Stats().Wills, 1)
			other := wiretest.Login("dev-1", b.key)
			other.HasWill, other.WillTopic = true, []byte("devices/dev-2/messages/events/")
			w = dial(b, b.hub)
			other.HasUsername, other.HasPassword = true, true
			w.Send(mqtt.AppendConnect(nil, &other))
			w.Closed("a will for another device")

			hears := &listener{keys: map[string]sas.Key{"dev-1": b.key}}
			w = pipe(b, hears, front.Options{})
			w.Connect(c)
			w.Conn.Close()
			eventually(b, "the will is heard", func() bool {
				hears.mu.Lock()
				defer hears.mu.Unlock()
				return len(hears.messages) == 1
			})
			m := hears.message(b)
			kind, _ := m.Properties.Get("iothub-MessageType")
			own, _ := m.Properties.Get("a")
			if kind != "Will" || own != "b" || string(m.Payload) != "gone" || hears.wills != 1 {
				b.Errorf("will: %v %s", m.Properties, m.Payload)
			}
		}},
	} {
		t.Run(fmt.Sprintf("%02d %s", i+1, item.name), func(t *testing.T) {
			t.Parallel()
			item.run(newBench(t))
		})
	}
}
