"""Registry, twins, queries and jobs of the service

IoTHubRegistryManager, IoTHubJobManager and IoTHubConfigurationManager, as a service uses them.
"""

import datetime

import pytest
from azure.iot.hub import DigitalTwinClient, IoTHubConfigurationManager, IoTHubJobManager, IoTHubRegistryManager
from azure.iot.hub.models import (
    Configuration, ConfigurationContent, ConfigurationMetrics, ConfigurationQueriesTestInput, ExportImportDevice, JobRequest, QuerySpecification, SymmetricKey, Twin, TwinProperties,
    AuthenticationMechanism, CloudToDeviceMethod,
)
from azure.iot.device import MethodResponse
from msrest.exceptions import HttpOperationError

from hub import unique


def refused(status, call, *args):
    with pytest.raises(HttpOperationError) as e:
        call(*args)
    assert e.value.response.status_code == status, e.value.response.text
    return e.value.response.text


def test_a_device_is_made_read_changed_and_deleted(registry):
    name = unique("device")
    made = registry.create_device_with_sas(name, "", "", "enabled")
    keys = made.authentication.symmetric_key
    assert len(keys.primary_key) == 44 and keys.primary_key != keys.secondary_key
    read = registry.get_device(name)
    assert (read.etag, read.generation_id, read.status, read.connection_state) == (made.etag, made.generation_id, "enabled", "Disconnected")
    changed = registry.update_device_with_sas(name, made.etag, keys.primary_key, keys.secondary_key, "disabled", status_reason="broken")
    assert (changed.status, changed.status_reason, changed.generation_id) == ("disabled", "broken", made.generation_id)
    assert changed.etag != made.etag
    refused(412, lambda: registry.update_device_with_sas(name, made.etag, keys.primary_key, keys.secondary_key, "enabled"))
    registry.delete_device(name)
    assert "DeviceNotFound" in refused(404, registry.get_device, name)


def test_a_device_that_exists_is_409(registry, new_device):
    refused(409, registry.create_device_with_sas, new_device().device_id, "", "", "enabled")


def test_a_key_of_three_bytes_is_400(registry):
    refused(400, registry.create_device_with_sas, unique("short"), "c2hv", "c2hv", "enabled")


def test_empty_keys_in_an_update_make_new_ones(registry, new_device):
    device = new_device()
    changed = registry.update_device_with_sas(device.device_id, "*", "", "", "enabled")
    old, new = device.authentication.symmetric_key, changed.authentication.symmetric_key
    assert len(new.primary_key) == 44 and new.primary_key not in (old.primary_key, "")
    assert len(new.secondary_key) == 44 and new.secondary_key != old.secondary_key


def test_an_identity_with_certificates_shows_no_keys(registry):
    name = unique("x509")
    made = registry.create_device_with_x509(name, "A" * 40, "B" * 40, "enabled")
    assert made.authentication.type == "selfSigned"
    assert made.authentication.symmetric_key.primary_key is None
    assert made.authentication.x509_thumbprint.primary_thumbprint == "A" * 40


def test_an_edge_device_has_a_scope_and_its_child_names_it(registry):
    edge = registry.create_device_with_sas(unique("edge"), "", "", "enabled", iot_edge=True)
    assert edge.capabilities.iot_edge
    assert edge.device_scope == f"ms-azure-iot-edge://{edge.device_id}-{edge.generation_id}"
    child = registry.create_device_with_sas(unique("leaf"), "", "", "enabled", device_scope=edge.device_scope)
    assert child.device_scope == edge.device_scope
    assert child.parent_scopes == [edge.device_scope]
    found = registry.query_iot_hub(QuerySpecification(query=f"SELECT * FROM devices WHERE array_contains(parentScopes, '{edge.device_scope}')"))
    assert [t.device_id for t in found.items] == [child.device_id]


def test_statistics_count_devices(registry, new_device):
    before = registry.get_device_registry_statistics()
    new_device()
    after = registry.get_device_registry_statistics()
    assert after.total_device_count == before.total_device_count + 1
    assert after.enabled_device_count == before.enabled_device_count + 1
    assert registry.get_service_statistics().connected_device_count >= 0


def test_devices_are_listed(registry, new_device):
    made = {new_device().device_id for _ in range(3)}
    assert made <= {d.device_id for d in registry.get_devices(1000)}


def bulk(mode, name, **more):
    return ExportImportDevice(id=name, import_mode=mode, **more)


def test_devices_are_made_changed_and_deleted_in_bulk(registry):
    names = [unique("bulk") for _ in range(3)]
    keys = AuthenticationMechanism(type="sas", symmetric_key=SymmetricKey(primary_key="dGhpcyBpcyBhIHByaW1hcnkga2V5", secondary_key="dGhpcyBpcyBhIHNlY29uZCBrZXk="))
    for mode, status in (("create", "enabled"), ("update", "disabled"), ("updateIfMatchETag", "enabled")):
        done = registry.bulk_create_or_update_devices([bulk(mode, n, status=status, authentication=keys) for n in names])
        assert done.is_successful and done.errors == []
        assert {registry.get_device(n).status for n in names} == {status}
    for mode in ("deleteIfMatchETag",):
        assert registry.bulk_create_or_update_devices([bulk(mode, n) for n in names]).is_successful
    for n in names:
        refused(404, registry.get_device, n)


def test_a_twin_is_made_with_its_device_in_bulk(registry):
    name = unique("bulk")
    assert registry.bulk_create_or_update_devices([bulk("create", name, status="enabled", tags={"floor": 2}, properties={"desired": {"rate": 5}})]).is_successful
    twin = registry.get_twin(name)
    assert (twin.etag, twin.version) == ("AAAAAAAAAAE=", 2)
    assert twin.tags == {"floor": 2}
    assert twin.properties.desired["rate"] == 5 and twin.properties.desired["$version"] == 1


def test_a_twin_is_patched_and_replaced_with_etags(registry, new_device):
    device = new_device()
    first = registry.get_twin(device.device_id)
    assert first.tags is None
    patched = registry.update_twin(device.device_id, Twin(tags={"a": 1, "b": {"c": 2}}, properties=TwinProperties(desired={"d": 1})), first.etag)
    assert patched.tags == {"a": 1, "b": {"c": 2}}
    assert "PreconditionFailed" in refused(412, lambda: registry.update_twin(device.device_id, Twin(tags={"a": 2}), first.etag))
    replaced = registry.replace_twin(device.device_id, Twin(tags={"e": 1}, properties=TwinProperties(desired={"f": 1})), patched.etag)
    assert replaced.tags == {"e": 1}
    assert "d" not in replaced.properties.desired and replaced.properties.desired["f"] == 1


def test_tags_are_cleared_by_null(registry, new_device, rest):
    device = new_device()
    registry.update_twin(device.device_id, Twin(tags={"a": 1}), "*")
    assert rest("PATCH", f"/twins/{device.device_id}", {"tags": None}).status_code == 200
    assert registry.get_twin(device.device_id).tags is None


def test_a_query_goes_through_pages(registry, new_device):
    mark = unique("mark")
    made = []
    for _ in range(5):
        made.append(new_device().device_id)
        registry.update_twin(made[-1], Twin(tags={"mark": mark}), "*")
    found, token, pages = [], None, 0
    while True:
        page = registry.query_iot_hub(QuerySpecification(query=f"SELECT * FROM devices WHERE tags.mark = '{mark}'"), token, 2)
        found += [t.device_id for t in page.items]
        token, pages = page.continuation_token, pages + 1
        if not token:
            break
    assert sorted(found) == sorted(made) and pages == 3


def test_a_query_with_a_projection_gives_raw_rows(registry, new_device):
    device = new_device()
    rows = registry.query_iot_hub(QuerySpecification(query=f"SELECT deviceId AS name, status FROM devices WHERE deviceId = '{device.device_id}'"))
    assert rows.type.lower() == "raw"
    # The SDK makes a twin of every row, with what it does not know beside it.
    assert [(r.additional_properties, r.status, r.version) for r in rows.items] == [({"name": device.device_id}, "enabled", None)]


def test_a_bad_query_is_400(registry):
    refused(400, registry.query_iot_hub, QuerySpecification(query="SELECT * FROM devices LIMIT 10"))


def test_a_policy_without_the_right_is_401(hub):
    weak = IoTHubRegistryManager.from_connection_string(hub.service("registryRead"))
    refused(401, weak.create_device_with_sas, unique("no"), "", "", "enabled")


# Modules.


@pytest.fixture
def new_module(registry, new_device):
    def make(name="module"):
        device = new_device()
        return registry.create_module_with_sas(device.device_id, unique(name), "", "", "")

    return make


def test_a_module_is_made_read_changed_listed_and_deleted(registry, new_device):
    device = new_device()
    made = registry.create_module_with_sas(device.device_id, "m1", "somebody", "", "")
    assert (made.device_id, made.module_id, made.managed_by, made.connection_state) == (device.device_id, "m1", "somebody", "Disconnected")
    assert len(made.authentication.symmetric_key.primary_key) == 44
    assert made.authentication.symmetric_key.primary_key != device.authentication.symmetric_key.primary_key
    registry.create_module_with_sas(device.device_id, "m2", "", "", "")
    assert sorted(m.module_id for m in registry.get_modules(device.device_id)) == ["m1", "m2"]
    keys = made.authentication.symmetric_key
    changed = registry.update_module_with_sas(device.device_id, "m1", "another", made.etag, keys.primary_key, keys.secondary_key)
    assert changed.managed_by == "another" and changed.etag != made.etag
    refused(412, registry.update_module_with_sas, device.device_id, "m1", "third", made.etag, keys.primary_key, keys.secondary_key)
    refused(409, registry.create_module_with_sas, device.device_id, "m1", "", "", "")
    registry.delete_module(device.device_id, "m1")
    refused(404, registry.get_module, device.device_id, "m1")
    assert [m.module_id for m in registry.get_modules(device.device_id)] == ["m2"]


def test_a_device_takes_its_modules_with_it(registry, new_module):
    module = new_module()
    registry.delete_device(module.device_id)
    refused(404, registry.get_module_twin, module.device_id, module.module_id)


def test_a_modules_twin_is_its_own(registry, new_module, connect, inbox):
    module = new_module()
    client = connect(module)
    patches = inbox()
    client.on_twin_desired_properties_patch_received = patches.put
    registry.update_twin(module.device_id, Twin(properties=TwinProperties(desired={"of": "device"})), "*")
    registry.update_module_twin(module.device_id, module.module_id, Twin(tags={"t": 1}, properties=TwinProperties(desired={"of": "module"})), "*")
    assert patches.get() == {"of": "module", "$version": 2}
    client.patch_twin_reported_properties({"running": True})
    assert client.get_twin() == {"desired": {"of": "module", "$version": 2}, "reported": {"running": True, "$version": 2}}
    twin = registry.get_module_twin(module.device_id, module.module_id)
    assert (twin.module_id, twin.tags, twin.properties.reported["running"], twin.connection_state) == (module.module_id, {"t": 1}, True, "Connected")
    assert "running" not in registry.get_twin(module.device_id).properties.reported
    replaced = registry.replace_module_twin(module.device_id, module.module_id, Twin(tags={"u": 1}), twin.etag)
    assert replaced.tags == {"u": 1}


def test_a_method_reaches_a_module(registry, new_module, connect):
    module = new_module()
    client = connect(module)
    client.on_method_request_received = lambda request: client.send_method_response(MethodResponse.create_from_method_request(request, 201, {"was": request.name}))
    answer = registry.invoke_device_module_method(module.device_id, module.module_id, CloudToDeviceMethod(method_name="ping", payload={}, response_timeout_in_seconds=10))
    assert (answer.status, answer.payload) == (201, {"was": "ping"})


def test_a_module_and_its_device_are_connected_side_by_side(registry, new_device, connect):
    device = new_device()
    module = registry.create_module_with_sas(device.device_id, "m", "", "", "")
    both = [connect(device), connect(module)]
    both[1].send_message("telemetry of a module")
    assert all(c.connected for c in both)
    rows = registry.query_iot_hub(QuerySpecification(query=f"SELECT * FROM devices.modules WHERE deviceId = '{device.device_id}'")).items
    assert [(t.device_id, t.module_id, t.connection_state) for t in rows] == [(device.device_id, "m", "Connected")]


# Jobs.


@pytest.fixture(scope="session")
def jobs(hub):
    return IoTHubJobManager.from_connection_string(hub.service())


def scheduled(name, condition, **more):
    return JobRequest(job_id=name, query_condition=condition, start_time=datetime.datetime.now(datetime.timezone.utc).isoformat(), max_execution_time_in_seconds=60, **more)


def test_a_job_updates_twins_and_is_queued_first(jobs, registry, new_device, eventually):
    device, name = new_device(), unique("job")
    request = scheduled(name, f"deviceId = '{device.device_id}'", type="scheduleUpdateTwin", update_twin=Twin(tags={"by": "job"}, etag="*"))
    assert jobs.create_scheduled_job(name, request).status == "queued"
    done = eventually(lambda: jobs.get_scheduled_job(name), lambda j: j.status == "completed")
    assert done.device_job_statistics.succeeded_count == 1
    assert registry.get_twin(device.device_id).tags == {"by": "job"}


def test_a_job_calls_methods(jobs, new_device, connect, eventually):
    device, name = new_device(), unique("job")
    client = connect(device)
    client.on_method_request_received = lambda request: client.send_method_response(MethodResponse.create_from_method_request(request, 200, {}))
    method = CloudToDeviceMethod(method_name="ping", payload={}, response_timeout_in_seconds=10)
    jobs.create_scheduled_job(name, scheduled(name, f"deviceId = '{device.device_id}'", type="scheduleDeviceMethod", cloud_to_device_method=method))
    assert eventually(lambda: jobs.get_scheduled_job(name), lambda j: j.status == "completed").device_job_statistics.succeeded_count == 1


def test_a_job_for_later_is_cancelled(jobs, new_device, eventually):
    device, name = new_device(), unique("job")
    request = scheduled(name, f"deviceId = '{device.device_id}'", type="scheduleUpdateTwin", update_twin=Twin(tags={"by": "job"}, etag="*"))
    request.start_time = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)).isoformat()
    jobs.create_scheduled_job(name, request)
    eventually(lambda: jobs.get_scheduled_job(name), lambda j: j.status == "scheduled")
    jobs.cancel_scheduled_job(name)
    assert jobs.get_scheduled_job(name).status == "cancelled"


# Configurations.


@pytest.fixture(scope="session")
def configurations(hub):
    return IoTHubConfigurationManager.from_connection_string(hub.service())


def configuration(name, condition, interval, priority=10):
    return Configuration(
        id=name, content=ConfigurationContent(device_content={"properties.desired.settings": {"interval": interval}}), target_condition=condition, priority=priority, labels={"by": "test"},
        metrics=ConfigurationMetrics(queries={"applied": f"SELECT deviceId FROM devices WHERE configurations.[[{name}]].status = 'Applied'"}),
    )


def test_a_configuration_reaches_the_devices_that_it_targets(configurations, registry, new_device, connect, inbox, eventually):
    mark, name = unique("mark"), unique("conf")
    device, other = new_device(), new_device()
    registry.update_twin(device.device_id, Twin(tags={"mark": mark}), "*")
    client = connect(device)
    patches = inbox()
    client.on_twin_desired_properties_patch_received = patches.put
    client.get_twin()
    made = configurations.create_configuration(configuration(name, f"tags.mark = '{mark}'", 5))
    assert (made.id, made.priority, made.labels) == (name, 10, {"by": "test"})
    assert patches.get(lambda p: "settings" in p)["settings"] == {"interval": 5}
    assert registry.get_twin(device.device_id).properties.desired["settings"] == {"interval": 5}
    assert "settings" not in registry.get_twin(other.device_id).properties.desired
    seen = eventually(lambda: configurations.get_configuration(name), lambda c: c.system_metrics.results.get("targetedCount") == 1 and c.system_metrics.results.get("appliedCount") == 1)
    assert name in [c.id for c in configurations.get_configurations(20)]
    seen.priority = 20
    etag = f'"{seen.etag}"'  # the SDK sends it as it is, and the service takes one in quotes alone
    changed = configurations.update_configuration(seen, etag)
    assert changed.priority == 20
    refused(412, configurations.update_configuration, seen, etag)
    configurations.delete_configuration(name)
    refused(404, configurations.get_configuration, name)


def test_of_two_configurations_the_one_of_higher_priority_holds(configurations, registry, new_device, eventually):
    mark, names = unique("mark"), [unique("conf"), unique("conf")]
    device = new_device()
    registry.update_twin(device.device_id, Twin(tags={"mark": mark}), "*")
    for name, interval, priority in ((names[0], 1, 5), (names[1], 2, 50)):
        configurations.create_configuration(configuration(name, f"tags.mark = '{mark}'", interval, priority))
    interval = lambda: registry.get_twin(device.device_id).properties.desired.get("settings", {}).get("interval")
    eventually(interval, lambda i: i == 2)
    configurations.delete_configuration(names[1])
    eventually(interval, lambda i: i == 1)
    configurations.delete_configuration(names[0])


def test_the_queries_of_a_configuration_are_tested(configurations):
    right = configurations.test_configuration_queries(ConfigurationQueriesTestInput(target_condition="tags.a = 1", custom_metric_queries={"m": "SELECT deviceId FROM devices"}))
    assert right.target_condition_error in (None, "") and not right.custom_metric_query_errors
    wrong = configurations.test_configuration_queries(ConfigurationQueriesTestInput(target_condition="tags.a = = 1", custom_metric_queries={"m": "SELECT FROM"}))
    assert wrong.target_condition_error and wrong.custom_metric_query_errors["m"]


def test_content_is_applied_to_an_edge_device(configurations, registry):
    edge = registry.create_device_with_sas(unique("edge"), "", "", "enabled", iot_edge=True)
    assert sorted(m.module_id for m in registry.get_modules(edge.device_id)) == ["$edgeAgent", "$edgeHub"]
    modules = {"$edgeAgent": {"properties.desired": {"schemaVersion": "1.1"}}, "$edgeHub": {"properties.desired": {"routes": {"r": "FROM /* INTO $upstream"}}}, "sensor": {"properties.desired": {"rate": 3}}}
    configurations.apply_configuration_on_edge_device(edge.device_id, ConfigurationContent(modules_content=modules))
    assert registry.get_module_twin(edge.device_id, "$edgeAgent").properties.desired["schemaVersion"] == "1.1"
    assert registry.get_module_twin(edge.device_id, "$edgeHub").properties.desired["routes"] == {"r": "FROM /* INTO $upstream"}


# Digital twins.


def test_a_digital_twin_is_read_patched_and_commanded(hub, registry, connect, inbox):
    device = registry.create_device_with_sas(unique("pnp"), "", "", "enabled")
    client = connect(device, product_info="dtmi:com:example:Thermostat;1")
    twins = DigitalTwinClient.from_connection_string(hub.service())
    assert twins.get_digital_twin(device.device_id)["$dtId"] == device.device_id
    client.on_method_request_received = lambda request: client.send_method_response(MethodResponse.create_from_method_request(request, 200, {"max": request.payload}))
    twins.update_digital_twin(device.device_id, [{"op": "add", "path": "/targetTemperature", "value": 21}])
    assert registry.get_twin(device.device_id).properties.desired["targetTemperature"] == 21
    assert twins.invoke_command(device.device_id, "getMaxMin", "2026-01-01", 5, 10) == {"max": "2026-01-01"}
