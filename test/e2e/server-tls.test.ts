import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { createClient } from '@connectrpc/connect';
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { createMessagingClient } from '../../src/client/messaging-client.ts';
import { startTestApp, type TestApp } from '../support/apps.ts';
import { createDatabase } from '../support/database.ts';
import { scrape } from '../support/scrape.ts';

const opened = new AsyncDisposableStack();
const folder = mkdtempSync(join(tmpdir(), 'messaging-tls-'));
const certFile = join(folder, 'cert.pem');
const keyFile = join(folder, 'key.pem');
let missing: string | undefined;
let app: TestApp;
let databaseUrl: string;

beforeAll(async () => {
  try {
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', keyFile];
    execFileSync('openssl', ['req', '-x509', ...key, '-out', certFile, '-days', '2', ...subject], { stdio: 'ignore' });
  } catch {
    missing = 'missing on this machine: openssl';
    return;
  }
  databaseUrl = opened.use(await createDatabase()).url;
  app = opened.use(await startTestApp({ DATABASE_URL: databaseUrl, TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile }));
});
afterAll(async () => {
  await opened.disposeAsync();
  rmSync(folder, { recursive: true, force: true });
});

function test(title: string, work: () => Promise<void>): void {
  it(title, async (context) => {
    if (missing !== undefined) context.skip(missing);
    await work();
  });
}

test('with a certificate the port speaks TLS to all three protocols', async () => {
  const baseUrl = `https://localhost:${app.grpcPort}`;
  const nodeOptions = { ca: readFileSync(certFile) };
  const transports = [
    createGrpcTransport({ baseUrl, nodeOptions }),
    createGrpcWebTransport({ baseUrl, httpVersion: '2', nodeOptions }),
    createConnectTransport({ baseUrl, httpVersion: '2', nodeOptions }),
  ];
  for (const transport of transports) expect((await createClient(MessageService, transport).listMessages({})).messages).toEqual([]);
});

test('the client package speaks TLS to it, and trusts no certificate it was not given', async () => {
  using client = createMessagingClient(`localhost:${app.grpcPort}`, { tls: { ca: readFileSync(certFile) } });
  expect((await client.messages.listMessages({}, { deadlineMs: 20_000 })).messages).toEqual([]);
  using stranger = createMessagingClient(`localhost:${app.grpcPort}`, { tls: {} });
  await expect(stranger.messages.listMessages({}, { deadlineMs: 2_000 })).rejects.toThrow(/certificate|UNAVAILABLE|DEADLINE_EXCEEDED/);
});

test('when its certificate ends shows in the metrics', async () => {
  const end = new X509Certificate(readFileSync(certFile)).validToDate.getTime() / 1_000;
  expect((await scrape(app)).sum('tls_certificate_not_after_timestamp_seconds', { port: 'grpc' })).toBe(end);
});

test('a peer without TLS and a peer without HTTP/2 are sent away and do no harm', async () => {
  const plain = connectTcp(app.grpcPort, '127.0.0.1', () => plain.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'));
  plain.on('error', () => undefined).resume();
  await new Promise((resolve) => plain.once('close', resolve));
  const old = connectTls({ port: app.grpcPort, host: 'localhost', ca: readFileSync(certFile), ALPNProtocols: ['http/1.1'] });
  old.on('error', () => undefined).resume();
  await new Promise((resolve) => old.once('close', resolve));
  using client = createMessagingClient(`localhost:${app.grpcPort}`, { tls: { ca: readFileSync(certFile) } });
  expect((await client.messages.listMessages({}, { deadlineMs: 20_000 })).messages).toEqual([]);
});

test('a certificate that is not there keeps the service from starting', async () => {
  const env = { DATABASE_URL: databaseUrl, TLS_CERT_FILE: join(folder, 'none.pem'), TLS_KEY_FILE: keyFile };
  await expect(startTestApp(env)).rejects.toMatchObject({ code: 'ENOENT' });
});
