// azure-iothub's Client over its two transports: messages to devices, feedback on them, notifications of files.
import test from 'node:test';
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { createRequire } from 'node:module';
import { iothub, registry, newDevice, uniqueId, next, eventually, request, address, port, policyKey, SharedAccessSignature } from './hub.mjs';
import { closing, connect, transports } from './transports.mjs';

const require = createRequire(import.meta.url);
const { Amqp } = require('azure-iothub/dist/amqp');
const { AmqpWs } = require('azure-iothub/dist/amqp_ws');
const { Message } = require('azure-iot-common');
const mqtt = transports[0];

const both = [
  { name: 'AMQP', of: Amqp, host: `localhost:${port}`, device: transports[2] },
  { name: 'AMQP over WebSocket', of: AmqpWs, host: address, device: transports[3] },
];

const stringOf = (over, policy, key = policyKey(policy)) => `HostName=${over.host};SharedAccessKeyName=${policy};SharedAccessKey=${key}`;
const opened = async (t, over, policy = 'service', key) => {
  const client = closing(t, iothub.Client.fromConnectionString(stringOf(over, policy, key), over.of));
  await client.open();
  return client;
};
// The SDK's calls answer with a result, or with a list that begins with it.
const receiverOf = async (asked) => {
  const answer = await asked;
  return answer.receiver ?? answer.result ?? answer;
};
// The SDK takes messages as long as somebody listens, and settles none afterwards.
const taking = async (...args) => (await connect(...args)).on('message', () => {});
const waiting = async (d) => (await registry().getTwin(d.deviceId)).responseBody.cloudToDeviceMessageCount;
// An expiry is milliseconds since 1970: of a Date rhea's encoder throws, and the connection with all that goes on over it is lost.
const message = (body, more = {}) => Object.assign(new Message(body), more);
const text = (m) => m.getData().toString();

// Of what $cbs answered the SDK makes an error of its kind, and puts it into another that says where.
const unauthorized = (err) => err.amqpError?.name === 'UnauthorizedError';

// Others' notices come too, also while the case ends: then they come again, to the next.
const done = (receiver, m) => Promise.resolve(receiver.complete(m)).catch(() => {});

// Feedback is one queue for all: a receiver keeps what it gets, by the message that it is about.
async function feedback(t, client, settle = (receiver, m) => receiver.complete(m)) {
  const receiver = await receiverOf(client.getFeedbackReceiver());
  const records = [];
  receiver.on('message', (m) => {
    const batch = JSON.parse(text(m));
    records.push(...batch);
    Promise.resolve(settle(receiver, m, batch)).catch(() => {});
  });
  t.after(() => receiver.removeAllListeners('message'));
  const about = (id) => records.filter((r) => r.originalMessageId === id);
  return { receiver, about, one: (id) => eventually(() => about(id), (found) => found.length > 0, `feedback on ${id}`).then((found) => found[0]) };
}

for (const over of both) {
  test(`messages from services over ${over.name}`, { concurrency: 4, timeout: 60_000 }, async (t) => {
    const cases = [
      ['a client opens, closes and opens again', async (tt) => {
        const client = await opened(tt, over);
        await client.close();
        await client.open();
      }],
      ['a wrong key is UnauthorizedError', (tt) => assert.rejects(opened(tt, over, 'service', Buffer.alloc(32, 1).toString('base64')), unauthorized)],
      ['a policy without ServiceConnect may not send', async (tt) => {
        const d = await newDevice('rights');
        await assert.rejects(opened(tt, over, 'registryReadWrite').then((client) => client.send(d.deviceId, message('x'))), { name: 'UnauthorizedError' });
        assert.equal(await waiting(d), 0);
      }],
      ['a token that has ended is UnauthorizedError', async (tt) => {
        const token = SharedAccessSignature.create(over.host, 'service', policyKey('service'), Math.floor(Date.now() / 1000) - 60).toString();
        const client = closing(tt, iothub.Client.fromSharedAccessSignature(token, over.of));
        await assert.rejects(client.open(), unauthorized);
      }],
      ['a token of its own making serves', async (tt) => {
        const token = SharedAccessSignature.create(over.host, 'service', policyKey('service'), Math.floor(Date.now() / 1000) + 60).toString();
        const client = closing(tt, iothub.Client.fromSharedAccessSignature(token, over.of));
        const d = await newDevice('token');
        await client.open();
        await client.send(d.deviceId, message('x'));
        assert.equal(await waiting(d), 1);
      }],
      ['a message reaches a device over AMQP and over MQTT with all its properties', async (tt) => {
        const client = await opened(tt, over);
        for (const way of [over.device, mqtt]) {
          const d = await newDevice('sent');
          const side = await taking(tt, d, way);
          const got = next(side, 'message');
          const m = message('{"hello":"device"}', { messageId: 'm-1', correlationId: 'c-1', contentType: 'application/json', contentEncoding: 'utf-8', expiryTimeUtc: Date.now() + 60_000 });
          m.properties.add('color', 'blue/green&1');
          await client.send(d.deviceId, m);
          const seen = await got;
          assert.equal(text(seen), '{"hello":"device"}');
          assert.deepEqual([seen.messageId, seen.correlationId, seen.properties.getValue('color')], ['m-1', 'c-1', 'blue/green&1']);
          if (way !== mqtt) {
            assert.deepEqual([seen.contentType, seen.contentEncoding, seen.to], ['application/json', 'utf-8', `/devices/${d.deviceId}/messages/devicebound`]);
          }
          await side.complete(seen);
          await eventually(() => waiting(d), (n) => n === 0);
        }
      }],
      ['text, bytes and nothing arrive as they are', async (tt) => {
        const client = await opened(tt, over);
        const d = await newDevice('bytes');
        const side = await taking(tt, d, over.device);
        for (const body of ['grüße', Buffer.from([0, 255, 128]), Buffer.alloc(0)]) {
          const got = next(side, 'message');
          await client.send(d.deviceId, message(body));
          const seen = await got;
          assert.deepEqual(Buffer.from(seen.getData() ?? ''), Buffer.from(body));
          await side.complete(seen);
        }
      }],
      ['ids that look like a UUID, and others, arrive as they were given', async (tt) => {
        const client = await opened(tt, over);
        const d = await newDevice('ids');
        const side = await taking(tt, d, over.device);
        for (const id of [crypto.randomUUID(), 'plain', '17', 'a b/c']) {
          const got = next(side, 'message');
          await client.send(d.deviceId, message('x', { messageId: id, correlationId: id }));
          const seen = await got;
          assert.deepEqual([seen.messageId, seen.correlationId], [id, id]);
          await side.complete(seen);
        }
      }],
      ['a device whose id needs encoding', async (tt) => {
        const client = await opened(tt, over);
        const { responseBody: d } = await registry().create({ deviceId: `${uniqueId('a%b#c?d')}!(x),=@$'` });
        await client.send(d.deviceId, message('x'));
        assert.equal((await registry().getTwin(d.deviceId)).responseBody.cloudToDeviceMessageCount, 1);
      }],
      ['an unknown device is DeviceNotFoundError, and the client goes on', async (tt) => {
        const client = await opened(tt, over);
        await assert.rejects(client.send(uniqueId('nobody'), message('x')), { name: 'DeviceNotFoundError' });
        await client.send((await newDevice('somebody')).deviceId, message('x'));
      }],
      ['the 51st waiting message is DeviceMaximumQueueDepthExceededError', async (tt) => {
        const client = await opened(tt, over);
        const d = await newDevice('full');
        for (let n = 0; n < 50; n++) await client.send(d.deviceId, message(String(n)));
        await assert.rejects(client.send(d.deviceId, message('51')), { name: 'DeviceMaximumQueueDepthExceededError' });
        assert.equal(await waiting(d), 50);
      }],
      ['a message larger than 64 KB is MessageTooLargeError', async (tt) => {
        const client = await opened(tt, over);
        const d = await newDevice('large');
        await assert.rejects(client.send(d.deviceId, message('x'.repeat(66_000))), { name: 'MessageTooLargeError' });
        await client.send(d.deviceId, message('x'.repeat(60_000)));
        assert.equal(await waiting(d), 1);
      }],
      ['methods go by REST beside it', async (tt) => {
        const d = await newDevice('method');
        const answer = await request('POST', `/twins/${d.deviceId}/methods`, { methodName: 'x', payload: null });
        assert.equal(JSON.parse(answer.body.Message).errorCode, 404103);
        await opened(tt, over);
      }],
    ];
    await Promise.all(cases.map(([name, run]) => t.test(name, { timeout: 20_000 }, run)));
  });

  test(`feedback over ${over.name}`, { timeout: 90_000 }, async (t) => {
    const client = await opened(t, over);
    const box = await feedback(t, client);
    // sent sends one message that wants feedback, to a device that does something with it.
    const sent = async (tt, ack, settle, more = {}) => {
      const d = await newDevice('ack');
      const side = settle && await taking(tt, d, over.device);
      const got = side && next(side, 'message');
      const messageId = uniqueId('ack');
      await client.send(d.deviceId, message('x', { messageId, ack, ...more }));
      if (settle) await side[settle](await got);
      return [messageId, d];
    };
    // The batches wait for more to come: the cases do so together.
    const cases = [
      ['full: a completed message is Success, with device, generation and time', async (tt) => {
        const [id, d] = await sent(tt, 'full', 'complete');
        const r = await box.one(id);
        assert.deepEqual([r.statusCode, r.deviceId, r.deviceGenerationId], ['Success', d.deviceId, d.generationId]);
        assert.ok(Math.abs(Date.now() - Date.parse(r.enqueuedTimeUtc)) < 60_000);
      }],
      ['positive: Success', async (tt) => assert.equal((await box.one((await sent(tt, 'positive', 'complete'))[0])).statusCode, 'Success')],
      ['negative: Rejected', async (tt) => assert.equal((await box.one((await sent(tt, 'negative', 'reject'))[0])).statusCode, 'Rejected')],
      ['full: Rejected', async (tt) => assert.equal((await box.one((await sent(tt, 'full', 'reject'))[0])).statusCode, 'Rejected')],
      ['negative: one that ends before its device comes is Expired', async (tt) => {
        const [id] = await sent(tt, 'negative', undefined, { expiryTimeUtc: Date.now() + 300 });
        assert.equal((await box.one(id)).statusCode, 'Expired');
      }],
      ['full: a purge is Purged', async (tt) => {
        const [id, d] = await sent(tt, 'full');
        await request('DELETE', `/devices/${d.deviceId}/commands`);
        assert.equal((await box.one(id)).statusCode, 'Purged');
      }],
      ['negative: one that is abandoned ten times is DeliveryCountExceeded', async (tt) => {
        const d = await newDevice('ack');
        const side = await taking(tt, d, over.device);
        side.on('message', (m) => setImmediate(() => side.abandon(m, () => {})));
        const messageId = uniqueId('ack');
        await client.send(d.deviceId, message('x', { messageId, ack: 'negative' }));
        assert.equal((await box.one(messageId)).statusCode, 'DeliveryCountExceeded');
      }],
      ['none, and what nobody asked for, give none', async (tt) => {
        const without = [await sent(tt, 'none', 'complete'), await sent(tt, 'positive', 'reject'), await sent(tt, 'negative', 'complete')];
        await box.one((await sent(tt, 'full', 'complete'))[0]); // later than all of them
        for (const [id] of without) assert.deepEqual(box.about(id), []);
      }],
    ];
    await t.test('records', { concurrency: true }, (all) => Promise.all(cases.map(([name, run]) => all.test(name, { timeout: 20_000 }, run))));
    box.receiver.removeAllListeners('message');
    await client.close();

    await t.test('one that is abandoned comes again', { timeout: 20_000 }, async (tt) => {
      const second = await opened(tt, over);
      let times = 0;
      const d = await newDevice('ack');
      const side = await taking(tt, d, over.device);
      const messageId = uniqueId('again');
      const { one, about } = await feedback(tt, second, (receiver, m, batch) => (batch.some((r) => r.originalMessageId === messageId) && times++ === 0 ? receiver.abandon(m) : receiver.complete(m)));
      const got = next(side, 'message');
      await second.send(d.deviceId, message('x', { messageId, ack: 'full' }));
      await side.complete(await got);
      await one(messageId);
      await eventually(() => about(messageId), (found) => found.length === 2);
    });
    await t.test('two receivers share the queue: each record comes once', { timeout: 20_000 }, async (tt) => {
      const clients = [await opened(tt, over), await opened(tt, over)];
      const boxes = [await feedback(tt, clients[0]), await feedback(tt, clients[1])];
      const d = await newDevice('ack');
      const side = await taking(tt, d, over.device);
      side.on('message', (m) => setImmediate(() => side.complete(m, () => {})));
      const ids = Array.from({ length: 5 }, () => uniqueId('shared'));
      for (const messageId of ids) await clients[0].send(d.deviceId, message('x', { messageId, ack: 'full' }));
      const of = (id) => boxes.flatMap((b) => b.about(id));
      await eventually(() => ids.every((id) => of(id).length > 0), Boolean);
      for (const id of ids) assert.equal(of(id).length, 1);
    });
  });

  // Files go by HTTPS, for which the SDK has no other port than 443.
  test(`notifications of files over ${over.name}`, { timeout: 45_000 }, async (t) => {
    await t.test('a device uploads a file, and the service is told', { timeout: 20_000 }, async (tt) => {
      const client = await opened(tt, over);
      const receiver = await receiverOf(client.getFileNotificationReceiver());
      const d = await newDevice('files');
      const told = new Promise((resolve) => {
        receiver.on('message', (m) => {
          const body = JSON.parse(text(m));
          done(receiver, m);
          if (body.deviceId === d.deviceId) resolve(body);
        });
      });
      const side = await taking(tt, d, transports[3]);
      const content = Buffer.from('line\n'.repeat(1000));
      const { Readable } = require('node:stream');
      await side.uploadToBlob('logs/today.txt', Readable.from(content), content.length);
      const body = await told;
      assert.equal(body.blobName, `${d.deviceId}/logs/today.txt`);
      assert.equal(body.blobSizeInBytes, content.length);
      assert.ok(body.blobUri.endsWith(`/${d.deviceId}/logs/today.txt`));
      assert.ok(Math.abs(Date.now() - Date.parse(body.enqueuedTimeUtc)) < 60_000);
    });
    await t.test('an upload that failed is told to nobody', { timeout: 20_000 }, async (tt) => {
      const client = await opened(tt, over);
      const receiver = await receiverOf(client.getFileNotificationReceiver());
      const d = await newDevice('files');
      const told = [];
      receiver.on('message', (m) => { told.push(JSON.parse(text(m))); done(receiver, m); });
      const side = await taking(tt, d, transports[3]);
      const access = async (name) => side.getBlobSharedAccessSignature(name);
      const failed = await access('failed.txt');
      await side.notifyBlobUploadStatus(failed.correlationId, false, 500, 'it did not work');
      const good = await access('good.txt');
      const { BlockBlobClient } = require('@azure/storage-blob');
      await new BlockBlobClient(`https://${good.hostName}/${good.containerName}/${good.blobName}${good.sasToken}`).upload('x', 1);
      await side.notifyBlobUploadStatus(good.correlationId, true, 200, 'ok');
      await eventually(() => told, (all) => all.some((n) => n.blobName === `${d.deviceId}/good.txt`));
      assert.ok(!told.some((n) => n.blobName === `${d.deviceId}/failed.txt`));
    });
  });
}
