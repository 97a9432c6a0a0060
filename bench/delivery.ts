/**
 * `make bench-delivery`: what delivery costs beside the least it could: messages through one worker process against jobs that do nothing,
 * SendMessage against a bare INSERT, and how long an idle system takes from the answer to SendMessage until the provider has the message.
 * Numbers of two machines cannot be compared; ratios of one run can. SHORT=1 for a look.
 */
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { createMessagingClient, type MessagingClient } from '../src/client/messaging-client.ts';
import { startPostgres } from '../src/dev/postgres.ts';
import { startRedis } from '../src/dev/redis.ts';
import { seededRandom } from '../src/dev/seeded-random.ts';
import { startSimulator } from '../src/dev/simulator.ts';
import { supervise } from '../src/dev/supervised-process.ts';
import { migrateDatabase } from '../test/support/database.ts';
import { startService } from '../test/support/processes.ts';
import { rangeOf, showRange } from './statistics.ts';

const isShort = process.env['SHORT'] === '1';
const ROUNDS = isShort ? 3 : 7;
const MESSAGES = isShort ? 600 : 2_000;
const SENDS = isShort ? 500 : 2_000;
const IDLE_SENDS = isShort ? 50 : 300;
const CALLERS = 16;
const CONCURRENCY = 20;
/** Messages in each conversation. */
const PER_CONVERSATION = 4;

await using opened = new AsyncDisposableStack();
const postgres = opened.use(await startPostgres({ fast: true }));
await migrateDatabase(postgres.url);
const redis = await startRedis();
if (redis === undefined) throw new Error('There is no redis-server; run `make peers`.');
opened.use(redis);
const sql = opened.adopt(new pg.Pool({ connectionString: postgres.url, max: CALLERS }), (pool) => pool.end());
const { privateKey: signingKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const twilio = { accountSid: `AC${'0'.repeat(32)}`, authToken: 'token' };
const simulator = opened.use(
  await startSimulator({
    host: '127.0.0.1',
    port: 0,
    twilio,
    sendgrid: { apiKey: 'SG.key', signingKey },
    webhookUrl: undefined,
    random: seededRandom(1),
    faults: { callbacks: false },
  }),
);
const shared = {
  DATABASE_URL: postgres.url,
  DATABASE_POOL_MAX: '20',
  REDIS_HOST: redis.host,
  REDIS_PORT: String(redis.port),
  CACHE_VERIFY_RATIO: '0',
  LOG_LEVEL: 'warn',
  TWILIO_ACCOUNT_SID: twilio.accountSid,
  TWILIO_AUTH_TOKEN: twilio.authToken,
  TWILIO_API_URL: simulator.url,
  TWILIO_MAX_CONCURRENT: String(CONCURRENCY),
  TWILIO_MAX_PER_SECOND: '100000',
};
const server = opened.use(await startService({ ...shared, LOG_LEVEL: 'info', PROCESS_ROLE: 'server' }));
const client: MessagingClient = opened.use(
  createMessagingClient(`127.0.0.1:${server.grpcPort}`, { deadlineMs: 60_000, requestIds: false }),
);
const startWorker = () => startService({ ...shared, LOG_LEVEL: 'info', PROCESS_ROLE: 'worker' });

let recipients = 0;
function draft(index: number) {
  if (index % PER_CONVERSATION === 0) recipients += 1;
  return { fromAddress: '+14155552671', toAddress: `+1212${2_000_000 + recipients}`, body: 'Your table for two is ready.' };
}

async function concurrently(count: number, work: (index: number) => Promise<unknown>): Promise<number> {
  let next = 0;
  const began = performance.now();
  const caller = async () => {
    while (next < count) {
      next += 1;
      await work(next);
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));
  return (count * 1_000) / (performance.now() - began);
}

/** How many go per second between the first and the last tenth, so that starting and stopping do not count. */
async function drainRate(total: number, left: () => Promise<number>): Promise<number> {
  const passes = async (share: number): Promise<{ readonly atMs: number; readonly left: number }> => {
    for (;;) {
      const now = await left();
      if (now <= total * share) return { atMs: performance.now(), left: now };
      await wait(5);
    }
  };
  const first = await passes(0.9);
  const last = await passes(0.1);
  await passes(0);
  return ((first.left - last.left) * 1_000) / (last.atMs - first.atMs);
}

const countOf = async (text: string): Promise<number> => (await sql.query<{ count: number }>(text)).rows[0]?.count ?? 0;
const jobsLeft = () => countOf('select count(*)::integer as count from graphile_worker.jobs');
const messagesLeft = () => countOf(`select count(*)::integer as count from messages where status = 'pending'`);

async function floorRate(): Promise<number> {
  await sql.query(`select graphile_worker.add_job('nothing') from generate_series(1, ${MESSAGES})`);
  const env = { ...process.env, DATABASE_URL: postgres.url, CONCURRENCY: String(CONCURRENCY) };
  const floor = await supervise({ command: process.execPath, args: ['bench/contenders/queue-floor.ts'], stopSignal: 'SIGTERM', env });
  const rate = await drainRate(MESSAGES, jobsLeft);
  await floor.stop();
  return rate;
}

/** Also measures SendMessage, which fills the queue. */
async function dispatchRate(): Promise<number> {
  await concurrently(MESSAGES, (index) => client.messages.sendMessage({ message: draft(index) }));
  await using _worker = await startWorker();
  // The worker works until then.
  return await drainRate(MESSAGES, messagesLeft);
}

const INSERT = {
  name: 'bare-insert',
  text: `insert into bare_messages (id, from_address, to_address, body, meta_data, created_at) values ($1, $2, $3, $4, $5, now())`,
};
await sql.query(`
  create table bare_messages (
    id uuid primary key, from_address text not null, to_address text not null, body text not null, meta_data jsonb not null, created_at timestamptz
  )`);

const insertRate = () =>
  concurrently(SENDS, (index) => {
    const { fromAddress, toAddress, body } = draft(index);
    return sql.query({ ...INSERT, values: [randomUUID(), fromAddress, toAddress, body, '{}'] });
  });
const sendRate = () => concurrently(SENDS, (index) => client.messages.sendMessage({ message: draft(index) }));

/** From the answer to SendMessage until the provider has it, one at a time, in ms. */
async function idleLatencies(): Promise<readonly number[]> {
  await using _worker = await startWorker();
  const times: number[] = [];
  for (let index = 0; index < IDLE_SENDS; index += 1) {
    const { accepted } = simulator.journal.counts;
    const before = accepted.twilio;
    await client.messages.sendMessage({ message: draft(0) });
    const answeredAtMs = Date.now();
    while (accepted.twilio === before) await wait(1);
    // Without reports nothing names our message; the newest is the only one.
    const [newest] = simulator.journal.messages();
    times.push(Math.max(0, (newest?.acceptedAtMs ?? 0) - answeredAtMs));
    while ((await messagesLeft()) > 0) await wait(5);
  }
  return times.toSorted((left, right) => left - right);
}

const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;

const rounds: { floor: number; dispatch: number; insert: number; send: number }[] = [];
for (let round = 1; round <= ROUNDS; round += 1) {
  const [insert, send] = [await insertRate(), await sendRate()];
  await sql.query(`delete from graphile_worker._private_jobs`);
  await sql.query(`update messages set status = 'failed' where status = 'pending'`);
  const [floor, dispatch] = [await floorRate(), await dispatchRate()];
  rounds.push({ floor, dispatch, insert, send });
  console.log(
    `  round ${round}: no-op jobs ${floor.toFixed(0)}/s, messages ${dispatch.toFixed(0)}/s; INSERT ${insert.toFixed(0)}/s, SendMessage ${send.toFixed(0)}/s`,
  );
}
const latencies = await idleLatencies();
const result = {
  at: new Date().toISOString(),
  messagesPerSecond: rangeOf(rounds.map(({ dispatch }) => dispatch)),
  noOpJobsPerMessage: rangeOf(rounds.map(({ floor, dispatch }) => floor / dispatch)),
  sendsPerSecond: rangeOf(rounds.map(({ send }) => send)),
  insertsPerSend: rangeOf(rounds.map(({ insert, send }) => insert / send)),
  idleMs: { p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99), samples: latencies.length },
};
console.log(`
  one worker: ${showRange(result.messagesPerSecond, 0)} messages per second; a message costs ${showRange(result.noOpJobsPerMessage)} no-op jobs
  SendMessage: ${showRange(result.sendsPerSecond, 0)} per second; one costs ${showRange(result.insertsPerSend)} bare INSERTs
  idle, from the answer to the provider: p50 ${result.idleMs.p50} ms, p99 ${result.idleMs.p99} ms of ${result.idleMs.samples}
`);
if (!isShort) writeFileSync('bench/results/delivery.json', `${JSON.stringify(result, undefined, 2)}\n`);
process.exit();
