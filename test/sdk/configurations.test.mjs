// Automatic device management through azure-iothub's Registry.
import test from 'node:test';
import assert from 'node:assert/strict';
import { registry, newDevice, uniqueId, connect, eventually, listen, promise, request } from './hub.mjs';

const answer = async (call) => (await call).responseBody;

function configuration(extra = {}) {
  return { id: uniqueId('c'), targetCondition: '*', priority: 0, content: { deviceContent: { 'properties.desired.none': 1 } }, ...extra };
}

test('configurations', { concurrency: 1, timeout: 90_000 }, async (t) => {
  await t.test('add, get, list, update and remove', async () => {
    const wanted = configuration({ labels: { a: 'b' }, targetCondition: "tags.nobody = 'has it'", metrics: { queries: { all: 'SELECT deviceId FROM devices' } } });
    const added = await answer(registry().addConfiguration(wanted));
    assert.equal(added.id, wanted.id);
    assert.equal(added.schemaVersion, '1.0');
    assert.equal(added.etag, 'MQ==');
    assert.deepEqual(added.content, wanted.content);
    assert.equal(added.systemMetrics.queries.appliedCount, `select deviceId from devices where configurations.[[${wanted.id}]].status = 'Applied'`);
    await assert.rejects(registry().addConfiguration(wanted));
    const got = await answer(registry().getConfiguration(wanted.id));
    assert.equal(got.createdTimeUtc, added.createdTimeUtc);
    assert.ok((await answer(registry().getConfigurations())).some((c) => c.id === wanted.id));
    const updated = await answer(registry().updateConfiguration({ ...got, priority: 7 }));
    assert.equal(updated.priority, 7);
    assert.equal(updated.etag, 'Mg==');
    await assert.rejects(registry().updateConfiguration({ ...got, priority: 8 }), { name: 'InvalidEtagError' });
    assert.equal((await answer(registry().updateConfiguration({ ...got, priority: 9 }, true))).priority, 9);
    const counted = await eventually(() => answer(registry().getConfiguration(wanted.id)), (c) => c.metrics.results.all > 0);
    assert.equal(counted.systemMetrics.results.targetedCount, 0);
    await registry().removeConfiguration(wanted.id);
    await assert.rejects(registry().getConfiguration(wanted.id));
  });

  await t.test('reaches a device that is connected, and its twin', async () => {
    const identity = await newDevice('configured');
    const client = await connect(identity);
    try {
      const twin = await promise((done) => client.getTwin(done));
      const [told] = await listen(twin, (delta) => delta.mode !== undefined);
      const c = configuration({ targetCondition: `deviceId = '${identity.deviceId}'`, content: { deviceContent: { 'properties.desired.mode': { eco: true } } } });
      await registry().addConfiguration(c);
      assert.deepEqual((await told).mode, { eco: true });
      const seen = await answer(registry().getTwin(identity.deviceId));
      assert.deepEqual(seen.configurations, { [c.id]: { status: 'Applied' } });
      assert.equal(seen.properties.desired.$metadata.mode.eco.$lastUpdatedBy, c.id);
      const counted = await eventually(() => answer(registry().getConfiguration(c.id)), (x) => x.systemMetrics.results.appliedCount === 1);
      assert.equal(counted.systemMetrics.results.targetedCount, 1);
      await registry().removeConfiguration(c.id);
      const left = await eventually(() => answer(registry().getTwin(identity.deviceId)), (x) => x.configurations === undefined);
      assert.deepEqual(left.properties.desired.mode, { eco: true });
    } finally {
      await client.close();
    }
  });

  await t.test('content for one edge device', async () => {
    const gateway = await newDevice('edge', { capabilities: { iotEdge: true } });
    const content = { modulesContent: { $edgeAgent: { 'properties.desired': { modules: {} } }, mine: { 'properties.desired': { a: 1 } } } };
    await registry().applyConfigurationContentOnDevice(gateway.deviceId, content);
    const { body } = await request('GET', `/twins/${gateway.deviceId}/modules/mine`);
    assert.equal(body.properties.desired.a, 1);
    const plain = await newDevice('noedge');
    await assert.rejects(registry().applyConfigurationContentOnDevice(plain.deviceId, content));
  });

  await t.test('what is wrong is refused', async () => {
    for (const extra of [{ content: {} }, { content: { deviceContent: { 'tags.a': 1 } } }, { targetCondition: 'tags.a ==' }, { id: 'NOT-SMALL' }]) {
      await assert.rejects(registry().addConfiguration(configuration(extra)));
    }
  });
});
