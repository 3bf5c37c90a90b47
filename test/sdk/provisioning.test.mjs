// Devices provision with the official device SDK, and the service side manages enrollments with its SDK.
import test from 'node:test';
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import crypto from 'node:crypto';
import https from 'node:https';
import { registry, device, Mqtt, NoRetry, port, ca, uniqueId, report, promise, SharedAccessSignature, PortAgent } from './hub.mjs';

const require = createRequire(import.meta.url);
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { Mqtt: ProvisioningMqtt, MqttWs: ProvisioningMqttWs } = require('azure-iot-provisioning-device-mqtt');
const { Http: ProvisioningHttp } = require('azure-iot-provisioning-device-http');
const { SymmetricKeySecurityClient } = require('azure-iot-security-symmetric-key');
const { X509Security } = require('azure-iot-security-x509');
const { ProvisioningServiceClient } = require('azure-iot-provisioning-service');

const dps = JSON.parse(process.env.TWINFLEET_TEST_HUB).dps;

// The SDK cannot take host:port; an agent with another default port can.
const agent = new https.Agent({ keepAlive: true, ca });
agent.defaultPort = port;
const service = () => {
  const client = ProvisioningServiceClient.fromConnectionString(dps.serviceConnectionString.replace(/HostName=[^;]*/, 'HostName=localhost'));
  client._restApiClient.setOptions({ http: { agent } });
  return client;
};

const derive = (groupKey, id) => crypto.createHmac('sha256', Buffer.from(groupKey, 'base64')).update(id, 'utf8').digest('base64');
const newKey = () => crypto.randomBytes(64).toString('base64');

const register = (security, { transport = new ProvisioningMqtt(), payload } = {}) => {
  const client = ProvisioningDeviceClient.create(dps.endpoint, dps.idScope, transport, security);
  transport._mqttBase.setOptions({ ca }); // the SDK has no option for it
  if (payload) client.setProvisioningPayload(payload);
  return client.register();
};
const withKey = (id, key, options) => register(new SymmetricKeySecurityClient(id, key), options);
const withCertificate = (id, pair, options) => register(new X509Security(id, pair), options);

// The assigned hub takes the device, with the key that it provisioned with.
const useHub = async (result, credentials) => {
  const text = `HostName=${result.assignedHub};DeviceId=${result.deviceId};${credentials.key ? `SharedAccessKey=${credentials.key}` : 'x509=true'}`;
  const client = device.Client.fromConnectionString(text, Mqtt);
  client.setRetryPolicy(new NoRetry());
  await client.setOptions({ ca, ...credentials.pair });
  await client.open();
  await report(await client.getTwin(), { provisioned: true });
  await client.close();
  assert.equal((await registry().getTwin(result.deviceId)).responseBody.properties.reported.provisioned, true);
};

// How the SDK tells of a device that is refused: by the answer to its registration, or by the CONNACK.
const unauthorized = (err) => err.name === 'UnauthorizedError' && err.result.errorCode === 401000;
const disabled = (err) => err.result?.status === 'disabled' && err.result.operationId === '';
const notConnected = (err) => err.code === 5;

const individual = (id, extra = {}) => ({
  registrationId: id, attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: newKey(), secondaryKey: newKey() } }, ...extra,
});

test('provisioning with symmetric keys', { timeout: 120_000, concurrency: 6 }, async (t) => {
  await Promise.all([
    t.test('a device of the group that is there from the beginning, and the hub takes its derived key', async () => {
      const id = uniqueId('group');
      const key = derive(dps.groupKey, id);
      const result = await withKey(id, key);
      assert.equal(result.deviceId, id);
      assert.equal(result.status, 'assigned');
      assert.equal(result.substatus, 'initialAssignment');
      assert.equal((await registry().get(id)).responseBody.authentication.symmetricKey.primaryKey, key);
      await useHub(result, { key });
    }),
    t.test('a device of its own enrollment, with a device id and an initial twin', async () => {
      const id = uniqueId('own');
      const e = individual(id, { deviceId: `${id}-device`, initialTwin: { tags: { plant: 'A' }, properties: { desired: { every: 5 } } } });
      await service().createOrUpdateIndividualEnrollment(e);
      const result = await withKey(id, e.attestation.symmetricKey.secondaryKey, { payload: { modelId: 'dtmi:a;1' } });
      assert.equal(result.deviceId, `${id}-device`);
      const twin = (await registry().getTwin(result.deviceId)).responseBody;
      assert.deepEqual(twin.tags, { plant: 'A' });
      assert.equal(twin.properties.desired.every, 5);
      await useHub(result, { key: e.attestation.symmetricKey.secondaryKey });
    }),
    t.test('over HTTP', async () => {
      const id = uniqueId('http');
      const e = individual(id);
      await service().createOrUpdateIndividualEnrollment(e);
      const answer = (await overHTTP('PUT', `/${dps.idScope}/registrations/${id}/register`, id, e.attestation.symmetricKey.primaryKey, { registrationId: id }));
      assert.equal(answer.status, 202);
      assert.ok(Number(answer.headers['retry-after']) >= 1);
      assert.equal(answer.body.status, 'assigning');
      for (;;) {
        const poll = await overHTTP('GET', `/${dps.idScope}/registrations/${id}/operations/${answer.body.operationId}`, id, e.attestation.symmetricKey.primaryKey);
        if (poll.status === 202) continue;
        assert.equal(poll.status, 200);
        assert.equal(poll.body.registrationState.deviceId, id);
        break;
      }
      const state = await overHTTP('POST', `/${dps.idScope}/registrations/${id}`, id, e.attestation.symmetricKey.primaryKey, { registrationId: id });
      assert.equal(state.body.assignedHub, dps.endpoint);
    }),
    t.test('over HTTP with the SDK', async () => {
      const id = uniqueId('httpsdk');
      const transport = new ProvisioningHttp();
      transport._httpBase.setOptions({ http: { agent } });
      const client = ProvisioningDeviceClient.create('localhost', dps.idScope, transport, new SymmetricKeySecurityClient(id, derive(dps.groupKey, id)));
      const result = await client.register();
      assert.equal(result.deviceId, id);
    }),
    t.test('over MQTT over WebSocket', async () => {
      const id = uniqueId('ws');
      const transport = new ProvisioningMqttWs();
      transport._mqttBase.setOptions({ mqtt: { webSocketAgent: new PortAgent() } });
      const client = ProvisioningDeviceClient.create('localhost', dps.idScope, transport, new SymmetricKeySecurityClient(id, derive(dps.groupKey, id)));
      assert.equal((await client.register()).deviceId, id);
    }),
    t.test('a wrong key is UnauthorizedError', async () => {
      await assert.rejects(withKey(uniqueId('wrong'), newKey()), unauthorized);
    }),
    t.test('a disabled enrollment refuses a device that the group would admit', async () => {
      const id = uniqueId('disabled');
      const e = individual(id, { provisioningStatus: 'disabled' });
      await service().createOrUpdateIndividualEnrollment(e);
      await assert.rejects(withKey(id, e.attestation.symmetricKey.primaryKey), disabled);
      await assert.rejects(withKey(id, derive(dps.groupKey, id)), unauthorized);
      await assert.rejects(registry().get(id), { name: 'DeviceNotFoundError' });
    }),
    t.test('again with each policy: nothing changes, the twin stays, the twin is reset', async () => {
      const id = uniqueId('again');
      const e = individual(id, { initialTwin: { tags: { n: 1 }, properties: { desired: { n: 1 } } } });
      const key = e.attestation.symmetricKey.primaryKey;
      await service().createOrUpdateIndividualEnrollment(e);
      const first = await withKey(id, key);
      await registry().updateTwin(id, { tags: { n: 2 }, properties: { desired: { n: 2 } } }, '*');
      const tags = async () => (await registry().getTwin(id)).responseBody.tags;
      for (const [policy, substatus, n] of [
        [{ updateHubAssignment: false, migrateDeviceData: false }, 'initialAssignment', 2],
        [{ updateHubAssignment: true, migrateDeviceData: true }, 'initialAssignment', 2],
        [{ updateHubAssignment: true, migrateDeviceData: false }, 'deviceDataReset', 1],
      ]) {
        await service().createOrUpdateIndividualEnrollment({ ...e, reprovisionPolicy: policy });
        const result = await withKey(id, key);
        assert.equal(result.createdDateTimeUtc, first.createdDateTimeUtc);
        assert.equal(result.substatus, substatus);
        assert.deepEqual(await tags(), { n });
      }
      await registry().delete(id);
      await withKey(id, key);
      assert.deepEqual(await tags(), { n: 1 });
    }),
    t.test('in another case it is the same registration', async () => {
      const id = uniqueId('Case');
      const first = await withKey(id, derive(dps.groupKey, id));
      const lower = id.toLowerCase();
      const second = await withKey(lower, derive(dps.groupKey, lower));
      assert.equal(second.deviceId, first.deviceId);
    }),
  ]);
});

function overHTTP(method, where, id, key, body) {
  const token = SharedAccessSignature.create(encodeURIComponent(`${dps.idScope}/registrations/${id}`), 'registration', key, Math.floor(Date.now() / 1000) + 600).toString();
  return new Promise((resolve, reject) => {
    const req = https.request({ host: 'localhost', port, ca, method, path: `${where}?api-version=2019-03-31`, headers: { Authorization: token } }, (res) => {
      let text = '';
      res.on('data', (d) => { text += d; });
      res.on('end', () => resolve({ status: res.statusCode, headers: res.headers, body: text ? JSON.parse(text) : undefined }));
    });
    req.on('error', reject);
    req.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

test('provisioning with certificates', { timeout: 120_000, concurrency: 4 }, async (t) => {
  const dir = mkdtempSync(path.join(tmpdir(), 'twinfleet-dps-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const file = (name) => path.join(dir, name);
  const openssl = (...args) => execFileSync('openssl', args, { stdio: 'ignore' });
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const pair = (name, chain = []) => ({
    cert: [name, ...chain].map((n) => readFileSync(file(`${n}.pem`), 'utf8')).join(''), key: readFileSync(file(`${name}.key`), 'utf8'),
  });
  const own = (cn) => {
    openssl('req', '-x509', ...ec, '-days', '2', '-subj', `/CN=${cn}`, '-keyout', file(`${cn}.key`), '-out', file(`${cn}.pem`));
    return pair(cn);
  };
  const signed = (cn, by, authority = false) => {
    openssl('req', '-new', ...ec, '-subj', `/CN=${cn}`, '-keyout', file(`${cn}.key`), '-out', file(`${cn}.csr`));
    writeFileSync(file(`${cn}.ext`), authority ? 'basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n' : 'extendedKeyUsage=clientAuth\n');
    openssl('x509', '-req', '-in', file(`${cn}.csr`), '-CA', file(`${by}.pem`), '-CAkey', file(`${by}.key`), '-CAserial', file(`${cn}.srl`), '-CAcreateserial', '-days', '2',
      '-extfile', file(`${cn}.ext`), '-out', file(`${cn}.pem`));
  };
  const root = uniqueId('root');
  const between = uniqueId('between');
  own(root);
  signed(between, root, true);

  await t.test('a device of its own enrollment, and the hub takes its certificate', async () => {
    const id = uniqueId('x509');
    const mine = own(id);
    await service().createOrUpdateIndividualEnrollment({ registrationId: id, attestation: { type: 'x509', x509: { clientCertificates: { primary: { certificate: mine.cert } } } } });
    const result = await withCertificate(id, mine);
    assert.equal(result.deviceId, id);
    assert.equal((await registry().get(id)).responseBody.authentication.type, 'selfSigned');
    await useHub(result, { pair: mine });
    const { responseBody: read } = await service().getIndividualEnrollment(id);
    assert.equal(read.attestation.x509.clientCertificates.primary.certificate, undefined);
    assert.equal(read.attestation.x509.clientCertificates.primary.info.sha256Thumbprint, new crypto.X509Certificate(mine.cert).fingerprint256.replaceAll(':', ''));
    assert.equal(read.registrationState.status, 'assigned');
    // Who changes what was read sends no certificate back.
    await service().createOrUpdateIndividualEnrollment({ ...read, provisioningStatus: 'disabled' });
    await assert.rejects(withCertificate(id, mine), disabled);
  });

  await t.test('a device of a group, directly below the authority and with a chain', async () => {
    const group = uniqueId('certificates');
    await service().createOrUpdateEnrollmentGroup({ enrollmentGroupId: group, attestation: { type: 'x509', x509: { signingCertificates: { primary: { certificate: readFileSync(file(`${root}.pem`), 'utf8') } } } } });
    for (const [by, chain] of [[root, []], [between, [between]]]) {
      const id = uniqueId('leaf');
      signed(id, by);
      const result = await withCertificate(id, pair(id, chain));
      assert.equal(result.deviceId, id);
      await useHub(result, { pair: pair(id, chain) });
    }
    // The nearest authority decides: a disabled group of the intermediate refuses what the root's would admit.
    const nearer = uniqueId('nearer');
    await service().createOrUpdateEnrollmentGroup({ enrollmentGroupId: nearer, provisioningStatus: 'disabled', attestation: { type: 'x509', x509: { signingCertificates: { primary: { certificate: readFileSync(file(`${between}.pem`), 'utf8') } } } } });
    const id = uniqueId('leaf');
    signed(id, between);
    await assert.rejects(withCertificate(id, pair(id, [between])), disabled);
    await service().deleteEnrollmentGroup(nearer);
    await service().deleteEnrollmentGroup(group);
  });

  await t.test('a certificate that nobody knows, and one of another name, are refused', async () => {
    const id = uniqueId('stranger');
    await assert.rejects(withCertificate(id, own(id)), notConnected);
    await assert.rejects(withCertificate(uniqueId('other'), pair(id)), notConnected);
  });
});

test('the service side of provisioning', { timeout: 120_000 }, async (t) => {
  await t.test('an enrollment is created, read without keys, changed under its etag, and deleted', async () => {
    const id = uniqueId('crud');
    const { responseBody: made } = await service().createOrUpdateIndividualEnrollment({ registrationId: id, attestation: { type: 'symmetricKey' } });
    assert.equal(Buffer.from(made.attestation.symmetricKey.primaryKey, 'base64').length, 64);
    assert.equal(made.provisioningStatus, 'enabled');
    const { responseBody: read } = await service().getIndividualEnrollment(id);
    assert.equal(read.attestation.symmetricKey, undefined);
    const { responseBody: keys } = await service().getIndividualEnrollmentAttestationMechanism(id);
    assert.deepEqual(keys.symmetricKey, made.attestation.symmetricKey);
    const { responseBody: changed } = await service().createOrUpdateIndividualEnrollment({ ...read, deviceId: 'd', etag: read.etag });
    assert.notEqual(changed.etag, read.etag);
    assert.deepEqual(changed.attestation, made.attestation);
    await assert.rejects(service().createOrUpdateIndividualEnrollment({ ...read, etag: read.etag }));
    await assert.rejects(service().deleteIndividualEnrollment(id, read.etag));
    await service().deleteIndividualEnrollment(id, changed.etag);
    await assert.rejects(service().getIndividualEnrollment(id), (err) => err.response.statusCode === 404);
  });

  await t.test('a group is created, read, queried and deleted; its registrations are listed', async () => {
    const group = uniqueId('Group');
    const { responseBody: made } = await service().createOrUpdateEnrollmentGroup({ enrollmentGroupId: group, attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: newKey(), secondaryKey: newKey() } } });
    assert.equal((await service().getEnrollmentGroup(group)).responseBody.enrollmentGroupId, group);
    const { responseBody: mechanism } = await service().getEnrollmentGroupAttestationMechanism(group);
    const ids = [uniqueId('member'), uniqueId('member')];
    await Promise.all(ids.map((id) => withKey(id, derive(mechanism.symmetricKey.secondaryKey, id))));
    const states = await all(service().createEnrollmentGroupDeviceRegistrationStateQuery({ query: 'SELECT *' }, group, 1));
    assert.deepEqual(states.map((s) => s.registrationId).sort(), ids.sort());
    assert.ok((await all(service().createEnrollmentGroupQuery({ query: 'SELECT *' }, 1))).some((g) => g.enrollmentGroupId === group));
    const { responseBody: state } = await service().getDeviceRegistrationState(ids[0]);
    assert.equal(state.status, 'assigned');
    await service().deleteDeviceRegistrationState(ids[0]);
    await assert.rejects(service().getDeviceRegistrationState(ids[0]), (err) => err.response.statusCode === 404);
    await service().deleteEnrollmentGroup({ enrollmentGroupId: group, etag: made.etag });
    await assert.rejects(withKey(ids[1], derive(mechanism.symmetricKey.secondaryKey, ids[1])), unauthorized);
  });

  await t.test('a bulk call creates, says what failed, and deletes; a query goes through all pages', async () => {
    const list = Array.from({ length: 10 }, () => individual(uniqueId('bulk')));
    const run = (mode, enrollments) => promise((done) => service().runBulkEnrollmentOperation({ mode, enrollments }, done)); // without a callback it never ends
    assert.equal((await run('create', list)).isSuccessful, true);
    const again = await run('create', [list[0]]);
    assert.equal(again.isSuccessful, false);
    assert.equal(again.errors[0].registrationId, list[0].registrationId);
    const found = await all(service().createIndividualEnrollmentQuery({ query: 'SELECT *' }, 3));
    for (const e of list) assert.ok(found.some((x) => x.registrationId === e.registrationId));
    assert.equal((await run('delete', list.map((e) => ({ registrationId: e.registrationId })))).isSuccessful, true);
    await assert.rejects(service().getIndividualEnrollment(list[0].registrationId), (err) => err.response.statusCode === 404);
  });

  await t.test('a wrong key is UnauthorizedError', async () => {
    const client = ProvisioningServiceClient.fromConnectionString(`HostName=localhost;SharedAccessKeyName=provisioningserviceowner;SharedAccessKey=${newKey()}`);
    client._restApiClient.setOptions({ http: { agent } });
    await assert.rejects(client.getEnrollmentGroup('default'), { name: 'UnauthorizedError' });
  });
});

// all goes through a query to its end.
async function all(query) {
  const items = [];
  do items.push(...await promise((done) => query.next((err, page) => done(err, page))));
  while (query.hasMoreResults);
  return items;
}
