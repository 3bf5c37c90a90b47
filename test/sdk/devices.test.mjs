// What devices send, receive, report and answer, over each of the SDK's transports.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { device, registry, service, newDevice, next, report, listen, eventually, request } from './hub.mjs';
import { hold, connect, send } from './transports.mjs';

const { Message } = device;
const json = (m) => JSON.parse(m.getData().toString());
const twinOf = async (d) => (await registry().getTwin(d.deviceId)).responseBody;
const waiting = async (d) => (await twinOf(d)).cloudToDeviceMessageCount;
const opened = async (t, transport, name) => {
  const d = await newDevice(name);
  return [d, await connect(t, d, transport)];
};
// The SDK takes messages as long as somebody listens, and settles none afterwards.
const listening = (client) => client.on('message', () => {});
const taking = async (t, transport, name) => {
  const [d, client] = await opened(t, transport, name);
  return [d, listening(client)];
};
// invoke asks until the device has subscribed, which the SDK does in the background.
const invoke = (d, methodName, payload, seconds = 10) => service().invokeDeviceMethod(d.deviceId, { methodName, payload, responseTimeoutInSeconds: seconds }).then((r) => r.result);
const answering = async (client, d, name, answer) => {
  client.onDeviceMethod(name, answer);
  client.onDeviceMethod('ready', (req, res) => res.send(200, null));
  await eventually(() => invoke(d, 'ready', null, 5).catch(() => undefined), Boolean);
};

hold('telemetry', [
  ['one message is acknowledged', '', async (t, over) => {
    const [d, client] = await opened(t, over, 'telemetry');
    await client.sendEvent(new Message(JSON.stringify({ temperature: 21 })));
    assert.ok(Date.now() - Date.parse((await twinOf(d)).lastActivityTime) < 60_000);
  }],
  ['a message with properties, content type and encoding', '', async (t, over) => {
    const [, client] = await opened(t, over, 'telemetry');
    const m = new Message(JSON.stringify({ temperature: 21 }));
    Object.assign(m, { messageId: 'm-1', correlationId: 'c-1', contentType: 'application/json', contentEncoding: 'utf-8' });
    m.properties.add('room', 'kitchen');
    m.properties.add('level', 'c/d&e=f');
    await client.sendEvent(m);
  }],
  ['ids that look like a UUID', '', async (t, over) => {
    const [, client] = await opened(t, over, 'telemetry');
    const m = new Message('x');
    m.messageId = crypto.randomUUID();
    m.correlationId = crypto.randomUUID();
    await client.sendEvent(m);
  }],
  ['bytes that are no text, and no bytes at all', '', async (t, over) => {
    const [, client] = await opened(t, over, 'telemetry');
    await client.sendEvent(new Message(Buffer.from([0, 255, 128, 10, 13])));
    await client.sendEvent(new Message(Buffer.alloc(0)));
  }],
  ['two hundred messages under way at once', 'connects', async (t, over) => {
    const [, client] = await opened(t, over, 'telemetry');
    await Promise.all(Array.from({ length: 200 }, (_, n) => client.sendEvent(new Message(JSON.stringify({ n })))));
  }],
  ['a message of 255 KB is acknowledged', '', async (t, over) => {
    const [, client] = await opened(t, over, 'telemetry');
    await client.sendEvent(new Message('x'.repeat(255 * 1024)));
  }],
  ['one larger than 256 KB is MessageTooLargeError, and the next is acknowledged', '', async (t, over) => {
    const [, client] = await opened(t, over, 'telemetry');
    await assert.rejects(client.sendEvent(new Message('x'.repeat(262_145))), { name: 'MessageTooLargeError' });
    await client.sendEvent(new Message('small'));
  }],
  ['a batch is acknowledged as one', 'batches', async (t, over) => {
    const [, client] = await opened(t, over, 'telemetry');
    const batch = Array.from({ length: 20 }, (_, n) => new Message(JSON.stringify({ n })));
    for (const m of batch) m.properties.add('of', 'twenty'); // without properties the SDK makes text that is no JSON
    await client.sendEventBatch(batch);
  }],
]);

hold('messages to devices', [
  ['a message arrives with its properties, and is completed', '', async (t, over) => {
    const [d, client] = await taking(t, over, 'c2d');
    const message = next(client, 'message');
    await send(d, { hello: 'device' }, { 'iothub-app-color': 'blue', 'iothub-messageid': 'm1', 'iothub-correlationid': 'c1' });
    const m = await message;
    assert.deepEqual(json(m), { hello: 'device' });
    assert.equal(m.properties.getValue(`${over.prefix ?? ''}color`), 'blue');
    assert.deepEqual([m.messageId, m.correlationId], ['m1', 'c1']);
    await client.complete(m);
    await eventually(() => waiting(d), (n) => n === 0);
  }],
  ['an id that looks like a UUID arrives as it was sent', '', async (t, over) => {
    const [d, client] = await taking(t, over, 'c2d');
    const id = crypto.randomUUID();
    const message = next(client, 'message');
    await send(d, 1, { 'iothub-messageid': id });
    assert.equal((await message).messageId, id);
  }],
  ['messages queued while away arrive in their order', '', async (t, over) => {
    const d = await newDevice('queued');
    for (let n = 0; n < 3; n++) await send(d, { n });
    // Over HTTPS the SDK asks by the clock, also when its last question has no answer yet, and answers overtake each other on a busy machine.
    const client = listening(await connect(t, d, over, { options: { http: { receivePolicy: { interval: 1 } } } }));
    const got = [];
    const all = next(client, 'message', (m) => {
      got.push(json(m).n);
      client.complete(m, () => {});
      return got.length === 3;
    });
    await all;
    assert.deepEqual(got, [0, 1, 2]);
    await eventually(() => waiting(d), (n) => n === 0);
  }],
  ['one that is abandoned comes again', 'settles', async (t, over) => {
    const [d, client] = await taking(t, over, 'abandon');
    const first = next(client, 'message');
    await send(d, { again: true }, { 'iothub-messageid': 'again' });
    const m = await first;
    const second = next(client, 'message');
    await client.abandon(m);
    const again = await second;
    assert.equal(again.messageId, 'again');
    await client.complete(again);
    await eventually(() => waiting(d), (n) => n === 0);
  }],
  ['one that is rejected is gone', 'settles', async (t, over) => {
    const [d, client] = await taking(t, over, 'reject');
    const first = next(client, 'message');
    await send(d, 1);
    await client.reject(await first);
    await eventually(() => waiting(d), (n) => n === 0);
    const other = next(client, 'message');
    await send(d, 2);
    assert.equal(json(await other), 2);
  }],
  ['complete, abandon and reject side by side settle each its own', 'settles', async (t, over) => {
    const [d, client] = await taking(t, over, 'settle');
    const got = new Map();
    const seen = next(client, 'message', (m) => got.set(json(m).n, m).size === 3);
    for (let n = 0; n < 3; n++) await send(d, { n });
    await seen;
    const again = next(client, 'message', (m) => json(m).n === 1);
    await client.complete(got.get(0));
    await client.abandon(got.get(1));
    await client.reject(got.get(2));
    await client.complete(await again);
    await eventually(() => waiting(d), (n) => n === 0);
  }],
  ['one that was not settled comes to the next connection', 'inBand', async (t, over) => {
    const d = await newDevice('unsettled');
    const first = listening(await connect(t, d, over));
    const message = next(first, 'message');
    await send(d, 'kept');
    assert.equal(json(await message), 'kept');
    await first.close();
    assert.equal(await waiting(d), 1);
    const second = listening(await connect(t, d, over));
    const again = await next(second, 'message');
    assert.equal(json(again), 'kept');
    await second.complete(again);
    await eventually(() => waiting(d), (n) => n === 0);
  }],
  ['the listener that goes takes the subscription along', 'connects', async (t, over) => {
    const [d, client] = await taking(t, over, 'unlisten');
    const first = next(client, 'message');
    await send(d, 1);
    await client.complete(await first);
    await client.close();
    await send(d, 2);
    assert.equal(await waiting(d), 1);
  }],
]);

hold('twins of devices', [
  ['a fresh twin has empty sections at version 1', 'twins', async (t, over) => {
    const [, client] = await opened(t, over, 'twin');
    const { properties } = await client.getTwin();
    assert.deepEqual([properties.desired.$version, properties.reported.$version], [1, 1]);
  }],
  ['a report reaches the service', 'twins', async (t, over) => {
    const [d, client] = await opened(t, over, 'twin');
    await report(await client.getTwin(), { connectivity: { type: 'cellular' } });
    const { properties: { reported } } = await twinOf(d);
    assert.deepEqual(reported.connectivity, { type: 'cellular' });
    assert.equal(reported.$version, 2);
  }],
  ['null removes a reported property', 'twins', async (t, over) => {
    const [d, client] = await opened(t, over, 'twin');
    const twin = await client.getTwin();
    await report(twin, { gone: 1, stays: { a: 1, b: 2 } });
    await report(twin, { gone: null, stays: { b: null } });
    const { properties: { reported: { gone, stays } } } = await twinOf(d);
    assert.deepEqual({ gone, stays }, { gone: undefined, stays: { a: 1 } });
  }],
  ['a refused report is an error, and the next is taken', 'twins', async (t, over) => {
    const [, client] = await opened(t, over, 'twin');
    const twin = await client.getTwin();
    await assert.rejects(report(twin, { big: 'x'.repeat(5000) }));
    await assert.rejects(report(twin, { list: [{ a: null }] }));
    await report(twin, { small: 1 });
  }],
  ['a desired change arrives with its version', 'twins', async (t, over) => {
    const [d, client] = await opened(t, over, 'twin');
    const [change] = await listen(await client.getTwin(), (delta) => delta.rate === 5);
    await registry().updateTwin(d.deviceId, { properties: { desired: { rate: 5 } } }, '*');
    assert.deepEqual(await change, { rate: 5, $version: 2 });
  }],
  ['desired properties that are replaced, and cleared, are told', 'twins', async (t, over) => {
    const [d, client] = await opened(t, over, 'twin');
    const twin = await client.getTwin();
    const [set] = await listen(twin, (delta) => delta.a === 1);
    await registry().updateTwin(d.deviceId, { properties: { desired: { a: 1, b: { c: 2 } } } }, '*');
    await set;
    const cleared = next(twin, 'properties.desired', (delta) => delta.a === null);
    await registry().updateTwin(d.deviceId, { properties: { desired: { a: null } } }, '*');
    await cleared;
    assert.equal('a' in (await twinOf(d)).properties.desired, false);
  }],
  ['who reads the twin again sees what the service wrote', 'twins', async (t, over) => {
    const [d, client] = await opened(t, over, 'twin');
    await client.getTwin();
    await registry().updateTwin(d.deviceId, { properties: { desired: { mode: 'slow' } } }, '*');
    assert.equal((await client.getTwin()).properties.desired.mode, 'slow');
  }],
  ['twenty reports at once are all taken', 'twins', async (t, over) => {
    const [d, client] = await opened(t, over, 'twin');
    const twin = await client.getTwin();
    await Promise.all(Array.from({ length: 20 }, (_, n) => report(twin, { [`p${n}`]: n })));
    assert.equal((await twinOf(d)).properties.reported.$version, 21);
  }],
  ['twins and methods are NotImplementedError', 'batches', async (t, over) => {
    const [, client] = await opened(t, over, 'twin');
    await assert.rejects(client.getTwin(), { name: 'NotImplementedError' });
    assert.throws(() => client.onDeviceMethod('reboot', () => {}), { name: 'NotImplementedError' });
  }],
]);

hold('methods of devices', [
  ['a method carries its payload both ways', 'twins', async (t, over) => {
    const [d, client] = await opened(t, over, 'method');
    await answering(client, d, 'echo', (req, res) => res.send(200, { name: req.methodName, got: req.payload }));
    for (const payload of [{ a: [1, { b: null }] }, 'text', 5, [], false]) {
      assert.deepEqual(await invoke(d, 'echo', payload), { status: 200, payload: { name: 'echo', got: payload } });
    }
  }],
  ['any status comes back, and no payload', 'twins', async (t, over) => {
    const [d, client] = await opened(t, over, 'method');
    await answering(client, d, 'status', (req, res) => res.send(req.payload));
    for (const status of [-1, 404, 70_000]) assert.equal((await invoke(d, 'status', status)).status, status);
  }],
  ['ten methods at once come back each to its caller', 'twins', async (t, over) => {
    const [d, client] = await opened(t, over, 'method');
    await answering(client, d, 'echo', (req, res) => setTimeout(() => res.send(200, req.payload), 10 * (10 - req.payload)));
    const answers = await Promise.all(Array.from({ length: 10 }, (_, n) => invoke(d, 'echo', n)));
    assert.deepEqual(answers.map((a) => a.payload), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  }],
  ['no answer in time is a gateway timeout, and a late one harms nobody', 'twins', async (t, over) => {
    const [d, client] = await opened(t, over, 'method');
    let answer;
    await answering(client, d, 'slow', (req, res) => { answer = res; });
    await assert.rejects(invoke(d, 'slow', null, 5), (err) => err.response?.statusCode === 504 || err.name === 'GatewayTimeoutError');
    answer.send(200, 'late', () => {});
    assert.equal((await invoke(d, 'ready', null)).status, 200);
  }],
  ['a device that has closed is 404103', 'twins', async (t, over) => {
    const [d, client] = await opened(t, over, 'method');
    await answering(client, d, 'any', (req, res) => res.send(200));
    await client.close();
    const answer = await request('POST', `/twins/${d.deviceId}/methods`, { methodName: 'any', payload: null, responseTimeoutInSeconds: 5 });
    assert.equal(JSON.parse(answer.body.Message).errorCode, 404103);
  }],
]);
