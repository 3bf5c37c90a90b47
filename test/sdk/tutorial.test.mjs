// The device-twin tutorial's two applications, the device's over each transport.
import assert from 'node:assert/strict';
import { registry, newDevice, uniqueId, report, device } from './hub.mjs';
import { hold, connect } from './transports.mjs';

hold('the tutorial', [
  ['the service tags, the device reports, both queries find it', '', async (t, over) => {
    const plant = uniqueId('Redmond');
    const d = await newDevice('my-device');
    const { responseBody: twin } = await registry().getTwin(d.deviceId);
    await registry().updateTwin(d.deviceId, { tags: { location: { region: 'US', plant } } }, twin.etag);
    const found = async (sql) => (await registry().createQuery(sql, 100).nextAsTwin()).result.map((one) => one.deviceId);
    const counts = async () => [
      await found(`SELECT * FROM devices WHERE tags.location.plant = '${plant}'`),
      await found(`SELECT * FROM devices WHERE tags.location.plant = '${plant}' AND properties.reported.connectivity.type = 'cellular'`),
    ];
    assert.deepEqual(await counts(), [[d.deviceId], []]);
    const client = await connect(t, d, over);
    if (!over.twins) {
      // HTTPS has no twins: such a device can say how it is connected in telemetry alone.
      await assert.rejects(client.getTwin(), { name: 'NotImplementedError' });
      await client.sendEvent(new device.Message(JSON.stringify({ connectivity: { type: 'cellular' } })));
      assert.deepEqual(await counts(), [[d.deviceId], []]);
      return;
    }
    const own = await client.getTwin();
    await report(own, { connectivity: { type: 'cellular' } });
    assert.deepEqual(await counts(), [[d.deviceId], [d.deviceId]]);
    await client.close();
    assert.deepEqual(await counts(), [[d.deviceId], [d.deviceId]]);
  }],
]);
