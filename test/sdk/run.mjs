// Starts `twinfleet hub` on a free loopback port, and on 443 of a loopback address of its own, and runs the SDK cases against it.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import readline from 'node:readline';

const here = path.dirname(fileURLToPath(import.meta.url));
const binary = process.env.TWINFLEET_BINARY ?? path.resolve(here, '../../bin/twinfleet');
const dir = mkdtempSync(path.join(tmpdir(), 'twinfleet-sdk-'));

// Over WebSocket and HTTPS the clients know port 443 alone: the hub has it on an address of its own, and the same other port there as on localhost.
const { address, port } = await freeAddress();
const hub = spawn(binary, ['hub', '--json', '--hostname', address, '--listen', `127.0.0.1:${port}`, '--extra-listen', `${address}:${port},${address}:443`,
  '--cert-dir', path.join(dir, 'certs'), '--dps-retry-after', '1s', '--token-grace', '1s', '--telemetry-always', '--feedback-every', '200ms', '--consumer-groups', 'others'],
  { stdio: ['ignore', 'pipe', 'inherit'] });
const gone = new Promise((resolve) => hub.once('exit', resolve));
const line = await Promise.race([
  new Promise((resolve) => readline.createInterface({ input: hub.stdout }).once('line', resolve)),
  gone.then((code) => Promise.reject(new Error(`the hub ended at once with code ${code}`))),
]);

// A file that hangs is given up, and named, before the suite is.
const patience = 75_000 + Number(process.env.TWINFLEET_ROUNDS ?? 4) * 15_000;
const only = process.argv.slice(2); // names of files, to run some alone
const files = readdirSync(here).filter((f) => f.endsWith('.test.mjs') && (only.length === 0 || only.includes(f))).map((f) => path.join(here, f));
const tests = spawn(process.execPath, ['--test', `--test-reporter=${path.join(here, 'reporter.mjs')}`, '--test-reporter-destination=stdout', '--test-concurrency=4', `--test-timeout=${patience}`, ...files], {
  stdio: 'inherit',
  // Some clients take neither an agent nor an authority of their own.
  env: { ...process.env, TWINFLEET_TEST_HUB: JSON.stringify({ ...JSON.parse(line), address, binary }), NODE_EXTRA_CA_CERTS: JSON.parse(line).ca },
});
const limit = setTimeout(() => { console.error('the suite does not end'); tests.kill('SIGKILL'); }, 2 * patience);
const code = await new Promise((resolve) => tests.once('exit', (c) => resolve(c ?? 1)));
clearTimeout(limit);
hub.kill('SIGINT');
const hubCode = await gone;
rmSync(dir, { recursive: true, force: true });
if (hubCode !== 0) console.error(`the hub ended with code ${hubCode}`);
process.exit(code || hubCode);

function listens(host, port) {
  const server = net.createServer();
  return new Promise((resolve) => server.once('error', (err) => resolve(err)).listen(port, host, () => server.close(() => resolve(undefined))));
}

// freeAddress is a loopback address where 443 is free, and a port that is free there and on 127.0.0.1. Systems give out higher ports.
async function freeAddress() {
  const below = (n) => Math.floor(Math.random() * n);
  for (let i = 0; i < 100; i++) {
    const address = `127.${64 + below(186)}.${below(250)}.${2 + below(248)}`;
    const port = 10_000 + below(20_000);
    const errors = await Promise.all([listens(address, 443), listens(address, port), listens('127.0.0.1', port)]);
    if (errors[0]?.code === 'EACCES') {
      console.error('the SDKs use port 443, which this user may not open: run as root, or run\n  sudo sysctl -w net.ipv4.ip_unprivileged_port_start=443');
      process.exit(1);
    }
    if (errors.every((err) => err === undefined)) return { address, port };
  }
  throw new Error('no loopback address has port 443 free');
}
