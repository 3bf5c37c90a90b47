"""Does one thing as a Qpid Proton client: told which by its argument and how on standard input, it prints what it saw as JSON."""

import json
import sys
import uuid

from proton import Message, SSLDomain, symbol, ulong
from proton.handlers import MessagingHandler
from proton.reactor import Container, LinkOption

given = json.load(sys.stdin)
seen = []


class LinkProperties(LinkOption):
    """Properties of a link, whichever way it goes."""

    def __init__(self, properties):
        self.properties = properties

    def apply(self, link):
        link.properties = self.properties


def fail(text):
    print(text, file=sys.stderr)
    sys.exit(1)


class Peer(MessagingHandler):
    """Connects, puts its token, and hands over to what it is for."""

    def __init__(self):
        super().__init__(auto_accept=False, auto_settle=True)
        self.sasl, self.user, *self.more = given["args"]
        self.put = False

    def on_start(self, event):
        ssl = SSLDomain(SSLDomain.MODE_CLIENT)
        ssl.set_trusted_ca_db(given["ca"])
        ssl.set_peer_authentication(SSLDomain.VERIFY_PEER)
        options = {"user": self.user, "password": given["token"]} if self.sasl == "PLAIN" else {}
        self.container = event.container
        self.connection = event.container.connect(given["url"], ssl_domain=ssl, allowed_mechs=self.sasl, reconnect=False, heartbeat=10, **options)

    def on_connection_opened(self, event):
        if self.sasl == "PLAIN":
            self.begin()
            return
        self.answers = self.container.create_receiver(self.connection, "$cbs", name="cbs")
        self.tokens = self.container.create_sender(self.connection, "$cbs", name="cbs")

    def on_sendable(self, event):
        if self.sasl != "PLAIN" and event.sender == self.tokens:
            if not self.put:
                self.put = True
                self.tokens.send(Message(id=ulong(1), address="$cbs", reply_to="cbs", body=given["token"],
                    properties={"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": given["device"]}))
            return
        self.sendable(event)

    def on_message(self, event):
        if self.sasl != "PLAIN" and event.receiver == self.answers:
            status = event.message.properties["status-code"]
            self.accept(event.delivery)
            if status != 200 or event.message.correlation_id != 1:
                fail(f"put-token: {status}, {event.message.correlation_id}")
            self.begin()
            return
        self.message(event)

    def done(self):
        self.connection.close()

    def on_transport_error(self, event):
        fail(str(event.transport.condition))

    def on_link_error(self, event):
        fail(str(event.link.remote_condition))

    def address(self, of):
        return f"/devices/{given['device']}/{of}"

    def sendable(self, event):
        pass

    def message(self, event):
        pass


class Telemetry(Peer):
    def begin(self):
        self.sender = self.container.create_sender(self.connection, self.address("messages/events"))

    def sendable(self, event):
        if not hasattr(self, "sent"):
            self.sent = self.sender.send(Message(id=str(uuid.uuid4()), body=b"x", inferred=True))

    def on_accepted(self, event):
        if event.link == getattr(self, "sender", None):
            seen.append("ACCEPTED")
            self.done()

    def on_rejected(self, event):
        fail("rejected: " + str(event.delivery.remote.condition))


class Messages(Peer):
    def begin(self):
        self.container.create_receiver(self.connection, self.address("messages/devicebound"))

    def message(self, event):
        n = json.loads(bytes(event.message.body))["n"]
        again = n == 1 and n not in seen
        seen.append(n)
        if again:
            self.release(event.delivery, delivered=False)
            return
        self.accept(event.delivery)
        if len(seen) == 4:
            self.done()


class Twin(Peer):
    def begin(self):
        properties = {symbol("com.microsoft:channel-correlation-id"): f"twin:{uuid.uuid4()}", symbol("com.microsoft:api-version"): "2020-09-30"}
        options = LinkProperties(properties)
        self.container.create_receiver(self.connection, self.address("twin"), name="answers", options=options)
        self.sender = self.container.create_sender(self.connection, self.address("twin"), name="requests", options=options)

    def sendable(self, event):
        if not hasattr(self, "asked"):
            self.asked = self.ask("GET", None, b" ")

    def ask(self, operation, resource, body):
        annotations = {symbol("operation"): operation}
        if resource:
            annotations[symbol("resource")] = resource
        self.expected = uuid.uuid4()
        self.sender.send(Message(correlation_id=self.expected, annotations=annotations, body=body, inferred=True))
        return operation

    def message(self, event):
        m = event.message
        if m.correlation_id != self.expected or m.annotations[symbol("status")] not in (200, 204):
            fail(f"{m}")
        if self.asked == "GET":
            seen.append(bytes(m.body).decode())
            self.asked = self.ask("PATCH", "/properties/reported", b'{"by":"proton"}')
            return
        seen.append(int(m.annotations[symbol("version")]))
        self.done()


class Refused(Peer):
    def begin(self):
        self.container.create_sender(self.connection, self.more[0])

    def on_link_error(self, event):
        seen.append(event.link.remote_condition.name)
        self.done()


Container({"telemetry": Telemetry, "messages": Messages, "twin": Twin, "refused": Refused}[sys.argv[1]]()).run()
json.dump(seen, sys.stdout)
