package twinfleet;

import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.InternalClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.ModuleClient;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import com.microsoft.azure.sdk.iot.service.registry.Module;
import com.microsoft.azure.sdk.iot.service.registry.RegistryClient;
import com.microsoft.azure.sdk.iot.service.twin.TwinClient;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.function.Predicate;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Timeout;

/** What all cases share: one hub, and clients that end with their case. */
@Timeout(20)
abstract class Suite {
    static final Hub hub = start();
    static final RegistryClient registry = new RegistryClient(hub.service("iothubowner"));
    static final TwinClient twins = new TwinClient(hub.service("iothubowner"));

    private final List<AutoCloseable> open = new ArrayList<>();

    private static Hub start() {
        try {
            Hub h = new Hub();
            Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                try {
                    h.close();
                } catch (Exception e) {
                    throw new IllegalStateException(e);
                }
            }));
            return h;
        } catch (Exception e) {
            throw new IllegalStateException("starting the hub", e);
        }
    }

    @AfterEach
    void closeClients() throws Exception {
        for (AutoCloseable c : open) {
            c.close();
        }
    }

    Device newDevice(String name) throws Exception {
        return registry.addDevice(new Device(Hub.unique(name)));
    }

    DeviceClient connect(Device d, IotHubClientProtocol protocol) throws Exception {
        return opened(new DeviceClient(hub.device(d.getDeviceId(), d.getPrimaryKey()), protocol, hub.options().build()));
    }

    DeviceClient connect(Device d) throws Exception {
        return connect(d, IotHubClientProtocol.MQTT);
    }

    ModuleClient connect(Module m) throws Exception {
        return opened(new ModuleClient(hub.module(m.getDeviceId(), m.getId(), m.getPrimaryKey()), IotHubClientProtocol.MQTT, hub.options().build()));
    }

    <C extends InternalClient> C opened(C client) throws Exception {
        open.add(client::close);
        client.open(false);
        return client;
    }

    static int number(Object value) {
        return ((Number) value).intValue();
    }

    /** Asks until the answer pleases. */
    static <T> T eventually(Callable<T> question, Predicate<T> pleases) throws Exception {
        long end = System.nanoTime() + 20_000_000_000L;
        while (true) {
            T answer = question.call();
            if (pleases.test(answer)) {
                return answer;
            }
            if (System.nanoTime() > end) {
                throw new AssertionError("still " + answer);
            }
            Thread.sleep(20);
        }
    }
}
