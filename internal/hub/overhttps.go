package hub

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/blobs"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/events"
	"github.com/twinfleet/twinfleet/internal/hub/lockqueue"
	"github.com/twinfleet/twinfleet/internal/hub/rest/device"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

// overHTTPS is the hub as devices see it that speak HTTPS.
type overHTTPS Hub

var (
	_ device.Devices = (*overHTTPS)(nil)
	_ device.Queue   = (*overHTTPS)(nil)
)

func (o *overHTTPS) Authenticate(client, token string, chain []*x509.Certificate) (events.Auth, error) {
	proof, err := o.devices.Authenticate(devices.Claim{Client: client, Token: token, Chain: chain})
	return proof.Auth, err
}

func (o *overHTTPS) Active(client string) { o.devices.Active(client) }

func (o *overHTTPS) Telemetry(ctx context.Context, client string, b devices.Batch) error {
	return o.devices.Telemetry(ctx, client, b)
}

func (o *overHTTPS) Receive(client string, lock time.Duration) (devices.Delivery, bool) {
	all := o.devices.Receive(client, nil, 1, lock)
	if len(all) == 0 {
		return devices.Delivery{}, false
	}
	return all[0], true
}

func (o *overHTTPS) Settle(ctx context.Context, client string, token lockqueue.Token, outcome lockqueue.Outcome) error {
	durable, err := o.devices.Settle(client, token, outcome)
	if err != nil {
		return err
	}
	return durable.Wait(ctx)
}

// admit admits what is no message.
func (o *overHTTPS) admit(ctx context.Context, class tier.Class) error {
	return o.devices.Admit(ctx, class, 0)
}

// signer gives access to blobs. Its key follows from that of a policy, so that access outlives the program as connection strings do.
func (h *Hub) signer() blobs.Signer {
	return blobs.NewSigner([]byte(h.policies["iothubowner"].Primary.Base64()))
}
