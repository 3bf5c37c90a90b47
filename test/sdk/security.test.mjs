// Who may connect, and who is sent away.
import test from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import crypto from 'node:crypto';
import { registry, newDevice, connect, device, Mqtt, MqttWs, SharedAccessSignature, NoRetry, port, ca, sha1, next, uniqueId, report } from './hub.mjs';

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

test('X.509', { timeout: 60_000 }, async (t) => {
  const dir = mkdtempSync(path.join(tmpdir(), 'twinfleet-x509-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const make = (cn) => {
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
      '-subj', `/CN=${cn}`, '-keyout', path.join(dir, `${cn}.key`), '-out', path.join(dir, `${cn}.pem`)], { stdio: 'ignore' });
    return { cert: readFileSync(path.join(dir, `${cn}.pem`), 'utf8'), key: readFileSync(path.join(dir, `${cn}.key`), 'utf8') };
  };
  for (const [name, transport] of [['MQTT', Mqtt]]) {
    await t.test(`a self-signed certificate with the right thumbprint over ${name}`, async () => {
      const id = uniqueId('x509');
      const pair = make(id);
      const thumbprint = sha1(new crypto.X509Certificate(pair.cert).raw);
      await registry().create({ deviceId: id, authentication: { type: 'selfSigned', x509Thumbprint: { primaryThumbprint: thumbprint, secondaryThumbprint: thumbprint } } });
      const client = device.Client.fromConnectionString(`HostName=localhost:${port};DeviceId=${id};x509=true`, transport);
      client.setRetryPolicy(new NoRetry());
      await client.setOptions({ ca, ...pair });
      await client.open();
      await report(await client.getTwin(), { via: 'x509' });
      assert.equal((await registry().getTwin(id)).responseBody.authenticationType, 'selfSigned');
      await client.close();
    });
  }
  await t.test('another certificate is UnauthorizedError', async () => {
    const id = uniqueId('x509no');
    const pair = make(id);
    await registry().create({ deviceId: id, authentication: { type: 'selfSigned', x509Thumbprint: { primaryThumbprint: '00'.repeat(20), secondaryThumbprint: '00'.repeat(20) } } });
    const client = device.Client.fromConnectionString(`HostName=localhost:${port};DeviceId=${id};x509=true`, Mqtt);
    client.setRetryPolicy(new NoRetry());
    await client.setOptions({ ca, ...pair });
    await assert.rejects(client.open(), { name: 'UnauthorizedError' });
  });
});
