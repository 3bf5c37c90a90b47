// Devices over HTTPS through azure-iot-device-http: messages in both directions, and who is sent away. What Microsoft's own suite for this
// transport asks is here, each in our own words (azure-iot-sdk-node, e2etests: authentication, device_service, device_acknowledge_tests,
// empty_messages).
import test from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import crypto from 'node:crypto';
import { createRequire } from 'node:module';
import { registry, newDevice, uniqueId, request, device, SharedAccessSignature, NoRetry, PortAgent, ca, sha1 } from './hub.mjs';

const require = createRequire(import.meta.url);
const { Http } = require('azure-iot-device-http');
const { errors, Message } = require('azure-iot-common');

// The transport takes no port beside the host name; its agent does.
async function over(client, pair, receivePolicy = { manualPolling: true }) {
  client.setRetryPolicy(new NoRetry());
  await client.setOptions({ ca, http: { agent: new PortAgent(pair), receivePolicy }, ...pair });
  return client;
}
const withKey = (id, key, policy) => over(device.Client.fromConnectionString(`HostName=localhost;DeviceId=${id};SharedAccessKey=${key}`, Http), undefined, policy);
const withToken = (token) => over(device.Client.fromSharedAccessSignature(token, Http));
const opened = async (d, policy) => {
  const client = await withKey(d.deviceId, d.authentication.symmetricKey.primaryKey, policy);
  await client.open();
  return client;
};

async function fails(client, kind) {
  await assert.rejects(client.sendEvent(new Message('hello')), (err) => err instanceof kind);
}

test('messages of a device', { timeout: 60_000 }, async (t) => {
  const d = await newDevice('http');
  const client = await opened(d);

  await t.test('one, with all that one has', async () => {
    const message = new Message('{"t":21}');
    Object.assign(message, { messageId: crypto.randomUUID(), correlationId: 'c', userId: 'u', contentType: 'application/json', contentEncoding: 'utf-8',
      expiryTimeUtc: new Date(Date.now() + 60_000).toISOString(), ack: 'none' });
    message.properties.add('alert', 'hot');
    const result = await client.sendEvent(message);
    assert.equal(result.constructor.name, 'MessageEnqueued');
  });
  await t.test('an empty one', async () => { await client.sendEvent(new Message('')); });
  await t.test('the largest', async () => {
    const message = new Message(Buffer.alloc(256 * 1024 - 512 - 2 * 36 - 1, 'x'));
    message.messageId = crypto.randomUUID();
    message.properties.add('a', crypto.randomUUID());
    await client.sendEvent(message);
  });
  await t.test('one too large', async () => {
    await assert.rejects(client.sendEvent(new Message(Buffer.alloc(256 * 1024 + 1))), (err) => err instanceof errors.MessageTooLargeError || err.response?.statusCode === 413);
  });
  await t.test('a batch', async () => {
    const messages = [1, 2, 3].map((n) => new Message(JSON.stringify({ n })));
    messages[1].properties.add('alert', 'cold');
    await client.sendEventBatch(messages);
    await client.sendEventBatch([new Message(Buffer.from([0, 255]))]);
    await assert.rejects(client.sendEventBatch(Array.from({ length: 501 }, () => new Message('x'))), { name: 'ArgumentError' });
  });
  await t.test('it is never connected, and was active', async () => {
    const { responseBody: twin } = await registry().getTwin(d.deviceId);
    assert.equal(twin.connectionState, 'Disconnected');
    assert.ok(Date.parse(twin.lastActivityTime) > Date.now() - 60_000);
  });
  await t.test('twins and methods are for other transports', async () => {
    await assert.rejects(client.getTwin(), { name: 'NotImplementedError' });
    assert.throws(() => client.onDeviceMethod('reboot', () => {}), { name: 'NotImplementedError' });
  });
  await client.close();
});

test('messages for a device', { timeout: 60_000 }, async (t) => {
  const d = await newDevice('http-c2d');
  const client = await opened(d, { interval: 0.05 }); // seconds between two questions; without a policy it is one
  const send = async (text, headers = {}) => {
    const answer = await request('POST', `/devices/${d.deviceId}/messages/deviceBound`, text, headers);
    assert.equal(answer.status, 204);
  };
  const left = async () => (await request('GET', `/devices/${d.deviceId}`)).body.cloudToDeviceMessageCount;
  const text = (message) => JSON.parse(message.getData().toString());
  t.after(() => client.close());

  // given resolves with the next messages.
  const given = (n) => new Promise((resolve) => {
    const all = [];
    const listener = (message) => {
      all.push(message);
      if (all.length === n) {
        client.removeListener('message', listener);
        resolve(all);
      }
    };
    client.on('message', listener);
  });

  await t.test('one comes with all that it has', async () => {
    const coming = given(1);
    await send('hello', { 'iothub-messageid': 'm1', 'iothub-correlationid': 'c1', 'iothub-app-alert': 'hot' });
    const [message] = await coming;
    assert.equal(text(message), 'hello');
    assert.equal(message.messageId, 'm1');
    assert.equal(message.correlationId, 'c1');
    assert.equal(message.to.toLowerCase(), `/devices/${d.deviceId}/messages/devicebound`);
    assert.ok(Date.parse(message.expiryTimeUtc) > Date.now());
    assert.deepEqual(message.properties.propertyList, [{ key: 'iothub-app-alert', value: 'hot' }]);
    assert.match(message.lockToken, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    assert.equal((await client.complete(message)).constructor.name, 'MessageCompleted');
    assert.equal(await left(), 0);
    await assert.rejects(client.complete(message), (err) => err.response.statusCode === 412);
  });

  for (const [outcome, result] of [['complete', 'MessageCompleted'], ['reject', 'MessageRejected']]) {
    await t.test(`one that is abandoned comes again, until there is a ${outcome}`, async () => {
      const coming = given(1);
      await send(outcome);
      const [first] = await coming;
      const again = given(1);
      assert.equal((await client.abandon(first)).constructor.name, 'MessageAbandoned');
      const [second] = await again;
      assert.equal(text(second), outcome);
      assert.notEqual(second.lockToken, first.lockToken);
      await assert.rejects(client[outcome](first), (err) => err.response.statusCode === 412);
      assert.equal((await client[outcome](second)).constructor.name, result);
      assert.equal(await left(), 0);
    });
  }

  await t.test('several, one at a time', async () => {
    const coming = given(3);
    for (const n of [1, 2, 3]) await send(n);
    const all = await coming;
    assert.deepEqual(all.map(text).sort(), [1, 2, 3]); // questions are under way side by side
    for (const message of all) await client.complete(message);
    assert.equal(await left(), 0);
  });

  await t.test('the largest', async () => {
    const coming = given(1);
    const content = 'x'.repeat(64 * 1024 - 100);
    await send(content);
    const [message] = await coming;
    assert.equal(text(message), content);
    await client.complete(message);
  });
});

test('who is sent away', { timeout: 60_000 }, async (t) => {
  const d = await newDevice('http-auth');
  const key = d.authentication.symmetricKey.primaryKey;
  const token = (seconds, id = d.deviceId) => SharedAccessSignature.create(`localhost/devices/${id}`, undefined, key, Math.floor(Date.now() / 1000) + seconds).toString();

  await t.test('the secondary key serves as well', async () => {
    await (await withKey(d.deviceId, d.authentication.symmetricKey.secondaryKey)).sendEvent(new Message('x'));
  });
  await t.test('a token that lasts serves', async () => { await (await withToken(token(60))).sendEvent(new Message('x')); });
  await t.test('a key that is not the device\'s', async () => {
    await fails(await withKey(d.deviceId, Buffer.from('invalidPrimaryKey').toString('base64')), errors.UnauthorizedError);
  });
  await t.test('a token of yesterday', async () => { await fails(await withToken(token(-86_400)), errors.UnauthorizedError); });
  await t.test('an id that none can have', async () => { await fails(await withKey(`${d.deviceId}//foo`, key), errors.DeviceNotFoundError); });
  await t.test('a device that does not exist', async () => { await fails(await withKey(`${d.deviceId}foo`, key), errors.DeviceNotFoundError); });
  await t.test('a device that is disabled', async () => {
    const off = await newDevice('http-off', { status: 'disabled' });
    await fails(await withKey(off.deviceId, off.authentication.symmetricKey.primaryKey), errors.UnauthorizedError);
  });

  const dir = mkdtempSync(path.join(tmpdir(), 'twinfleet-http-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const pair = (name) => {
    const file = path.join(dir, name);
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', `/CN=${name}`,
      '-keyout', `${file}.key`, '-out', `${file}.pem`], { stdio: 'ignore' });
    return { cert: readFileSync(`${file}.pem`, 'utf8'), key: readFileSync(`${file}.key`, 'utf8') };
  };
  await t.test('a certificate with the thumbprint serves, another does not', async () => {
    const mine = pair('mine');
    const id = uniqueId('http-x509');
    await registry().create({ deviceId: id, status: 'enabled', authentication: { x509Thumbprint: { primaryThumbprint: sha1(new crypto.X509Certificate(mine.cert).raw) } } });
    const by = (p) => over(device.Client.fromConnectionString(`HostName=localhost;DeviceId=${id};x509=true`, Http), p);
    await (await by(mine)).sendEvent(new Message('x'));
    await fails(await by(pair('other')), errors.UnauthorizedError);
  });
  await t.test('a device\'s token at an endpoint of services says what is wrong', async () => {
    const answer = await request('GET', `/twins/${d.deviceId}`, undefined, { Authorization: token(60) });
    assert.equal(answer.status, 401);
    assert.match(answer.body.Message, /device's own token/);
  });
});
