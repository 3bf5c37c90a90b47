// Starts `twinfleet hub` on a free loopback port and runs the SDK cases against it.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import readline from 'node:readline';

const here = path.dirname(fileURLToPath(import.meta.url));
const binary = process.env.TWINFLEET_BINARY ?? path.resolve(here, '../../bin/twinfleet');
const dir = mkdtempSync(path.join(tmpdir(), 'twinfleet-sdk-'));

const hub = spawn(binary, ['hub', '--json', '--listen', '127.0.0.1:0', '--cert-dir', path.join(dir, 'certs'), '--dps-retry-after', '1s'],
  { stdio: ['ignore', 'pipe', 'inherit'] });
const gone = new Promise((resolve) => hub.once('exit', resolve));
const line = await Promise.race([
  new Promise((resolve) => readline.createInterface({ input: hub.stdout }).once('line', resolve)),
  gone.then((code) => Promise.reject(new Error(`the hub ended at once with code ${code}`))),
]);

// A file that hangs is given up, and named, before the suite is.
const patience = 180_000 + Number(process.env.TWINFLEET_ROUNDS ?? 4) * 15_000;
const files = readdirSync(here).filter((f) => f.endsWith('.test.mjs')).map((f) => path.join(here, f));
const tests = spawn(process.execPath, ['--test', `--test-reporter=${path.join(here, 'reporter.mjs')}`, '--test-reporter-destination=stdout', '--test-concurrency=2', `--test-timeout=${patience}`, ...files], {
  stdio: 'inherit',
  // Some clients take neither an agent nor an authority of their own.
  env: { ...process.env, TWINFLEET_TEST_HUB: JSON.stringify({ ...JSON.parse(line), binary }), NODE_EXTRA_CA_CERTS: JSON.parse(line).ca },
});
const limit = setTimeout(() => { console.error('the suite does not end'); tests.kill('SIGKILL'); }, 2 * patience);
const code = await new Promise((resolve) => tests.once('exit', (c) => resolve(c ?? 1)));
clearTimeout(limit);
hub.kill('SIGINT');
const hubCode = await gone;
rmSync(dir, { recursive: true, force: true });
if (hubCode !== 0) console.error(`the hub ended with code ${hubCode}`);
process.exit(code || hubCode);
