package target

import "testing"

// Azure has a port for each transport, a hub with a port of its own one for all, and a broker its URL's.
func TestEndpointOver(t *testing.T) {
	const azure = "HostName=h.azure-devices.net;SharedAccessKeyName=o;SharedAccessKey=a2V5"
	const own = "HostName=localhost:15671;SharedAccessKeyName=o;SharedAccessKey=a2V5"
	const standard = "HostName=localhost:443;SharedAccessKeyName=o;SharedAccessKey=a2V5"
	for _, tt := range []struct {
		hub  string
		over DeviceTransport
		want Endpoint
	}{
		{azure, MQTT, Endpoint{Addr: "h.azure-devices.net:8883"}},
		{azure, MQTTWeb, Endpoint{Addr: "h.azure-devices.net:443", Web: "h.azure-devices.net", Path: "/$iothub/websocket", SubProtocol: "mqtt"}},
		{azure, AMQP, Endpoint{Addr: "h.azure-devices.net:5671"}},
		{azure, AMQPWeb, Endpoint{Addr: "h.azure-devices.net:443", Web: "h.azure-devices.net", Path: "/$iothub/websocket", SubProtocol: "AMQPWSB10"}},
		{azure, HTTPS, Endpoint{Addr: "h.azure-devices.net:443"}},
		{own, MQTT, Endpoint{Addr: "localhost:15671"}},
		{own, AMQP, Endpoint{Addr: "localhost:15671"}},
		{own, AMQPWeb, Endpoint{Addr: "localhost:15671", Web: "localhost:15671", Path: "/$iothub/websocket", SubProtocol: "AMQPWSB10"}},
		{own, HTTPS, Endpoint{Addr: "localhost:15671"}},
		{standard, MQTTWeb, Endpoint{Addr: "localhost:443", Web: "localhost", Path: "/$iothub/websocket", SubProtocol: "mqtt"}},
	} {
		x := Target{Hub: tt.hub, Kind: IoTHub}
		got, err := x.EndpointOver(tt.over)
		tt.want.TLS, tt.want.Host = true, "localhost"
		if tt.hub == azure {
			tt.want.Host = "h.azure-devices.net"
		}
		if err != nil || got != tt.want {
			t.Errorf("%s over %s: %+v, %v; want %+v", tt.hub, tt.over, got, err, tt.want)
		}
	}
	broker := Target{Hub: "wss://b.example/mqtt?x=1", Kind: Broker}
	if got, err := broker.EndpointOver(MQTT); err != nil || got.Addr != "b.example:443" || got.Path != "/mqtt?x=1" || got.SubProtocol != "mqtt" {
		t.Errorf("broker: %+v, %v", got, err)
	}
}
