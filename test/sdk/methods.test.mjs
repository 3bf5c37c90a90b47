// Direct methods, cloud-to-device messages, telemetry and jobs.
import test from 'node:test';
import assert from 'node:assert/strict';
import { service, registry, jobs, newDevice, connect, next, device, request, uniqueId, eventually, queryAll } from './hub.mjs';

test('direct methods', { timeout: 60_000 }, async (t) => {
  const d = await newDevice('method');
  const client = await connect(d);
  t.after(() => client.close());
  await new Promise((resolve) => {
    client.onDeviceMethod('reboot', (req, res) => res.send(200, { got: req.payload }));
    client.onDeviceMethod('silent', () => {});
    // The SDK subscribes in the background; a first answer shows that it is done.
    eventually(() => invoke('reboot', {}).catch(() => undefined), Boolean).then(resolve);
  });
  function invoke(methodName, payload, timeout = 5) {
    return service().invokeDeviceMethod(d.deviceId, { methodName, payload, responseTimeoutInSeconds: timeout }).then((r) => r.result);
  }

  await t.test('the answer carries status and payload', async () => {
    assert.deepEqual(await invoke('reboot', { a: 1 }), { status: 200, payload: { got: { a: 1 } } });
  });
  await t.test('no answer in time is a gateway timeout', async () => {
    await assert.rejects(invoke('silent', null, 5), (err) => err.response?.statusCode === 504 || err.name === 'GatewayTimeoutError');
  });
  await t.test('a device that is not connected is 404103', async () => {
    const off = await newDevice('offline');
    const answer = await request('POST', `/twins/${off.deviceId}/methods`, { methodName: 'x', payload: null, responseTimeoutInSeconds: 5 });
    assert.equal(answer.status, 404);
    assert.equal(JSON.parse(answer.body.Message).errorCode, 404103);
  });
  await t.test('an unknown device is 404001', async () => {
    const answer = await request('POST', '/twins/nobody/methods', { methodName: 'x', payload: null });
    assert.equal(answer.status, 404);
  });
});

test('cloud-to-device messages', { timeout: 60_000 }, async (t) => {
  await t.test('a message sent by REST is delivered with its properties', async () => {
    const d = await newDevice('c2d');
    const client = await connect(d);
    const message = next(client, 'message');
    const sent = await eventually(
      () => request('POST', `/devices/${d.deviceId}/messages/deviceBound`, { hello: 'device' }, { 'iothub-app-color': 'blue', 'iothub-messageid': 'm1' }),
      (answer) => answer.status === 204 || answer.status === 200);
    assert.ok(sent);
    const m = await message;
    assert.deepEqual(JSON.parse(m.getData().toString()), { hello: 'device' });
    assert.equal(m.properties.getValue('color'), 'blue');
    assert.equal(m.messageId, 'm1');
    await client.complete(m);
    await client.close();
  });
  await t.test('messages queued while away arrive on connect, and a purge empties the queue', async () => {
    const d = await newDevice('queued');
    for (let i = 0; i < 3; i++) await request('POST', `/devices/${d.deviceId}/messages/deviceBound`, { i });
    assert.equal((await registry().getTwin(d.deviceId)).responseBody.cloudToDeviceMessageCount, 3);
    const purged = await request('DELETE', `/devices/${d.deviceId}/commands`);
    assert.equal(purged.body.totalMessagesPurged, 3);
    await request('POST', `/devices/${d.deviceId}/messages/deviceBound`, { last: true });
    const client = await connect(d);
    assert.deepEqual(JSON.parse((await next(client, 'message')).getData().toString()), { last: true });
    await client.close();
  });
});

test('telemetry', { timeout: 60_000 }, async (t) => {
  const d = await newDevice('telemetry');
  const client = await connect(d);
  t.after(() => client.close());
  await t.test('is acknowledged, with properties that need encoding', async () => {
    const m = new device.Message(JSON.stringify({ temperature: 21 }));
    m.messageId = '1';
    m.contentType = 'application/json';
    m.properties.add('a b', 'c/d&e=f');
    await client.sendEvent(m);
  });
  await t.test('moves lastActivityTime', async () => {
    const { responseBody } = await registry().getTwin(d.deviceId);
    assert.ok(Date.now() - Date.parse(responseBody.lastActivityTime) < 60_000);
  });
  await t.test('too large is refused by the SDK before it is sent', async () => {
    await assert.rejects(client.sendEvent(new device.Message('x'.repeat(262_145))), { name: 'MessageTooLargeError' });
  });
});

test('jobs', { timeout: 60_000 }, async (t) => {
  const run = uniqueId('job');
  const made = [];
  for (let i = 0; i < 5; i++) {
    const d = await newDevice('job');
    await registry().updateTwin(d.deviceId, { tags: { run } }, '*');
    made.push(d);
  }
  const done = (id) => eventually(() => jobs().getJob(id).then((r) => r.jobStatus), (j) => ['completed', 'failed', 'cancelled'].includes(j.status));

  await t.test('a twin update job sets a tag on all, with statistics', async () => {
    const id = uniqueId('twinjob');
    const { jobStatus } = await jobs().scheduleTwinUpdate(id, `tags.run = '${run}'`, { tags: { floor: 2 }, etag: '*' }, new Date(), 60);
    assert.equal(jobStatus.jobId, id);
    const job = await done(id);
    assert.equal(job.status, 'completed');
    assert.equal(job.deviceJobStatistics.succeededCount, 5);
    const { rows } = await queryAll(`SELECT * FROM devices WHERE tags.run = '${run}' AND tags.floor = 2`);
    assert.equal(rows.length, 5);
    const list = await queryAll(`SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '${id}' AND devices.jobs.status = 'completed'`);
    assert.equal(list.rows.length, 5);
  });

  await t.test('a method job reaches the connected device and fails on the others', async () => {
    const client = await connect(made[0]);
    client.onDeviceMethod('ping', (req, res) => res.send(200, 'pong'));
    await eventually(() => service().invokeDeviceMethod(made[0].deviceId, { methodName: 'ping', responseTimeoutInSeconds: 5 }).catch(() => undefined), Boolean);
    const id = uniqueId('methodjob');
    await jobs().scheduleDeviceMethod(id, `tags.run = '${run}'`, { methodName: 'ping', responseTimeoutInSeconds: 5 }, new Date(), 60);
    const job = await done(id);
    assert.equal(job.deviceJobStatistics.succeededCount, 1);
    assert.equal(job.deviceJobStatistics.failedCount, 4);
    await client.close();
  });

  await t.test('a job in the future can be cancelled', async () => {
    const id = uniqueId('cancel');
    await jobs().scheduleTwinUpdate(id, `tags.run = '${run}'`, { tags: { late: 1 }, etag: '*' }, new Date(Date.now() + 3_600_000), 60);
    await jobs().cancelJob(id);
    assert.equal((await done(id)).status, 'cancelled');
  });
});
