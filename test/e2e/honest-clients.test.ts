/** The limits on connections are for peers that do what no client does: clients that work hard are left alone. */
import { connect } from 'node:http2';
import { setImmediate as breathe } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createMessagingClient, MessagingError } from '../../src/client/messaging-client.ts';
import { AttackConnection, newSeen } from '../chaos/attack-connection.ts';
import { startTestApp, type TestApp } from '../support/apps.ts';
import { callsTo } from '../support/calls.ts';
import { createDatabase } from '../support/database.ts';
import { encodeFields, encodeFrame, FLAG, TYPE } from '../support/http2-frames.ts';
import { connectRaw, frame } from '../support/raw-calls.ts';
import { scrape } from '../support/scrape.ts';
import { until } from '../support/until.ts';

const CALLS = 1_000;

const opened = new AsyncDisposableStack();
let app: TestApp;
let id: string;
beforeAll(async () => {
  const database = opened.use(await createDatabase());
  // PostgreSQL may be slow on a machine that is busy.
  const patience = { DATABASE_CONNECT_TIMEOUT_MS: '100000', DATABASE_STATEMENT_TIMEOUT_MS: '100000' };
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

it('so are five thousand over ten connections, all heads first and then the bodies', async () => {
  const HEAD = encodeFields([
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', '/grpc.health.v1.Health/Check'],
    [':authority', 'localhost'],
    ['content-type', 'application/grpc'],
  ]);
  const ids = Array.from({ length: 500 }, (_, index) => 2 * index + 1);
  const count = async (name: string) => (await scrape(app)).sum(name, { grpc_method: 'Check' });
  const handled = await count('grpc_server_handled_total');
  const open = () => AttackConnection.open({ port: app.grpcPort, settings: Buffer.alloc(0) }, newSeen());
  const connections = (await Promise.all(Array.from({ length: 10 }, open))).filter((each) => each !== undefined);
  const calls = connections.length * ids.length;
  const heads = Buffer.concat(ids.map((id) => encodeFrame(TYPE.headers, FLAG.endHeaders, id, HEAD)));
  const bodies = Buffer.concat(ids.map((id) => encodeFrame(TYPE.data, FLAG.endStream, id, frame(new Uint8Array()))));
  await Promise.all(connections.map((each) => each.write(heads)));
  // The server, in this process too, reads the heads meanwhile.
  for (let turn = 0; turn < 50; turn += 1) await breathe();
  await Promise.all(connections.map((each) => each.write(bodies)));
  await until('all are answered', async () => (await count('grpc_server_handled_total')) === handled + calls);
  expect(await closedConnections()).toEqual([]);
  for (const each of connections) each.end();
});
