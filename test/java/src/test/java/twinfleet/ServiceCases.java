package twinfleet;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.microsoft.azure.sdk.iot.service.configurations.Configuration;
import com.microsoft.azure.sdk.iot.service.configurations.ConfigurationContent;
import com.microsoft.azure.sdk.iot.service.configurations.ConfigurationMetrics;
import com.microsoft.azure.sdk.iot.service.configurations.ConfigurationsClient;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubBadFormatException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubConflictException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubNotFoundException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubPreconditionFailedException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubUnauthorizedException;
import com.microsoft.azure.sdk.iot.service.jobs.ScheduledJobStatus;
import com.microsoft.azure.sdk.iot.service.jobs.ScheduledJobsClient;
import com.microsoft.azure.sdk.iot.service.query.QueryClient;
import com.microsoft.azure.sdk.iot.service.query.QueryPageOptions;
import com.microsoft.azure.sdk.iot.service.query.TwinQueryResponse;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import com.microsoft.azure.sdk.iot.service.registry.DeviceStatus;
import com.microsoft.azure.sdk.iot.service.registry.RegistryClient;
import com.microsoft.azure.sdk.iot.service.twin.DeviceCapabilities;
import com.microsoft.azure.sdk.iot.service.twin.Twin;
import java.util.Date;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;

/** The service: registry, twins, queries, jobs and configurations. */
class ServiceCases extends Suite {
    private static final QueryClient queries = new QueryClient(hub.service("iothubowner"));
    private static final ConfigurationsClient configurations = new ConfigurationsClient(hub.service("iothubowner"));

    @Test
    void a_device_is_made_read_changed_and_deleted() throws Exception {
        Device made = newDevice("registry");
        Device read = registry.getDevice(made.getDeviceId());
        assertEquals(made.getETag(), read.getETag());
        assertEquals(made.getGenerationId(), read.getGenerationId());
        read.setStatus(DeviceStatus.Disabled);
        Device changed = registry.updateDevice(read);
        assertEquals(DeviceStatus.Disabled, changed.getStatus());
        assertNotEquals(made.getETag(), changed.getETag());
        registry.removeDevice(made.getDeviceId());
        assertThrows(IotHubNotFoundException.class, () -> registry.getDevice(made.getDeviceId()));
    }

    @Test
    void a_device_that_exists_is_a_conflict() throws Exception {
        Device d = newDevice("twice");
        assertThrows(IotHubConflictException.class, () -> registry.addDevice(new Device(d.getDeviceId())));
    }

    @Test
    void a_device_that_has_changed_since_is_not_deleted() throws Exception {
        Device old = newDevice("etag");
        registry.updateDevice(registry.getDevice(old.getDeviceId()));
        assertThrows(IotHubPreconditionFailedException.class, () -> registry.removeDevice(old));
    }

    @Test
    void statistics_count_devices() throws Exception {
        long before = registry.getStatistics().getTotalDeviceCount();
        newDevice("counted");
        assertEquals(before + 1, registry.getStatistics().getTotalDeviceCount());
    }

    @Test
    void an_edge_device_has_a_scope_and_its_child_names_it() throws Exception {
        Device edge = new Device(Hub.unique("edge"));
        DeviceCapabilities capabilities = new DeviceCapabilities();
        capabilities.setIotEdge(true);
        edge.setCapabilities(capabilities);
        edge = registry.addDevice(edge);
        assertTrue(edge.getScope().startsWith("ms-azure-iot-edge://" + edge.getDeviceId() + "-"), edge.getScope());
        Device leaf = new Device(Hub.unique("leaf"));
        leaf.setScope(edge.getScope());
        leaf = registry.addDevice(leaf);
        assertEquals(java.util.List.of(edge.getScope()), leaf.getParentScopes());
    }

    @Test
    void a_policy_without_the_right_is_unauthorized() {
        RegistryClient weak = new RegistryClient(hub.service("registryRead"));
        assertThrows(IotHubUnauthorizedException.class, () -> weak.addDevice(new Device(Hub.unique("no"))));
    }

    @Test
    void a_twin_is_patched_with_tags_and_desired_properties() throws Exception {
        Device d = newDevice("twin");
        Twin change = new Twin(d.getDeviceId());
        change.getTags().put("location", Map.of("plant", "Redmond43"));
        change.getDesiredProperties().put("rate", 5);
        Twin seen = twins.patch(change);
        assertEquals(Map.of("plant", "Redmond43"), seen.getTags().get("location"));
        assertEquals(5, number(seen.getDesiredProperties().get("rate")));
        assertEquals(2, seen.getDesiredProperties().getVersion());
    }

    @Test
    void a_twin_that_has_changed_since_is_a_failed_precondition() throws Exception {
        Device d = newDevice("stale");
        String etag = twins.get(d.getDeviceId()).getETag();
        Twin change = new Twin(d.getDeviceId());
        change.getTags().put("a", 1);
        twins.patch(change, etag);
        change.getTags().put("a", 2);
        assertThrows(IotHubPreconditionFailedException.class, () -> twins.patch(change, etag));
    }

    @Test
    void a_twin_is_replaced() throws Exception {
        Device d = newDevice("replace");
        Twin change = new Twin(d.getDeviceId());
        change.getTags().put("a", 1);
        twins.patch(change);
        Twin other = new Twin(d.getDeviceId());
        other.getTags().put("b", 2);
        Twin seen = twins.replace(other);
        assertFalse(seen.getTags().containsKey("a"));
        assertEquals(2, number(seen.getTags().get("b")));
    }

    @Test
    void a_query_goes_through_pages() throws Exception {
        String mark = Hub.unique("mark");
        Set<String> made = new HashSet<>();
        for (int i = 0; i < 5; i++) {
            Device d = newDevice("page");
            Twin change = new Twin(d.getDeviceId());
            change.getTags().put("mark", mark);
            twins.patch(change);
            made.add(d.getDeviceId());
        }
        QueryPageOptions pages = QueryPageOptions.builder().pageSize(2).build();
        TwinQueryResponse answer = queries.queryTwins("SELECT * FROM devices WHERE tags.mark = '" + mark + "'", pages);
        Set<String> found = new HashSet<>();
        while (answer.hasNext()) {
            found.add(answer.next(pages).getDeviceId());
        }
        assertEquals(made, found);
    }

    @Test
    void a_query_with_a_projection_gives_raw_rows() throws Exception {
        Device d = newDevice("raw");
        var rows = queries.queryRaw("SELECT deviceId AS name FROM devices WHERE deviceId = '" + d.getDeviceId() + "'");
        assertTrue(rows.hasNext());
        assertEquals("{\"name\":\"" + d.getDeviceId() + "\"}", rows.next().replace(" ", ""));
        assertFalse(rows.hasNext());
    }

    @Test
    void a_bad_query_is_a_bad_format() {
        assertThrows(IotHubBadFormatException.class, () -> queries.queryTwins("SELECT * FROM devices LIMIT 10"));
    }

    @Test
    void a_job_updates_twins() throws Exception {
        Device d = newDevice("job");
        ScheduledJobsClient jobs = new ScheduledJobsClient(hub.service("iothubowner"));
        Twin change = new Twin();
        change.setETag("*");
        change.getTags().put("by", "job");
        String id = Hub.unique("job");
        jobs.scheduleUpdateTwin(id, "deviceId = '" + d.getDeviceId() + "'", change, new Date(), 60);
        eventually(() -> jobs.get(id).getJobStatus(), s -> s == ScheduledJobStatus.completed);
        assertEquals("job", twins.get(d.getDeviceId()).getTags().get("by"));
    }

    @Test
    void a_configuration_reaches_the_devices_that_it_targets() throws Exception {
        String mark = Hub.unique("mark");
        Device d = newDevice("configured");
        Twin change = new Twin(d.getDeviceId());
        change.getTags().put("mark", mark);
        twins.patch(change);
        Configuration c = new Configuration(Hub.unique("conf"));
        ConfigurationContent content = new ConfigurationContent();
        content.setDeviceContent(new HashMap<>(Map.of("properties.desired.settings", Map.of("interval", 5))));
        c.setContent(content);
        c.setTargetCondition("tags.mark = '" + mark + "'");
        c.setPriority(10);
        c.setLabels(new HashMap<>(Map.of("by", "test")));
        ConfigurationMetrics metrics = new ConfigurationMetrics();
        metrics.setQueries(new HashMap<>(Map.of("mine", "SELECT deviceId FROM devices WHERE tags.mark = '" + mark + "'")));
        c.setMetrics(metrics);
        Configuration made = configurations.create(c);
        assertEquals(10, made.getPriority());
        eventually(() -> twins.get(d.getDeviceId()).getDesiredProperties().get("settings"), s -> s instanceof Map<?, ?> m && number(m.get("interval")) == 5);
        eventually(() -> configurations.get(c.getId()).getSystemMetrics().getResults().get("appliedCount"), n -> n != null && n == 1);
        assertTrue(configurations.get(20).stream().anyMatch(other -> other.getId().equals(c.getId())));
        Configuration seen = configurations.get(c.getId());
        seen.setPriority(20);
        assertEquals(20, configurations.replace(seen).getPriority());
        configurations.delete(c.getId());
        assertThrows(IotHubNotFoundException.class, () -> configurations.get(c.getId()));
    }
}
