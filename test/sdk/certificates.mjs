// Certificates of devices, made by openssl in a folder.
import crypto from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { caDir, sha1 } from './hub.mjs';

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

// certificates makes them in a folder that goes with the case.
export function certificates(t) {
  const dir = mkdtempSync(path.join(tmpdir(), 'twinfleet-x509-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const file = (cn, end) => path.join(dir, `${cn}.${end}`);
  const openssl = (...args) => execFileSync('openssl', args, { stdio: 'ignore' });
  const pair = (cn) => ({ cert: readFileSync(file(cn, 'pem'), 'utf8'), key: readFileSync(file(cn, 'key'), 'utf8') });
  return {
    selfSigned(cn) {
      openssl('req', '-x509', ...newKey, '-days', '2', '-subj', `/CN=${cn}`, '-keyout', file(cn, 'key'), '-out', file(cn, 'pem'));
      return pair(cn);
    },
    // The hub's authority signs for devices too; its key lies beside its certificate.
    signed(cn) {
      openssl('req', '-new', ...newKey, '-subj', `/CN=${cn}`, '-keyout', file(cn, 'key'), '-out', file(cn, 'csr'));
      writeFileSync(file(cn, 'ext'), 'extendedKeyUsage=clientAuth\n');
      openssl('x509', '-req', '-in', file(cn, 'csr'), '-CA', path.join(caDir, 'ca.pem'), '-CAkey', path.join(caDir, 'ca.key'),
        '-CAserial', file(cn, 'srl'), '-CAcreateserial', '-days', '2', '-extfile', file(cn, 'ext'), '-out', file(cn, 'pem'));
      return pair(cn);
    },
  };
}

export const thumbprint = (pair) => sha1(new crypto.X509Certificate(pair.cert).raw);
