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
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

// overHTTPS is the hub as devices see it that speak HTTPS.
type overHTTPS Hub

var (
	_ device.Devices = (*overHTTPS)(nil)
	_ device.Queue   = (*overHTTPS)(nil)
)

func (o *overHTTPS) Authenticate(client, token string, chain []*x509.Certificate) (events.Auth, error) {
	if _, err := o.devices.Authenticate(devices.Claim{Client: client, Token: token, Chain: chain}); err != nil {
		return 0, err
	}
	shown, _ := sas.Parse(token) // it was one, or there is none
	switch module := entity.IsModule(client); {
	case shown.Policy != "":
		return events.HubSAS, nil
	case module && token == "":
		return events.ModuleX509, nil
	case module:
		return events.ModuleSAS, nil
	case token == "":
		return events.DeviceX509, nil
	default:
		return events.DeviceSAS, nil
	}
}

func (o *overHTTPS) Active(client string) { o.devices.Active(client) }

func (o *overHTTPS) Telemetry(ctx context.Context, client string, _ events.Auth, batch []events.Message) error {
	all := make([]devices.Message, len(batch))
	for i := range batch {
		all[i] = devices.Message{Properties: bagOf(&batch[i]), Payload: batch[i].Payload}
	}
	return o.devices.Telemetry(ctx, client, all...)
}

// bagOf is the properties of a message with the names that the topics of MQTT have for them.
func bagOf(m *events.Message) topics.Bag {
	expires := ""
	if !m.Expires.IsZero() {
		expires = string(timestamp.Append(nil, m.Expires))
	}
	var bag topics.Bag
	for _, p := range []topics.Property{
		{Name: "$.mid", Value: m.MessageID},
		{Name: "$.cid", Value: m.CorrelationID},
		{Name: "$.uid", Value: m.UserID},
		{Name: "$.to", Value: m.To},
		{Name: "$.ct", Value: m.ContentType},
		{Name: "$.ce", Value: m.ContentEncoding},
		{Name: "$.exp", Value: expires},
		{Name: "$.ctime", Value: m.Created},
		{Name: "$.on", Value: m.Output},
		{Name: "$.sub", Value: m.Component},
		{Name: "$.ifid", Value: m.InterfaceID},
		{Name: "$.schema", Value: m.Schema},
		{Name: "iothub-ack", Value: m.Ack},
	} {
		if p.Value != "" {
			p.HasValue = true
			bag = append(bag, p)
		}
	}
	return append(bag, m.Properties...)
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
