# An Event-Hubs-compatible endpoint by Apache Qpid Proton, for a reader to be tried with: the IoT Hub's redirect, $cbs, $management and
# partitions, at one port. It prints the port, and then sends messages of its own, numbered, to partitions in turn.
import sys, socket
from proton import Message, Condition, symbol, timestamp, Array, UNDESCRIBED, Data, int32
from proton.handlers import MessagingHandler
from proton.reactor import Container

PARTITIONS, EVERY, COUNT = 4, 0.01, int(sys.argv[1])

class Hub(MessagingHandler):
    def __init__(self):
        super().__init__(prefetch=100, auto_accept=True)
        self.answers, self.readers, self.sent = {}, {}, 0

    def on_start(self, event):
        self.container = event.container
        acceptor = event.container.listen("127.0.0.1:0")
        with socket.socket(fileno=socket.dup(acceptor._selectable.fileno())) as listening:  # Proton does not tell the port
            self.port = listening.getsockname()[1]
        print(self.port, flush=True)

    def on_link_opening(self, event):
        link = event.link
        link.source.copy(link.remote_source)
        link.target.copy(link.remote_target)
        address = link.remote_source.address if link.is_sender else link.remote_target.address
        if address == "messages/events/$management":
            return
        if link.is_sender and "/Partitions/" in address:
            self.readers[int(address.rsplit("/", 1)[1])] = link
            if len(self.readers) == PARTITIONS:
                self.container.schedule(EVERY, self)
        elif link.is_sender:
            self.answers[link.remote_target.address] = link

    def on_link_opened(self, event):
        if event.link.remote_source.address == "messages/events/$management":
            event.link.condition = Condition("amqp:link:redirect", "elsewhere", {
                symbol("hostname"): "127.0.0.1", symbol("network-host"): "127.0.0.1", symbol("port"): int32(self.port),
                symbol("address"): "amqps://127.0.0.1:%d/ehub/$management" % self.port})
            event.link.close()

    def on_message(self, event):
        m, p = event.message, event.message.properties
        answer = Message(correlation_id=m.id, properties={"status-code": int32(200), "status-description": "OK"})
        if p["operation"] == "put-token":
            print("token", p["name"], file=sys.stderr, flush=True)
        elif p["type"] == "com.microsoft:eventhub":
            answer.body = {"name": p["name"], "created_at": timestamp(1764300000000), "partition_ids": Array(UNDESCRIBED, Data.STRING, *[str(i) for i in range(PARTITIONS)])}
        else:
            answer.body = {"partition": p["partition"], "last_enqueued_sequence_number": -1, "last_enqueued_offset": "-1", "is_partition_empty": True}
        self.answers[m.reply_to].send(answer)

    def on_timer_task(self, event):
        n = self.sent % PARTITIONS
        m = Message(body=b"message %d" % self.sent + b"." * (self.sent * 97 % 100000), inferred=True)
        m.annotations = {symbol("x-opt-sequence-number"): self.sent // PARTITIONS, symbol("x-opt-offset"): str(self.sent * 100),
                         symbol("x-opt-enqueued-time"): timestamp(1764300000000), symbol("iothub-connection-device-id"): "dev"}
        self.readers[n].send(m)
        self.sent += 1
        if self.sent < COUNT:
            self.container.schedule(EVERY, self)

Container(Hub()).run()
