package hub_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// inside is a hub that keeps its data, in a bubble, with a client of its service side.
func inside(t *testing.T, dir string) (*hub.Hub, *service.Client) {
	t.Helper()
	h, err := hub.Open(t.Context(), hub.Options{NoPort: true, DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	c, err := service.New(service.Options{
		ConnectionString: h.ConnectionString("iothubowner"), BaseURL: "http://localhost", Dial: h.Dial,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h, c
}

// A device that asks and asks and never reads holds up nobody: neither who writes to it, nor the writes of others, nor who disables
// or deletes it; whatever its connection is.
func TestADeviceThatDoesNotReadHoldsUpNobody(t *testing.T) {
	type opener = func(t *testing.T, h *hub.Hub) (io.Writer, error)
	for name, open := range map[string]opener{
		"MQTT": func(t *testing.T, h *hub.Hub) (io.Writer, error) {
			nc, err := h.Dial(t.Context())
			return nc, err
		},
		"MQTT over TLS": func(t *testing.T, h *hub.Hub) (io.Writer, error) { return dialSecure(t.Context(), h) },
		"WebSocket over TLS": func(t *testing.T, h *hub.Hub) (io.Writer, error) {
			d := websocket.Dialer{
				Subprotocols:      []string{"mqtt"},
				NetDialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialSecure(ctx, h) },
			}
			ws, _, err := d.Dial("wss://localhost/$iothub/websocket", nil)
			return frames{ws}, err
		},
		"WebSocket": func(t *testing.T, h *hub.Hub) (io.Writer, error) {
			d := websocket.Dialer{Subprotocols: []string{"mqtt"}, NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return h.Dial(ctx) }}
			ws, _, err := d.Dial("ws://localhost/$iothub/websocket", nil)
			return frames{ws}, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				h, c := inside(t, dir)
				d, other := newDevice(t, c, "mute"), newDevice(t, c, "other")
				if _, err := c.PatchTwin(t.Context(), "mute", fmt.Appendf(nil, `{"properties":{"desired":{"a":{"b":%q}}}}`, strings.Repeat("x", 4000)), ""); err != nil {
					t.Fatal(err)
				}
				nc, err := open(t, h)
				if err != nil {
					t.Fatal(err)
				}
				login := wiretest.Login("mute", d.Authentication.SymmetricKey.Primary)
				login.HasUsername, login.HasPassword = true, true
				b := mqtt.AppendConnect(nil, &login)
				b = mqtt.AppendSubscribe(b, 1, mqtt.Subscription{Filter: []byte(topics.FilterTwinResponses)}, mqtt.Subscription{Filter: []byte(topics.FilterDesired)})
				b = append(b, bytes.Repeat(mqtt.AppendPublish(nil, topics.TwinGet("1"), nil, 0, false, false, 0), 1000)...)
				if _, err := nc.Write(b); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				far, err := h.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				w := wiretest.New(t, far)
				w.Connect(wiretest.Login("other", other.Authentication.SymmetricKey.Primary))
				w.Subscribe(0, topics.FilterTwinResponses)
				began := time.Now()
				for n := range 20 {
					if _, err := c.PatchTwin(t.Context(), "mute", fmt.Appendf(nil, `{"properties":{"desired":{"n":%d}}}`, n), ""); err != nil {
						t.Error(err)
					}
					w.Publish(0, topics.Report("1"), "{}")
					w.Expect(mqtt.PUBLISH)
				}
				disabled := registry.Identity{DeviceID: "mute", Status: registry.StatusDisabled}
				if _, err := c.UpdateDevice(t.Context(), disabled, "*"); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if n := h.Stats().Connected; n != 1 {
					t.Errorf("%d devices are connected; want the other alone", n)
				}
				if err := c.DeleteDevice(t.Context(), "mute"); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took != 0 {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// dialSecure opens a connection with TLS that never touches the network.
func dialSecure(ctx context.Context, h *hub.Hub) (net.Conn, error) {
	nc, err := h.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c := tls.Client(nc, &tls.Config{RootCAs: h.CAPool(), ServerName: "localhost"})
	return c, c.HandshakeContext(ctx)
}

// frames writes to a WebSocket.
type frames struct{ *websocket.Conn }

func (f frames) Write(b []byte) (int, error) {
	return len(b), f.WriteMessage(websocket.BinaryMessage, b)
}

// Who announces a body, sends none, and shows no token, is answered and gone.
func TestBodiesThatDoNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := inside(t, "")
		began := time.Now()
		for range 50 {
			nc, err := h.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if _, err := io.WriteString(nc, "POST /devices/query?api-version=2021-04-12 HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(nc)
			if err != nil || !bytes.Contains(b, []byte(" 401 ")) {
				t.Errorf("%q, %v", b, err)
			}
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %v until the last was gone", took)
		}
	})
}
