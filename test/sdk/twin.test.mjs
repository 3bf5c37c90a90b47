// Twins from both ends: azure-iot-device on MQTT, azure-iothub on REST.
import test from 'node:test';
import assert from 'node:assert/strict';
import { registry, newDevice, connect, report, next, eventually, promise, mqtt, port, ca, SharedAccessSignature, Mqtt, MqttWs } from './hub.mjs';

for (const [name, options] of [['MQTT', { transport: Mqtt }], ['MQTT over WebSocket', { transport: MqttWs, websocket: true }]]) {
  test(`twins over ${name}`, { timeout: 60_000 }, async (t) => {
    const d = await newDevice('twin');
    const client = await connect(d, options);
    t.after(() => client.close());
    const twin = await client.getTwin();
    // The SDK subscribes at the first listener, in the background; the reports below come after it.
    twin.on('properties.desired', () => {});

    await t.test('a fresh twin has empty sections at version 1', () => {
      assert.equal(twin.properties.desired.$version, 1);
      assert.equal(twin.properties.reported.$version, 1);
    });

    await t.test('connected shows in the identity and the twin', async () => {
      const { responseBody } = await registry().getTwin(d.deviceId);
      assert.equal(responseBody.connectionState, 'Connected');
    });

    await t.test('a report reaches the service with its version and metadata', async () => {
      await report(twin, { connectivity: { type: 'cellular' } });
      const { responseBody: s } = await registry().getTwin(d.deviceId);
      assert.deepEqual(s.properties.reported.connectivity, { type: 'cellular' });
      assert.equal(s.properties.reported.$version, 2);
      assert.match(s.properties.reported.$metadata.connectivity.type.$lastUpdated, /^\d{4}-[\dT:-]+(\.\d{0,6}[1-9])?Z$/);
      assert.equal(s.version, 3);
      assert.equal(s.etag, 'AAAAAAAAAAE=');
    });

    await t.test('null removes a reported property', async () => {
      await report(twin, { gone: 1 });
      await report(twin, { gone: null });
      const { responseBody: s } = await registry().getTwin(d.deviceId);
      assert.equal('gone' in s.properties.reported, false);
      assert.equal('gone' in s.properties.reported.$metadata, false);
    });

    await t.test('a refused report is an error, not a success', async () => {
      await assert.rejects(report(twin, { big: 'x'.repeat(5000) }));
      await assert.rejects(report(twin, { list: [{ a: null }] }));
    });

    await t.test('a desired update arrives with its version', async () => {
      const arrived = next(twin, 'properties.desired', (delta) => delta.location !== undefined);
      const { responseBody: s } = await registry().updateTwin(d.deviceId,
        { properties: { desired: { location: { building: '43' } } } }, '*');
      const delta = await arrived;
      assert.deepEqual(delta.location, { building: '43' });
      assert.equal(delta.$version, s.properties.desired.$version);
    });

    await t.test('the same desired value again notifies again', async () => {
      const arrived = next(twin, 'properties.desired', (delta) => delta.$version === 3);
      await registry().updateTwin(d.deviceId, { properties: { desired: { location: { building: '43' } } } }, '*');
      assert.deepEqual((await arrived).location, { building: '43' });
    });

    await t.test('after the line is cut, notifications and reports go on', async () => {
      client._internalClient?.setRetryPolicy?.(undefined);
      client._transport._mqtt._mqttClient?.stream?.destroy();
      await eventually(() => registry().getTwin(d.deviceId), ({ responseBody }) => responseBody.connectionState === 'Disconnected');
      await client.open();
      const again = await client.getTwin();
      await report(again, { connectivity: { type: 'wifi' } });
      const { responseBody: s } = await registry().getTwin(d.deviceId);
      assert.equal(s.properties.reported.connectivity.type, 'wifi');
    });
  });
}

test('twins from the service', { timeout: 60_000 }, async (t) => {
  await t.test('tags: patch, etag conflict, right etag', async () => {
    const d = await newDevice('tags');
    const { responseBody: twin } = await registry().getTwin(d.deviceId);
    const patched = (await registry().updateTwin(d.deviceId, { tags: { location: { region: 'US', plant: 'Redmond43' } } }, twin.etag)).responseBody;
    assert.deepEqual(patched.tags, { location: { region: 'US', plant: 'Redmond43' } });
    assert.notEqual(patched.etag, twin.etag);
    await assert.rejects(registry().updateTwin(d.deviceId, { tags: { a: 1 } }, twin.etag), { name: 'InvalidEtagError' });
    await registry().updateTwin(d.deviceId, { tags: { a: 1 } }, patched.etag);
  });

  await t.test('Twin.update of a stale object is InvalidEtagError', async () => {
    const d = await newDevice('stale');
    const twin = (await registry().getTwin(d.deviceId)).responseBody;
    await registry().updateTwin(d.deviceId, { tags: { b: 1 } }, '*');
    await assert.rejects(promise((done) => twin.update({ tags: { c: 1 } }, done)), { name: 'InvalidEtagError' });
  });

  await t.test('a device report leaves the etag alone', async () => {
    const d = await newDevice('etag');
    const client = await connect(d);
    const twin = await client.getTwin();
    const before = (await registry().getTwin(d.deviceId)).responseBody;
    await report(twin, { a: 1 });
    const after = (await registry().getTwin(d.deviceId)).responseBody;
    assert.equal(after.etag, before.etag);
    assert.equal(after.version, before.version + 1);
    await client.close();
  });

  await t.test('limits are ArgumentError', async () => {
    const d = await newDevice('limits');
    const patch = (tags) => registry().updateTwin(d.deviceId, { tags }, '*');
    await assert.rejects(patch({ a: 'x'.repeat(4097) }), { name: 'ArgumentError' });
    await assert.rejects(patch({ 'a.b': 1 }), { name: 'ArgumentError' });
    await assert.rejects(patch({ a: 2 ** 52 }), { name: 'ArgumentError' });
    await assert.rejects(patch(Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`k${i}`, 'x'.repeat(1000)]))), { name: 'ArgumentError' });
  });

  await t.test('an unknown device is DeviceNotFoundError', async () => {
    await assert.rejects(registry().getTwin('nobody'), { name: 'DeviceNotFoundError' });
  });

  await t.test('the version of a report is in the acknowledgement', async () => {
    const d = await newDevice('version');
    const token = SharedAccessSignature.create(`localhost/devices/${d.deviceId}`, undefined,
      d.authentication.symmetricKey.primaryKey, Math.floor(Date.now() / 1000) + 60).toString();
    const client = mqtt.connect(`mqtts://localhost:${port}`, {
      clientId: d.deviceId, username: `localhost/${d.deviceId}/?api-version=2021-04-12`, password: token, ca, reconnectPeriod: 0,
    });
    await next(client, 'connect');
    await promise((done) => client.subscribe('$iothub/twin/res/#', { qos: 1 }, done));
    for (const version of [2, 3]) {
      const answer = next(client, 'message');
      client.publish(`$iothub/twin/PATCH/properties/reported/?$rid=${version}`, JSON.stringify({ n: version }));
      const [topic, payload] = await answer;
      assert.equal(topic, `$iothub/twin/res/204/?$rid=${version}&$version=${version}`);
      assert.equal(payload.length, 0);
    }
    await promise((done) => client.end(false, {}, done));
  });
});
