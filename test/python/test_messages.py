"""Methods, telemetry and messages to devices

Direct methods as service and device see them, events of devices, and cloud-to-device messages with their properties.
"""

import json
import threading

import pytest
from azure.iot.device import Message, MethodResponse
from azure.iot.hub.models import CloudToDeviceMethod
from msrest.exceptions import HttpOperationError


def answering(client, status=200, payload=lambda request: {"got": request.payload}):
    client.on_method_request_received = lambda request: client.send_method_response(MethodResponse.create_from_method_request(request, status, payload(request)))


def invoke(registry, device, name="reboot", payload=None, **options):
    return registry.invoke_device_method(device.device_id, CloudToDeviceMethod(method_name=name, payload=payload, response_timeout_in_seconds=options.pop("timeout", 10), **options))


@pytest.mark.parametrize("payload", [{"a": [1, {"b": None}]}, "text", 5, [], False], ids=["object", "text", "number", "array", "false"])
def test_a_method_carries_its_payload_both_ways(new_device, connect, registry, payload):
    device = new_device()
    answering(connect(device))
    answer = invoke(registry, device, payload=payload)
    assert (answer.status, answer.payload) == (200, {"got": payload})


@pytest.mark.parametrize("status", [-1, 0, 404, 70000])
def test_any_status_of_a_method_comes_back(new_device, connect, registry, status):
    device = new_device()
    client = connect(device)
    answering(client, status)
    assert invoke(registry, device).status == status
    assert client.get_twin()["reported"]["$version"] == 1  # the connection goes on


def test_a_method_without_an_answer_in_time_is_a_gateway_timeout(new_device, connect, registry):
    device = new_device()
    connect(device).on_method_request_received = lambda request: None
    with pytest.raises(HttpOperationError) as e:
        invoke(registry, device, timeout=5)
    assert e.value.response.status_code == 504


def test_a_method_for_a_device_that_is_away_is_404103(new_device, registry):
    with pytest.raises(HttpOperationError) as e:
        invoke(registry, new_device())
    assert e.value.response.status_code == 404
    assert "404103" in e.value.response.text


def test_a_method_waits_for_a_device_that_is_about_to_connect(new_device, connect, registry):
    device = new_device()
    client = connect(device)
    answering(client)
    invoke(registry, device)
    client.disconnect()
    back = threading.Timer(0.5, client.connect)
    back.start()
    assert invoke(registry, device, connect_timeout_in_seconds=10).status == 200
    back.join()


@pytest.mark.parametrize("timeout", [0, 4, 301])
def test_a_response_timeout_outside_5_to_300_seconds_is_400(new_device, registry, timeout):
    with pytest.raises(HttpOperationError) as e:
        invoke(registry, new_device(), timeout=timeout)
    assert e.value.response.status_code == 400
    assert "400004" in e.value.response.text


@pytest.mark.parametrize("websockets", [pytest.param(False, id="MQTT"), pytest.param(True, id="WebSocket")])
def test_telemetry_is_acknowledged_and_moves_lastActivityTime(new_device, connect, registry, websockets):
    device = new_device()
    client = connect(device, websockets=websockets)
    before = registry.get_device(device.device_id).last_activity_time
    message = Message(json.dumps({"temperature": 21}))
    message.message_id = "m 1"
    message.content_type, message.content_encoding = "application/json", "utf-8"
    message.custom_properties["a b"] = "c/d&e=f"
    client.send_message(message)
    assert registry.get_device(device.device_id).last_activity_time > before


def test_telemetry_of_the_largest_size_is_acknowledged(new_device, connect):
    connect(new_device()).send_message(Message("x" * 255 * 1024))


def test_a_message_to_a_device_arrives_with_its_properties(new_device, connect, rest, inbox):
    device = new_device()
    client = connect(device)
    messages = inbox()
    client.on_message_received = messages.put
    answer = rest("POST", f"/devices/{device.device_id}/messages/deviceBound", {"hello": "device"}, iothub_messageid="m1", iothub_correlationid="c1", iothub_app_colour="blue/green&1", iothub_ack="full")
    assert answer.status_code in (200, 204), answer.text
    message = messages.get()
    assert json.loads(message.data) == {"hello": "device"}
    assert message.custom_properties == {"colour": "blue/green&1"}
    assert (message.message_id, message.correlation_id, message.ack) == ("m1", "c1", "full")


def test_messages_queued_while_away_arrive_in_their_order(new_device, connect, rest, inbox):
    device = new_device()
    for n in range(3):
        rest("POST", f"/devices/{device.device_id}/messages/deviceBound", {"n": n})
    client = connect(device)
    messages = inbox()
    client.on_message_received = messages.put
    assert [json.loads(messages.get().data)["n"] for _ in range(3)] == [0, 1, 2]
