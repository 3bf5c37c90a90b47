package hub_test

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/drivers"
	"github.com/twinfleet/twinfleet/fleet/link/linktest"
	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// Every driver of devices' connections, over every transport: each gets from the hub what the others get.
func TestDrivers(t *testing.T) {
	for _, name := range drivers.Names() {
		suite := linktest.Suite{Driver: func() link.Driver {
			d, err := drivers.New(name)
			if err != nil {
				t.Error(err)
			}
			return d
		}}
		h, c := open(t, hub.Options{})
		trust := &tls.Config{RootCAs: h.CAPool(), ServerName: "localhost", MinVersion: tls.VersionTLS12}
		clear := link.TCP(h.Addr())
		for transport, dial := range map[string]link.Dialer{
			"tcp": clear, "tls": link.TLS(clear, trust), "ws": link.WebSocket(clear, "localhost", "/$iothub/websocket", link.WebMQTT), "memory": h.Dial,
		} {
			t.Run(name+"/"+transport, func(t *testing.T) {
				suite.RunHub(t, dial, func(t *testing.T, what string) *linktest.Hub {
					id := transport + "-" + strings.NewReplacer(" ", "-", ",", "", "'", "").Replace(what)
					d := newDevice(t, c, id)
					return &linktest.Hub{
						Device: id, Host: "localhost",
						Password: func() string {
							return sas.Sign("localhost/devices/"+id, d.Authentication.SymmetricKey.Primary, "", time.Now().Add(time.Hour))
						},
						Desire: func(t *testing.T, properties string) {
							if _, err := c.PatchTwin(t.Context(), id, []byte(`{"properties":{"desired":`+properties+`}}`), ""); err != nil {
								t.Fatal(err)
							}
						},
					}
				})
			})
		}
	}
}
