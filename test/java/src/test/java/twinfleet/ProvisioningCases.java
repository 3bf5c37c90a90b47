package twinfleet;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.twin.TwinCollection;
import com.microsoft.azure.sdk.iot.provisioning.device.AdditionalData;
import com.microsoft.azure.sdk.iot.provisioning.device.ProvisioningDeviceClient;
import com.microsoft.azure.sdk.iot.provisioning.device.ProvisioningDeviceClientRegistrationResult;
import com.microsoft.azure.sdk.iot.provisioning.device.ProvisioningDeviceClientStatus;
import com.microsoft.azure.sdk.iot.provisioning.device.ProvisioningDeviceClientTransportProtocol;
import com.microsoft.azure.sdk.iot.provisioning.security.SecurityProviderSymmetricKey;
import com.microsoft.azure.sdk.iot.provisioning.service.ProvisioningServiceClient;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.EnrollmentGroup;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.IndividualEnrollment;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.SymmetricKeyAttestation;
import com.microsoft.azure.sdk.iot.provisioning.service.exceptions.ProvisioningServiceClientNotFoundException;
import java.util.Base64;
import javax.net.ssl.SSLContext;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Provisioning: registration of devices, and enrollments of services. */
class ProvisioningCases extends Suite {
    /** Security that trusts the hub's authority. */
    private static final class Key extends SecurityProviderSymmetricKey {
        Key(String key, String registrationId) {
            super(key.getBytes(), registrationId);
        }

        @Override
        public SSLContext getSSLContext() {
            return hub.tls;
        }
    }

    private static String setting(String name) {
        return hub.said.getAsJsonObject("dps").get(name).getAsString();
    }

    private static ProvisioningDeviceClientRegistrationResult register(Key key, ProvisioningDeviceClientTransportProtocol protocol) throws Exception {
        ProvisioningDeviceClient client = ProvisioningDeviceClient.create(hub.host, setting("idScope"), protocol, key);
        try {
            return client.registerDeviceSync(new AdditionalData(), 30_000);
        } finally {
            client.close();
        }
    }

    private static ProvisioningServiceClient service() {
        return new ProvisioningServiceClient(setting("serviceConnectionString").replaceFirst("HostName=[^;]*", "HostName=" + hub.host));
    }

    @ParameterizedTest
    @EnumSource(names = {"MQTT", "MQTT_WS", "HTTPS"})
    void a_device_of_the_group_that_is_there_from_the_beginning(ProvisioningDeviceClientTransportProtocol protocol) throws Exception {
        String id = Hub.unique("group");
        String key = KeyCases.derived(setting("groupKey"), id);
        var result = register(new Key(key, id), protocol);
        assertEquals(ProvisioningDeviceClientStatus.PROVISIONING_DEVICE_STATUS_ASSIGNED, result.getProvisioningDeviceClientStatus());
        assertEquals(id, result.getDeviceId());
        DeviceClient client = opened(new DeviceClient("HostName=" + result.getIothubUri() + ";DeviceId=" + id + ";SharedAccessKey=" + key, IotHubClientProtocol.MQTT, hub.options().build()));
        client.subscribeToDesiredProperties((twin, context) -> { }, null);
        TwinCollection report = new TwinCollection();
        report.put("provisioned", true);
        assertEquals(2, Twins.report(client, report).getVersion());
    }

    @Test
    void an_individual_enrollment_is_made_used_read_and_deleted() throws Exception {
        String id = Hub.unique("own");
        String key = KeyCases.derived(setting("groupKey"), "a key of its own");
        IndividualEnrollment enrollment = new IndividualEnrollment(id, new SymmetricKeyAttestation(key, key));
        enrollment.setDeviceId(id + "-device");
        assertEquals(id + "-device", service().createOrUpdateIndividualEnrollment(enrollment).getDeviceId());
        assertEquals(id + "-device", register(new Key(key, id), ProvisioningDeviceClientTransportProtocol.MQTT).getDeviceId());
        assertEquals(id, service().getIndividualEnrollment(id).getRegistrationId());
        assertEquals(id + "-device", service().getDeviceRegistrationState(id).getDeviceId());
        service().deleteIndividualEnrollment(id);
        assertThrows(ProvisioningServiceClientNotFoundException.class, () -> service().getIndividualEnrollment(id));
    }

    @Test
    void a_group_of_ones_own_is_made_and_used() throws Exception {
        String id = Hub.unique("group");
        EnrollmentGroup made = service().createOrUpdateEnrollmentGroup(new EnrollmentGroup(id, new SymmetricKeyAttestation(null, null)));
        String groupKey = ((SymmetricKeyAttestation) made.getAttestation()).getPrimaryKey();
        String device = Hub.unique("member");
        assertEquals(device, register(new Key(KeyCases.derived(groupKey, device), device), ProvisioningDeviceClientTransportProtocol.MQTT).getDeviceId());
    }
}
