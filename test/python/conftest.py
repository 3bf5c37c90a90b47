"""What every case shares, and the list of cases that the suite writes for docs/embedded-hub.md."""

import json
import os
import pathlib
import threading
import time

import pytest
import requests
from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.sastoken import SasToken

from hub import Hub, unique


@pytest.fixture(scope="session")
def hub():
    h = Hub()
    os.environ["REQUESTS_CA_BUNDLE"] = h.ca_file  # how the service SDK is told whom to trust
    yield h
    h.close()


@pytest.fixture(scope="session")
def registry(hub):
    return IoTHubRegistryManager.from_connection_string(hub.service())


@pytest.fixture
def new_device(registry):
    return lambda name="device": registry.create_device_with_sas(unique(name), "", "", "enabled")


@pytest.fixture
def connect(hub):
    """Connects a device or a module; what a case has opened is shut down after it."""
    clients = []

    def make(identity, key=None, **options):
        kind = IoTHubModuleClient if getattr(identity, "module_id", None) else IoTHubDeviceClient
        client = kind.create_from_connection_string(hub.device(identity, key), server_verification_cert=hub.ca, **options)
        clients.append(client)
        client.connect()
        return client

    yield make
    for client in clients:
        client.shutdown()


@pytest.fixture(scope="session")
def rest(hub):
    """Speaks REST directly, for what the service SDK has over AMQP alone or not at all."""

    def call(method, path, body=None, **headers):
        token = str(SasToken(f"{hub.host}:8883", hub.said["policies"]["iothubowner"], "iothubowner"))
        query = "&" if "?" in path else "?"
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.request(method, f"https://{hub.host}:8883{path}{query}api-version=2021-04-12", json=body, headers={"Authorization": token, **headers}, timeout=30)

    return call


class Inbox:
    """Collects what a handler is given."""

    def __init__(self):
        self.items = []
        self.changed = threading.Condition()

    def put(self, item):
        with self.changed:
            self.items.append(item)
            self.changed.notify_all()

    def get(self, pleases=lambda item: True, within=45):
        """The first item that pleases; it is taken out."""
        with self.changed:
            found = self.changed.wait_for(lambda: any(pleases(i) for i in self.items), within)
            assert found, f"nothing that pleases among {self.items}"
            item = next(i for i in self.items if pleases(i))
            self.items.remove(item)
            return item


@pytest.fixture
def inbox():
    return Inbox


@pytest.fixture(scope="session")
def eventually():
    """Asks until the answer pleases."""

    def ask(question, pleases=bool, within=45):
        end = time.monotonic() + within
        while True:
            answer = question()
            if pleases(answer):
                return answer
            assert time.monotonic() < end, f"still {answer!r}"
            time.sleep(0.02)

    return ask


# The list of cases: a file is a group, its first docstring line the group's name; a test's name, with blanks, is the case's.
results = {}


def case_name(item):
    name = item.originalname.removeprefix("test_").replace("_", " ")
    return f"{name} ({item.callspec.id})" if hasattr(item, "callspec") else name


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    group = item.module.__doc__.splitlines()[0].rstrip(".")
    cases = results.setdefault(group, {})
    cases[case_name(item)] = cases.get(case_name(item), True) and report.passed
    return report


def pytest_sessionfinish():
    path = os.environ.get("TWINFLEET_RESULTS")
    if path:
        groups = [{"name": g, "cases": [{"name": n, "passed": p} for n, p in cases.items()]} for g, cases in results.items()]
        pathlib.Path(path).write_text(json.dumps({"groups": groups}))
