"""The hub under test: the real program, on a loopback address of its own, since the SDKs' ports are fixed."""

import errno
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("TWINFLEET_BINARY", ROOT / "bin" / "twinfleet"))

# MQTT and REST on 8883, AMQP on 5671, both over WebSocket on 443: the SDKs know no other ports.
PORTS = (8883, 5671, 443)


def own_address():
    """A loopback address on which nobody uses the SDKs' ports."""
    for _ in range(100):
        address = f"127.{random.randint(64, 250)}.{random.randint(0, 250)}.{random.randint(2, 250)}"
        try:
            for port in PORTS:
                with socket.socket() as s:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    s.bind((address, port))
            return address
        except OSError as e:
            if e.errno == errno.EACCES:
                raise PermissionError(
                    "the SDKs use port 443, which this user may not open: run as root, or run\n"
                    "  sudo sysctl -w net.ipv4.ip_unprivileged_port_start=443"
                ) from e
    raise OSError(f"no loopback address has the ports {PORTS} free")


class Hub:
    """`twinfleet hub` on an address of its own. With keep=True it has --data and can be started again."""

    def __init__(self, *extra, keep=False):
        self.host = own_address()
        # Each write is synced: in memory where there is such a place, for what other tests do to the disk is not the subject.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="twinfleet-python-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
        self.args = [str(BINARY), "hub", "--json", "--hostname", self.host, "--telemetry-always", "--cert-dir", str(self.dir / "certs"), "--listen", f"{self.host}:8883", "--extra-listen", f"{self.host}:5671,{self.host}:443", *extra]
        if keep:
            self.args += ["--data", str(self.dir / "data")]
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.args, stdout=subprocess.PIPE)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the hub ended at once with code {self.process.wait()}")
        self.said = json.loads(line)
        self.ca_file = self.said["ca"]
        self.ca = pathlib.Path(self.ca_file).read_text()

    def stop(self, sign=signal.SIGINT):
        self.process.send_signal(sign)
        code = self.process.wait(30)
        self.process.stdout.close()
        return code

    def close(self):
        try:
            code = self.stop()
            assert code == 0, f"the hub ended with code {code}"
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)

    def service(self, policy="iothubowner"):
        """A service connection string. The service SDK takes a port."""
        return f"HostName={self.host}:8883;SharedAccessKeyName={policy};SharedAccessKey={self.said['policies'][policy]}"

    @property
    def event_hub(self):
        """The name of the Event-Hubs-compatible endpoint: the short name of the hub."""
        return self.host.split(".")[0]

    def events(self, policy="service", key=None):
        """A connection string of the Event-Hubs-compatible endpoint."""
        return f"Endpoint=sb://{self.host}/;SharedAccessKeyName={policy};SharedAccessKey={key or self.said['policies'][policy]};EntityPath={self.event_hub}"

    def device(self, identity, key=None):
        """The connection string of an identity that the registry has made; the device SDK takes no port."""
        key = key or identity.authentication.symmetric_key.primary_key
        module = getattr(identity, "module_id", None)
        return f"HostName={self.host};DeviceId={identity.device_id};" + (f"ModuleId={module};" if module else "") + f"SharedAccessKey={key}"


def unique(name):
    """Identities of its own for every case, so that cases do not meet."""
    return f"{name}-{uuid.uuid4().hex[:8]}"
