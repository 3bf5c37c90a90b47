// Who may connect, and who is sent away.
import test from 'node:test';
import assert from 'node:assert/strict';
import { registry, newDevice, connect, device, Mqtt, MqttWs, SharedAccessSignature, NoRetry, port, ca, PortAgent, next, uniqueId, report, eventually } from './hub.mjs';
import { certificates, thumbprint } from './certificates.mjs';

const open = async (client) => {
  client.setRetryPolicy(new NoRetry());
  await client.setOptions({ ca });
  try {
    await client.open();
  } finally {
    await client.close().catch(() => {});
  }
};
const token = (d, seconds, id = d.deviceId) => SharedAccessSignature.create(`localhost:${port}/devices/${id}`, undefined,
  d.authentication.symmetricKey.primaryKey, Math.floor(Date.now() / 1000) + seconds).toString();

test('connections', { timeout: 60_000 }, async (t) => {
  await t.test('the secondary key serves as well', async () => {
    const d = await newDevice('secondary');
    const client = await connect(d, { key: d.authentication.symmetricKey.secondaryKey });
    await client.close();
  });
  await t.test('a wrong key is UnauthorizedError', async () => {
    const d = await newDevice('wrong');
    await assert.rejects(connect(d, { key: Buffer.alloc(32, 1).toString('base64') }), { name: 'UnauthorizedError' });
  });
  await t.test('an expired token is UnauthorizedError', async () => {
    const d = await newDevice('expired');
    await assert.rejects(open(device.Client.fromSharedAccessSignature(token(d, -60), Mqtt)), { name: 'UnauthorizedError' });
  });
  await t.test('a token that lasts is accepted', async () => {
    const d = await newDevice('lasting');
    await open(device.Client.fromSharedAccessSignature(token(d, 60), Mqtt));
  });
  await t.test('a token for another device is UnauthorizedError', async () => {
    const d = await newDevice('other');
    const other = await newDevice('another');
    await assert.rejects(open(device.Client.fromSharedAccessSignature(token(d, 60, other.deviceId), Mqtt)), { name: 'UnauthorizedError' });
  });
  await t.test('an unknown device is UnauthorizedError', async () => {
    const d = await newDevice('ghost');
    await registry().delete(d.deviceId);
    await assert.rejects(connect(d), { name: 'UnauthorizedError' });
  });
  await t.test('a disabled device is UnauthorizedError', async () => {
    const d = await newDevice('disabled', { status: 'disabled' });
    await assert.rejects(connect(d), { name: 'UnauthorizedError' });
  });
  await t.test('a device deleted while connected is disconnected', async () => {
    const d = await newDevice('deleted');
    const client = await connect(d);
    const gone = next(client, 'disconnect');
    await registry().delete(d.deviceId);
    await gone;
    await client.close().catch(() => {});
  });
  await t.test('a device disabled while connected is disconnected', async () => {
    const d = await newDevice('disable');
    const client = await connect(d);
    const gone = next(client, 'disconnect');
    await registry().update({ deviceId: d.deviceId, status: 'disabled' });
    await gone;
    await client.close().catch(() => {});
  });
  await t.test('a second connection with one id wins', async () => {
    const d = await newDevice('second');
    const first = await connect(d);
    const gone = next(first, 'disconnect');
    const second = await connect(d);
    await gone;
    const twin = await second.getTwin();
    await report(twin, { here: true });
    assert.equal((await registry().getTwin(d.deviceId)).responseBody.connectionState, 'Connected');
    await first.close().catch(() => {});
    await second.close();
  });
});

test('token renewal', { timeout: 60_000 }, async (t) => {
  // The SDK disconnects and connects again, and subscribes to nothing anew.
  await t.test('keeps twin, desired properties and methods', async () => {
    const d = await newDevice('renew');
    const client = device.Client.fromSharedAccessSignature(token(d, 3600), Mqtt);
    client.setRetryPolicy(new NoRetry());
    await client.setOptions({ ca });
    await client.open();
    t.after(() => client.close());
    const twin = await client.getTwin();
    let got = 0;
    twin.on('properties.desired', (delta) => { got = delta.n ?? got; });
    // The SDK subscribes in the background; a first notification shows that it is done.
    let n = 0;
    const notified = () => registry().updateTwin(d.deviceId, { properties: { desired: { n: ++n } } }, '*');
    await eventually(notified, () => got > 0);
    await client.updateSharedAccessSignature(token(d, 7200));
    const before = n;
    await eventually(notified, () => got > before);
    await report(twin, { renewed: true });
    assert.equal((await registry().getTwin(d.deviceId)).responseBody.properties.reported.renewed, true);
  });
});

test('X.509', { timeout: 60_000 }, async (t) => {
  const { selfSigned, signed } = certificates(t);
  const x509 = async (id, pair, { transport = Mqtt, websocket = false } = {}) => {
    const client = device.Client.fromConnectionString(`HostName=localhost${websocket ? '' : `:${port}`};DeviceId=${id};x509=true`, transport);
    client.setRetryPolicy(new NoRetry());
    await client.setOptions(websocket ? { ca, ...pair, mqtt: { webSocketAgent: new PortAgent(pair) } } : { ca, ...pair });
    await client.open();
    return client;
  };
  for (const [name, options] of [['MQTT', {}], ['MQTT over WebSocket', { transport: MqttWs, websocket: true }]]) {
    await t.test(`a self-signed certificate with the right thumbprint over ${name}`, async () => {
      const id = uniqueId('x509');
      const pair = selfSigned(id);
      await registry().create({ deviceId: id, authentication: { type: 'selfSigned', x509Thumbprint: { primaryThumbprint: thumbprint(pair), secondaryThumbprint: thumbprint(pair) } } });
      const client = await x509(id, pair, options);
      await report(await client.getTwin(), { via: 'x509' });
      assert.equal((await registry().getTwin(id)).responseBody.authenticationType, 'selfSigned');
      await client.close();
    });
  }
  await t.test('a certificate that the authority signed for the device', async () => {
    const id = uniqueId('x509ca');
    await registry().create({ deviceId: id, authentication: { type: 'certificateAuthority' } });
    const client = await x509(id, signed(id));
    await report(await client.getTwin(), { via: 'ca' });
    await client.close();
  });
  await t.test('one that it signed for another device is UnauthorizedError', async () => {
    const id = uniqueId('x509ca');
    await registry().create({ deviceId: id, authentication: { type: 'certificateAuthority' } });
    await assert.rejects(x509(id, signed(uniqueId('other'))), { name: 'UnauthorizedError' });
  });
  await t.test('another certificate is UnauthorizedError', async () => {
    const id = uniqueId('x509no');
    const pair = selfSigned(id);
    await registry().create({ deviceId: id, authentication: { type: 'selfSigned', x509Thumbprint: { primaryThumbprint: '00'.repeat(20), secondaryThumbprint: '00'.repeat(20) } } });
    const client = device.Client.fromConnectionString(`HostName=localhost:${port};DeviceId=${id};x509=true`, Mqtt);
    client.setRetryPolicy(new NoRetry());
    await client.setOptions({ ca, ...pair });
    await assert.rejects(client.open(), { name: 'UnauthorizedError' });
  });
});
