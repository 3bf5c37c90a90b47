// How devices and modules come, stay and go, over each of the SDK's transports: credentials, tokens that end, lines that are cut, and others of the same name.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { device, registry, service, newDevice, uniqueId, next, report, listen, eventually, PortAgent, SharedAccessSignature } from './hub.mjs';
import { hold, connect, prepare, host, keyOf, stringOf, send, transports, Line } from './transports.mjs';
import { certificates, thumbprint } from './certificates.mjs';

const { Message } = device;
const { ExponentialBackOffWithJitter } = createRequire(import.meta.url)('azure-iot-common');
const twinOf = async (d) => (await registry().getTwin(d.deviceId)).responseBody;
const state = async (d) => (await twinOf(d)).connectionState;
const token = (d, transport, seconds, id = d.deviceId) => SharedAccessSignature.create(`${host(transport)}/devices/${id}`, undefined, keyOf(d), Math.floor(Date.now() / 1000) + seconds).toString();
const hello = (client) => client.sendEvent(new Message('hello'));
// Over HTTPS nothing is asked of the hub before the first message.
const refused = (what, name) => assert.rejects(async () => hello(await what), { name });
// Over AMQP a device is there from its first link on, and the SDK attaches one when there is something to send.
const present = async (t, d, over) => {
  const client = await connect(t, d, over);
  await hello(client);
  return client;
};
const openWith = async (t, client) => {
  await prepare(t, client);
  await client.open();
  return client;
};

hold('credentials', [
  ['a client opens, closes and opens again', '', async (t, over) => {
    const client = await connect(t, await newDevice('open'), over);
    await hello(client);
    await client.close();
    await client.open();
    await hello(client);
  }],
  ['the secondary key serves as well', '', async (t, over) => {
    const d = await newDevice('secondary');
    await hello(await connect(t, d, over, { key: d.authentication.symmetricKey.secondaryKey }));
  }],
  ['a wrong key is UnauthorizedError', '', async (t, over) => {
    await refused(connect(t, await newDevice('wrong'), over, { key: Buffer.alloc(32, 1).toString('base64') }), 'UnauthorizedError');
  }],
  ['an unknown device is refused for good', '', async (t, over) => {
    const d = await newDevice('ghost');
    await registry().delete(d.deviceId);
    await refused(connect(t, d, over), over.name === 'HTTPS' ? 'DeviceNotFoundError' : /^(UnauthorizedError|DeviceNotFoundError)$/);
  }],
  ['a disabled device is UnauthorizedError', '', async (t, over) => {
    await refused(connect(t, await newDevice('disabled', { status: 'disabled' }), over), 'UnauthorizedError');
  }],
  ['a token of its own making serves', '', async (t, over) => {
    await hello(await openWith(t, device.Client.fromSharedAccessSignature(token(await newDevice('token'), over, 60), over.of)));
  }],
  ['an expired token is UnauthorizedError', '', async (t, over) => {
    await refused(openWith(t, device.Client.fromSharedAccessSignature(token(await newDevice('expired'), over, -60), over.of)), 'UnauthorizedError');
  }],
  ['a token for another device is UnauthorizedError', '', async (t, over) => {
    const [d, other] = [await newDevice('one'), await newDevice('other')];
    await refused(openWith(t, device.Client.fromSharedAccessSignature(token(d, over, 60, other.deviceId), over.of)), 'UnauthorizedError');
  }],
]);

const withCertificate = (t, id, pair, over) => {
  const client = device.Client.fromConnectionString(`HostName=${host(over)};DeviceId=${id};x509=true`, over.of);
  const way = over.agent ? { [over.agent]: { webSocketAgent: new PortAgent(pair) } } : {};
  return prepare(t, client, { options: { ...pair, ...way } }).then(async () => {
    await client.open();
    return client;
  });
};

hold('certificates', [
  ['a self-signed one with the right thumbprint', '', async (t, over) => {
    const id = uniqueId('x509');
    const pair = certificates(t).selfSigned(id);
    await registry().create({ deviceId: id, authentication: { type: 'selfSigned', x509Thumbprint: { primaryThumbprint: thumbprint(pair), secondaryThumbprint: thumbprint(pair) } } });
    const client = await withCertificate(t, id, pair, over);
    await hello(client);
    if (over.twins) await report(await client.getTwin(), { via: 'x509' });
    assert.equal((await registry().getTwin(id)).responseBody.authenticationType, 'selfSigned');
  }],
  ['one that the hub\'s authority signed', '', async (t, over) => {
    const id = uniqueId('x509ca');
    await registry().create({ deviceId: id, authentication: { type: 'certificateAuthority' } });
    await hello(await withCertificate(t, id, certificates(t).signed(id), over));
  }],
  ['one that it signed for another device is UnauthorizedError', '', async (t, over) => {
    const id = uniqueId('x509ca');
    await registry().create({ deviceId: id, authentication: { type: 'certificateAuthority' } });
    await refused(withCertificate(t, id, certificates(t).signed(uniqueId('other')), over), 'UnauthorizedError');
  }],
  ['one with another thumbprint is UnauthorizedError', '', async (t, over) => {
    const id = uniqueId('x509no');
    await registry().create({ deviceId: id, authentication: { type: 'selfSigned', x509Thumbprint: { primaryThumbprint: '00'.repeat(20), secondaryThumbprint: '00'.repeat(20) } } });
    await refused(withCertificate(t, id, certificates(t).selfSigned(id), over), 'UnauthorizedError');
  }],
]);

// active lets a device subscribe to all that there is, and tells with works that all of it goes.
async function active(client, d) {
  const twin = await client.getTwin();
  const patches = [];
  const messages = [];
  twin.on('properties.desired', (p) => patches.push(p));
  client.on('message', (m) => { messages.push(m); client.complete(m, () => {}); });
  client.onDeviceMethod('echo', (req, res) => res.send(200, req.payload, () => {}));
  const works = async (n) => {
    await eventually(() => service().invokeDeviceMethod(d.deviceId, { methodName: 'echo', payload: n, responseTimeoutInSeconds: 5 }).then(({ result }) => result.payload === n, () => false), Boolean, `method ${n}`);
    await hello(client);
    await report(twin, { n });
    assert.equal((await twinOf(d)).properties.reported.n, n);
    await registry().updateTwin(d.deviceId, { properties: { desired: { n } } }, '*');
    await eventually(() => patches, (p) => p.some((one) => one.n === n), `desired change ${n}`);
    await send(d, { n });
    await eventually(() => messages, (all) => all.some((m) => JSON.parse(m.getData().toString()).n === n), `message ${n}`);
  };
  return works;
}

hold('connections', [
  ['connection state follows open and close', 'connects', async (t, over) => {
    const d = await newDevice('state');
    const client = await present(t, d, over);
    await eventually(() => state(d), (s) => s === 'Connected');
    await client.close();
    await eventually(() => state(d), (s) => s === 'Disconnected');
  }],
  ['HTTPS moves lastActivityTime and connects nobody', 'batches', async (t, over) => {
    const d = await newDevice('state');
    await hello(await connect(t, d, over));
    const { connectionState, lastActivityTime } = await twinOf(d);
    assert.equal(connectionState, 'Disconnected');
    assert.ok(Date.now() - Date.parse(lastActivityTime) < 60_000);
  }],
  ['after a cut line all goes on: methods, twin, messages', 'connects', async (t, over) => {
    const d = await newDevice('cut');
    const line = await Line.to(t);
    const client = await connect(t, d, over, { line, retry: true });
    client.setRetryPolicy(new ExponentialBackOffWithJitter());
    const works = await active(client, d);
    await works(1);
    for (let n = 2; n < 4; n++) {
      const before = line.made;
      line.cut();
      await eventually(() => line.made, (made) => made > before, 'another connection');
      await works(n);
    }
  }],
  ['without a retry policy a cut line is told', 'connects', async (t, over) => {
    const line = await Line.to(t);
    const client = await connect(t, await newDevice('cut'), over, { line });
    if (over.twins) await client.getTwin();
    const gone = next(client, 'disconnect');
    line.cut();
    await gone;
  }],
  ['a device deleted while connected is disconnected', 'connects', async (t, over) => {
    const d = await newDevice('deleted');
    const gone = next(await present(t, d, over), 'disconnect');
    await registry().delete(d.deviceId);
    await gone;
  }],
  ['a device disabled while connected is disconnected', 'connects', async (t, over) => {
    const d = await newDevice('disable');
    const gone = next(await present(t, d, over), 'disconnect');
    await registry().update({ deviceId: d.deviceId, status: 'disabled' });
    await gone;
  }],
  ['a second connection with one id wins', 'connects', async (t, over) => {
    const d = await newDevice('second');
    const gone = next(await present(t, d, over), 'disconnect');
    const second = await present(t, d, over);
    await gone;
    await report(await second.getTwin(), { winner: 2 });
    assert.equal(await state(d), 'Connected');
  }],
  ['a second connection over another transport wins', 'connects', async (t, over) => {
    const d = await newDevice('other');
    const others = transports.filter((o) => o.connects && o !== over);
    let last = await present(t, d, over);
    for (const other of [others[0], over, others[others.length - 1]]) {
      const gone = next(last, 'disconnect');
      last = await present(t, d, other);
      await gone;
    }
    await report(await last.getTwin(), { winner: 4 });
  }],
]);

hold('token renewal', [
  ['a token that the program renews keeps all that was subscribed', 'connects', async (t, over) => {
    const d = await newDevice('renew');
    const client = await openWith(t, device.Client.fromSharedAccessSignature(token(d, over, 3600), over.of));
    const works = await active(client, d);
    await works(1);
    await client.updateSharedAccessSignature(token(d, over, 7200));
    await works(2);
  }],
  ['a token that the SDK renews, three times, on one connection', 'inBand', async (t, over) => {
    const d = await newDevice('renew');
    const provider = device.SharedAccessKeyAuthenticationProvider.fromConnectionString(stringOf(d, over), 3, 2);
    let renewed = 0;
    provider.on('newTokenAvailable', () => renewed++);
    const client = await openWith(t, device.Client.fromAuthenticationProvider(provider, over.of));
    const works = await active(client, d);
    await works(1);
    const { connectionStateUpdatedTime } = (await registry().get(d.deviceId)).responseBody;
    const from = renewed;
    await eventually(() => renewed, (n) => n >= from + 5, 'five renewals: the first token has ended long ago');
    await works(2);
    assert.equal((await registry().get(d.deviceId)).responseBody.connectionStateUpdatedTime, connectionStateUpdatedTime);
  }],
  ['without renewal the device is disconnected after the hub\'s grace', 'connects', async (t, over) => {
    const d = await newDevice('ends');
    const client = await openWith(t, device.Client.fromSharedAccessSignature(token(d, over, 6), over.of)); // time enough to open it on a busy machine
    await hello(client);
    await next(client, 'disconnect');
    await eventually(() => state(d), (s) => s === 'Disconnected');
  }],
]);

const newModule = async (name) => (await registry().addModule({ deviceId: (await newDevice(name)).deviceId, moduleId: 'm' })).responseBody;

hold('modules', [
  ['its events, and those of an output, are acknowledged', 'connects', async (t, over) => {
    const client = await connect(t, await newModule('module'), over);
    await client.sendEvent(new Message('hello'));
    await client.sendOutputEvent('alarms', new Message('hello'));
  }],
  ['its twin is its own', 'connects', async (t, over) => {
    const m = await newModule('module');
    const twin = await (await connect(t, m, over)).getTwin();
    const [change] = await listen(twin, (delta) => delta.rate === 5);
    await registry().updateModuleTwin(m.deviceId, m.moduleId, { properties: { desired: { rate: 5 } } }, '*');
    assert.equal((await change).$version, 2);
    await report(twin, { running: true });
    const seen = (await registry().getModuleTwin(m.deviceId, m.moduleId)).responseBody;
    assert.deepEqual([seen.properties.reported.running, seen.connectionState], [true, 'Connected']);
    assert.equal((await twinOf(m)).properties.reported.running, undefined);
  }],
  ['a method reaches it', 'connects', async (t, over) => {
    const m = await newModule('module');
    const client = await connect(t, m, over);
    client.onMethod('ping', (req, res) => res.send(201, { was: req.methodName }, () => {}));
    const { result } = await eventually(() => service().invokeDeviceMethod(m.deviceId, m.moduleId, { methodName: 'ping', payload: null, responseTimeoutInSeconds: 10 }).catch(() => undefined), Boolean);
    assert.deepEqual(result, { status: 201, payload: { was: 'ping' } });
  }],
  ['device and module are there side by side, and both go with the device', 'connects', async (t, over) => {
    const m = await newModule('module');
    const d = (await registry().get(m.deviceId)).responseBody;
    const both = [await connect(t, d, over), await connect(t, m, over)];
    for (const client of both) await hello(client);
    const gone = both.map((client) => next(client, 'disconnect'));
    await registry().delete(m.deviceId);
    await Promise.all(gone);
  }],
  ['a wrong key, and the device\'s, are UnauthorizedError', 'connects', async (t, over) => {
    const m = await newModule('module');
    await refused(connect(t, m, over, { key: Buffer.alloc(32, 1).toString('base64') }), 'UnauthorizedError');
    await refused(connect(t, m, over, { key: keyOf((await registry().get(m.deviceId)).responseBody) }), 'UnauthorizedError');
  }],
]);
