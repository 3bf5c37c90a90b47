"""Provisioning

ProvisioningDeviceClient against the hub's provisioning service, and the hub with the name and the key that come of it.
"""

import base64
import hashlib
import hmac

import pytest
import requests
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient
from azure.iot.device.exceptions import ClientError
from azure.iot.hub.sastoken import SasToken
from cryptography.hazmat.primitives.serialization import Encoding

from hub import unique
from test_connections import certificate

TRANSPORTS = pytest.mark.parametrize("websockets", [pytest.param(False, id="MQTT"), pytest.param(True, id="WebSocket")])


def derived(group_key, registration_id):
    """The key of a device of a group with a symmetric key."""
    return base64.b64encode(hmac.new(base64.b64decode(group_key), registration_id.encode(), hashlib.sha256).digest()).decode()


@pytest.fixture
def register(hub):
    def call(registration_id, key=None, pair=None, payload=None, **options):
        common = {"provisioning_host": hub.host, "registration_id": registration_id, "id_scope": hub.said["dps"]["idScope"], "server_verification_cert": hub.ca, **options}
        client = ProvisioningDeviceClient.create_from_x509_certificate(x509=pair, **common) if pair else ProvisioningDeviceClient.create_from_symmetric_key(symmetric_key=key, **common)
        if payload is not None:
            client.provisioning_payload = payload
        return client.register()

    return call


@pytest.fixture
def enroll(hub):
    """Makes an individual enrollment; Microsoft has no service client for Python that does."""

    def call(registration_id, attestation, **more):
        parts = dict(p.split("=", 1) for p in hub.said["dps"]["serviceConnectionString"].split(";"))
        token = str(SasToken(parts["HostName"], parts["SharedAccessKey"], parts["SharedAccessKeyName"]))
        body = {"registrationId": registration_id, "attestation": attestation, **more}
        answer = requests.put(f"https://{hub.host}:8883/enrollments/{registration_id}?api-version=2021-10-01", json=body, headers={"Authorization": token}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return call


def reports(hub, result, **credentials):
    options = {"server_verification_cert": hub.ca}
    state = result.registration_state
    if "key" in credentials:
        client = IoTHubDeviceClient.create_from_symmetric_key(credentials["key"], state.assigned_hub, state.device_id, **options)
    else:
        client = IoTHubDeviceClient.create_from_x509_certificate(credentials["pair"], state.assigned_hub, state.device_id, **options)
    try:
        client.patch_twin_reported_properties({"provisioned": True})
        return client.get_twin()
    finally:
        client.shutdown()


@TRANSPORTS
def test_a_device_of_the_group_that_is_there_from_the_beginning(hub, register, websockets):
    name = unique("group")
    key = derived(hub.said["dps"]["groupKey"], name)
    result = register(name, key, websockets=websockets)
    assert (result.status, result.registration_state.device_id, result.registration_state.sub_status) == ("assigned", name, "initialAssignment")
    assert reports(hub, result, key=key)["reported"] == {"provisioned": True, "$version": 2}


def test_a_device_of_its_own_enrollment_gets_its_id_and_its_first_twin(hub, register, enroll, registry):
    name, key = unique("own"), base64.b64encode(b"k" * 64).decode()
    enroll(name, {"type": "symmetricKey", "symmetricKey": {"primaryKey": key, "secondaryKey": key}}, deviceId=name + "-device", initialTwin={"tags": {"plant": "A"}, "properties": {"desired": {"every": 5}}})
    result = register(name, key, payload={"modelId": "dtmi:com:example:Thermostat;1"})
    assert result.registration_state.device_id == name + "-device"
    assert reports(hub, result, key=key)["desired"]["every"] == 5
    assert registry.get_twin(name + "-device").tags == {"plant": "A"}


def test_a_device_with_a_certificate(hub, register, enroll, tmp_path):
    name = unique("x509")
    made, _, pair = certificate(name, tmp_path)
    enroll(name, {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": made.public_bytes(Encoding.PEM).decode()}}}})
    result = register(name, pair=pair)
    assert result.status == "assigned"
    assert reports(hub, result, pair=pair)["reported"]["provisioned"] is True


def test_a_wrong_key_is_refused(hub, register):
    with pytest.raises(ClientError):
        register(unique("wrong"), base64.b64encode(b"w" * 64).decode())


def test_a_disabled_enrollment_is_refused(register, enroll):
    name, key = unique("disabled"), base64.b64encode(b"d" * 64).decode()
    enroll(name, {"type": "symmetricKey", "symmetricKey": {"primaryKey": key, "secondaryKey": key}}, provisioningStatus="disabled")
    with pytest.raises(ClientError) as e:
        register(name, key)
    assert "registration status disabled" in str(e.value.__cause__)
