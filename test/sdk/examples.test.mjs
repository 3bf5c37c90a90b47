// The example queries of IOTHUB.md section 4.5, word for word as Microsoft's documents have them.
import test from 'node:test';
import assert from 'node:assert/strict';
import { registry, newDevice, connect, report, queryAll, jobs, eventually, uniqueId } from './hub.mjs';

test('the documents\' example queries', { timeout: 60_000 }, async (t) => {
  const make = async (tags, reported) => {
    const d = await newDevice('example');
    await registry().updateTwin(d.deviceId, { tags }, '*');
    const client = await connect(d);
    await report(await client.getTwin(), reported);
    await client.close();
    return d.deviceId;
  };
  const us = await make({ location: { region: 'US', plant: 'Redmond43' } },
    { connectivity: 'wired', telemetryConfig: { sendFrequencyInSecs: 60, status: 'Success' } });
  const de = await make({ location: { region: 'DE', plant: 'Berlin1' } },
    { telemetryConfig: { sendFrequencyInSecs: 30, status: 'Pending' } });
  const tutorial = await make({ location: { region: 'US', plant: 'Redmond43' } }, { connectivity: { type: 'cellular' } });
  await eventually(() => registry().get(tutorial), (r) => r.responseBody.connectionState === 'Disconnected');

  // Other files' devices are in the same hub: of each result, what counts is which of these three it has.
  const ours = [us, de, tutorial];
  const which = async (sql) => {
    const { rows } = await queryAll(sql, 100);
    return ours.filter((id) => rows.some((r) => r.deviceId === id));
  };
  const cases = [
    ['SELECT * FROM devices', ours],
    ["SELECT * FROM devices WHERE tags.location.region = 'US'", [us, tutorial]],
    ["SELECT * FROM devices WHERE tags.location.region = 'US' AND properties.reported.telemetryConfig.sendFrequencyInSecs >= 60", [us]],
    ["SELECT * FROM devices WHERE properties.reported.connectivity IN ['wired', 'wifi']", [us]],
    ['SELECT * FROM devices WHERE is_defined(properties.reported.connectivity)', [us, tutorial]],
    ["SELECT DeviceId, LastActivityTime FROM devices WHERE status = 'enabled' AND connectionState = 'Disconnected'", ours],
    ["SELECT * FROM devices.modules WHERE properties.reported.status = 'scanning' AND deviceId IN ['device1', 'device2']", []],
    ["SELECT * FROM devices WHERE tags.location.plant = 'Redmond43'", [us, tutorial]],
    ["SELECT * FROM devices WHERE tags.location.plant = 'Redmond43' AND properties.reported.connectivity.type = 'cellular'", [tutorial]],
  ];
  for (const [sql, want] of cases) {
    await t.test(sql, async () => assert.deepEqual(await which(sql), want));
  }

  await t.test('SELECT COUNT() AS totalNumberOfDevices FROM devices', async () => {
    const { rows } = await queryAll('SELECT COUNT() AS totalNumberOfDevices FROM devices');
    assert.equal(rows.length, 1);
    assert.ok(rows[0].totalNumberOfDevices >= 3);
  });

  const grouped = 'SELECT properties.reported.telemetryConfig.status AS status, COUNT() AS numberOfDevices FROM devices GROUP BY properties.reported.telemetryConfig.status';
  await t.test(grouped, async () => {
    const { rows } = await queryAll(grouped);
    for (const status of ['Success', 'Pending']) {
      assert.equal(rows.find((r) => r.status === status).numberOfDevices, 1);
    }
  });

  await t.test('SELECT * FROM devices.jobs WHERE devices.jobs.deviceId = … AND devices.jobs.jobType = …', async () => {
    const id = uniqueId('examplejob');
    await jobs().scheduleTwinUpdate(id, `deviceId = '${us}'`, { tags: { job: true }, etag: '*' }, new Date(), 60);
    await eventually(() => jobs().getJob(id), (r) => r.jobStatus.status === 'completed');
    const { rows } = await queryAll(`SELECT * FROM devices.jobs WHERE devices.jobs.deviceId = '${us}' AND devices.jobs.jobType = 'scheduleUpdateTwin' AND devices.jobs.status = 'completed' AND devices.jobs.createdTimeUtc > '2016-09-01'`);
    assert.deepEqual(rows.map((r) => [r.deviceId, r.jobId]), [[us, id]]);
  });
});
