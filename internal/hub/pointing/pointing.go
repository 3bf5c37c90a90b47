// Package pointing says how clients are pointed at an embedded hub: for each SDK and tool, lines to paste.
package pointing

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// Options are where a hub is and with what one gets in. The empty secrets leave places to fill in.
type Options struct {
	Host       string // in connection strings and in the certificate, such as localhost
	Port       int    // on which the hub speaks everything
	CA         string // file with the certificate to trust; empty when it is in memory only
	MQTTS      bool   // it listens on 8883, the only port that some device SDKs know
	HTTPS      bool   // it listens on 443, the only port that some service SDKs know
	DeviceID   string // of the device in the lines; my-device when empty
	DeviceKey  string // base64; a secret
	OwnerKey   string // of the policy iothubowner, base64; a secret
	DeviceSAS  string // a token of the device; a secret
	ServiceSAS string // a token of the policy iothubowner; a secret
}

// Client is how one client is pointed at the hub.
type Client struct {
	Name  string   `json:"name"`            // of the SDK or the tool
	Side  string   `json:"side"`            // Device, Service or Tool
	Lines string   `json:"lines"`           // to paste
	Note  string   `json:"note,omitempty"`  // what to see to; empty for nothing
	Needs []string `json:"needs,omitempty"` // what the hub does not have as it was started; empty for nothing
}

// The sides of clients.
const (
	Device  = "device"  // it speaks for a device
	Service = "service" // it speaks for an application behind the hub
	Tool    = "tool"    // for people
)

// What a client with fixed ports needs of the hub that it may not have.
const (
	needMQTTS = "its port is fixed: start the hub with --listen 127.0.0.1:8883"
	needHTTPS = "its port is fixed: start the hub with --extra-listen 127.0.0.1:443"
)

// Clients are all of them, those of devices first.
func Clients(o Options) []Client {
	o.DeviceID = cmp.Or(o.DeviceID, "my-device")
	o.CA = cmp.Or(o.CA, "ca.pem")
	all := append(devices(&o), services(&o)...)
	return append(all, tools(&o)...)
}

// HostPort is the name of the hub with its port.
func (o *Options) HostPort() string { return fmt.Sprintf("%s:%d", o.Host, o.Port) }

// device is the connection string of the device, service that of the owner's policy; with the port where the client takes one.
func (o *Options) device(host string) string {
	return fmt.Sprintf("HostName=%s;DeviceId=%s;SharedAccessKey=%s", host, o.DeviceID, cmp.Or(o.DeviceKey, "<the device's key>"))
}

func (o *Options) service(host string) string {
	return fmt.Sprintf("HostName=%s;SharedAccessKeyName=iothubowner;SharedAccessKey=%s", host, cmp.Or(o.OwnerKey, "<the policy's key>"))
}

// events is the Event-Hubs-compatible connection string of the owner's policy. Its clients are told the port beside it.
func (o *Options) events() string {
	entity, _, _ := strings.Cut(o.Host, ".")
	return fmt.Sprintf("Endpoint=sb://%s/;SharedAccessKeyName=iothubowner;SharedAccessKey=%s;EntityPath=%s", o.Host, cmp.Or(o.OwnerKey, "<the policy's key>"), entity)
}

func (o *Options) needs(mqtts, https bool) (all []string) {
	if mqtts && !o.MQTTS {
		all = append(all, needMQTTS)
	}
	if https && !o.HTTPS {
		all = append(all, needHTTPS)
	}
	return all
}

// text quotes for Python, JavaScript, Java, C and C#, whose strings agree with JSON's in what is quoted here.
func text(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string can always be encoded
	return strings.TrimSuffix(b.String(), "\n")
}

// shell quotes for a POSIX shell.
func shell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func lines(all ...string) string { return strings.Join(all, "\n") }

// devices: the port is 8883 but where a connection string may hold one (their sources, mqtt transports).
func devices(o *Options) []Client {
	fixed := o.device(o.Host)
	return []Client{
		{
			Name: "Node.js", Side: Device, Lines: lines(
				`const { Client } = require('azure-iot-device');`,
				`const { Mqtt } = require('azure-iot-device-mqtt');`,
				`const client = Client.fromConnectionString(`+text(o.device(o.HostPort()))+`, Mqtt);`,
				`client.setOptions({ ca: require('fs').readFileSync(`+text(o.CA)+`, 'utf8') }).then(() => client.open());`),
		},
		{
			Name: "Python", Side: Device, Needs: o.needs(true, false), Lines: lines(
				`from azure.iot.device import IoTHubDeviceClient`,
				`client = IoTHubDeviceClient.create_from_connection_string(`,
				`    `+text(fixed)+`,`,
				`    server_verification_cert=open(`+text(o.CA)+`).read())`,
				`client.connect()`),
		},
		{
			Name: ".NET", Side: Device, Needs: o.needs(true, false), Lines: lines(
				`// export SSL_CERT_FILE=`+shell(o.CA)+`   before dotnet run, on Linux`,
				`using Microsoft.Azure.Devices.Client;`,
				`var client = DeviceClient.CreateFromConnectionString(`,
				`    `+text(fixed)+`, TransportType.Mqtt_Tcp_Only);`,
				`await client.OpenAsync();`),
			Note: "On Windows and macOS the certificate goes into the system's store of roots instead.",
		},
		{
			Name: "Java", Side: Device, Needs: o.needs(true, false), Lines: lines(
				`KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());`,
				`trusted.load(null, null);`,
				`try (InputStream in = new FileInputStream(`+text(o.CA)+`)) {`,
				`    trusted.setCertificateEntry("hub", CertificateFactory.getInstance("X.509").generateCertificate(in));`,
				`}`,
				`TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());`,
				`trust.init(trusted);`,
				`SSLContext tls = SSLContext.getInstance("TLS");`,
				`tls.init(null, trust.getTrustManagers(), null);`,
				`DeviceClient client = new DeviceClient(`,
				`    `+text(fixed)+`,`,
				`    IotHubClientProtocol.MQTT, ClientOptions.builder().sslContext(tls).build());`,
				`client.open(true);`),
		},
		{
			Name: "C", Side: Device, Needs: o.needs(true, false), Lines: lines(
				`IOTHUB_DEVICE_CLIENT_LL_HANDLE client = IoTHubDeviceClient_LL_CreateFromConnectionString(`,
				`    `+text(fixed)+`, MQTT_Protocol);`,
				`/* pem: the text of `+strings.ReplaceAll(o.CA, "*/", "")+` */`,
				`IoTHubDeviceClient_LL_SetOption(client, OPTION_TRUSTED_CERT, pem);`),
		},
	}
}

func services(o *Options) []Client {
	fixed := o.service(o.Host)
	return []Client{
		{
			Name: "Node.js service", Side: Service, Lines: lines(
				`const { Registry } = require('azure-iothub');`,
				`const agent = new (require('https').Agent)({ keepAlive: true, ca: require('fs').readFileSync(`+text(o.CA)+`, 'utf8') });`,
				fmt.Sprintf(`agent.defaultPort = %d; // connection strings of this SDK hold no port`, o.Port),
				`const registry = Registry.fromConnectionString(`+text(fixed)+`);`,
				`registry._restApiClient.setOptions({ http: { agent } });`),
		},
		{
			Name: "Python service", Side: Service, Lines: lines(
				`import os`,
				`os.environ["REQUESTS_CA_BUNDLE"] = `+text(o.CA),
				`from azure.iot.hub import IoTHubRegistryManager`,
				`registry = IoTHubRegistryManager.from_connection_string(`,
				`    `+text(o.service(o.HostPort()))+`)`),
			Note: "Where it asks for six: pip install six, which it needs and does not name. Messages to devices go over AMQP, whose port is fixed: start the hub with --extra-listen 127.0.0.1:5671.",
		},
		{
			Name: "Node.js, reading telemetry", Side: Service, Lines: lines(
				`// export NODE_EXTRA_CA_CERTS=`+shell(o.CA)+`   before node`,
				`const { EventHubConsumerClient, earliestEventPosition } = require('@azure/event-hubs');`,
				`const reader = new EventHubConsumerClient('$Default',`,
				`    `+text(o.events())+`,`,
				`    { customEndpointAddress: `+text("https://"+o.HostPort())+` });`,
				`reader.subscribe({`,
				`    processEvents: async (events) => events.forEach((e) => console.log(e.systemProperties['iothub-connection-device-id'], e.body)),`,
				`    processError: async (err) => console.error(err),`,
				`}, { startPosition: earliestEventPosition });`),
			Note: "The hub keeps what devices send once somebody reads it.",
		},
		{
			Name: "Python, reading telemetry", Side: Service, Lines: lines(
				`from azure.eventhub import EventHubConsumerClient`,
				`reader = EventHubConsumerClient.from_connection_string(`,
				`    `+text(o.events())+`, "$Default",`,
				`    custom_endpoint_address=`+text("https://"+o.HostPort())+`, connection_verify=`+text(o.CA)+`)`,
				`reader.receive(lambda partition, event: print(event.system_properties, event.body_as_str()), starting_position="-1")`),
			Note: "The hub keeps what devices send once somebody reads it.",
		},
		{
			Name: ".NET service", Side: Service, Needs: o.needs(false, true), Lines: lines(
				`// export SSL_CERT_FILE=`+shell(o.CA)+`   before dotnet run, on Linux`,
				`using Microsoft.Azure.Devices;`,
				`var registry = RegistryManager.CreateFromConnectionString(`,
				`    `+text(fixed)+`);`),
		},
		{
			Name: "Java service", Side: Service, Needs: o.needs(false, true), Lines: lines(
				`// keytool -importcert -noprompt -alias hub -file `+shell(o.CA)+` -keystore hub.p12 -storepass changeit`,
				`// java -Djavax.net.ssl.trustStore=hub.p12 -Djavax.net.ssl.trustStorePassword=changeit …`,
				`RegistryClient registry = new RegistryClient(`,
				`    `+text(fixed)+`);`),
		},
	}
}

func tools(o *Options) []Client {
	deviceSAS := cmp.Or(o.DeviceSAS, "SharedAccessSignature <of the device>")
	serviceSAS := cmp.Or(o.ServiceSAS, "SharedAccessSignature <of the policy iothubowner>")
	explorer := o.needs(false, true)
	if !strings.HasSuffix(o.Host, ".azure-devices.net") {
		explorer = append(explorer, "versions that check host names take NAME.azure-devices.net alone: start the hub with --hostname NAME.azure-devices.net, "+
			"and have the hosts file say 127.0.0.1 NAME.azure-devices.net")
	}
	return []Client{
		{
			Name: "az CLI", Side: Tool, Lines: lines(
				`export REQUESTS_CA_BUNDLE=`+shell(o.CA),
				`az iot hub query --login `+shell(o.service(o.HostPort()))+` --query-command 'SELECT * FROM devices'`),
			Note: "The bundle is then all that az trusts: unset it before az speaks to Azure.",
		},
		{
			Name: "Azure IoT Explorer", Side: Tool, Needs: explorer, Lines: lines(
				`export NODE_EXTRA_CA_CERTS=`+shell(o.CA)+`   # start Explorer from this shell`,
				`# its connection string: `+o.service(o.Host)),
		},
		{
			Name: "mosquitto_pub", Side: Tool, Lines: lines(
				`mosquitto_pub -h `+shell(o.Host)+fmt.Sprintf(` -p %d`, o.Port)+` --cafile `+shell(o.CA)+` -V mqttv311 -q 1 \`,
				`  -i `+shell(o.DeviceID)+` -u `+shell(o.Host+"/"+o.DeviceID+"/?api-version=2021-04-12")+` \`,
				`  -P `+shell(deviceSAS)+` \`,
				`  -t `+shell("devices/"+o.DeviceID+"/messages/events/")+` -m '{"temperature": 21.5}'`),
			Note: "The token holds for a day. Everybody on the machine can read it in the list of processes.",
		},
		{
			Name: "curl", Side: Tool, Lines: lines(
				`curl --cacert `+shell(o.CA)+` -H `+shell("Authorization: "+serviceSAS)+` \`,
				`  -H 'Content-Type: application/json' -d '{"query": "SELECT * FROM devices"}' \`,
				`  `+shell("https://"+o.HostPort()+"/devices/query?api-version=2021-04-12"),
				``,
				`curl --cacert `+shell(o.CA)+` -H `+shell("Authorization: "+serviceSAS)+` \`,
				`  `+shell("https://"+o.HostPort()+"/twins/"+url.PathEscape(o.DeviceID)+"?api-version=2021-04-12")),
			Note: "The token holds for a day.",
		},
		{
			Name: "twinfleet", Side: Tool, Lines: lines(
				`export TWINFLEET_HUB=`+shell(o.service(o.HostPort())),
				`twinfleet run --set 'target.hub=${TWINFLEET_HUB}' scenario.yaml`),
			Note: "On this machine it finds the certificate by itself; elsewhere: --set target.ca=" + filepath.Base(o.CA) + ".",
		},
	}
}

// Owner is the connection string of the owner's policy; with the key it is a secret.
func Owner(o Options) string { return o.service(o.HostPort()) }
