"""Restarts of the hub under connected devices

A device and a module of clean session 0 stay with a hub that keeps its data while it is stopped or killed again and again. The SDK does not subscribe again after
a reconnect that the hub answers with "session present": what was subscribed before must hold after.
TWINFLEET_ROUNDS is the number of rounds; every second one is a kill -9.
"""

import json
import os
import signal

import pytest
import requests
from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, MethodResponse
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from azure.iot.hub.sastoken import SasToken

from hub import Hub

ROUNDS = int(os.environ.get("TWINFLEET_ROUNDS", "4"))


@pytest.mark.timeout(100 + 15 * ROUNDS)
def test_twin_reads_reports_desired_changes_and_methods_go_on(monkeypatch, inbox):
    hub = Hub(keep=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", hub.ca_file)
    clients = []
    try:
        # The service's client keeps connections that a restart ends: each round takes a new one.
        registry = IoTHubRegistryManager.from_connection_string(hub.service())
        device = registry.create_device_with_sas("device", "", "", "enabled")
        module = registry.create_module_with_sas("device", "module", "", "", "")
        options = {"server_verification_cert": hub.ca, "connection_retry_interval": 1}
        sides = []
        for identity, kind in ((device, IoTHubDeviceClient), (module, IoTHubModuleClient)):
            client = kind.create_from_connection_string(hub.device(identity), **options)
            clients.append(client)
            patches, states = inbox(), inbox()
            client.on_connection_state_change = lambda states=states, client=client: states.put(client.connected)
            client.on_twin_desired_properties_patch_received = patches.put
            client.on_method_request_received = lambda request, client=client: client.send_method_response(MethodResponse.create_from_method_request(request, 200, request.payload))
            client.connect()
            assert states.get() is True
            client.patch_twin_reported_properties({"round": -1})
            sides.append((client, patches, states))
        for n in range(ROUNDS):
            hub.stop(signal.SIGKILL if n % 2 else signal.SIGINT)
            for _, _, states in sides:
                assert states.get() is False
            hub.start()
            registry = IoTHubRegistryManager.from_connection_string(hub.service())
            for client, patches, states in sides:
                assert states.get() is True, f"round {n}"
                of_module = isinstance(client, IoTHubModuleClient)
                assert client.get_twin()["reported"]["round"] == n - 1, f"round {n}"
                client.patch_twin_reported_properties({"round": n})
                change = Twin(properties=TwinProperties(desired={"round": n}))
                method = CloudToDeviceMethod(method_name="echo", payload={"round": n}, response_timeout_in_seconds=20)
                if of_module:
                    registry.update_module_twin("device", "module", change, "*")
                    answer = registry.invoke_device_module_method("device", "module", method)
                    seen = registry.get_module_twin("device", "module")
                else:
                    registry.update_twin("device", change, "*")
                    answer = registry.invoke_device_method("device", method)
                    seen = registry.get_twin("device")
                assert patches.get(lambda p: p.get("round") == n)["$version"] == n + 2
                assert answer.payload == {"round": n}
                assert seen.properties.reported["round"] == n
    finally:
        for client in clients:
            client.shutdown()
        hub.close()


def test_messages_queued_for_an_absent_device_outlive_a_kill(monkeypatch, inbox):
    hub = Hub(keep=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", hub.ca_file)
    try:
        device = IoTHubRegistryManager.from_connection_string(hub.service()).create_device_with_sas("device", "", "", "enabled")
        for n in range(3):
            token = str(SasToken(f"{hub.host}:8883", hub.said["policies"]["service"], "service"))
            answer = requests.post(f"https://{hub.host}:8883/devices/device/messages/deviceBound?api-version=2021-04-12", json={"n": n}, headers={"Authorization": token}, timeout=30)
            assert answer.status_code in (200, 204)
        hub.stop(signal.SIGKILL)
        hub.start()
        client = IoTHubDeviceClient.create_from_connection_string(hub.device(device), server_verification_cert=hub.ca)
        try:
            messages = inbox()
            client.on_message_received = messages.put
            client.connect()
            assert [json.loads(messages.get().data)["n"] for _ in range(3)] == [0, 1, 2]
        finally:
            client.shutdown()
    finally:
        hub.close()
