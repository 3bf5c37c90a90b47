"""The device-twin tutorial's two applications."""

import os
import re
import subprocess
import sys

from hub import ROOT, Hub


def test_the_two_queries_answer_1_and_0_before_the_device_reports_and_1_and_1_after():
    hub = Hub()  # one with no other devices
    try:
        environment = {**os.environ, "IOTHUB_CONNECTION_STRING": hub.service(), "REQUESTS_CA_BUNDLE": hub.ca_file, "SSL_CERT_FILE": hub.ca_file}

        def run(program, *args):
            done = subprocess.run([sys.executable, ROOT / "docs" / "tutorial" / program, *args], env=environment, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
            return done.stdout

        def counts():
            return [int(n) for n in re.findall(r": (\d+) \(", run("add_tags_and_query.py", "my-device"))]

        environment["IOTHUB_DEVICE_CONNECTION_STRING"] = run("register_device.py", "my-device").strip()
        assert counts() == [1, 0]
        assert "'connectivity': 'cellular', '$version': 2" in run("report_connectivity.py")
        assert counts() == [1, 1]
    finally:
        hub.close()
