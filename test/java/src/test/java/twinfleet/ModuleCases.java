package twinfleet;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.microsoft.azure.sdk.iot.device.ModuleClient;
import com.microsoft.azure.sdk.iot.device.Message;
import com.microsoft.azure.sdk.iot.device.twin.DirectMethodResponse;
import com.microsoft.azure.sdk.iot.device.twin.TwinCollection;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubNotFoundException;
import com.microsoft.azure.sdk.iot.service.methods.DirectMethodsClient;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import com.microsoft.azure.sdk.iot.service.registry.Module;
import com.microsoft.azure.sdk.iot.service.twin.Twin;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** Modules: identities, twins, methods and connections. */
class ModuleCases extends Suite {
    private Module newModule() throws Exception {
        return registry.addModule(new Module(newDevice("module").getDeviceId(), "m"));
    }

    @Test
    void a_module_is_made_read_listed_changed_and_deleted() throws Exception {
        Device d = newDevice("modules");
        Module made = registry.addModule(new Module(d.getDeviceId(), "m"));
        assertNotEquals(d.getPrimaryKey(), made.getPrimaryKey());
        assertEquals(made.getETag(), registry.getModule(d.getDeviceId(), "m").getETag());
        assertEquals(1, registry.getModulesOnDevice(d.getDeviceId()).size());
        assertNotEquals(made.getETag(), registry.updateModule(made).getETag());
        registry.removeModule(d.getDeviceId(), "m");
        assertThrows(IotHubNotFoundException.class, () -> registry.getModule(d.getDeviceId(), "m"));
    }

    @Test
    void a_modules_twin_is_its_own() throws Exception {
        Module m = newModule();
        ModuleClient client = connect(m);
        var patches = new LinkedBlockingQueue<com.microsoft.azure.sdk.iot.device.twin.Twin>();
        client.subscribeToDesiredProperties((twin, context) -> patches.add(twin), null);
        Twin change = new Twin(m.getDeviceId(), m.getId());
        change.getDesiredProperties().put("rate", 5);
        twins.patch(change);
        assertEquals(5, number(patches.poll(20, TimeUnit.SECONDS).getDesiredProperties().get("rate")));
        TwinCollection report = new TwinCollection();
        report.put("running", true);
        Twins.report(client, report);
        assertEquals(true, twins.get(m.getDeviceId(), m.getId()).getReportedProperties().get("running"));
        assertFalse(twins.get(m.getDeviceId()).getReportedProperties().containsKey("running"));
    }

    @Test
    void a_method_reaches_a_module() throws Exception {
        Module m = newModule();
        connect(m).subscribeToMethods((name, payload, context) -> new DirectMethodResponse(201, name), null);
        var answer = new DirectMethodsClient(hub.service("service")).invoke(m.getDeviceId(), m.getId(), "ping");
        assertEquals(201, answer.getStatus());
        assertEquals("\"ping\"", answer.getPayloadAsJsonString());
    }

    @Test
    void telemetry_of_a_module_is_acknowledged() throws Exception {
        connect(newModule()).sendEvent(new Message("hello"));
    }
}
