"""The device's side: connects, reads its twin, and reports how it is connected.

    IOTHUB_DEVICE_CONNECTION_STRING="HostName=…;DeviceId=…;SharedAccessKey=…" python report_connectivity.py
"""

import os

from azure.iot.device import IoTHubModuleClient


def main():
    # A module's client takes a device's connection string as well, and is the device then.
    client = IoTHubModuleClient.create_from_connection_string(os.environ["IOTHUB_DEVICE_CONNECTION_STRING"])
    client.connect()
    try:
        print("desired properties:", client.get_twin()["desired"])
        client.patch_twin_reported_properties({"connectivity": "cellular"})
        print("reported properties:", client.get_twin()["reported"])
    finally:
        client.shutdown()


if __name__ == "__main__":
    main()
