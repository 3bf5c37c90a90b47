"""Messages to devices over AMQP

azure-iot-hub sends them over AMQP by the C library, in TCP and over WebSocket; devices take them over MQTT.
"""

import json
import uuid

import certifi
import pytest
from azure.iot.hub import IoTHubRegistryManager
from uamqp import TransportType

WAYS = [pytest.param(TransportType.Amqp, id="AMQP"), pytest.param(TransportType.AmqpOverWebsocket, id="WebSocket")]


@pytest.fixture
def sender(hub, monkeypatch):
    """A registry manager whose messages go over AMQP; the C library trusts what certifi names, and no other."""
    monkeypatch.setattr(certifi, "where", lambda: hub.ca_file)
    managers = []

    def make(way, policy="iothubowner", text=None):
        manager = IoTHubRegistryManager(text or hub.service(policy).replace(":8883", ""), transport_type=way)
        managers.append(manager)
        return manager

    yield make
    for manager in managers:
        manager.amqp_svc_client.disconnect_sync()


@pytest.mark.parametrize("way", WAYS)
def test_a_message_arrives_with_its_properties(new_device, connect, inbox, sender, way):
    device = new_device()
    client = connect(device)
    messages = inbox()
    client.on_message_received = messages.put
    properties = {"messageId": "m-1", "correlationId": "c-1", "contentType": "application/json", "contentEncoding": "utf-8", "colour": "blue/green&1", "iothub-ack": "none"}
    sender(way).send_c2d_message(device.device_id, json.dumps({"hello": "device"}), properties)
    message = messages.get()
    assert json.loads(message.data) == {"hello": "device"}
    assert (message.message_id, message.correlation_id) == ("m-1", "c-1")
    assert message.custom_properties["colour"] == "blue/green&1"


@pytest.mark.parametrize("way", WAYS)
def test_messages_of_one_client_arrive_in_their_order(new_device, connect, inbox, sender, way):
    device = new_device()
    manager = sender(way)
    ids = [str(uuid.uuid4()) for _ in range(5)]
    for n, one in enumerate(ids):
        manager.send_c2d_message(device.device_id, str(n), {"messageId": one})
    client = connect(device)
    messages = inbox()
    client.on_message_received = messages.put
    got = [messages.get() for _ in ids]
    assert [m.message_id for m in got] == ids
    assert [m.data for m in got] == [b"0", b"1", b"2", b"3", b"4"]


def test_a_device_that_nobody_knows_is_a_failure_and_the_next_message_goes(new_device, registry, sender):
    device = new_device()
    with pytest.raises(Exception):
        sender(TransportType.Amqp).send_c2d_message("nobody-at-all", "x", {})
    sender(TransportType.Amqp).send_c2d_message(device.device_id, "x", {})
    assert registry.get_twin(device.device_id).cloud_to_device_message_count == 1


def test_a_policy_without_the_right_sends_nothing(new_device, registry, sender):
    device = new_device()
    with pytest.raises(Exception):
        sender(TransportType.Amqp, "registryRead").send_c2d_message(device.device_id, "x", {})
    assert registry.get_twin(device.device_id).cloud_to_device_message_count == 0
