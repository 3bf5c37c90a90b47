"""Reading telemetry

azure-eventhub at the Event-Hubs-compatible endpoint, in TCP and over WebSocket: its own AMQP library.
"""

import datetime
import json
import threading

import pytest
from azure.eventhub import EventHubConsumerClient, TransportType
from azure.eventhub.exceptions import EventHubError
from azure.iot.device import Message

WAYS = [pytest.param(TransportType.Amqp, id="AMQP"), pytest.param(TransportType.AmqpOverWebsocket, id="WebSocket")]


@pytest.fixture
def reader(hub):
    """Makes readers; what they read is for a device alone, and they end with their case."""
    ends = []

    def make(way=TransportType.Amqp, text=None, group="$Default", name=None):
        return EventHubConsumerClient.from_connection_string(
            text or hub.events(), group, **({"eventhub_name": name} if name else {}), transport_type=way, connection_verify=hub.ca_file, retry_total=0, auth_timeout=10
        )

    def read(client, box, **options):
        failures = []
        thread = threading.Thread(
            target=lambda: client.receive(lambda context, event: box.put((context.partition_id, event)), on_error=lambda context, error: failures.append(error), max_wait_time=None, **options), daemon=True
        )
        thread.start()
        ends.append((client, thread))
        return failures

    make.read = read
    yield make
    for client, thread in ends:
        client.close()
        thread.join(10)


def of(device):
    return lambda item: item[1].system_properties.get(b"iothub-connection-device-id", b"").decode() == device.device_id


@pytest.fixture
def telemetry(new_device, connect):
    """A device that has sent so many messages."""

    def send(count):
        device = new_device()
        client = connect(device)
        for n in range(count):
            message = Message(json.dumps({"n": n}))
            message.message_id, message.content_type, message.content_encoding = f"m-{n}", "application/json", "utf-8"
            message.custom_properties["level"] = "c/d&e=f"
            client.send_message(message)
        return device, client

    return send


@pytest.mark.parametrize("way", WAYS)
def test_properties_of_the_hub_and_of_its_partitions(hub, reader, way):
    with reader(way) as client:
        properties = client.get_eventhub_properties()
        assert properties["eventhub_name"] == hub.event_hub
        assert properties["partition_ids"] == ["0", "1", "2", "3"] == client.get_partition_ids()
        for partition in properties["partition_ids"]:
            assert client.get_partition_properties(partition)["id"] == partition


@pytest.mark.timeout(90)  # over WebSocket the library waits a second for each partition in turn, however much there is to read
@pytest.mark.parametrize("way", WAYS)
def test_events_from_the_beginning_in_their_order_with_their_properties(telemetry, reader, inbox, way):
    device, _ = telemetry(3)
    box = inbox()
    reader.read(reader(way), box, starting_position="-1")
    got = [box.get(of(device)) for _ in range(3)]
    assert len({partition for partition, _ in got}) == 1
    for n, (_, event) in enumerate(got):
        assert event.body_as_json() == {"n": n}
        assert event.properties == {b"level": b"c/d&e=f"}
        assert (event.message_id, event.content_type) == (f"m-{n}", "application/json")
        assert event.system_properties[b"iothub-message-source"] == b"Telemetry"
        assert json.loads(event.system_properties[b"iothub-connection-auth-method"])["type"] == "sas"
        assert abs(event.enqueued_time - datetime.datetime.now(datetime.timezone.utc)) < datetime.timedelta(minutes=1)
    assert got[0][1].sequence_number < got[1][1].sequence_number < got[2][1].sequence_number


@pytest.mark.parametrize("inclusive", [False, True], ids=["without it", "with it"])
@pytest.mark.parametrize("what", ["sequence number", "offset"])
def test_events_from_a_position(telemetry, reader, inbox, what, inclusive):
    device, _ = telemetry(3)
    box = inbox()
    reader.read(reader(), box, starting_position="-1")
    partition, second = [box.get(of(device)) for _ in range(3)][1]
    position = second.sequence_number if what == "sequence number" else second.offset
    again = inbox()
    reader.read(reader(), again, partition_id=partition, starting_position=position, starting_position_inclusive=inclusive)
    assert again.get(of(device))[1].body_as_json() == {"n": 1 if inclusive else 2}


def test_events_from_a_time(telemetry, reader, inbox):
    device, client = telemetry(2)
    box = inbox()
    reader.read(reader(), box, starting_position="-1")
    last = [box.get(of(device)) for _ in range(2)][1][1].enqueued_time
    while True:  # the next event is of a later millisecond
        client.send_message(Message(json.dumps({"n": 2})))
        if box.get(of(device))[1].enqueued_time > last:
            break
    later = inbox()
    reader.read(reader(), later, starting_position=last)
    assert later.get(of(device))[1].body_as_json() == {"n": 2}


def test_a_higher_owner_level_takes_a_partition(reader, inbox, eventually):
    low = reader.read(reader(), inbox(), partition_id="2", owner_level=1, starting_position="@latest")
    high = []
    # The first attaches in the background: a lower one that comes first is the one that is told.
    high = reader.read(reader(), inbox(), partition_id="2", owner_level=5, starting_position="@latest")
    assert eventually(lambda: list(low))
    assert high == []


@pytest.mark.parametrize("what", ["a wrong key", "a policy without the right", "an unknown hub"])
def test_it_is_refused(hub, reader, what):
    given = {
        "a wrong key": {"text": hub.events(key="AAAA")},
        "a policy without the right": {"text": hub.events("registryRead")},
        "an unknown hub": {"text": hub.events().replace(f"EntityPath={hub.event_hub}", "EntityPath=another")},
    }[what]
    with reader(**given) as client, pytest.raises(EventHubError):
        client.get_partition_ids()
