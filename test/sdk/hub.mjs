// What every case shares: the hub under test, and the SDKs pointed at it.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import https from 'node:https';
import net from 'node:net';
import tls from 'node:tls';
import crypto from 'node:crypto';

const require = createRequire(import.meta.url);
export const iothub = require('azure-iothub');
export const device = require('azure-iot-device');
export const { Mqtt, MqttWs } = require('azure-iot-device-mqtt');
export const { Amqp, AmqpWs } = require('azure-iot-device-amqp');
export const { Http } = require('azure-iot-device-http');
export const { SharedAccessSignature, NoRetry } = require('azure-iot-common');
export const mqtt = require('mqtt');

// run.mjs starts the hub and puts what it printed here.
const hub = JSON.parse(process.env.TWINFLEET_TEST_HUB);
export const port = hub.port;
export const address = hub.address; // has the same port, and 443
export const ca = readFileSync(hub.ca, 'utf8');
export const caDir = hub.caDir;
const policies = hub.policies;
export const eventHub = address.split('.')[0]; // the hub's short name, the Event-Hubs-compatible endpoint
export const policyKey = (policy) => policies[policy];
export const binary = hub.binary; // the program, for cases that start one of their own

// The service SDK cannot take host:port; an agent with another default port can.
const agent = new https.Agent({ keepAlive: true, ca });
agent.defaultPort = port;

export function connectionString(policy = 'iothubowner') {
  return `HostName=localhost;SharedAccessKeyName=${policy};SharedAccessKey=${policies[policy]}`;
}

function onPort(client) {
  client._restApiClient.setOptions({ http: { agent } });
  return client;
}

export const registry = (policy) => onPort(iothub.Registry.fromConnectionString(connectionString(policy)));
export const service = (policy) => onPort(iothub.Client.fromConnectionString(connectionString(policy)));
export const jobs = (policy) => onPort(iothub.JobClient.fromConnectionString(connectionString(policy)));

// request speaks REST directly, for what no SDK client offers over HTTPS.
export function request(method, path, body, headers = {}) {
  const token = SharedAccessSignature.create('localhost', 'iothubowner', policies.iothubowner,
    Math.floor(Date.now() / 1000) + 600).toString();
  return new Promise((resolve, reject) => {
    const req = https.request({
      host: 'localhost', port, ca, method, path: `${path}${path.includes('?') ? '&' : '?'}api-version=2021-04-12`,
      headers: { Authorization: token, 'Content-Type': 'application/json', ...headers },
    }, (res) => {
      const parts = [];
      res.on('data', (d) => parts.push(d));
      res.on('end', () => {
        const text = Buffer.concat(parts).toString();
        resolve({ status: res.statusCode, headers: res.headers, text, body: text ? JSON.parse(text) : undefined });
      });
    });
    req.on('error', reject);
    req.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

let counter = 0;
// uniqueId gives every case identities of its own, so that cases do not meet.
export const uniqueId = (name) => `${name}-${process.pid}-${++counter}`;

export async function newDevice(name, extra = {}) {
  const { responseBody } = await registry().create({ deviceId: uniqueId(name), ...extra });
  return responseBody;
}

export function deviceConnectionString(identity, key = identity.authentication.symmetricKey.primaryKey) {
  return `HostName=localhost:${port};DeviceId=${identity.deviceId};SharedAccessKey=${key}`;
}

// The WebSocket transport appends :443 to the host name; this agent dials the hub's port instead.
export class PortAgent extends https.Agent {
  constructor(pair = {}, to = port) {
    super();
    this.pair = pair; // a client certificate and its key
    this.to = to;
  }

  createConnection(options, done) {
    const socket = tls.connect({ ca, ...this.pair, servername: 'localhost', socket: net.connect(this.to, '127.0.0.1') });
    socket.once('secureConnect', () => done(null, socket));
    socket.once('error', done);
    return undefined;
  }
}

export async function connect(identity, { transport = Mqtt, key, websocket = false } = {}) {
  const text = deviceConnectionString(identity, key);
  const client = device.Client.fromConnectionString(websocket ? text.replace(`:${port}`, '') : text, transport);
  client.setRetryPolicy(new NoRetry());
  await client.setOptions(websocket ? { ca, mqtt: { webSocketAgent: new PortAgent() } } : { ca });
  await client.open();
  return client;
}

// promise turns a callback API into a promise.
export const promise = (f) => new Promise((resolve, reject) => f((err, value) => (err ? reject(err) : resolve(value))));

export const report = (twin, patch) => promise((done) => twin.properties.reported.update(patch, done));

// next resolves with the arguments of an emitter's next event that pleases.
export function next(emitter, event, pleases = () => true) {
  return new Promise((resolve) => {
    const listener = (...args) => {
      if (!pleases(...args)) return;
      emitter.removeListener(event, listener);
      resolve(args.length > 1 ? args : args[0]);
    };
    emitter.on(event, listener);
  });
}

// listen waits, in the promise that it returns in a list, for a change of desired properties, once the hub knows of it: the SDK subscribes at
// the first listener, in the background, and on its connection a report comes after that. A change by REST has no such order.
export async function listen(twin, pleases) {
  const change = next(twin, 'properties.desired', pleases);
  await report(twin, { listens: true });
  return [change];
}

// eventually asks again until the answer pleases; before the case is given up it says what it waited for.
export async function eventually(ask, pleases, what = String(pleases), within = 15_000) {
  const limit = Date.now() + within;
  for (;;) {
    const answer = await ask();
    if (pleases(answer)) return answer;
    if (Date.now() > limit) throw new Error(`nothing pleased within ${within / 1000} s: ${what}; last: ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export async function queryAll(sql, pageSize) {
  const rows = [];
  let pages = 0;
  let token;
  do {
    const headers = pageSize ? { 'x-ms-max-item-count': String(pageSize) } : {};
    if (token) headers['x-ms-continuation'] = token;
    const answer = await request('POST', '/devices/query', { query: sql }, headers);
    if (answer.status !== 200) throw Object.assign(new Error(answer.text), { answer });
    rows.push(...answer.body);
    token = answer.headers['x-ms-continuation'];
    pages++;
  } while (token);
  return { rows, pages };
}

export const sha1 = (der) => crypto.createHash('sha1').update(der).digest('hex').toUpperCase();
