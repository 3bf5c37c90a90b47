// File uploads of devices: azure-iot-device with @azure/storage-blob below it (azure-iot-sdk-node, e2etests: file_upload, file_upload_advanced).
import test from 'node:test';
import assert from 'node:assert/strict';
import https from 'node:https';
import { Readable } from 'node:stream';
import { createRequire } from 'node:module';
import { newDevice, device, registry, port, ca, PortAgent, promise, Mqtt } from './hub.mjs';

const require = createRequire(import.meta.url);
const { Http } = require('azure-iot-device-http');
const { BlockBlobClient, AnonymousCredential } = require('@azure/storage-blob');

// uploadToBlob bounds an upload by a timer of half an hour, and leaves that behind: it is not to keep the process.
const { setTimeout: start } = globalThis;
globalThis.setTimeout = (f, ms, ...rest) => {
  const timer = start(f, ms, ...rest);
  return ms >= 30 * 60_000 ? timer.unref() : timer;
};

// A client that is not closed renews its token, and with it keeps the process.
const all = [];
test.after(() => Promise.all(all.map((client) => client.close())));

async function clientOf(d, { transport = Http, host = 'localhost', agent = new PortAgent() } = {}) {
  const client = device.Client.fromConnectionString(`HostName=${host};DeviceId=${d.deviceId};SharedAccessKey=${d.authentication.symmetricKey.primaryKey}`, transport);
  all.push(client);
  await client.setOptions({ ca, http: { agent, receivePolicy: { manualPolling: true } } }); // without a policy this transport never calls back
  return client;
}
const url = (i) => `https://${i.hostName}/${i.containerName}/${i.blobName}${i.sasToken}`;
const blob = (i) => new BlockBlobClient(url(i), new AnonymousCredential(), { retryOptions: { maxTries: 1 } });

test('file uploads', { timeout: 90_000 }, async (t) => {
  const d = await newDevice('upload');
  const client = await clientOf(d);

  await t.test('uploadToBlob takes a file, in several blocks', async () => {
    const content = Buffer.alloc(9 * 1024 * 1024, 'large');
    await promise((done) => client.uploadToBlob('dir/large.bin', Readable.from([content.subarray(0, 100), content.subarray(100)]), content.length, done));
    const info = await client.getBlobSharedAccessSignature('dir/large.bin'); // the name again gives access to what is there
    assert.equal(info.blobName, `${d.deviceId}/dir/large.bin`);
    assert.deepEqual(await blob(info).downloadToBuffer(), content);
    await client.notifyBlobUploadStatus(info.correlationId, true, 200, 'ok');
  });

  await t.test('the three steps one by one', async () => {
    const info = await client.getBlobSharedAccessSignature('step.txt');
    assert.deepEqual(Object.keys(info).sort(), ['blobName', 'containerName', 'correlationId', 'hostName', 'sasToken']);
    await assert.rejects(client.notifyBlobUploadStatus(info.correlationId, true, 200, 'not yet'));
    await blob(info).upload('hello', 5);
    assert.equal((await blob(info).getProperties()).contentLength, 5);
    await client.notifyBlobUploadStatus(info.correlationId, true, 201, 'Created');
    await assert.rejects(client.notifyBlobUploadStatus(info.correlationId, true, 201, 'again'));
    await assert.rejects(client.notifyBlobUploadStatus('no such id', true, 200, 'ok'));
  });

  await t.test('blocks, put together by a list', async () => {
    const info = await client.getBlobSharedAccessSignature('blocks.txt');
    const b = blob(info);
    const id = (n) => Buffer.from(`block-${n}`).toString('base64');
    for (const n of [0, 1, 2]) await b.stageBlock(id(n), `part ${n}`, 6);
    await assert.rejects(b.commitBlockList([id(0), id(9)]), { code: 'InvalidBlockList' });
    await b.commitBlockList([id(2), id(0)]);
    assert.equal((await b.downloadToBuffer()).toString(), 'part 2part 0');
    await client.notifyBlobUploadStatus(info.correlationId, false, 500, 'it went wrong');
  });

  await t.test('access is to one blob, as it was signed', async () => {
    const mine = await client.getBlobSharedAccessSignature('mine.txt');
    const other = await client.getBlobSharedAccessSignature('other.txt');
    await assert.rejects(blob({ ...mine, blobName: other.blobName }).upload('x', 1), { statusCode: 403 });
    await assert.rejects(blob({ ...mine, sasToken: mine.sasToken.replace(/se=20../, 'se=2099') }).upload('x', 1), { statusCode: 403 });
    await assert.rejects(blob({ ...mine, sasToken: '' }).upload('x', 1), { statusCode: 403 });
    await assert.rejects(blob(mine).delete(), { statusCode: 403 });
    await assert.rejects(blob(mine).downloadToBuffer(), { statusCode: 404 });
    for (const i of [mine, other]) await client.notifyBlobUploadStatus(i.correlationId, false, 404, 'given up');
  });

  await t.test('the eleventh at once is refused', async () => {
    const begun = [];
    for (let i = 0; i < 10; i++) begun.push(await client.getBlobSharedAccessSignature(`f${i}`));
    await assert.rejects(client.getBlobSharedAccessSignature('f10'), (err) => err.response.statusCode === 403 && /DeviceMaximumActiveFileUploadLimitExceeded/.test(err.responseBody));
    await client.notifyBlobUploadStatus(begun[0].correlationId, false, 500, 'no');
    await client.getBlobSharedAccessSignature('f10');
  });

  await t.test('whatever the transport, and with the port in the host name or without', async () => {
    const one = await newDevice('upload-mqtt');
    for (const host of ['localhost', `localhost:${port}`]) {
      const agent = new https.Agent({ ca, host: 'localhost', port });
      agent.defaultPort = port;
      const c = await clientOf(one, { transport: Mqtt, host, agent: host === 'localhost' ? agent : new PortAgent() });
      const info = await c.getBlobSharedAccessSignature('a.txt');
      assert.equal(info.hostName, `localhost:${port}`);
      await blob(info).upload('x', 1);
      await c.notifyBlobUploadStatus(info.correlationId, true, 200, 'ok');
    }
  });

  await t.test('a device that is gone uploads nothing', async () => {
    const gone = await newDevice('upload-gone');
    const c = await clientOf(gone);
    await registry().delete(gone.deviceId);
    await assert.rejects(c.getBlobSharedAccessSignature('a'), (err) => err.response.statusCode === 404);
  });
});
