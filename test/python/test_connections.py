"""Connections

Keys, tokens and their renewal, certificates, and what a registry's change does to who is connected.
"""

import datetime
import pathlib

import pytest
from azure.iot.device import IoTHubDeviceClient, X509
from azure.iot.device.exceptions import ConnectionDroppedError, CredentialError
from azure.iot.hub.models import Twin, TwinProperties
from azure.iot.hub.sastoken import SasToken
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hub import unique


def test_the_secondary_key_serves_as_well(new_device, connect):
    device = new_device()
    assert connect(device, key=device.authentication.symmetric_key.secondary_key).connected


def test_a_wrong_key_is_CredentialError(new_device, connect):
    with pytest.raises(CredentialError):
        connect(new_device(), key="d3Jvbmc=")


def test_an_unknown_device_is_CredentialError(new_device, connect, registry):
    device = new_device()
    registry.delete_device(device.device_id)
    with pytest.raises(CredentialError):
        connect(device)


def test_a_disabled_device_is_CredentialError(new_device, connect, registry):
    device = new_device()
    keys = device.authentication.symmetric_key
    registry.update_device_with_sas(device.device_id, device.etag, keys.primary_key, keys.secondary_key, "disabled")
    with pytest.raises(CredentialError):
        connect(device)


def token_client(hub, device, ttl):
    sas = lambda: str(SasToken(f"{hub.host}/devices/{device.device_id}", device.authentication.symmetric_key.primary_key, ttl=ttl))
    return IoTHubDeviceClient.create_from_sastoken(sas(), server_verification_cert=hub.ca), sas


def test_a_token_of_the_users_own_is_accepted_and_can_be_replaced(hub, new_device):
    client, sas = token_client(hub, new_device(), 3600)
    try:
        client.connect()
        client.patch_twin_reported_properties({"a": 1})
        client.update_sastoken(sas())
        client.patch_twin_reported_properties({"a": 2})
        assert client.get_twin()["reported"] == {"a": 2, "$version": 3}
    finally:
        client.shutdown()


def test_a_token_that_the_SDK_renews_keeps_twin_and_desired_changes(new_device, connect, registry, inbox):
    device = new_device()
    client = connect(device, sastoken_ttl=123)  # the SDK renews it two minutes before it ends: after three seconds
    states, patches = inbox(), inbox()
    client.on_connection_state_change = lambda: states.put(client.connected)
    client.on_twin_desired_properties_patch_received = patches.put
    client.patch_twin_reported_properties({"before": True})
    connected = registry.get_device(device.device_id).connection_state_updated_time
    states.get()  # the SDK goes; it may be back when its state is asked for, so that the hub must tell that it went
    assert states.get() is True  # and comes back with a new token
    assert registry.get_device(device.device_id).connection_state_updated_time > connected
    registry.update_twin(device.device_id, Twin(properties=TwinProperties(desired={"after": "renewal"})), "*")
    assert patches.get(lambda p: "after" in p) == {"after": "renewal", "$version": 2}  # the SDK also hands out what it read on return
    client.patch_twin_reported_properties({"before": False})
    assert client.get_twin()["reported"] == {"before": False, "$version": 3}


@pytest.mark.parametrize("what", ["deleted", "disabled"])
def test_a_device_is_disconnected_when_it_is(new_device, connect, registry, inbox, what):
    device = new_device()
    client = connect(device, connection_retry=False)
    states = inbox()
    client.on_connection_state_change = lambda: states.put(client.connected)
    if what == "deleted":
        registry.delete_device(device.device_id)
    else:
        keys = device.authentication.symmetric_key
        registry.update_device_with_sas(device.device_id, device.etag, keys.primary_key, keys.secondary_key, "disabled")
    assert states.get() is False


def test_a_second_connection_with_one_id_wins(new_device, connect, inbox):
    device = new_device()
    first = connect(device, connection_retry=False)
    states = inbox()
    first.on_connection_state_change = lambda: states.put(first.connected)
    second = connect(device)
    assert states.get() is False
    second.patch_twin_reported_properties({"winner": 2})


# Certificates.


def certificate(name, folder, signer=None, authority=False):
    """A certificate and its key in files; signer is another such."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signing_key = (subject, key) if signer is None else signer
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    made = builder.sign(signing_key, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return made, (subject, key), X509(cert_file=str(folder / f"{name}.pem"), key_file=str(folder / f"{name}.key"))


def with_certificate(hub, device_id, pair, **options):
    return IoTHubDeviceClient.create_from_x509_certificate(pair, hostname=hub.host, device_id=device_id, server_verification_cert=hub.ca, **options)


@pytest.mark.parametrize("digest", [hashes.SHA1(), hashes.SHA256()], ids=["SHA-1", "SHA-256"])
@pytest.mark.parametrize("websockets", [pytest.param(False, id="MQTT"), pytest.param(True, id="WebSocket")])
def test_a_certificate_whose_thumbprint_the_identity_has(hub, registry, tmp_path, digest, websockets):
    device_id = unique("x509")
    made, _, pair = certificate(device_id, tmp_path)
    registry.create_device_with_x509(device_id, "0" * 2 * digest.digest_size, made.fingerprint(digest).hex().upper(), "enabled")
    client = with_certificate(hub, device_id, pair, websockets=websockets)
    try:
        client.patch_twin_reported_properties({"by": "certificate"})
        assert client.get_twin()["reported"] == {"by": "certificate", "$version": 2}
    finally:
        client.shutdown()
    twin = registry.get_twin(device_id)
    assert twin.authentication_type == "selfSigned"


def hubs_authority(hub):
    folder = pathlib.Path(hub.said["caDir"])
    made = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    return made.subject, serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)


@pytest.mark.parametrize("intermediate", [False, True], ids=["directly", "through an intermediate"])
def test_a_certificate_that_the_hubs_authority_signed(hub, registry, tmp_path, intermediate):
    device_id = unique("ca")
    registry.create_device_with_certificate_authority(device_id, "enabled")
    signer, between = hubs_authority(hub), None
    if intermediate:
        between, signer, _ = certificate("intermediate", tmp_path, signer, authority=True)
    _, _, pair = certificate(device_id, tmp_path, signer)
    if between:
        with open(pair.certificate_file, "ab") as f:
            f.write(between.public_bytes(serialization.Encoding.PEM))
    client = with_certificate(hub, device_id, pair)
    try:
        client.connect()
        assert client.get_twin()["desired"] == {"$version": 1}
    finally:
        client.shutdown()


def test_another_devices_certificate_is_refused(hub, registry, tmp_path):
    device_id = unique("ca")
    registry.create_device_with_certificate_authority(device_id, "enabled")
    _, _, pair = certificate("somebody-else", tmp_path, hubs_authority(hub))
    client = with_certificate(hub, device_id, pair)
    try:
        with pytest.raises((CredentialError, ConnectionDroppedError)):
            client.connect()
    finally:
        client.shutdown()
