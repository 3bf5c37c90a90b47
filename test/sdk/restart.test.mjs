// A device and a module of clean session 0 stay with a hub that keeps its data while it is stopped or killed again and again. The SDK does not subscribe again when
// the hub answers "session present": what was subscribed before must hold after. TWINFLEET_ROUNDS is the number of rounds; every second one is a kill -9, and every
// second of these comes when the hub has yet to read something.
import test from 'node:test';
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { format } from 'node:util';
import https from 'node:https';
import net from 'node:net';
import readline from 'node:readline';
import { iothub, device, Mqtt, binary, report, eventually } from './hub.mjs';

const rounds = Number(process.env.TWINFLEET_ROUNDS ?? 4);

// What the SDK says of its connections, shown when a case fails.
const said = [];
const debug = createRequire(import.meta.url)('debug');
debug.log = (...args) => said.push(`${new Date().toISOString()} ${format(...args)}`);
debug.enable('azure-iot-mqtt-base:*,azure-iot-device:*,azure-iot-device-mqtt:*,azure-iot-common:*');

// freePort is a port that nobody is given while the hub is down: systems give out higher ones.
async function freePort() {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    const server = net.createServer();
    const free = await new Promise((resolve) => server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true)));
    if (free) {
      await new Promise((resolve) => server.close(resolve));
      return port;
    }
  }
}

class Hub {
  constructor() {
    // Each write is synced: in memory where there is such a place, for what other tests do to the disk is not the subject.
    this.dir = mkdtempSync(path.join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'twinfleet-restart-'));
    this.log = path.join(this.dir, 'log');
  }

  async start() {
    this.port ??= await freePort();
    this.process = spawn(binary, ['hub', '--json', '--listen', `127.0.0.1:${this.port}`, '--log-level', 'debug', '--cert-dir', path.join(this.dir, 'certs'), '--data', path.join(this.dir, 'data')], { stdio: ['ignore', 'pipe', openSync(this.log, 'a')] });
    this.gone = new Promise((resolve) => this.process.once('exit', resolve));
    const said = JSON.parse(await Promise.race([
      new Promise((resolve) => readline.createInterface({ input: this.process.stdout }).once('line', resolve)),
      this.gone.then((code) => Promise.reject(new Error(`the hub ended at once with code ${code}`))),
    ]));
    this.port = said.port;
    this.ca = readFileSync(said.ca, 'utf8');
    this.policies = said.policies;
    const agent = new https.Agent({ ca: this.ca });
    agent.defaultPort = this.port;
    const text = `HostName=localhost;SharedAccessKeyName=iothubowner;SharedAccessKey=${said.policies.iothubowner}`;
    this.registry = iothub.Registry.fromConnectionString(text);
    this.service = iothub.Client.fromConnectionString(text);
    for (const c of [this.registry, this.service]) c._restApiClient.setOptions({ http: { agent } });
  }

  async stop(signal) {
    this.process.kill(signal);
    await this.gone;
  }

  // freeze has the hub do nothing any more: what comes is left to the system, which takes it.
  async freeze() {
    this.process.kill('SIGSTOP');
    const stat = `/proc/${this.process.pid}/stat`; // where there is one it tells when that has come about
    await eventually(() => !existsSync(stat) || readFileSync(stat, 'utf8').split(') ').at(-1).startsWith('T'), Boolean, 'the hub stands still');
  }
}

// written tells that all that a client had to send is the system's.
const written = (client) => client._transport._mqtt._mqttClient.stream.writableLength === 0;

// goesOn has a client do what the SDK leaves to its application. After an end of its connection it connects anew by itself. A reset it takes for an error that nothing
// helps against, tells of it, and stays away: the system answers with one for a hub that is gone and had yet to read something, be it the SUBSCRIBE that the SDK sends
// again 100 ms after it began to connect anew. azure-iot-mqtt-base 1.13.3 (dist/mqtt_base.js:428) and azure-iot-device-mqtt 1.16.4 (dist/mqtt.js:62) hand on the
// socket's error as it is, where that of an end is a NotConnectedError; azure-iot-device 1.18.4 (dist/internal_client.js:54) asks the retry policy, and the filter of
// azure-iot-common 1.13.3 (dist/retry_error_filter.js) knows no error that is called Error. What else ends a connection for good is the case's to fail: it is in amiss.
function goesOn(name, client, amiss) {
  const note = (text) => said.push(`${new Date().toISOString()} ${name}: ${text}`);
  client.on('disconnect', (reason) => {
    const err = reason?.transportObj;
    note(`the SDK gives up: ${err}`);
    if (!['ECONNRESET', 'EPIPE'].includes(err?.code)) {
      amiss.push(`${name}: ${err}`);
      return;
    }
    client.open().then(() => note('opened again'), (again) => amiss.push(`${name}: opening it again: ${again}`));
  });
}

await test('restarts of the hub under connected devices', { timeout: 60_000 + rounds * 15_000 }, async (t) => {
  const hub = new Hub();
  await hub.start();
  const clients = [];
  t.after(async () => {
    // One that connects anew may not be done with that before the hub is back.
    for (const c of clients) await Promise.race([c.close(), new Promise((resolve) => setTimeout(resolve, 2_000).unref())]);
    await hub.stop('SIGINT');
    rmSync(hub.dir, { recursive: true, force: true });
  });
  // shown runs what may fail, and shows what client and hub said if it does.
  const shown = async (fn) => {
    try {
      await fn();
    } catch (err) {
      err.stack += `\nthe client:\n${said.slice(-200).join('\n')}\nthe hub:\n${readFileSync(hub.log, 'utf8').slice(-20_000)}`;
      throw err;
    }
  };
  await t.test(`twin reads, reports, desired changes and methods go on: ${rounds} rounds`, () => shown(async () => {
    const identity = (await hub.registry.create({ deviceId: 'device' })).responseBody;
    const module = (await hub.registry.addModule({ deviceId: 'device', moduleId: 'module' })).responseBody;
    const key = (i) => i.authentication.symmetricKey.primaryKey;
    const open = async (client) => {
      await client.setOptions({ ca: hub.ca });
      await client.open();
      clients.push(client);
      return client;
    };
    const host = `HostName=localhost:${hub.port};DeviceId=device`;
    const sides = [
      { name: 'device', client: await open(device.Client.fromConnectionString(`${host};SharedAccessKey=${key(identity)}`, Mqtt)), on: 'onDeviceMethod', of: ['device'] },
      { name: 'module', client: await open(device.ModuleClient.fromConnectionString(`${host};ModuleId=module;SharedAccessKey=${key(module)}`, Mqtt)), on: 'onMethod', of: ['device', 'module'] },
    ];
    const amiss = [];
    for (const s of sides) {
      goesOn(s.name, s.client, amiss);
      s.twin = await s.client.getTwin();
      s.client[s.on]('echo', (request, response) => response.send(200, request.payload, () => {}));
      s.patches = [];
      s.twin.on('properties.desired', (patch) => s.patches.push(patch));
      await report(s.twin, { round: -1 });
      // The SDK subscribes in the background; a first change and a first answer show that it has.
      const change = { properties: { desired: { round: -1 } } };
      await (s.of.length === 1 ? hub.registry.updateTwin('device', change, '*') : hub.registry.updateModuleTwin('device', 'module', change, '*'));
      await eventually(() => s.patches, (p) => p.some((d) => d.round === -1));
      await eventually(() => hub.service.invokeDeviceMethod(...s.of, { methodName: 'echo', payload: 1, responseTimeoutInSeconds: 10 }).catch(() => undefined), Boolean);
    }
    for (let n = 0; n < rounds; n++) {
      if (n % 4 === 3) {
        await hub.freeze();
        for (const s of sides) s.twin.properties.reported.update({ unread: n }, () => {}); // which nobody answers
        await eventually(() => sides.every((s) => written(s.client)), Boolean, 'what the hub will not read is sent');
      }
      await hub.stop(n % 2 ? 'SIGKILL' : 'SIGINT');
      await hub.start();
      for (const s of sides) {
        const where = `round ${n}, ${s.name}`;
        const asked = hub.registry;
        const twinOf = () => (s.of.length === 1 ? asked.getTwin('device') : asked.getModuleTwin('device', 'module'));
        await eventually(async () => (await twinOf()).responseBody.connectionState, (state) => state === 'Connected', `${where} is connected`);
        assert.equal((await s.client.getTwin()).properties.reported.round, n - 1, where);
        await report(s.twin, { round: n });
        assert.equal((await twinOf()).responseBody.properties.reported.round, n, where);
        const change = { properties: { desired: { round: n } } };
        await (s.of.length === 1 ? asked.updateTwin('device', change, '*') : asked.updateModuleTwin('device', 'module', change, '*'));
        await eventually(() => s.patches, (p) => p.some((d) => d.round === n), `${where} is told of a change`);
        const { result } = await hub.service.invokeDeviceMethod(...s.of, { methodName: 'echo', payload: { n }, responseTimeoutInSeconds: 10 });
        assert.deepEqual(result, { status: 200, payload: { n } }, where);
      }
      assert.deepEqual(amiss, [], `round ${n}`);
    }
  }));
});

// A client that is closed while it connects anew keeps the timer of its retries, four minutes at most, and with it this process: it ends a moment after its cases.
setTimeout(() => process.exit(), 1000);
