package hub_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// enterAMQP does what a device does that uses all links: it shows its token, and attaches the pairs of $cbs, of its twin and of direct
// methods, and the links of telemetry and of messages.
func enterAMQP(nc net.Conn, id string, key sas.Key) error {
	b := append([]byte(nil), amqp.HeaderAMQP[:]...)
	b = amqp.AppendFrame(b, 0, &amqp.Open{ContainerID: id, MaxFrameSize: 65536, ChannelMax: 10}, nil)
	b = amqp.AppendFrame(b, 0, &amqp.Begin{IncomingWindow: 100, OutgoingWindow: 100, HandleMax: 100}, nil)
	message := amqp.AppendProperties(nil, &amqp.Properties{MessageID: amqp.AppendString(nil, "1")})
	message, start := amqp.BeginSection(message, amqp.SectionApplicationProperties)
	for _, p := range [][2]string{{"operation", "put-token"}, {"type", "servicebus.windows.net:sastoken"}, {"name", "localhost/devices/" + id}} {
		message = amqp.AppendString(amqp.AppendString(message, p[0]), p[1])
	}
	message = amqp.AppendBody(amqp.EndMap(message, start, 3))
	message = amqp.AppendString(message, sas.Sign("localhost/devices/"+id, key, "", time.Now().Add(time.Hour)))
	for i, link := range [...]struct {
		address, pair string
		role          bool
	}{
		{"$cbs", "", amqp.RoleSender},
		{"$cbs", "", amqp.RoleReceiver},
		{"/devices/" + id + "/messages/events", "", amqp.RoleSender},
		{"/devices/" + id + "/messages/devicebound", "", amqp.RoleReceiver},
		{"/devices/" + id + "/twin", "twin:d6b9d8f4-6fd7-4b67-8c4c-5b7ff4f1cdd4", amqp.RoleSender},
		{"/devices/" + id + "/twin", "twin:d6b9d8f4-6fd7-4b67-8c4c-5b7ff4f1cdd4", amqp.RoleReceiver},
		{"/devices/" + id + "/methods/devicebound", "methods:d6b9d8f4-6fd7-4b67-8c4c-5b7ff4f1cdd4", amqp.RoleSender},
		{"/devices/" + id + "/methods/devicebound", "methods:d6b9d8f4-6fd7-4b67-8c4c-5b7ff4f1cdd4", amqp.RoleReceiver},
	} {
		a := amqp.Attach{
			Name: fmt.Append(nil, "link-", i), Handle: uint32(i), Role: link.role, HasSource: true, HasTarget: true,
			SndSettleMode: amqp.ModeUnset, RcvSettleMode: amqp.ModeUnset,
		}
		if link.pair != "" {
			properties, start := amqp.BeginMap(nil)
			properties = amqp.AppendString(amqp.AppendSymbol(properties, "com.microsoft:channel-correlation-id"), link.pair)
			a.Properties = amqp.EndMap(properties, start, 1)
		}
		if link.role == amqp.RoleSender {
			a.Target.Address, a.InitialDeliveryCount = amqp.AppendString(nil, link.address), amqp.Some(0)
		} else {
			a.Source.Address = amqp.AppendString(nil, link.address)
		}
		b = amqp.AppendFrame(b, 0, &a, nil)
		if link.role == amqp.RoleReceiver {
			b = amqp.AppendFrame(b, 0, &amqp.Flow{
				IncomingWindow: 100, OutgoingWindow: 100, Handle: amqp.Some(uint32(i)), DeliveryCount: amqp.Some(0), LinkCredit: amqp.Some(100),
			}, nil)
		}
		if i == 1 {
			b = amqp.AppendFrame(b, 0, &amqp.Transfer{DeliveryID: amqp.Some(0), DeliveryTag: []byte("1"), MessageFormat: amqp.Some(0)}, message)
		}
	}
	if _, err := nc.Write(b); err != nil {
		return err
	}
	var got []byte
	for attached := 0; attached < 8; {
		for amqp.IsHeader(got) {
			got = got[8:]
		}
		f, n, err := amqp.Cut(got, 1<<20)
		if err != nil {
			return err
		}
		if n == 0 {
			piece := make([]byte, 4096)
			k, err := nc.Read(piece)
			if err != nil {
				return err
			}
			got = append(got, piece[:k]...)
			continue
		}
		got = got[n:]
		p, err := amqp.Parse(f.Body)
		switch {
		case err != nil:
			return err
		case p.Code == amqp.CodeAttach:
			attached++
		case p.Code == amqp.CodeDetach || p.Code == amqp.CodeClose || p.Code == amqp.CodeEnd:
			return fmt.Errorf("refused by 0x%02x: %x", p.Code, f.Body)
		}
	}
	return nil
}

// A device with eight links over AMQP costs the hub at most 11 KB in clear and 30 KB with TLS: heap and stack of its own side, the
// kernel's buffers apart.
func TestAMQPConnectionMemory(t *testing.T) {
	for _, tt := range []struct {
		name   string
		secure bool
		limit  float64 // bytes
	}{{"clear", false, 11 << 10}, {"TLS", true, 30 << 10}} {
		if got := memoryOf(t, crowd{AMQP: true, Devices: 1000}, tt.secure); got > tt.limit {
			t.Errorf("%s: %.0f bytes a connection; at most %.0f are promised", tt.name, got, tt.limit)
		} else {
			t.Logf("%s: %.0f bytes a connection", tt.name, got)
		}
	}
}
