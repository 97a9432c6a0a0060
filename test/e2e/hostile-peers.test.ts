/** Peers that do what no client does are closed, told so where they listen, counted, and nobody else notices. */
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, beforeEach, expect, it, onTestFinished } from 'vitest';
import { createMessagingClient, type MessagingClient } from '../../src/client/messaging-client.ts';
import { AttackConnection, newSeen, type Seen } from '../chaos/attack-connection.ts';
import { startTestApp, type TestApp } from '../support/apps.ts';
import { createDatabase } from '../support/database.ts';
import { encodeFields, encodeFrame, FLAG, TYPE, uint32 } from '../support/http2-frames.ts';
import { scrape } from '../support/scrape.ts';
import { until } from '../support/until.ts';

const MAX_CONNECTIONS = 64;
/** A sixteenth. */
const MAX_UNUSED = 4;
const MAX_OF_ADDRESS = 12;
const REQUEST_TIMEOUT_MS = 1_000;
const NOTHING = Buffer.alloc(0);
const CANCEL = 8;
const HEADERS = encodeFields([
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', '/messaging.v1.MessageService/ListMessages'],
  [':authority', 'localhost'],
  ['content-type', 'application/grpc'],
  ['grpc-timeout', '1H'],
]);

const opened = new AsyncDisposableStack();
let databaseUrl: string;
beforeAll(async () => {
  databaseUrl = opened.use(await createDatabase()).url;
});
afterAll(() => opened.disposeAsync());

let app: TestApp;
let honest: MessagingClient;
let seen: Seen;
async function start(requestTimeoutMs: number): Promise<void> {
  const limits = { MAX_CONNECTIONS: String(MAX_CONNECTIONS), MAX_CONNECTIONS_PER_ADDRESS: String(MAX_OF_ADDRESS) };
  app = await startTestApp({ DATABASE_URL: databaseUrl, ...limits, REQUEST_TIMEOUT_MS: String(requestTimeoutMs) });
  honest = createMessagingClient(`127.0.0.1:${app.grpcPort}`, { deadlineMs: 60_000 });
  seen = newSeen();
  await honest.messages.listMessages({});
}

async function stop(): Promise<void> {
  honest.close();
  await app[Symbol.asyncDispose]();
}

// Each test is about an address that nothing is known of.
beforeEach(async () => {
  await start(REQUEST_TIMEOUT_MS);
  return stop;
});

/** SETTINGS_INITIAL_WINDOW_SIZE of 0. */
const NO_WINDOW = Buffer.from([0, 4, 0, 0, 0, 0]);

async function attacker(settings = NOTHING): Promise<AttackConnection> {
  const connection = await AttackConnection.open({ port: app.grpcPort, settings }, seen);
  if (connection === undefined) throw new Error('it was not let in');
  onTestFinished(() => connection.end());
  return connection;
}

/** Of a request that is whole, and answered. */
const EMPTY_MESSAGE = Buffer.alloc(5);
const call = (stream: number) => Buffer.concat([headers(stream), encodeFrame(TYPE.data, FLAG.endStream, stream, EMPTY_MESSAGE)]);

/** It has had an answer, as clients have. */
async function client(): Promise<AttackConnection> {
  const connection = await attacker();
  const before = await answered();
  await connection.write(call(1));
  await until('it was answered', async () => (await answered()) > before);
  return connection;
}
const answered = async (): Promise<number> => (await scrape(app)).sum('grpc_server_handled_total', { grpc_code: 'OK' });

const closedFor = async (reason: string): Promise<number> => (await scrape(app)).sum('grpc_connections_closed_total', { reason });
const many = (count: number, make: (stream: number) => Uint8Array) =>
  Buffer.concat(Array.from({ length: count }, (_, index) => make(2 * index + 1)));
const headers = (stream: number) => encodeFrame(TYPE.headers, FLAG.endHeaders, stream, HEADERS);
const MANY_HEADERS = encodeFields(Array.from({ length: 60 }, (_, index) => [`x-${index}`, 'v'] as const));
const manyHeaders = (stream: number) =>
  encodeFrame(TYPE.headers, FLAG.endHeaders | FLAG.endStream, stream, Buffer.concat([HEADERS, MANY_HEADERS]));

async function expectClosed(connections: readonly AttackConnection[], reason: string): Promise<void> {
  await Promise.all(connections.map(({ closed }) => closed));
  expect(await closedFor(reason)).toBe(connections.length);
  await expect(honest.messages.listMessages({})).resolves.toBeDefined();
}

it.each([
  ['PINGs', 'pings', many(1_000, () => encodeFrame(TYPE.ping, 0, 0, Buffer.alloc(8)))],
  ['SETTINGS', 'settings', many(1_000, () => encodeFrame(TYPE.settings, 0, 0, NOTHING))],
  [
    'calls that are taken back',
    'wasted',
    many(5_000, (id) => Buffer.concat([headers(id), encodeFrame(TYPE.reset, 0, id, uint32(CANCEL))])),
  ],
  ['heads that HTTP/2 refuses, between calls', 'wasted', many(200, (id) => (id % 20 === 1 ? call(id) : manyHeaders(id)))],
  ['heads that HTTP/2 refuses, and no call', 'wasted', many(120, manyHeaders)],
])('too many %s', async (_, reason, bytes) => {
  const connection = await attacker();
  await connection.write(bytes);
  await expectClosed([connection], reason);
  expect(seen.goAways).toHaveProperty('ENHANCE_YOUR_CALM');
});

it('frames that belong to no call', async () => {
  const connection = await attacker();
  // Valid, and not worth a look.
  const noise = many(512, () => encodeFrame(TYPE.windowUpdate, 0, 0, uint32(1)));
  while (connection.isOpen) await connection.write(noise);
  await expectClosed([connection], 'noise');
});

it('an address of which one was closed for what it did loses its newcomers, may open few others for a while, and keeps its clients', async () => {
  const calm = await client();
  const angry = await attacker();
  const newcomer = await attacker();
  await angry.write(many(1_000, () => encodeFrame(TYPE.ping, 0, 0, Buffer.alloc(8))));
  await expectClosed([angry], 'pings');
  await newcomer.closed;
  const lost = await closedFor('suspect');
  expect(lost).toBe(1);
  const others = await Promise.all(Array.from({ length: 5 }, () => AttackConnection.open({ port: app.grpcPort, settings: NOTHING }, seen)));
  await Promise.race(others.map((other) => other?.closed));
  expect(await closedFor('suspect')).toBeGreaterThan(lost);
  expect(calm.isOpen).toBe(true);
  for (const other of others) other?.end();
});

it('whoever comes from such an address meanwhile may have a hundred calls under way', async () => {
  const angry = await attacker();
  await angry.write(many(1_000, () => encodeFrame(TYPE.ping, 0, 0, Buffer.alloc(8))));
  await expectClosed([angry], 'pings');
  const isRefused = () => seen.resets['REFUSED_STREAM'] === 50;
  await until('it is let in, and 50 of its calls are refused', async () => {
    const newcomer = await attacker();
    await newcomer.write(many(150, headers));
    await until('it is closed, or they are', () => !newcomer.isOpen || isRefused());
    return isRefused();
  });
});

it('of connections that have not called, the one that came first makes room for one more', async () => {
  const silent: AttackConnection[] = [];
  for (let index = 0; index < MAX_UNUSED + 1; index += 1) silent.push(await attacker());
  await silent[0]?.closed;
  await expectClosed(silent.slice(0, 1), 'displaced');
  expect(silent.slice(1).map(({ isOpen }) => isOpen)).toEqual(silent.slice(1).map(() => true));
});

it('an address has so many connections and no more', async () => {
  for (let index = 0; index < MAX_OF_ADDRESS; index += 1) {
    const connection = await attacker();
    // One that has called is not displaced.
    await connection.write(headers(1));
    await until(
      'it has called',
      async () => (await scrape(app)).sum('grpc_server_started_total', { grpc_method: 'ListMessages' }) > index + 1,
    );
  }
  const refused = await AttackConnection.open({ port: app.grpcPort, settings: NOTHING }, seen);
  await refused?.closed;
  expect(await closedFor('too_many_of_address')).toBe(1);
});

it('a request that does not come is given up long before its deadline; whoever does so again and again is closed', async () => {
  const connection = await attacker();
  await connection.write(many(50, headers));
  await until('they were given up', () => seen.answers['refused or ended'] === 50);
  expect(await closedFor('slow_requests')).toBe(0);
  const handled = (await scrape(app)).sum('grpc_server_handled_total', { grpc_code: 'DEADLINE_EXCEEDED' });
  expect(handled).toBe(50);
  await connection.write(Buffer.concat(Array.from({ length: 60 }, (_, index) => headers(2 * (50 + index) + 1))));
  await expectClosed([connection], 'slow_requests');
});

it('requests are not slow that have come while the process was held up', async () => {
  const connection = await client();
  const before = await answered();
  const ids = Array.from({ length: 200 }, (_, index) => 2 * index + 3);
  await connection.write(Buffer.concat(ids.map(headers)));
  const started = async () => (await scrape(app)).sum('grpc_server_started_total', { grpc_method: 'ListMessages' });
  await until('their heads have come', async () => (await started()) >= before + ids.length);
  await connection.write(Buffer.concat(ids.map((id) => encodeFrame(TYPE.data, FLAG.endStream, id, EMPTY_MESSAGE))));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2 * REQUEST_TIMEOUT_MS);
  await until('they are answered', async () => (await answered()) === before + ids.length);
  expect(await closedFor('slow_requests')).toBe(0);
});

it('of unfinished requests there are so many in all: whose are the oldest is closed', async () => {
  const requests = Buffer.concat(Array.from({ length: 900 }, (_, index) => headers(2 * index + 3)));
  const [first, second, third] = [await client(), await client(), await client()];
  await first.write(requests);
  await until('they are there', async () => (await scrape(app)).sum('grpc_server_started_total', { grpc_method: 'ListMessages' }) > 900);
  await second.write(requests);
  await third.write(requests);
  await expectClosed([first], 'unfinished_requests');
});

it('heads of requests that do not come are held up to a few megabytes', async () => {
  await stop();
  // A request that is given up is none that is held.
  await start(10 * REQUEST_TIMEOUT_MS);
  const connection = await attacker();
  const padding = encodeFields(Array.from({ length: 12 }, (_, index) => [`x-${index}`, 'x'.repeat(1_000)] as const));
  const long = (stream: number) => encodeFrame(TYPE.headers, FLAG.endHeaders, stream, Buffer.concat([HEADERS, padding]));
  await connection.write(many(400, long));
  await expectClosed([connection], 'stalled');
});

it('answers that nobody takes are held up to a few megabytes', async () => {
  const body = 'x'.repeat(1_500);
  const requests = Array.from({ length: 100 }, () => ({ message: { fromAddress: '+14155552671', toAddress: '+14155552672', body } }));
  for (let batch = 0; batch < 2; batch += 1) await honest.messages.batchSendMessages({ requests });
  const connection = await attacker(NO_WINDOW);
  const pageOf200 = Buffer.from([0, 0, 0, 0, 3, 0x10, 0xc8, 0x01]);
  await connection.write(many(50, (stream) => Buffer.concat([headers(stream), encodeFrame(TYPE.data, FLAG.endStream, stream, pageOf200)])));
  await expectClosed([connection], 'stalled');
});

it('of answers that nobody takes, however short, there are so many in all: whose are the most is closed', async () => {
  const pageOf1 = Buffer.from([0, 0, 0, 0, 2, 0x10, 0x01]);
  const list = (stream: number) => Buffer.concat([headers(stream), encodeFrame(TYPE.data, FLAG.endStream, stream, pageOf1)]);
  const few = await attacker(NO_WINDOW);
  await few.write(many(100, list));
  const more = await attacker(NO_WINDOW);
  await more.write(many(1_000, list));
  await more.closed;
  expect(await closedFor('unread_answers')).toBe(1);
});

it('a connection that the network takes away is none that was closed for what it did', async () => {
  const connection = await attacker();
  await connection.write(headers(1));
  connection.end();
  await until('its call is over', async () => (await scrape(app)).sum('grpc_server_handled_total', { grpc_code: 'CANCELLED' }) === 1);
  expect(await closedFor('protocol')).toBe(0);
  expect(status.CANCELLED).toBe(1);
});
