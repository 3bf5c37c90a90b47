// Import and export of identities through azure-iothub's Registry, with their files through @azure/storage-blob.
import test from 'node:test';
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { registry, newDevice, uniqueId, port, eventually, SharedAccessSignature, connectionString } from './hub.mjs';

const { BlockBlobClient } = createRequire(import.meta.url)('@azure/storage-blob');

const key = /SharedAccessKey=(.*)$/.exec(connectionString())[1];

// A container's URI with access to it: the hub's own token takes the place of one of Azure storage.
function container(name) {
  const uri = `localhost/storage/${name}`;
  const token = SharedAccessSignature.create(encodeURIComponent(uri), 'iothubowner', key, Math.floor(Date.now() / 1000) + 600).toString();
  return `https://localhost:${port}/storage/${name}?${token.replace('SharedAccessSignature ', '')}`;
}

const blob = (uri, name) => new BlockBlobClient(uri.replace('?', `/${name}?`));

async function text(uri, name) {
  return (await blob(uri, name).downloadToBuffer()).toString();
}

const over = (job) => eventually(async () => (await registry().getJob(job.jobId)), (j) => j.endTimeUtc !== undefined);

test('import and export', { concurrency: 1, timeout: 90_000 }, async (t) => {
  const uri = container(`box-${process.pid}`);

  await t.test('export writes every device, with keys or without', async () => {
    const identity = await newDevice('moved');
    const job = await registry().exportDevicesToBlob(uri, false);
    assert.equal(job.status, 'enqueued');
    assert.equal((await over(job)).status, 'completed');
    const line = (await text(uri, 'devices.txt')).split('\n').find((l) => l.includes(`"${identity.deviceId}"`));
    assert.equal(JSON.parse(line).authentication.symmetricKey.primaryKey, identity.authentication.symmetricKey.primaryKey);
    await over(await registry().exportDevicesToBlob(uri, true));
    assert.ok(!(await text(uri, 'devices.txt')).includes(identity.authentication.symmetricKey.primaryKey));
  });

  await t.test('import does what each line says, and tells what failed', async () => {
    const taken = await newDevice('taken');
    const fresh = uniqueId('fresh');
    const file = `${JSON.stringify({ id: fresh, importMode: 'create', tags: { plant: 'r43' } })}\n${JSON.stringify({ id: taken.deviceId, importMode: 'create' })}\n`;
    await blob(uri, 'devices.txt').upload(file, file.length);
    const job = await registry().importDevicesFromBlob(uri, uri);
    assert.equal(job.inputBlobContainerUri, uri);
    assert.equal((await over(job)).status, 'completed');
    const { responseBody: twin } = await registry().getTwin(fresh);
    assert.deepEqual(twin.tags, { plant: 'r43' });
    assert.equal(JSON.parse(await text(uri, 'importErrors.log')).deviceId, taken.deviceId);
    await registry().removeDevices([{ deviceId: fresh }], true);
  });

  await t.test('list and cancel', async () => {
    const job = await registry().exportDevicesToBlob(uri, true);
    assert.ok((await registry().listJobs()).responseBody.some((j) => j.jobId === job.jobId));
    await registry().cancelJob(job.jobId);
    assert.match((await over(job)).status, /^(completed|cancelled)$/);
    await assert.rejects(registry().getJob('nobody'));
  });

  await t.test('a container elsewhere is refused', async () => {
    await assert.rejects(registry().exportDevicesToBlob('https://x.blob.core.windows.net/out', false), { name: 'ArgumentError' });
    await assert.rejects(registry().exportDevicesToBlob(uri.replace(/sig=[^&]*/, 'sig=bad'), false), { name: 'ArgumentError' });
  });
});
