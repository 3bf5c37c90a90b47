"""Registers a device and prints its connection string.

    python register_device.py my-device
"""

import os
import sys

from azure.iot.hub import IoTHubRegistryManager


def main():
    device_id = sys.argv[1]
    service = os.environ["IOTHUB_CONNECTION_STRING"]
    # Empty keys tell the hub to make them.
    device = IoTHubRegistryManager.from_connection_string(service).create_device_with_sas(device_id, "", "", "enabled")
    # The device's client adds port 8883 itself and takes no other: its host name is one without a port.
    host = dict(part.split("=", 1) for part in service.split(";"))["HostName"].split(":")[0]
    print(f"HostName={host};DeviceId={device_id};SharedAccessKey={device.authentication.symmetric_key.primary_key}")


if __name__ == "__main__":
    main()
