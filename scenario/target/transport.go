package target

import (
	"net"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
)

// DeviceTransport is what carries what the devices of a group say to an IoT Hub.
type DeviceTransport string

// The transports of devices.
const (
	MQTT    DeviceTransport = "mqtt"
	MQTTWeb DeviceTransport = "mqtt_ws" // MQTT over WebSocket
	AMQP    DeviceTransport = "amqp"
	AMQPWeb DeviceTransport = "amqp_ws" // AMQP over WebSocket
	HTTPS   DeviceTransport = "https"   // telemetry only
)

// DeviceTransports are the names of all of them.
func DeviceTransports() []string {
	return []string{string(MQTT), string(MQTTWeb), string(AMQP), string(AMQPWeb), string(HTTPS)}
}

// IsMQTT reports whether it is MQTT, over WebSocket too.
func (x DeviceTransport) IsMQTT() bool { return x == MQTT || x == MQTTWeb }

// IsAMQP reports whether it is AMQP, over WebSocket too: many devices may share a connection, and tokens are renewed on it.
func (x DeviceTransport) IsAMQP() bool { return x == AMQP || x == AMQPWeb }

// Twins reports whether devices have twins and direct methods over it: HTTPS has neither.
func (x DeviceTransport) Twins() bool { return x != HTTPS }

// IsWeb reports whether it goes over WebSocket.
func (x DeviceTransport) IsWeb() bool { return x.webSocket() != "" }

// webSocket is the sub-protocol of WebSocket; empty for none.
func (x DeviceTransport) webSocket() string {
	switch x {
	case MQTTWeb:
		return link.WebMQTT
	case AMQPWeb:
		return link.WebAMQP
	default:
		return ""
	}
}

// port is the one of IoT Hub (iot-hub-devguide-protocols).
func (x DeviceTransport) port() string {
	switch x {
	case MQTT:
		return mqttsPort
	case AMQP:
		return "5671"
	default:
		return "443"
	}
}

// webPath is where IoT Hub takes WebSockets, of MQTT and of AMQP.
const webPath = "/$iothub/websocket"

// EndpointOver is where devices connect that speak a transport: Azure has a port for each, another hub one for all. Brokers have the
// one Endpoint.
func (t *Target) EndpointOver(over DeviceTransport) (Endpoint, error) {
	x, err := t.Endpoint()
	if err != nil || t.Kind == Broker {
		return x, err
	}
	if t.Kind == IoTHub || t.Kind == Apart {
		if c, err := connstring.ParseService(t.Hub); err == nil && c.HostName == x.Host {
			x.Addr = net.JoinHostPort(x.Host, over.port())
		}
	}
	return x.Over(over), nil
}

// Over is the endpoint for devices that speak a transport on its address: with a WebSocket, or without.
func (x Endpoint) Over(over DeviceTransport) Endpoint {
	if protocol := over.webSocket(); protocol != "" {
		x.Web, x.Path, x.SubProtocol = x.Host, webPath, protocol
		if _, port, err := net.SplitHostPort(x.Addr); err == nil && port != over.port() {
			x.Web = net.JoinHostPort(x.Host, port)
		}
	}
	return x
}
