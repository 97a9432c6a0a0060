/**
 * `make bench-watchers`: what idle watchers cost. Memory of the service per open stream, and how often PostgreSQL is asked, which must
 * not depend on their number; then how long one change takes to reach all of them. Needs Linux, for /proc.
 */
import { writeFileSync } from 'node:fs';
import { type ClientHttp2Session, connect } from 'node:http2';
import { setTimeout as delay } from 'node:timers/promises';
import { create, toBinary } from '@bufbuild/protobuf';
import { createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import pg from 'pg';
import { MessageType } from '../gen/messaging/v1/message_pb.js';
import { MessageService, WatchMessagesRequestSchema } from '../gen/messaging/v1/message_service_pb.js';
import { startPostgres } from '../src/dev/postgres.ts';
import { startService } from '../test/support/processes.ts';
import { residentMegabytes } from './process-cost.ts';
import { WATCHERS_FILE, type WatchersResult } from './watchers-result.ts';

const STREAMS_PER_CONNECTION = 100;
const COUNTS = [1_000, 2_000, 3_000] as const;
const SETTLE_MS = 1_500;
const COLLECTIONS = 3;
const ASK_WINDOW_MS = 10_000;
const REPORT_MS = 11_000;
const CHANGES = 20;
/** Makes the service collect its garbage when it is told to: what the opening of streams left behind is none of theirs. */
const COLLECTABLE = `--expose-gc --import data:text/javascript,process.on('SIGUSR2',()=>gc())`;

const request = toBinary(WatchMessagesRequestSchema, create(WatchMessagesRequestSchema, { progressInterval: { seconds: 300n } }));
const head = Buffer.alloc(5);
head.writeUInt32BE(request.byteLength, 1);
const body = Buffer.concat([head, request]);

await using opened = new AsyncDisposableStack();
const postgres = opened.use(await startPostgres({ fast: true }));
const service = opened.use(
  await startService({ DATABASE_URL: postgres.url, DATABASE_MIGRATE_ON_START: 'true', NODE_OPTIONS: COLLECTABLE }),
);
const sql = opened.adopt(new pg.Client({ connectionString: postgres.url }), (client) => client.end());
await sql.connect();
const url = `http://127.0.0.1:${service.grpcPort}`;
const sessions: ClientHttp2Session[] = [];
opened.defer(() => {
  for (const session of sessions) session.destroy();
});
let told = 0;
let onTold: () => void = () => undefined;

/** Resolves when the stream has given its first sign of life. */
async function watch(session: ClientHttp2Session): Promise<void> {
  const begun = Promise.withResolvers<void>();
  const stream = session.request({
    ':method': 'POST',
    ':path': '/messaging.v1.MessageService/WatchMessages',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.on('data', () => {
    begun.resolve();
    told += 1;
    onTold();
  });
  stream.on('error', begun.reject);
  stream.end(body);
  await begun.promise;
}

async function watchers(count: number): Promise<void> {
  for (let left = count; left > 0; left -= STREAMS_PER_CONNECTION) {
    const session = connect(url);
    sessions.push(session);
    await Promise.all(Array.from({ length: Math.min(left, STREAMS_PER_CONNECTION) }, () => watch(session)));
  }
}

/** RSS in MB, without garbage. */
async function residentMb(): Promise<number> {
  for (let pass = 0; pass < COLLECTIONS; pass += 1) {
    process.kill(service.pid, 'SIGUSR2');
    await delay(SETTLE_MS);
  }
  return residentMegabytes(service.pid);
}

async function statementsPerSecond(): Promise<number> {
  const count = async (): Promise<number> => {
    const { rows } = await sql.query(
      `select xact_commit::float8 as count, pg_stat_clear_snapshot() from pg_stat_database where datname = current_database()`,
    );
    return rows[0].count;
  };
  // A connection tells what it has done when it feels like it, once in ten seconds at the latest.
  await delay(REPORT_MS);
  const before = await count();
  await delay(ASK_WINDOW_MS);
  return ((await count()) - before) / (ASK_WINDOW_MS / 1_000);
}

/** ms from the call until every stream has been told. */
async function timeOfChange(streams: number): Promise<number> {
  const { sendMessage } = createClient(MessageService, createGrpcTransport({ baseUrl: url }));
  const all = Promise.withResolvers<void>();
  told = 0;
  onTold = () => {
    if (told === streams) all.resolve();
  };
  const beganMs = performance.now();
  await sendMessage({ message: { fromAddress: '+14155552671', toAddress: '+14155552672', body: 'hello', messageType: MessageType.SMS } });
  await all.promise;
  return performance.now() - beganMs;
}

const emptyMb = await residentMb();
console.log(`  no watchers: RSS ${emptyMb.toFixed(0)} MB; PostgreSQL, transactions a second: ${(await statementsPerSecond()).toFixed(1)}`);
const kilobytes: number[] = [];
let streams = 0;
for (const count of COUNTS) {
  await watchers(count - streams);
  streams = count;
  const mb = await residentMb();
  const each = ((mb - emptyMb) * 1_000) / count;
  kilobytes.push(each);
  console.log(`  ${count} watchers: RSS ${mb.toFixed(0)} MB, ${each.toFixed(1)} KB for each`);
  console.log(`    PostgreSQL, transactions a second: ${(await statementsPerSecond()).toFixed(1)}`);
}
const times: number[] = [];
for (let index = 0; index < CHANGES; index += 1) times.push(await timeOfChange(streams));
times.sort((a, b) => a - b);
const result: WatchersResult = { at: new Date().toISOString(), kilobytes };
writeFileSync(WATCHERS_FILE, `${JSON.stringify(result, undefined, 2)}\n`);
console.log(`  one change told to all ${streams}: median ${times[CHANGES / 2]?.toFixed(0)} ms, slowest ${times.at(-1)?.toFixed(0)} ms`);
