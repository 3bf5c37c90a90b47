"""The service's side: says in tags where the device stands, then asks which devices are in a plant and which of them are on a cellular network.

    IOTHUB_CONNECTION_STRING="HostName=…;SharedAccessKeyName=…;SharedAccessKey=…" python add_tags_and_query.py my-device
"""

import os
import sys

from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import QuerySpecification, Twin

QUERIES = {
    "devices in Redmond43": "SELECT * FROM devices WHERE tags.location.plant = 'Redmond43'",
    "of them with cellular": "SELECT * FROM devices WHERE tags.location.plant = 'Redmond43' AND properties.reported.connectivity = 'cellular'",
}


def main():
    device_id = sys.argv[1]
    registry = IoTHubRegistryManager.from_connection_string(os.environ["IOTHUB_CONNECTION_STRING"])
    twin = registry.get_twin(device_id)
    # The twin's etag lets the update fail if somebody else has changed the twin since.
    registry.update_twin(device_id, Twin(tags={"location": {"region": "US", "plant": "Redmond43"}}), twin.etag)
    for name, query in QUERIES.items():
        found = registry.query_iot_hub(QuerySpecification(query=query), None, 100).items
        print(f"{name}: {len(found)} ({', '.join(t.device_id for t in found) or 'none'})")


if __name__ == "__main__":
    main()
