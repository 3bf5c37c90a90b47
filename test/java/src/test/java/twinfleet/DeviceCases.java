package twinfleet;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.IotHubMessageResult;
import com.microsoft.azure.sdk.iot.device.Message;
import com.microsoft.azure.sdk.iot.device.exceptions.IotHubClientException;
import com.microsoft.azure.sdk.iot.device.transport.IotHubConnectionStatus;
import com.microsoft.azure.sdk.iot.device.transport.NoRetry;
import com.microsoft.azure.sdk.iot.device.twin.DirectMethodResponse;
import com.microsoft.azure.sdk.iot.device.twin.TwinCollection;
import com.microsoft.azure.sdk.iot.service.auth.SymmetricKey;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubException;
import com.microsoft.azure.sdk.iot.service.methods.DirectMethodRequestOptions;
import com.microsoft.azure.sdk.iot.service.methods.DirectMethodsClient;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import com.microsoft.azure.sdk.iot.service.registry.DeviceStatus;
import com.microsoft.azure.sdk.iot.service.twin.Twin;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.Map;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Devices: twins, methods, telemetry, messages and connections. */
class DeviceCases extends Suite {
    private final DirectMethodsClient methods = new DirectMethodsClient(hub.service("service"));

    /** A device that may use its twin: the SDK wants its desired properties subscribed first. */
    private DeviceClient withTwin(Device d, IotHubClientProtocol protocol) throws Exception {
        DeviceClient client = connect(d, protocol);
        client.subscribeToDesiredProperties((twin, context) -> { }, null);
        return client;
    }

    private static TwinCollection one(String key, Object value) {
        TwinCollection c = new TwinCollection();
        c.put(key, value);
        return c;
    }

    @ParameterizedTest
    @EnumSource(names = {"MQTT", "MQTT_WS"})
    void a_report_reaches_the_device_and_the_service(IotHubClientProtocol protocol) throws Exception {
        Device d = newDevice("report");
        DeviceClient client = withTwin(d, protocol);
        assertEquals(1, Twins.get(client).getDesiredProperties().getVersion());
        assertEquals(2, Twins.report(client, one("connectivity", Map.of("type", "cellular"))).getVersion());
        assertEquals(Map.of("type", "cellular"), Twins.get(client).getReportedProperties().get("connectivity"));
        Twin seen = twins.get(d.getDeviceId());
        assertEquals(Map.of("type", "cellular"), seen.getReportedProperties().get("connectivity"));
        assertEquals("connected", seen.getConnectionState().toLowerCase());
    }

    @Test
    void null_removes_a_reported_property() throws Exception {
        DeviceClient client = withTwin(newDevice("null"), IotHubClientProtocol.MQTT);
        Twins.report(client, one("a", 1));
        Twins.report(client, one("a", null));
        TwinCollection reported = Twins.get(client).getReportedProperties();
        assertFalse(reported.containsKey("a"));
        assertEquals(3, reported.getVersion());
    }

    @ParameterizedTest
    @EnumSource(names = {"MQTT", "MQTT_WS"})
    void a_desired_change_arrives_with_its_version(IotHubClientProtocol protocol) throws Exception {
        Device d = newDevice("desired");
        DeviceClient client = connect(d, protocol);
        var patches = new LinkedBlockingQueue<com.microsoft.azure.sdk.iot.device.twin.Twin>();
        client.subscribeToDesiredProperties((twin, context) -> patches.add(twin), null);
        Twin change = new Twin(d.getDeviceId());
        change.getDesiredProperties().put("interval", 5);
        twins.patch(change);
        TwinCollection got = patches.poll(20, TimeUnit.SECONDS).getDesiredProperties();
        assertEquals(5, number(got.get("interval")));
        assertEquals(2, got.getVersion());
    }

    @Test
    void a_method_carries_its_payload_both_ways() throws Exception {
        Device d = newDevice("method");
        DeviceClient client = connect(d);
        client.subscribeToMethods((name, payload, context) -> new DirectMethodResponse(200, Map.of("name", name, "got", payload.getPayloadAsJsonElement())), null);
        var answer = methods.invoke(d.getDeviceId(), "reboot", DirectMethodRequestOptions.builder().payload(Map.of("a", 1)).build());
        assertEquals(200, answer.getStatus());
        assertEquals("{\"name\":\"reboot\",\"got\":{\"a\":1}}".length(), answer.getPayloadAsJsonString().length());
        assertEquals(1, answer.getPayloadAsJsonElement().getAsJsonObject().getAsJsonObject("got").get("a").getAsInt());
    }

    @Test
    void a_negative_status_of_a_method_comes_back() throws Exception {
        Device d = newDevice("negative");
        DeviceClient client = withTwin(d, IotHubClientProtocol.MQTT);
        client.subscribeToMethods((name, payload, context) -> new DirectMethodResponse(-1, null), null);
        assertEquals(-1, methods.invoke(d.getDeviceId(), "reboot").getStatus());
        assertEquals(2, Twins.report(client, one("still", "there")).getVersion());
    }

    @Test
    void a_method_for_a_device_that_is_away_is_404103() throws Exception {
        Device d = newDevice("away");
        var soon = DirectMethodRequestOptions.builder().methodConnectTimeoutSeconds(0).methodResponseTimeoutSeconds(10).build(); // by default the SDK has the hub wait for the device
        IotHubException e = assertThrows(IotHubException.class, () -> methods.invoke(d.getDeviceId(), "reboot", soon));
        assertEquals(404103, e.getErrorCode());
    }

    @ParameterizedTest
    @EnumSource(names = {"MQTT", "MQTT_WS"})
    void telemetry_with_properties_is_acknowledged(IotHubClientProtocol protocol) throws Exception {
        Message m = new Message("{\"temperature\": 21}");
        m.setContentType("application/json");
        m.setContentEncoding("utf-8");
        m.setProperty("room", "kitchen/2&3");
        connect(newDevice("telemetry"), protocol).sendEvent(m);
    }

    @Test
    void a_message_to_a_device_arrives_with_its_properties() throws Exception {
        Device d = newDevice("c2d");
        DeviceClient client = connect(d);
        var messages = new LinkedBlockingQueue<Message>();
        client.setMessageCallback((message, context) -> {
            messages.add(message);
            return IotHubMessageResult.COMPLETE;
        }, null);
        var token = new com.microsoft.azure.sdk.iot.service.auth.IotHubServiceSasToken(com.microsoft.azure.sdk.iot.service.auth.IotHubConnectionStringBuilder.createIotHubConnectionString(hub.service("service")));
        HttpRequest request = HttpRequest.newBuilder(URI.create("https://" + hub.host + "/devices/" + d.getDeviceId() + "/messages/deviceBound?api-version=2021-04-12"))
                .header("Authorization", token.toString()).header("iothub-messageid", "m1").header("iothub-app-colour", "blue")
                .POST(HttpRequest.BodyPublishers.ofString("hello")).build();
        int status = HttpClient.newBuilder().sslContext(hub.tls).build().send(request, HttpResponse.BodyHandlers.discarding()).statusCode();
        assertEquals(2, status / 100);
        Message got = messages.poll(20, TimeUnit.SECONDS);
        assertEquals("hello", new String(got.getBytes()));
        assertEquals("blue", got.getProperty("colour"));
        assertEquals("m1", got.getMessageId());
    }

    @Test
    void a_wrong_key_is_refused() throws Exception {
        Device d = newDevice("wrong");
        DeviceClient client = new DeviceClient(hub.device(d.getDeviceId(), new SymmetricKey().getPrimaryKey()), IotHubClientProtocol.MQTT, hub.options().build());
        IotHubClientException e = assertThrows(IotHubClientException.class, () -> client.open(false));
        assertEquals("UNAUTHORIZED", e.getStatusCode().name());
    }

    @Test
    void a_device_that_is_disabled_is_disconnected() throws Exception {
        Device d = newDevice("disabled");
        DeviceClient client = connect(d);
        client.setRetryPolicy(new NoRetry());
        var states = new LinkedBlockingQueue<IotHubConnectionStatus>();
        client.setConnectionStatusChangeCallback(change -> states.add(change.getNewStatus()), null);
        d.setStatus(DeviceStatus.Disabled);
        registry.updateDevice(d);
        eventually(() -> states.poll(20, TimeUnit.SECONDS), s -> s == IotHubConnectionStatus.DISCONNECTED);
    }
}
