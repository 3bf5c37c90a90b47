package scenario

import (
	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/form"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/value"
	"github.com/twinfleet/twinfleet/scenario/target"
)

func targetKeys(t *target.Target) []language.Key {
	return []language.Key{
		key("hub", value.Text(&t.Hub), is("embedded"),
			"embedded; a service connection string of an IoT Hub, best as ${TWINFLEET_HUB}; or mqtt://, mqtts://, ws://, wss:// of a "+
				"plain broker."),
		key("hubs", value.Texts(&t.Hubs), means("target.hub alone"),
			"Several IoT hubs instead of one, as a list of service connection strings, best as [${HUB_A}, ${HUB_B}]. Devices are dealt to them in their "+
				"order, those who share a connection together; the service side works on all of them, and queries have the rows of all. What holds for "+
				"one hub only is refused: devices that provision, deliveries, and queries with TOP, GROUP BY or another sum than COUNT()."),
		key("ca", value.Text(&t.CA), means("the system's; of a twinfleet hub on this machine, that hub's"),
			"File with the certificates to trust, in PEM, for a hub or broker of your own; its path is relative to the scenario."),
		key("plain", value.Bool(&t.Plain), is("false"), "Speak to the hub in clear: for twinfleet hub on this machine, never for Azure."),
		key("transport", value.OneOf(&t.Transport, target.Auto, target.TCP, target.Memory), is(target.Auto),
			"Embedded hub: how devices reach it. memory opens no sockets, and sends the same bytes; auto does so when this process may not "+
				"open as many files as the devices need."),
		key("keep", value.Bool(&t.Keep), is("false"), "Leave the identities that the run made, for the next one."),
		key("tier", value.OneOf(&t.Tier, "F1", "B1", "B2", "B3", "S1", "S2", "S3"), means("no limits"),
			"Embedded hub: behave like a tier, F1, B1 to B3 or S1 to S3."),
		key("units", value.Count(&t.Units, 1, 200), is("1"), "Embedded hub: units of the tier."),
		key("burst", timing.Duration(&t.Burst, timing.Shortest), is("1m"), "Embedded hub: so much of the tier's rate may come at once."),
		key("query_lag", value.Text(&t.QueryLag).As(form.Times), means("none"),
			"Embedded hub: how long a change stays hidden from queries, 2s or 500ms..3s."),
		key("consumer_group", value.Text(&t.ConsumerGroup), means("$Default"),
			"IoT Hub: the consumer group with which deliveries are read. One of its own keeps a run out of the way of those who read the hub's "+
				"messages: five readers share a group at most, and one that claims it alone shuts others out."),
		key("topic", value.Text(&t.Topic), means("devices/{device}/messages/events/"),
			"Broker: where devices send; {device}, {group} and {index} are replaced."),
		key("username", value.Text(&t.Username), means("none"), "Broker: user name; {device}, {group} and {index} are replaced."),
		key("password", value.Text(&t.Password), means("none"),
			"Broker: password, best from the environment; {device}, {group} and {index} are replaced."),
		key("mqtt", value.OneOf(&t.MQTT, target.MQTT311, target.MQTT5), is(target.MQTT311), "Broker: the version of MQTT that devices speak. 5 is the client lean's."),
		key("tls", value.Object(tlsKeys(&t.TLS)), means("TLS 1.2 or 1.3, with the host's name"), "Broker: how devices speak TLS to mqtts:// and wss://."),
		key("websocket", value.Object(webSocketKeys(&t.WebSocket)), means("the sub-protocol mqtt"), "Broker: how devices ask ws:// and wss:// for a WebSocket."),
		key("addresses", value.OneOf(&t.Addresses, target.First, target.Every), is(target.First),
			"Broker: which addresses of its name devices connect to. first leaves it to the system; each takes all of them in turn, a connection each: "+
				"what stands behind a name then gets its share. The name is looked up anew every 30 s, and after a connection that failed."),
		key("proxy", value.Text(&t.Proxy), means("none"),
			"Broker: the proxy that devices connect through, http://user:password@proxy:3128 (CONNECT) or socks5://proxy:1080, best with ${PASSWORD}. "+
				"It resolves the broker's name, but with addresses: each."),
		key("redirect", value.OneOf(&t.Redirect, target.Refuse, target.Follow), is(target.Refuse),
			"Broker, MQTT 5: what devices do that are told to use another server: count the connection as refused, or follow, with the same credentials."),
	}
}

func tlsKeys(x *target.TLS) []language.Key {
	return []language.Key{
		key("server_name", value.Text(&x.ServerName), means("the host of target.hub"), "Name that devices ask for (SNI), and that the broker's certificate must have."),
		key("min_version", value.OneOf(&x.MinVersion, "1.2", "1.3"), is("1.2"), "The lowest version of TLS that devices speak."),
		key("alpn", value.Texts(&x.ALPN), means("none"), "Protocols that devices offer (ALPN), such as [mqtt]."),
		key("insecure", value.Bool(&x.Insecure), is("false"),
			"Do not check the broker's certificate: whoever is on the way can read and change everything. Each report says so."),
	}
}

func webSocketKeys(x *target.WebSocket) []language.Key {
	return []language.Key{
		key("headers", value.TextsByName(func(name, text string) { x.Headers = append(x.Headers, target.Header{Name: name, Value: text}) }), means("none"),
			"Headers of the request, such as {Authorization: \"Bearer ${TOKEN}\"}; their values are shown nowhere."),
		key("subprotocol", value.Text(&x.SubProtocol), is("mqtt"), "The sub-protocol to ask for; some brokers want mqttv3.1."),
	}
}
