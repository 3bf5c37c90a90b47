// The identity registry through azure-iothub's Registry.
import test from 'node:test';
import assert from 'node:assert/strict';
import { registry, newDevice, uniqueId, connectionString, iothub, request } from './hub.mjs';

test('registry', { concurrency: 1, timeout: 60_000 }, async (t) => {
  await t.test('create generates both keys and answers the whole identity', async () => {
    const id = uniqueId('create');
    const { responseBody: d } = await registry().create({ deviceId: id });
    assert.equal(d.deviceId, id);
    assert.equal(d.status, 'enabled');
    assert.equal(d.connectionState, 'Disconnected');
    assert.equal(Buffer.from(d.authentication.symmetricKey.primaryKey, 'base64').length >= 16, true);
    assert.notEqual(d.authentication.symmetricKey.primaryKey, d.authentication.symmetricKey.secondaryKey);
    assert.ok(d.generationId && d.etag);
  });

  await t.test('create with keys of one\'s own keeps them', async () => {
    const primaryKey = Buffer.alloc(32, 7).toString('base64');
    const secondaryKey = Buffer.alloc(32, 9).toString('base64');
    const d = await newDevice('ownkeys', { authentication: { type: 'sas', symmetricKey: { primaryKey, secondaryKey } } });
    assert.equal(d.authentication.symmetricKey.primaryKey, primaryKey);
  });

  await t.test('create twice is DeviceAlreadyExistsError', async () => {
    const d = await newDevice('twice');
    await assert.rejects(registry().create({ deviceId: d.deviceId }), { name: 'DeviceAlreadyExistsError' });
  });

  await t.test('get, and get of an unknown device is DeviceNotFoundError', async () => {
    const d = await newDevice('get');
    const { responseBody } = await registry().get(d.deviceId);
    assert.equal(responseBody.generationId, d.generationId);
    await assert.rejects(registry().get('nobody'), { name: 'DeviceNotFoundError' });
  });

  await t.test('an id with every allowed sign survives the path', async () => {
    const id = uniqueId("a.+%_#*?!(),=@$'-");
    await registry().create({ deviceId: id });
    assert.equal((await registry().get(id)).responseBody.deviceId, id);
    await registry().delete(id);
  });

  await t.test('update with the keys disables with a reason, keeps them, moves the etag', async () => {
    const d = await newDevice('update');
    const { responseBody: u } = await registry().update({ deviceId: d.deviceId, status: 'disabled', statusReason: 'lost', authentication: d.authentication });
    assert.equal(u.status, 'disabled');
    assert.equal(u.statusReason, 'lost');
    assert.notEqual(u.etag, d.etag);
    assert.equal(u.authentication.symmetricKey.primaryKey, d.authentication.symmetricKey.primaryKey);
  });

  await t.test('delete, and delete of an unknown device', async () => {
    const d = await newDevice('delete');
    await registry().delete(d.deviceId);
    await assert.rejects(registry().get(d.deviceId), { name: 'DeviceNotFoundError' });
    await assert.rejects(registry().delete(d.deviceId), { name: 'DeviceNotFoundError' });
  });

  await t.test('a device made again has a new generation and a fresh twin', async () => {
    const d = await newDevice('again');
    await registry().updateTwin(d.deviceId, { tags: { a: 1 } }, '*');
    await registry().delete(d.deviceId);
    const { responseBody: n } = await registry().create({ deviceId: d.deviceId });
    assert.notEqual(n.generationId, d.generationId);
    const { responseBody: twin } = await registry().getTwin(d.deviceId);
    assert.deepEqual(twin.tags, {});
  });

  await t.test('list answers the devices', async () => {
    const d = await newDevice('list');
    const { responseBody: all } = await registry().list();
    assert.ok(all.some((x) => x.deviceId === d.deviceId));
  });

  await t.test('bulk add, update and remove', async () => {
    const ids = Array.from({ length: 100 }, () => ({ deviceId: uniqueId('bulk') }));
    const added = await registry().addDevices(ids);
    assert.equal(added.responseBody.isSuccessful, true);
    const updated = await registry().updateDevices(ids.map((d) => ({ ...d, status: 'disabled' })), true);
    assert.equal(updated.responseBody.isSuccessful, true);
    assert.equal((await registry().get(ids[42].deviceId)).responseBody.status, 'disabled');
    const removed = await registry().removeDevices(ids, true);
    assert.equal(removed.responseBody.isSuccessful, true);
    await assert.rejects(registry().get(ids[0].deviceId), { name: 'DeviceNotFoundError' });
  });

  await t.test('bulk names the device that failed', async () => {
    const d = await newDevice('bulkfail');
    const answer = await request('POST', '/devices', [{ id: d.deviceId, importMode: 'create', status: 'enabled' }]);
    assert.equal(answer.status, 400);
    assert.equal(answer.body.isSuccessful, false);
    assert.equal(answer.body.errors[0].deviceId, d.deviceId);
    assert.equal(answer.body.errors[0].errorCode, 409001);
  });

  await t.test('more than 100 in one bulk call is refused', async () => {
    const entries = Array.from({ length: 101 }, () => ({ id: uniqueId('many'), importMode: 'create' }));
    const answer = await request('POST', '/devices', entries);
    assert.equal(answer.status, 413);
    assert.equal(answer.headers['iothub-errorcode'], 'TooManyDevices');
  });

  await t.test('statistics count total, enabled and disabled', async () => {
    const d = await newDevice('stat', { status: 'disabled' });
    const read = async () => (await registry().getRegistryStatistics()).responseBody;
    // Other suites make devices in the same hub at the same time: what is listed is compared at a moment when nobody did.
    let listed, before, after;
    for (let i = 0; i < 200; i++) {
      before = await read();
      listed = (await registry().list()).responseBody;
      after = await read();
      if (before.totalDeviceCount === after.totalDeviceCount && listed.length === after.totalDeviceCount) break;
    }
    assert.equal(listed.length, after.totalDeviceCount);
    assert.equal(after.enabledDeviceCount + after.disabledDeviceCount, after.totalDeviceCount);
    assert.ok(listed.some((x) => x.deviceId === d.deviceId && x.status === 'disabled'));
    assert.ok(after.disabledDeviceCount >= 1);
    await registry().delete(d.deviceId);
  });

  await t.test('a policy without the right is UnauthorizedError', async () => {
    await assert.rejects(registry('device').getTwin('x'), { name: 'UnauthorizedError' });
    await assert.rejects(registry('registryRead').create({ deviceId: uniqueId('no') }), { name: 'UnauthorizedError' });
    await assert.rejects(registry('service').list(), { name: 'UnauthorizedError' });
  });

  await t.test('a wrong policy key is UnauthorizedError', async () => {
    const wrong = connectionString().replace(/SharedAccessKey=.*/, `SharedAccessKey=${Buffer.alloc(32).toString('base64')}`);
    const r = iothub.Registry.fromConnectionString(wrong);
    r._restApiClient.setOptions({ http: { agent: registry()._restApiClient._options?.http?.agent ?? agentOf(registry()) } });
    await assert.rejects(r.list(), { name: 'UnauthorizedError' });
  });
});

function agentOf(client) {
  const http = client._restApiClient._http;
  return http._options?.http?.agent ?? http._options?.agent;
}
