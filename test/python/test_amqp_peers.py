"""Other AMQP clients

The C library that Microsoft's C SDK has too (uamqp), with PLAIN and with tokens put by MSSBCBS, and Qpid Proton, which is nobody's SDK.
"""

import json
import subprocess

import pytest
import uamqp
from azure.iot.hub.sastoken import SasToken
from uamqp import ReceiveClient, SendClient, authentication, errors

PROTON = ["/usr/bin/python3", "proton_peer.py"]  # Debian's package is for Debian's Python


def token(hub, identity=None, policy="service"):
    if identity is None:
        return str(SasToken(hub.host, hub.said["policies"][policy], policy))
    return str(SasToken(f"{hub.host}/devices/{identity.device_id}", identity.authentication.symmetric_key.primary_key))


def plain(hub, identity=None):
    user = f"service@sas.root.{hub.host}" if identity is None else f"{identity.device_id}@sas.{hub.host}"
    return authentication.SASLPlain(hub.host, user, token(hub, identity), verify=hub.ca_file)


def put(hub, identity=None):
    """Puts the token by put-token on $cbs, after MSSBCBS."""
    uri = f"amqps://{hub.host}" + ("" if identity is None else f"/devices/{identity.device_id}")
    text = token(hub, identity)
    return authentication.SASTokenAuth(uri, uri, text, expires_in=None, expires_at=int(text.split("se=")[1].split("&")[0]), verify=hub.ca_file)


KINDS = [pytest.param(plain, id="PLAIN"), pytest.param(put, id="MSSBCBS")]


def send(hub, auth, address, *messages):
    client = SendClient(f"amqps://{hub.host}{address}", auth=auth)
    try:
        client.queue_message(*messages)
        return client.send_all_messages(close_on_done=False)
    finally:
        client.close()


@pytest.mark.parametrize("auth", KINDS)
def test_uamqp_sends_telemetry_of_a_device(hub, new_device, registry, auth):
    device = new_device()
    before = registry.get_device(device.device_id).last_activity_time
    results = send(hub, auth(hub, device), f"/devices/{device.device_id}/messages/events", uamqp.Message(b"x", properties=uamqp.message.MessageProperties(message_id="m-1")))
    assert results == [uamqp.constants.MessageState.SendComplete]
    assert registry.get_device(device.device_id).last_activity_time > before


@pytest.mark.parametrize("auth", KINDS)
def test_uamqp_takes_messages_of_a_device(hub, new_device, registry, rest, auth):
    device = new_device()
    rest("POST", f"/devices/{device.device_id}/messages/deviceBound", {"n": 1}, iothub_messageid="m1", iothub_app_colour="blue")
    client = ReceiveClient(f"amqps://{hub.host}/devices/{device.device_id}/messages/devicebound", auth=auth(hub, device), prefetch=1)
    try:
        (message,) = client.receive_message_batch(max_batch_size=1, timeout=10_000)
        assert json.loads(b"".join(message.get_data())) == {"n": 1}
        assert message.properties.message_id == b"m1"
        assert message.application_properties == {b"colour": b"blue"}
        message.accept()
        client.do_work()
    finally:
        client.close()
    assert registry.get_twin(device.device_id).cloud_to_device_message_count == 0


@pytest.mark.parametrize("auth", KINDS)
def test_uamqp_sends_to_a_device_as_a_service(hub, new_device, registry, auth):
    device = new_device()
    message = uamqp.Message(b"x", properties=uamqp.message.MessageProperties(to=f"/devices/{device.device_id}/messages/devicebound"))
    assert send(hub, auth(hub), "/messages/devicebound", message) == [uamqp.constants.MessageState.SendComplete]
    assert registry.get_twin(device.device_id).cloud_to_device_message_count == 1


def test_uamqp_is_redirected_from_the_hub_to_its_events(hub):
    client = ReceiveClient(f"amqps://{hub.host}/messages/events/ConsumerGroups/$Default/Partitions/0", auth=plain(hub), prefetch=1)
    try:
        with pytest.raises(errors.LinkRedirect) as e:
            client.receive_message_batch(max_batch_size=1, timeout=5_000)
        assert e.value.hostname and isinstance(e.value.port, int) and e.value.address
    finally:
        client.close()


def test_uamqp_with_a_wrong_token_is_refused(hub, new_device):
    device, other = new_device(), new_device()
    user = f"{device.device_id}@sas.{hub.host}"
    with pytest.raises(errors.AMQPConnectionError):
        send(hub, authentication.SASLPlain(hub.host, user, token(hub, other), verify=hub.ca_file), f"/devices/{device.device_id}/messages/events", uamqp.Message(b"x"))


def proton(hub, what, identity=None, *args):
    """Runs one of the things that Proton does here, and returns what it saw."""
    given = {"url": f"amqps://{hub.host}:5671", "ca": hub.ca_file, "device": identity and identity.device_id, "token": token(hub, identity), "args": args}
    done = subprocess.run([*PROTON, what], input=json.dumps(given), capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("sasl", ["PLAIN", "ANONYMOUS"])
def test_proton_sends_telemetry(hub, new_device, registry, sasl):
    device = new_device()
    assert proton(hub, "telemetry", device, sasl, f"{device.device_id}@sas.{hub.host}") == ["ACCEPTED"]
    assert registry.get_device(device.device_id).last_activity_time.year > 2000


def test_proton_takes_and_settles_messages(hub, new_device, registry, rest):
    device = new_device()
    for n in range(3):
        rest("POST", f"/devices/{device.device_id}/messages/deviceBound", {"n": n})
    assert sorted(proton(hub, "messages", device, "ANONYMOUS", "")) == [0, 1, 1, 2]  # it releases the second once
    assert registry.get_twin(device.device_id).cloud_to_device_message_count == 0


def test_proton_reads_and_reports_a_twin(hub, new_device, registry):
    device = new_device()
    read, reported = proton(hub, "twin", device, "ANONYMOUS", "")
    assert json.loads(read) == {"desired": {"$version": 1}, "reported": {"$version": 1}}
    assert reported == 2
    assert registry.get_twin(device.device_id).properties.reported["by"] == "proton"


def test_proton_is_told_why_a_link_is_refused(hub, new_device):
    device, other = new_device(), new_device()
    assert proton(hub, "refused", device, "ANONYMOUS", "", f"/devices/{other.device_id}/messages/events") == ["amqp:unauthorized-access"]
    assert proton(hub, "refused", device, "ANONYMOUS", "", "/nothing/here") == ["com.microsoft:argument-error"]
