// What devices find over HTTPS alone, through azure-iot-device-http; what they find over other transports, too, is in devices.test.mjs and
// connections.test.mjs. Together they ask what Microsoft's own suite for this transport asks, each in our own words (azure-iot-sdk-node, e2etests:
// authentication, device_service, device_acknowledge_tests, empty_messages).
import test from 'node:test';
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { createRequire } from 'node:module';
import { newDevice, request, device, SharedAccessSignature, NoRetry, PortAgent, ca } from './hub.mjs';

const require = createRequire(import.meta.url);
const { Http } = require('azure-iot-device-http');
const { errors, Message } = require('azure-iot-common');

// A client that is not closed renews its token, and with it keeps the process.
const all = [];
test.after(() => Promise.all(all.map((client) => client.close())));

// The transport takes no port beside the host name; its agent does.
async function over(client, receivePolicy = { manualPolling: true }) {
  all.push(client);
  client.setRetryPolicy(new NoRetry());
  await client.setOptions({ ca, http: { agent: new PortAgent(), receivePolicy } });
  return client;
}
const withKey = (id, key, policy) => over(device.Client.fromConnectionString(`HostName=localhost;DeviceId=${id};SharedAccessKey=${key}`, Http), policy);
const opened = async (d, policy) => {
  const client = await withKey(d.deviceId, d.authentication.symmetricKey.primaryKey, policy);
  await client.open();
  return client;
};

test('HTTPS alone: messages of a device', { timeout: 60_000 }, async (t) => {
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
  await t.test('the largest', async () => {
    const message = new Message(Buffer.alloc(256 * 1024 - 512 - 2 * 36 - 1, 'x'));
    message.messageId = crypto.randomUUID();
    message.properties.add('a', crypto.randomUUID());
    await client.sendEvent(message);
  });
  await t.test('a batch', async () => {
    const messages = [1, 2, 3].map((n) => new Message(JSON.stringify({ n })));
    messages[1].properties.add('alert', 'cold');
    await client.sendEventBatch(messages);
    await client.sendEventBatch([new Message(Buffer.from([0, 255]))]);
    await assert.rejects(client.sendEventBatch(Array.from({ length: 501 }, () => new Message('x'))), { name: 'ArgumentError' });
  });
});

test('HTTPS alone: messages for a device', { timeout: 60_000 }, async (t) => {
  const d = await newDevice('http-c2d');
  const client = await opened(d, { interval: 0.05 }); // seconds between two questions; without a policy it is one
  const send = async (text, headers = {}) => {
    const answer = await request('POST', `/devices/${d.deviceId}/messages/deviceBound`, text, headers);
    assert.equal(answer.status, 204);
  };
  const left = async () => (await request('GET', `/devices/${d.deviceId}`)).body.cloudToDeviceMessageCount;
  const text = (message) => JSON.parse(message.getData().toString());

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

  await t.test('the largest', async () => {
    const coming = given(1);
    const content = 'x'.repeat(64 * 1024 - 100);
    await send(content);
    const [message] = await coming;
    assert.equal(text(message), content);
    await client.complete(message);
  });
});

test('HTTPS alone: who is sent away', { timeout: 60_000 }, async (t) => {
  const d = await newDevice('http-auth');
  const key = d.authentication.symmetricKey.primaryKey;
  const token = SharedAccessSignature.create(`localhost/devices/${d.deviceId}`, undefined, key, Math.floor(Date.now() / 1000) + 60).toString();

  await t.test('an id that none can have', async () => { await assert.rejects((await withKey(`${d.deviceId}//foo`, key)).sendEvent(new Message('x')), (err) => err instanceof errors.DeviceNotFoundError); });
  await t.test('a device\'s token at an endpoint of services says what is wrong', async () => {
    const answer = await request('GET', `/twins/${d.deviceId}`, undefined, { Authorization: token });
    assert.equal(answer.status, 401);
    assert.match(answer.body.Message, /device's own token/);
  });
});
