// IoT Plug and Play through azure-iothub's DigitalTwinClient.
import test from 'node:test';
import assert from 'node:assert/strict';
import { iothub, newDevice, connect, connectionString, report, promise, port, eventually } from './hub.mjs';

const digitalTwins = () => new iothub.DigitalTwinClient(new iothub.IoTHubTokenCredentials(connectionString().replace('localhost', `localhost:${port}`)));

test('digital twins', { concurrency: 1, timeout: 60_000 }, async (t) => {
  const identity = await newDevice('pnp');
  const client = await connect(identity);
  const id = identity.deviceId;
  t.after(() => client.close());

  await t.test('get shows properties, components and what is acknowledged', async () => {
    const twin = await promise((done) => client.getTwin(done));
    await report(twin, { serial: 's1', thermostat1: { __t: 'c', target: { value: 20, ac: 200, av: 1, ad: 'ok' } } });
    const got = await digitalTwins().getDigitalTwin(id);
    assert.equal(got.$dtId, id);
    assert.equal(got.serial, 's1');
    assert.equal(got.thermostat1.target, 20);
    assert.equal(got.thermostat1.$metadata.target.ackCode, 200);
    assert.ok(got._response.parsedHeaders.eTag);
  });

  await t.test('update writes desired properties of root and component', async () => {
    const patch = [{ op: 'add', path: '/mode', value: 'eco' }, { op: 'replace', path: '/thermostat1/target', value: 21 }];
    const { _response: before } = await digitalTwins().getDigitalTwin(id);
    await digitalTwins().updateDigitalTwin(id, patch, before.parsedHeaders.eTag);
    const got = await eventually(() => digitalTwins().getDigitalTwin(id), (d) => d.thermostat1.$metadata.target.desiredValue === 21);
    assert.equal(got.$metadata.mode.desiredValue, 'eco');
    await assert.rejects(digitalTwins().updateDigitalTwin(id, patch, before.parsedHeaders.eTag), { statusCode: 412 });
    await assert.rejects(digitalTwins().updateDigitalTwin(id, [{ op: 'test', path: '/mode', value: 1 }]), { statusCode: 400 });
  });

  await t.test('commands reach methods of root and component', async () => {
    client.onDeviceMethod('reboot', (req, res) => res.send(200, { got: req.payload }));
    client.onDeviceMethod('thermostat1*reset', (req, res) => res.send(201, { got: req.payload }));
    const online = (call) => eventually(() => call().catch((err) => err), (x) => x.statusCode !== 404); // the subscription is on its way
    const root = await online(() => digitalTwins().invokeCommand(id, 'reboot', { delay: 1 }, { responseTimeoutInSeconds: 10 }));
    assert.deepEqual(root.body.got, { delay: 1 });
    assert.equal(root.xMsCommandStatuscode, 200);
    const component = await digitalTwins().invokeComponentCommand(id, 'thermostat1', 'reset', 'now', { responseTimeoutInSeconds: 10 });
    assert.equal(component.body.got, 'now');
    assert.equal(component.xMsCommandStatuscode, 201);
    const away = await newDevice('pnpaway');
    await assert.rejects(digitalTwins().invokeCommand(away.deviceId, 'reboot', {}), { statusCode: 404 });
  });

  await t.test('an unknown device is 404', async () => {
    await assert.rejects(digitalTwins().getDigitalTwin('nobody'), { statusCode: 404 });
  });
});
