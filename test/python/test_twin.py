"""Device twins

A device's own view of its twin, and what a service changes in it, over MQTT and over WebSocket.
"""

import pytest
from azure.iot.device.exceptions import ClientError
from azure.iot.hub.models import Twin, TwinProperties

TRANSPORTS = pytest.mark.parametrize("websockets", [pytest.param(False, id="MQTT"), pytest.param(True, id="WebSocket")])


@TRANSPORTS
def test_a_fresh_twin_has_two_empty_sections_at_version_1(new_device, connect, websockets):
    assert connect(new_device(), websockets=websockets).get_twin() == {"desired": {"$version": 1}, "reported": {"$version": 1}}


@TRANSPORTS
def test_a_report_reaches_the_device_and_the_service(new_device, connect, registry, websockets):
    device = new_device()
    client = connect(device, websockets=websockets)
    client.patch_twin_reported_properties({"connectivity": {"type": "cellular", "bars": 4}, "floats": [1, 2.5, {}]})
    assert client.get_twin()["reported"] == {"connectivity": {"type": "cellular", "bars": 4}, "floats": [1, 2.5, {}], "$version": 2}
    seen = registry.get_twin(device.device_id)
    assert seen.properties.reported["connectivity"] == {"type": "cellular", "bars": 4}
    assert seen.properties.reported["$metadata"]["connectivity"]["$lastUpdated"] > "2026"
    assert seen.connection_state == "Connected"


def test_null_removes_a_reported_property(new_device, connect):
    client = connect(new_device())
    client.patch_twin_reported_properties({"a": 1, "b": {"c": 1, "d": 2}})
    client.patch_twin_reported_properties({"a": None, "b": {"c": None}})
    assert client.get_twin()["reported"] == {"b": {"d": 2}, "$version": 3}


@pytest.mark.parametrize("patch", [{"$secret": 1}, {"a.b": 1}, {"a#b": 1}, {"": 1}, {"a": [None]}, {"a": 2**52}, {"a": "x" * 33 * 1024}], ids=["dollar", "dot", "hash", "empty key", "null in an array", "large number", "large text"])
def test_a_report_that_is_not_allowed_is_an_error(new_device, connect, patch):
    client = connect(new_device())
    with pytest.raises(ClientError):
        client.patch_twin_reported_properties(patch)
    client.patch_twin_reported_properties({"ok": True})
    assert client.get_twin()["reported"] == {"ok": True, "$version": 2}


@TRANSPORTS
def test_a_desired_change_arrives_with_its_version(new_device, connect, registry, inbox, websockets):
    device = new_device()
    client = connect(device, websockets=websockets)
    patches = inbox()
    client.on_twin_desired_properties_patch_received = patches.put
    for n in (1, 2):
        registry.update_twin(device.device_id, Twin(properties=TwinProperties(desired={"interval": n})), "*")
        assert patches.get() == {"interval": n, "$version": n + 1}


def test_a_removed_desired_property_arrives_as_null(new_device, connect, registry, inbox):
    device = new_device()
    registry.update_twin(device.device_id, Twin(properties=TwinProperties(desired={"a": 1, "b": 2})), "*")
    client = connect(device)
    patches = inbox()
    client.on_twin_desired_properties_patch_received = patches.put
    registry.update_twin(device.device_id, Twin(properties=TwinProperties(desired={"a": None})), "*")
    assert patches.get() == {"a": None, "$version": 3}
    assert client.get_twin()["desired"] == {"b": 2, "$version": 3}


def test_all_desired_properties_are_cleared_by_null(new_device, connect, rest, registry, inbox):
    device = new_device()
    registry.update_twin(device.device_id, Twin(properties=TwinProperties(desired={"a": 1})), "*")
    client = connect(device)
    patches = inbox()
    client.on_twin_desired_properties_patch_received = patches.put
    answer = rest("PATCH", f"/twins/{device.device_id}", {"properties": {"desired": None}})
    assert answer.status_code == 200, answer.text
    assert patches.get()["$version"] == 3
    assert client.get_twin()["desired"] == {"$version": 3}


def test_a_desired_change_made_while_away_is_in_the_twin_on_return(new_device, connect, registry):
    device = new_device()
    client = connect(device)
    client.get_twin()
    client.disconnect()
    registry.update_twin(device.device_id, Twin(properties=TwinProperties(desired={"while": "away"})), "*")
    client.connect()
    assert client.get_twin()["desired"] == {"while": "away", "$version": 2}
