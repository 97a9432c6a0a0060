/** The limits on connections are for peers that do what no client does: clients that work hard are left alone. */
import { connect } from 'node:http2';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createMessagingClient, MessagingError } from '../../src/client/messaging-client.ts';
import { startTestApp, type TestApp } from '../support/apps.ts';
import { callsTo } from '../support/calls.ts';
import { createDatabase } from '../support/database.ts';
import { connectRaw, frame } from '../support/raw-calls.ts';

const CALLS = 1_000;

const opened = new AsyncDisposableStack();
let app: TestApp;
let id: string;
beforeAll(async () => {
  const database = opened.use(await createDatabase());
  // A machine that is busy closes no connection.
  const patience = { DATABASE_CONNECT_TIMEOUT_MS: '100000', DATABASE_STATEMENT_TIMEOUT_MS: '100000', REQUEST_TIMEOUT_MS: '100000' };
  app = opened.use(await startTestApp({ DATABASE_URL: database.url, ...patience }));
  id = (await callsTo(app).send()).id;
});
afterAll(() => opened.disposeAsync());

async function closedConnections(): Promise<readonly string[]> {
  const text = await (await fetch(`http://127.0.0.1:${app.httpPort}/metrics`)).text();
  return [...text.matchAll(/^grpc_connections_closed_total\{reason="(\w+)"\} [1-9]\d*$/gm)].map(([, reason = '']) => reason);
}

it('a thousand calls at once, half of them cancelled, again and again, are all taken on one connection', async () => {
  using client = createMessagingClient(`127.0.0.1:${app.grpcPort}`, { deadlineMs: 100_000 });
  for (let round = 0; round < 4; round += 1) {
    const outcomes = await Promise.all(
      Array.from({ length: CALLS }, async (_, index) => {
        const hedge = new AbortController();
        const call = client.messages.getMessage({ id }, { signal: hedge.signal });
        if (index % 2 === 0) setImmediate(() => hedge.abort());
        return call.then(
          () => 'answered',
          (error: unknown) =>
            error instanceof MessagingError ? (error.code === status.CANCELLED ? 'CANCELLED' : error.message) : String(error),
        );
      }),
    );
    expect(new Set(outcomes)).toEqual(new Set(['answered', 'CANCELLED']));
    expect(outcomes.filter((outcome) => outcome === 'answered').length).toBeGreaterThanOrEqual(CALLS / 2);
  }
  expect(await closedConnections()).toEqual([]);
});

it('so are a thousand that come at once and each bring a long token', async () => {
  await using raw = await connectRaw(`http://127.0.0.1:${app.grpcPort}`);
  await expect.poll(() => raw.session.remoteSettings.maxConcurrentStreams).toBe(CALLS);
  const headers = { 'content-type': 'application/grpc', authorization: `Bearer ${'x'.repeat(2_000)}` };
  const check = { path: '/grpc.health.v1.Health/Check', headers, body: frame(new Uint8Array()) };
  const answers = await Promise.all(Array.from({ length: CALLS }, () => raw.call(check)));
  expect(new Set(answers.map(({ trailers }) => trailers['grpc-status']))).toEqual(new Set(['0']));
  expect(await closedConnections()).toEqual([]);
});

it('so are a PING after each of a thousand answers, and windows that are moved, as clients do that measure the connection', async () => {
  const session = connect(`http://127.0.0.1:${app.grpcPort}`);
  opened.defer(() => session.destroy());
  const ping = () => new Promise<void>((resolve, reject) => session.ping((error) => (error === null ? resolve() : reject(error))));
  for (let round = 0; round < CALLS; round += 1) {
    const stream = session.request({ ':method': 'POST', ':path': '/grpc.health.v1.Health/Check', 'content-type': 'application/grpc' });
    stream.end(Buffer.alloc(5)).resume();
    await new Promise((resolve, reject) => stream.once('close', resolve).once('error', reject));
    await ping();
    if (round % 20 === 0) await new Promise<void>((resolve) => session.settings({ initialWindowSize: 65_535 + round }, () => resolve()));
  }
  for (let keepalive = 0; keepalive < 20; keepalive += 1) await ping();
  expect(await closedConnections()).toEqual([]);
});
