// Telemetry as its readers see it: @azure/event-hubs at the Event-Hubs-compatible endpoint, in TCP and over WebSocket.
import test from 'node:test';
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { createRequire } from 'node:module';
import { device, registry, newDevice, eventually, address, port, eventHub, policyKey } from './hub.mjs';
import { connect, transports } from './transports.mjs';

const require = createRequire(import.meta.url);
const { EventHubConsumerClient, EventHubProducerClient, earliestEventPosition, latestEventPosition } = require('@azure/event-hubs');
const WebSocket = require('ws');
const { Message } = device;

const ways = [
  { name: 'AMQP', options: { customEndpointAddress: `https://localhost:${port}` } },
  { name: 'AMQP over WebSocket', options: { customEndpointAddress: `https://${address}:443`, webSocketOptions: { webSocket: WebSocket } } },
];
const quick = { retryOptions: { maxRetries: 0, timeoutInMs: 10_000 } };
const stringFor = (policy = 'service', key = policyKey(policy)) => `Endpoint=sb://localhost/;SharedAccessKeyName=${policy};SharedAccessKey=${key};EntityPath=${eventHub}`;

function reader(t, way, { group = '$Default', policy, key, entity = eventHub } = {}) {
  const client = new EventHubConsumerClient(group, stringFor(policy, key).replace(/;EntityPath=.*/, ''), entity, { ...quick, ...way.options });
  t.after(() => client.close());
  return client;
}

// subscribed collects what a reader gets, of all partitions or of one, and what it is told of errors.
function subscribed(t, client, startPosition, { partition, ...options } = {}) {
  const events = [];
  const errors = [];
  const handlers = {
    processEvents: async (list, context) => events.push(...list.map((e) => Object.assign(e, { partition: context.partitionId }))),
    processError: async (err) => errors.push(err),
  };
  // For one event at a time the client grants the hub three, and again 20 ms after the first of these came (dist/esm/partitionReceiver.js): a partition that holds what
  // 200 cases sent takes ten seconds and more then, to be read from the earliest on a busy machine.
  const all = { startPosition, maxWaitTimeInSeconds: 1, maxBatchSize: 100, ...options };
  const subscription = partition === undefined ? client.subscribe(handlers, all) : client.subscribe(partition, handlers, all);
  t.after(() => subscription.close());
  const of = (d) => events.filter((e) => e.systemProperties?.['iothub-connection-device-id'] === d.deviceId);
  return { events, errors, of, close: () => subscription.close(), some: (d, n) => eventually(() => of(d), (list) => list.length >= n, `${n} events of ${d.deviceId}; errors: ${errors}`) };
}

const send = async (t, over, d, n) => {
  const client = await connect(t, d, over);
  for (let i = 0; i < n; i++) await client.sendEvent(new Message(JSON.stringify({ n: i })));
  return client;
};
const [MQTT, , AMQP] = transports;
const bodies = (list) => list.map((e) => e.body.n);

for (const way of ways) {
  test(`reading telemetry over ${way.name}`, { timeout: 90_000 }, async (t) => {
    const cases = [
      ['properties of the hub and of its partitions', async (tt) => {
        const client = reader(tt, way);
        const properties = await client.getEventHubProperties();
        assert.equal(properties.name, eventHub);
        assert.deepEqual(properties.partitionIds, ['0', '1', '2', '3']);
        assert.deepEqual(await client.getPartitionIds(), properties.partitionIds);
        const d = await newDevice('properties');
        await send(tt, MQTT, d, 1);
        const [event] = await subscribed(tt, client, earliestEventPosition).some(d, 1);
        const p = await client.getPartitionProperties(event.partition);
        assert.equal(p.isEmpty ?? false, false);
        assert.ok(p.lastEnqueuedSequenceNumber >= event.sequenceNumber && p.beginningSequenceNumber <= event.sequenceNumber);
        assert.equal(typeof p.lastEnqueuedOffset, 'string');
        assert.ok(Math.abs(Date.now() - p.lastEnqueuedOnUtc) < 60_000);
      }],
      ['from the earliest: in the order of the device, numbered and timed', async (tt) => {
        const d = await newDevice('earliest');
        await send(tt, MQTT, d, 5);
        const list = await subscribed(tt, reader(tt, way), earliestEventPosition).some(d, 5);
        assert.deepEqual(bodies(list), [0, 1, 2, 3, 4]);
        assert.ok(list.every((e) => e.partition === list[0].partition && e.partitionKey === d.deviceId));
        for (let n = 1; n < 5; n++) {
          assert.ok(list[n].sequenceNumber > list[n - 1].sequenceNumber);
          assert.ok(list[n].enqueuedTimeUtc >= list[n - 1].enqueuedTimeUtc);
        }
      }],
      ['from the latest: only what comes then', async (tt) => {
        const d = await newDevice('latest');
        const side = await send(tt, MQTT, d, 1);
        const box = subscribed(tt, reader(tt, way), latestEventPosition);
        // The reader attaches in the background: a first event shows that it has.
        let n = 0;
        await eventually(async () => {
          await side.sendEvent(new Message(JSON.stringify({ n: ++n })));
          return box.of(d);
        }, (list) => list.length > 0);
        assert.ok(bodies(box.of(d))[0] > 0);
      }],
      ['from a sequence number, an offset and a time, with it and without', async (tt) => {
        const d = await newDevice('position');
        const side = await send(tt, AMQP, d, 2);
        const client = reader(tt, way);
        const [, second] = await subscribed(tt, client, earliestEventPosition).some(d, 2);
        await new Promise((resolve) => setTimeout(resolve, 5)); // another millisecond
        const between = new Date();
        await new Promise((resolve) => setTimeout(resolve, 5));
        for (const i of [2, 3]) await side.sendEvent(new Message(JSON.stringify({ n: i })));
        const positions = [
          [{ sequenceNumber: second.sequenceNumber, isInclusive: true }, [1, 2, 3]],
          [{ sequenceNumber: second.sequenceNumber }, [2, 3]],
          [{ offset: second.offset, isInclusive: true }, [1, 2, 3]],
          [{ offset: second.offset }, [2, 3]],
          [{ enqueuedOn: between }, [2, 3]],
        ];
        for (const [position, want] of positions) {
          const box = subscribed(tt, reader(tt, way), position, { partition: second.partition });
          assert.deepEqual(bodies(await box.some(d, want.length)), want, JSON.stringify(position));
          await box.close();
        }
      }],
      ['several readers of one group, and of another, get all each', async (tt) => {
        const d = await newDevice('several');
        const boxes = ['$Default', '$default', 'others'].map((group) => subscribed(tt, reader(tt, way, { group }), earliestEventPosition));
        await send(tt, MQTT, d, 3);
        for (const box of boxes) assert.deepEqual(bodies(await box.some(d, 3)), [0, 1, 2]);
      }],
      ['a higher owner level takes a partition, a lower one is refused', async (tt) => {
        const [low, high] = [2, 5].map((ownerLevel) => () => subscribed(tt, reader(tt, way), latestEventPosition, { partition: '0', ownerLevel }));
        const first = low();
        await new Promise((resolve) => setTimeout(resolve, 300)); // it attaches in the background
        const second = high();
        await eventually(() => first.errors, (e) => e.length > 0, 'the lower is told');
        assert.match(String(first.errors[0].code ?? first.errors[0].name), /ReceiverDisconnected|stolen/i);
        const third = low();
        await eventually(() => third.errors, (e) => e.length > 0, 'a lower one that comes later is told');
        assert.deepEqual(second.errors, []);
      }],
      ['a wrong key, an unknown policy and one without ServiceConnect are refused', async (tt) => {
        for (const given of [{ key: Buffer.alloc(32, 1).toString('base64') }, { policy: 'nobody', key: 'AAAA' }, { policy: 'registryRead' }]) {
          await assert.rejects(reader(tt, way, given).getPartitionIds(), (err) => /Unauthorized/.test(`${err.code} ${err.name}`), JSON.stringify(Object.keys(given)));
        }
      }],
      ['an unknown hub, group and partition are refused', async (tt) => {
        await assert.rejects(reader(tt, way, { entity: 'another' }).getPartitionIds());
        await assert.rejects(reader(tt, way).getPartitionProperties('17'));
        const box = subscribed(tt, reader(tt, way, { group: 'nobodys' }), earliestEventPosition, { partition: '0' });
        await eventually(() => box.errors, (e) => e.length > 0);
      }],
      ['nobody may send here', async (tt) => {
        const producer = new EventHubProducerClient(stringFor(), { ...quick, ...way.options });
        tt.after(() => producer.close());
        await assert.rejects(producer.sendBatch([{ body: 'x' }]));
      }],
    ];
    // One after the other: a partition takes five readers of a group.
    for (const [name, run] of cases) await t.test(name, { timeout: 20_000 }, run);
  });
}

test('telemetry as readers see it', { concurrency: 5, timeout: 60_000 }, async (t) => {
  const client = reader(t, ways[0]);
  const box = subscribed(t, client, earliestEventPosition);
  await Promise.all(transports.map((over) => t.test(`sent over ${over.name}`, { timeout: 20_000 }, async (tt) => {
    const d = await newDevice('seen');
    const side = await connect(tt, d, over);
    const uuid = crypto.randomUUID();
    const m = new Message(JSON.stringify({ n: 0, temperature: 21.5 }));
    Object.assign(m, { messageId: uuid, correlationId: 'c-1', contentType: 'application/json', contentEncoding: 'utf-8' });
    m.properties.add('level', 'c/d&e=f');
    await side.sendEvent(m);
    const plain = new Message(Buffer.from([0, 255, 128]));
    plain.contentType = 'application/octet-stream';
    await side.sendEvent(plain);
    const [first, second] = await box.some(d, 2);
    assert.deepEqual(first.body, { n: 0, temperature: 21.5 });
    assert.deepEqual([...Object.values(second.body?.data ?? second.body)], [0, 255, 128]);
    assert.deepEqual([first.messageId, first.correlationId, first.contentType], [uuid, 'c-1', 'application/json']);
    assert.equal(first.properties.level, 'c/d&e=f');
    const seen = first.systemProperties;
    assert.equal(seen['iothub-connection-auth-generation-id'], d.generationId);
    assert.equal(seen['iothub-message-source'], 'Telemetry');
    assert.deepEqual(JSON.parse(seen['iothub-connection-auth-method']), { scope: 'device', type: 'sas', issuer: 'iothub', acceptingIpFilterRule: null });
    assert.ok(Math.abs(Date.now() - new Date(seen['iothub-enqueuedtime'])) < 60_000);
    assert.equal(first.partitionKey, d.deviceId);
  })));
  await t.test('a batch over HTTPS is as many events', async (tt) => {
    const d = await newDevice('batch');
    const side = await connect(tt, d, transports[4]);
    await side.sendEventBatch([0, 1, 2].map((n) => {
      const m = new Message(JSON.stringify({ n }));
      m.properties.add('of', 'three');
      return m;
    }));
    const list = await box.some(d, 3);
    assert.deepEqual(bodies(list), [0, 1, 2]);
    assert.deepEqual(list.map((e) => e.properties.of), ['three', 'three', 'three']);
  });
  await t.test('events of a module carry its id, and the output that they left by', async (tt) => {
    const d = await newDevice('module');
    const { responseBody: m } = await registry().addModule({ deviceId: d.deviceId, moduleId: 'm' });
    for (const over of [MQTT, AMQP]) {
      const side = await connect(tt, m, over);
      await side.sendOutputEvent('alarms', new Message(JSON.stringify({ n: 0 })));
      await side.close();
    }
    const list = await box.some(d, 2);
    assert.deepEqual(list.map((e) => e.systemProperties['iothub-connection-module-id']), ['m', 'm']);
  });
});
