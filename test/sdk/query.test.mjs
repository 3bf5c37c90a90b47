// The query language through azure-iothub's Query and the REST endpoint under it.
import test from 'node:test';
import assert from 'node:assert/strict';
import { registry, newDevice, connect, report, queryAll, request, uniqueId } from './hub.mjs';

test('queries', { timeout: 60_000 }, async (t) => {
  // One small fleet that all cases read; a tag keeps it apart from other files' devices.
  const run = uniqueId('run');
  const fleet = [
    { region: 'US', plant: 'Redmond43', connectivity: 'cellular', freq: 90, status: 'ok' },
    { region: 'US', plant: 'Redmond43', connectivity: 'wifi', freq: 30, status: 'ok' },
    { region: 'US', plant: 'Redmond44', connectivity: 'wired', freq: 60, status: 'failed' },
    { region: 'DE', plant: 'Berlin1' },
  ];
  for (const f of fleet) {
    const d = await newDevice('q');
    f.deviceId = d.deviceId;
    await registry().updateTwin(d.deviceId, { tags: { run, location: { region: f.region, plant: f.plant } } }, '*');
    if (!f.connectivity) continue;
    const client = await connect(d);
    await report(await client.getTwin(), {
      connectivity: { type: f.connectivity }, link: f.connectivity, telemetryConfig: { sendFrequencyInSecs: f.freq, status: f.status },
    });
    await client.close();
  }
  const ours = `tags.run = '${run}'`;
  const ids = (rows) => rows.map((r) => r.deviceId).sort();
  const pick = (...n) => n.map((i) => fleet[i].deviceId).sort();

  const cases = [
    ['the plant', `SELECT * FROM devices WHERE tags.location.plant = 'Redmond43' AND ${ours}`, pick(0, 1)],
    ['the plant, cellular', `SELECT * FROM devices WHERE tags.location.plant = 'Redmond43' AND properties.reported.connectivity.type = 'cellular' AND ${ours}`, pick(0)],
    ['a region', `SELECT * FROM devices WHERE tags.location.region = 'US' AND ${ours}`, pick(0, 1, 2)],
    ['a region and a number', `SELECT * FROM devices WHERE tags.location.region = 'US' AND properties.reported.telemetryConfig.sendFrequencyInSecs >= 60 AND ${ours}`, pick(0, 2)],
    ['IN', `SELECT * FROM devices WHERE properties.reported.link IN ['wired', 'wifi'] AND ${ours}`, pick(1, 2)],
    ['NIN', `SELECT * FROM devices WHERE properties.reported.link NIN ['wired', 'wifi'] AND ${ours}`, pick(0)],
    ['is_defined', `SELECT * FROM devices WHERE is_defined(properties.reported.connectivity) AND ${ours}`, pick(0, 1, 2)],
    ['NOT is_defined', `SELECT * FROM devices WHERE NOT is_defined(properties.reported.connectivity) AND ${ours}`, pick(3)],
    ['!= leaves out what is undefined', `SELECT * FROM devices WHERE properties.reported.link != 'wifi' AND ${ours}`, pick(0, 2)],
    ['STARTSWITH', `SELECT * FROM devices WHERE STARTSWITH(tags.location.plant, 'Redmond') AND ${ours}`, pick(0, 1, 2)],
    ['status and connection state', `SELECT DeviceId, LastActivityTime FROM devices WHERE status = 'enabled' AND connectionState = 'Disconnected' AND ${ours}`, pick(0, 1, 2, 3)],
  ];
  for (const [name, sql, want] of cases) {
    await t.test(name, async () => assert.deepEqual(ids((await queryAll(sql)).rows), want));
  }

  await t.test('SELECT * through Query.nextAsTwin gives Twin objects', async () => {
    const query = registry().createQuery(`SELECT * FROM devices WHERE ${ours}`, 100);
    const { result } = await query.nextAsTwin();
    assert.deepEqual(ids(result), pick(0, 1, 2, 3));
    assert.equal(typeof result[0].update, 'function');
    assert.equal(query.hasMoreResults, false);
  });

  await t.test('pages: the token walks through all of them once', async () => {
    const query = registry().createQuery(`SELECT * FROM devices WHERE ${ours}`, 3);
    const first = (await query.nextAsTwin()).result;
    assert.equal(first.length, 3);
    assert.equal(query.hasMoreResults, true);
    const second = (await query.nextAsTwin(query.continuationToken)).result;
    assert.equal(query.hasMoreResults, false);
    assert.deepEqual(ids([...first, ...second]), pick(0, 1, 2, 3));
  });

  await t.test('COUNT', async () => {
    const { rows } = await queryAll(`SELECT COUNT() AS totalNumberOfDevices FROM devices WHERE ${ours}`);
    assert.deepEqual(rows, [{ totalNumberOfDevices: 4 }]);
  });

  await t.test('GROUP BY with aggregates', async () => {
    const { rows } = await queryAll(`SELECT properties.reported.telemetryConfig.status AS status, COUNT() AS n, AVG(properties.reported.telemetryConfig.sendFrequencyInSecs) AS mean, MIN(properties.reported.telemetryConfig.sendFrequencyInSecs) AS low, MAX(properties.reported.telemetryConfig.sendFrequencyInSecs) AS high, SUM(properties.reported.telemetryConfig.sendFrequencyInSecs) AS total FROM devices WHERE ${ours} AND is_defined(properties.reported.telemetryConfig) GROUP BY properties.reported.telemetryConfig.status`);
    const by = Object.fromEntries(rows.map((r) => [r.status, r]));
    assert.deepEqual(by.ok, { status: 'ok', n: 2, mean: 60, low: 30, high: 90, total: 120 });
    assert.deepEqual(by.failed, { status: 'failed', n: 1, mean: 60, low: 60, high: 60, total: 60 });
  });

  await t.test('TOP', async () => {
    const { rows } = await queryAll(`SELECT TOP 2 * FROM devices WHERE ${ours}`);
    assert.equal(rows.length, 2);
  });

  await t.test('a projection leaves out what is missing', async () => {
    const { rows } = await queryAll(`SELECT deviceId, properties.reported.link AS link FROM devices WHERE ${ours}`);
    const by = Object.fromEntries(rows.map((r) => [r.deviceId, r]));
    assert.equal(by[fleet[0].deviceId].link, 'cellular');
    assert.equal('link' in by[fleet[3].deviceId], false);
  });

  await t.test('item types are spelled Twin and Raw', async () => {
    const twin = await request('POST', '/devices/query', { query: 'SELECT * FROM devices' });
    const raw = await request('POST', '/devices/query', { Query: 'SELECT COUNT() AS n FROM devices' });
    assert.equal(twin.headers['x-ms-item-type'], 'Twin');
    assert.equal(raw.headers['x-ms-item-type'], 'Raw');
  });

  await t.test('devices.modules is empty', async () => {
    const { rows } = await queryAll("SELECT * FROM devices.modules WHERE properties.reported.status = 'scanning' AND deviceId IN ['device1', 'device2']");
    assert.deepEqual(rows, []);
  });

  await t.test('a bad query is ArgumentError', async () => {
    const query = registry().createQuery('SELECT * FROM devices ORDER BY deviceId');
    await assert.rejects(query.nextAsTwin(), { name: 'ArgumentError' });
  });
});
