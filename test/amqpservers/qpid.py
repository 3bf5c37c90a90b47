"""A hub that takes every device whose id is not bad, on Apache Qpid Proton. It prints its port, and then what it gets, a line of JSON each."""

import json
import socket
import uuid

from proton import Condition, Delivery, Message, int32, symbol
from proton.handlers import MessagingHandler
from proton.reactor import Container


def tell(**what):
    print(json.dumps(what), flush=True)


class Hub(MessagingHandler):
    def __init__(self):
        super().__init__(prefetch=100, auto_accept=False)
        self.answers, self.called = {}, set()

    def on_start(self, event):
        acceptor = event.container.listen("127.0.0.1:0")
        with socket.socket(fileno=socket.dup(acceptor._selectable.fileno())) as listening:  # Proton does not tell the port
            tell(port=listening.getsockname()[1])

    def on_link_remote_open(self, event):
        link = event.link
        link.source.copy(link.remote_source)
        link.target.copy(link.remote_target)
        if link.is_sender:
            self.answers[link.remote_source.address] = link

    def on_sendable(self, event):
        address = event.link.remote_source.address
        if event.link.name in self.called or address == "$cbs" or address.endswith("/twin"):
            return
        self.called.add(event.link.name)
        if address.endswith("/methods/devicebound"):
            event.link.send(Message(correlation_id=uuid.UUID(hex="0102030405060708090a0b0c0d0e0f10"), properties={"IoThub-methodname": "reboot"},
                body=b'{"in":5}', inferred=True))
        else:
            event.link.send(Message(id="m1", properties={"a": "b"}, body=b"hello", inferred=True))

    def on_accepted(self, event):
        if event.link.is_sender and event.link.remote_source.address.endswith("/messages/devicebound"):
            tell(accepted=event.link.remote_source.address)

    def on_message(self, event):
        m, address = event.message, event.link.remote_target.address
        answer = self.answers.get(address)
        if address == "$cbs":
            status = 401 if m.properties["name"].endswith("/bad") else 200
            answer.send(Message(correlation_id=m.id, properties={"status-code": int32(status), "status-description": "text"}))
            self.accept(event.delivery)
            return
        operation, body = (m.annotations or {}).get(symbol("operation")), bytes(m.body or b"")
        tell(address=address, operation=operation, resource=(m.annotations or {}).get(symbol("resource")), body=body.decode(), size=len(body),
            settled=event.delivery.settled, status=(m.properties or {}).get("IoThub-status"),
            id=m.correlation_id.hex if isinstance(m.correlation_id, uuid.UUID) else None)
        if address.endswith("/twin"):
            annotations = {symbol("status"): int32(200)}
            if operation == "PATCH":
                annotations[symbol("version")] = 7
            answer.send(Message(correlation_id=m.correlation_id, annotations=annotations, inferred=True,
                body=b'{"desired":{"$version":1},"reported":{"$version":1}}' if operation == "GET" else None))
            if operation == "PUT":
                answer.send(Message(annotations={symbol("resource"): "/properties/desired", symbol("version"): 9}, body=b'{"x":1,"$version":9}', inferred=True))
        if body == b"reject":
            event.delivery.local.condition = Condition("com.microsoft:device-container-throttled", "slow down")
            event.delivery.update(Delivery.REJECTED)
            event.delivery.settle()
            return
        self.accept(event.delivery)

    def on_transport_error(self, event):
        tell(trouble="transport", text=str(event.transport.condition))


try:
    Container(Hub()).run()
except KeyboardInterrupt:
    pass
