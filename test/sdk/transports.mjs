// The device SDK's five transports, and what each of them can: cases are told once and held over all that can.
import net from 'node:net';
import test from 'node:test';
import { device, Mqtt, MqttWs, Amqp, AmqpWs, Http, NoRetry, port, address, ca, PortAgent, request } from './hub.mjs';

// connects: the hub knows whether the device is there; twins: twins and methods; settles: messages are abandoned and rejected too; inBand: a token is
// renewed on the connection that there is; batches: several messages in one; agent: the option that a WebSocket's way goes by. Over WebSocket and HTTPS
// the SDK dials port 443. prefix: what the SDK leaves before the names of a message's properties.
export const transports = [
  { name: 'MQTT', of: Mqtt, connects: true, twins: true },
  { name: 'MQTT over WebSocket', of: MqttWs, connects: true, twins: true, fixedPort: true, agent: 'mqtt' },
  { name: 'AMQP', of: Amqp, connects: true, twins: true, settles: true, inBand: true },
  { name: 'AMQP over WebSocket', of: AmqpWs, connects: true, twins: true, settles: true, inBand: true, fixedPort: true, agent: 'amqp' },
  { name: 'HTTPS', of: Http, settles: true, batches: true, fixedPort: true, prefix: 'iothub-app-' },
];

const chosen = process.env.TWINFLEET_OVER?.split(','); // names of transports, to hold cases over some alone

// hold makes a group of cases for each transport: a case is its name, what a transport must be able to (a word of the above, or nothing), and what it does.
export function hold(what, cases) {
  for (const transport of transports.filter((o) => !chosen || chosen.includes(o.name))) {
    const can = cases.filter(([, word]) => !word || transport[word]);
    if (can.length === 0) continue;
    test(`${what} over ${transport.name}`, { concurrency: 4, timeout: 80_000 }, async (t) => {
      await Promise.all(can.map(([name, , run]) => t.test(name, { timeout: 20_000 }, (tt) => run(tt, transport))));
    });
  }
}

export const host = (transport) => (transport.fixedPort ? address : `localhost:${port}`);
export const keyOf = (identity) => identity.authentication.symmetricKey.primaryKey;

export function stringOf(identity, transport, key = keyOf(identity), at = host(transport)) {
  return `HostName=${at};DeviceId=${identity.deviceId};${identity.moduleId ? `ModuleId=${identity.moduleId};` : ''}SharedAccessKey=${key}`;
}

// closing closes a client after the case, which does not wait for long.
export function closing(t, client) {
  t.after(() => Promise.race([client.close().catch(() => {}), new Promise((resolve) => setTimeout(resolve, 2_000).unref())]));
  return client;
}

// prepare gives a client the options of its transport, and closes it after the case.
export async function prepare(t, client, { retry = false, options = {} } = {}) {
  if (!retry) client.setRetryPolicy(new NoRetry());
  closing(t, client);
  // HTTPS asks for messages again and again, once a second if nobody says otherwise.
  await client.setOptions({ ca, http: { receivePolicy: { interval: 0.1 } }, ...options });
  return client;
}

// connect opens a device's or a module's client over a transport; line is a way to the hub that can be cut.
export async function connect(t, identity, transport, { key, line, ...rest } = {}) {
  const kind = identity.moduleId ? device.ModuleClient : device.Client;
  const options = line && transport.agent ? { [transport.agent]: { webSocketAgent: new PortAgent({}, line.port) } } : {};
  const at = line && !transport.agent ? `localhost:${line.port}` : host(transport);
  const client = await prepare(t, kind.fromConnectionString(stringOf(identity, transport, key, at), transport.of), { options, ...rest });
  await client.open();
  return client;
}

// Line is a way to the hub's port that passes bytes on until it is cut.
export class Line {
  static async to(t) {
    const line = new Line();
    await new Promise((resolve) => line.server.listen(0, '127.0.0.1', resolve));
    line.port = line.server.address().port;
    t.after(() => { for (const s of line.open) s.destroy(); line.server.close(); });
    return line;
  }

  constructor() {
    this.open = new Set();
    this.made = 0; // connections so far
    this.server = net.createServer((near) => {
      this.made++;
      const far = net.connect(port, '127.0.0.1');
      for (const s of [near, far]) {
        this.open.add(s);
        s.on('error', () => {});
        s.on('close', () => { this.open.delete(s); near.destroy(); far.destroy(); });
      }
      near.pipe(far).pipe(near);
    });
  }

  // What still comes is read, and thrown away: of a socket that is destroyed with something unread the peer is told by a reset, and after
  // one the SDK's MQTT transport does not come back, whatever its retry policy.
  cut() {
    for (const s of this.open) s.unpipe().resume().end();
  }
}

// send sends a message to a device by REST.
export async function send(identity, body, headers = {}) {
  const answer = await request('POST', `/devices/${identity.deviceId}/messages/deviceBound`, body, headers);
  if (answer.status !== 200 && answer.status !== 204) throw new Error(answer.text);
}
