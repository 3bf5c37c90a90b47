// Modules, and what the service's own suites found: registry.test.mjs and twin.test.mjs have the rest.
import test from 'node:test';
import assert from 'node:assert/strict';
import { registry, service, jobs, newDevice, connect, device, Mqtt, NoRetry, port, ca, next, report, request, eventually, uniqueId, queryAll, listen } from './hub.mjs';

async function newModule(name = 'module') {
  const d = await newDevice(name);
  return (await registry().addModule({ deviceId: d.deviceId, moduleId: 'm' })).responseBody;
}

async function connectModule(t, m) {
  const client = device.ModuleClient.fromConnectionString(`HostName=localhost:${port};DeviceId=${m.deviceId};ModuleId=${m.moduleId};SharedAccessKey=${m.authentication.symmetricKey.primaryKey}`, Mqtt);
  client.setRetryPolicy(new NoRetry());
  await client.setOptions({ ca });
  await client.open();
  t.after(() => client.close());
  return client;
}

test('modules', { timeout: 60_000 }, async (t) => {
  await t.test('a module is made, read, listed, changed and removed', async () => {
    const d = await newDevice('modules');
    const { responseBody: made } = await registry().addModule({ deviceId: d.deviceId, moduleId: 'm1', managedBy: 'me' });
    assert.equal(made.managedBy, 'me');
    assert.equal(made.connectionState, 'Disconnected');
    assert.notEqual(made.authentication.symmetricKey.primaryKey, d.authentication.symmetricKey.primaryKey);
    await registry().addModule({ deviceId: d.deviceId, moduleId: 'm2' });
    assert.deepEqual((await registry().getModulesOnDevice(d.deviceId)).responseBody.map((m) => m.moduleId).sort(), ['m1', 'm2']);
    const { responseBody: changed } = await registry().updateModule({ ...made, managedBy: 'another' });
    assert.equal(changed.managedBy, 'another');
    assert.notEqual(changed.etag, made.etag);
    await registry().removeModule(d.deviceId, 'm1');
    await assert.rejects(registry().getModule(d.deviceId, 'm1'), (err) => err.response?.statusCode === 404);
  });
  await t.test('its twin is its own: desired, reported and tags', async (t) => {
    const m = await newModule();
    const twin = await (await connectModule(t, m)).getTwin();
    const [change] = await listen(twin, (d) => d.rate === 5);
    await registry().updateModuleTwin(m.deviceId, m.moduleId, { tags: { a: 1 }, properties: { desired: { rate: 5 } } }, '*');
    assert.equal((await change).$version, 2);
    await report(twin, { running: true });
    const seen = (await registry().getModuleTwin(m.deviceId, m.moduleId)).responseBody;
    assert.deepEqual([seen.moduleId, seen.tags, seen.properties.reported.running, seen.connectionState], ['m', { a: 1 }, true, 'Connected']);
    assert.equal((await registry().getTwin(m.deviceId)).responseBody.properties.reported.running, undefined);
  });
  await t.test('a method reaches it', async (t) => {
    const m = await newModule();
    const client = await connectModule(t, m);
    client.onMethod('ping', (req, res) => res.send(201, { was: req.methodName }, () => {}));
    const { result } = await eventually(() => service().invokeDeviceMethod(m.deviceId, m.moduleId, { methodName: 'ping', payload: null, responseTimeoutInSeconds: 10 }).catch(() => undefined), Boolean);
    assert.deepEqual(result, { status: 201, payload: { was: 'ping' } });
  });
  await t.test('its events, and those of an output, are acknowledged', async (t) => {
    const client = await connectModule(t, await newModule());
    await client.sendEvent(new device.Message('hello'));
    await client.sendOutputEvent('alarms', new device.Message('hello'));
  });
  await t.test('module and device are connected side by side, and both go with the device', async (t) => {
    const m = await newModule();
    const d = (await registry().get(m.deviceId)).responseBody;
    const both = [await connect(d), await connectModule(t, m)];
    const gone = both.map((c) => next(c, 'disconnect'));
    const { rows } = await queryAll(`SELECT * FROM devices.modules WHERE deviceId = '${m.deviceId}'`);
    assert.deepEqual(rows.map((r) => [r.moduleId, r.connectionState]), [['m', 'Connected']]);
    await registry().delete(m.deviceId);
    await Promise.all(gone);
    await assert.rejects(registry().getModuleTwin(m.deviceId, m.moduleId), (err) => err.response?.statusCode === 404);
  });
});

test('found by the SDK\'s own suites', { timeout: 60_000 }, async (t) => {
  await t.test('all desired properties are cleared by null, and the device is told', async () => {
    const d = await newDevice('null');
    await registry().updateTwin(d.deviceId, { properties: { desired: { a: 1, b: { c: 2 } } } }, '*');
    const client = await connect(d);
    const twin = await client.getTwin();
    const [told] = await listen(twin, (p) => p.$version === 3);
    const { body } = await request('PATCH', `/twins/${d.deviceId}`, { properties: { desired: null } });
    assert.equal(body.properties.desired.$version, 3);
    assert.equal(body.properties.desired.a, undefined);
    await told;
    await client.close();
  });
  await t.test('empty keys in an update make new ones', async () => {
    const d = await newDevice('reset');
    const { status, body } = await request('PUT', `/devices/${d.deviceId}`, { deviceId: d.deviceId, status: 'enabled', authentication: { type: 'sas', symmetricKey: { primaryKey: '', secondaryKey: '' } } }, { 'If-Match': '"*"' });
    assert.equal(status, 200);
    assert.equal(body.authentication.symmetricKey.primaryKey.length, 44);
    assert.notEqual(body.authentication.symmetricKey.primaryKey, d.authentication.symmetricKey.primaryKey);
  });
  await t.test('a job is queued first', async () => {
    const { jobStatus } = await jobs().scheduleTwinUpdate(uniqueId('queued'), "deviceId = 'nobody'", { tags: { a: 1 }, etag: '*' }, new Date(Date.now() + 3600_000), 60);
    assert.equal(jobStatus.status, 'queued');
    await eventually(() => jobs().getJob(jobStatus.jobId).then((r) => r.jobStatus.status), (s) => s === 'scheduled');
    await jobs().cancelJob(jobStatus.jobId);
  });
  await t.test('a status of -1 comes back, and the device stays', async (t) => {
    const d = await newDevice('minus');
    const client = await connect(d);
    t.after(() => client.close());
    client.onDeviceMethod('odd', (req, res) => res.send(-1, null, () => {}));
    const { result } = await eventually(() => service().invokeDeviceMethod(d.deviceId, { methodName: 'odd', payload: null, responseTimeoutInSeconds: 10 }).catch(() => undefined), Boolean);
    assert.equal(result.status, -1);
    await report(await client.getTwin(), { still: 'there' });
  });
  await t.test('bulk operations with If-Match and no etag succeed', async () => {
    const ids = [uniqueId('bulk'), uniqueId('bulk')];
    await registry().addDevices(ids.map((deviceId) => ({ deviceId, status: 'enabled' })));
    await registry().updateDevices(ids.map((deviceId) => ({ deviceId, status: 'disabled', authentication: { type: 'sas', symmetricKey: { primaryKey: 'dGhpcyBpcyBhIHByaW1hcnkga2V5', secondaryKey: 'dGhpcyBpcyBhIHNlY29uZCBrZXk=' } } })), false);
    const { responseBody } = await registry().removeDevices(ids.map((deviceId) => ({ deviceId })), false);
    assert.deepEqual([responseBody.isSuccessful, responseBody.errors], [true, []]);
  });
});
