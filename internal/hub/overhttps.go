package hub

import (
	"context"
	"crypto/x509"
	"strings"

	"github.com/twinfleet/twinfleet/internal/hub/blobs"
	"github.com/twinfleet/twinfleet/internal/hub/deviceauth"
	"github.com/twinfleet/twinfleet/internal/hub/events"
	"github.com/twinfleet/twinfleet/internal/hub/front"
	"github.com/twinfleet/twinfleet/internal/hub/rest/device"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/iothub/username"
)

// overHTTPS is the hub as devices see it that speak HTTPS.
type overHTTPS Hub

var _ device.Devices = (*overHTTPS)(nil)

func (o *overHTTPS) Authenticate(client, token string, chain []*x509.Certificate) (events.Auth, error) {
	b := (*backend)(o)
	creds, err := b.Credentials(client)
	if err != nil {
		return 0, err
	}
	check := deviceauth.Checker{Policy: (*Hub)(o).devicePolicy, ClientCAs: (*Hub)(o).clientCAs()}
	var user username.Name
	user.DeviceID, user.ModuleID = entity.Split(client)
	if token != "" {
		parsed, err := sas.Parse(token)
		if err != nil {
			return 0, err
		}
		user.Host, _, _ = strings.Cut(parsed.Resource, "/") // any host name is the hub's: clients know it by different ones
		_, err = check.Token(user, creds, token)
		return authOf(client, parsed.Policy, false), err
	}
	return authOf(client, "", true), check.Certificate(user, creds, chain)
}

// authOf is how a client has shown who it is: by a token of a policy, or of its own, or by a certificate.
func authOf(client, policy string, certificate bool) events.Auth {
	switch module := entity.IsModule(client); {
	case policy != "":
		return events.HubSAS
	case module && certificate:
		return events.ModuleX509
	case module:
		return events.ModuleSAS
	case certificate:
		return events.DeviceX509
	default:
		return events.DeviceSAS
	}
}

func (o *overHTTPS) Active(client string) { o.store.Touch(client) }

func (o *overHTTPS) Telemetry(ctx context.Context, client string, _ events.Auth, batch []events.Message) error {
	size := 0
	for i := range batch {
		size += len(batch[i].Payload) + batch[i].Properties.Size()
	}
	if err := (*Hub)(o).admitDevice(ctx, tier.ClassTelemetry, size); err != nil {
		return err
	}
	for i := range batch {
		(*backend)(o).Telemetry(client, front.Message{Properties: batch[i].Properties, Payload: batch[i].Payload})
	}
	return nil
}

// admitOverHTTPS admits what is no message.
func (o *overHTTPS) admit(ctx context.Context, class tier.Class) error {
	return (*Hub)(o).admitDevice(ctx, class, 0)
}

// signer gives access to blobs. Its key follows from that of a policy, so that access outlives the program as connection strings do.
func (h *Hub) signer() blobs.Signer {
	return blobs.NewSigner([]byte(h.policies["iothubowner"].Primary.Base64()))
}
