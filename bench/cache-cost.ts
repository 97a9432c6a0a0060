/**
 * `make bench-cache`: what the cache costs and saves, beside the same service without it, in one run: commands and SQL of a hit, the price
 * of coherence for a write, and the hit ratio of a Zipf load with writes. Numbers of two machines cannot be compared; ratios can.
 */
import { writeFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import pg from 'pg';
import { CachedEntity, createMessagingClient, MessageType, type MessagingClient } from '../src/client/messaging-client.ts';
import { startPostgres } from '../src/dev/postgres.ts';
import { startRedis } from '../src/dev/redis.ts';
import { type ServiceProcess, startService } from '../test/support/processes.ts';

const ROUNDS = 7;
const WRITES_A_ROUND = 300;
const HITS = 1_000;
const ROWS = 100_000;
const ZIPF_OPERATIONS = 60_000;
const ZIPF_EXPONENT = 1;
const WRITE_SHARE = 0.05;
const AT_ONCE = 32;

interface Contender extends AsyncDisposable {
  readonly service: ServiceProcess;
  readonly client: MessagingClient;
  readonly sql: pg.Client;
}

const median = (values: readonly number[]): number =>
  values.toSorted((left, right) => left - right)[Math.floor(values.length / 2)] ?? Number.NaN;
const show = (value: number, digits = 2): string => value.toFixed(digits);
const range = (values: readonly number[]): string =>
  `${show(median(values))} (${show(Math.min(...values))} to ${show(Math.max(...values))})`;

async function open(serverUrl: string, name: string, env: Readonly<Record<string, string>>): Promise<Contender> {
  await using opening = new AsyncDisposableStack();
  const admin = new pg.Client({ connectionString: serverUrl });
  await admin.connect();
  await admin.query(`create database ${name}`);
  await admin.end();
  const url = Object.assign(new URL(serverUrl), { pathname: `/${name}` }).href;
  const service = opening.use(
    await startService({ DATABASE_URL: url, DATABASE_MIGRATE_ON_START: 'true', CACHE_VERIFY_RATIO: '0', ...env }),
  );
  const client = opening.use(createMessagingClient(`127.0.0.1:${service.grpcPort}`, { deadlineMs: 60_000, requestIds: false }));
  const sql = opening.adopt(new pg.Client({ connectionString: url }), (connection) => connection.end());
  await sql.connect();
  const closing = opening.move();
  return { service, client, sql, [Symbol.asyncDispose]: () => closing.disposeAsync() };
}

const draft = (index: number) => ({
  fromAddress: '+14155552671',
  toAddress: `+1415555${2_000 + (index % 500)}`,
  messageType: MessageType.SMS,
  body: 'Your table for two is ready.',
});

async function sendTimes({ client }: Contender, count: number): Promise<readonly number[]> {
  const times: number[] = [];
  for (let index = 0; index < count; index += 1) {
    const began = performance.now();
    await client.messages.sendMessage({ message: draft(index) });
    times.push(performance.now() - began);
  }
  return times;
}

/** CPU that a process has used so far, in ms. */
async function cpuMs({ service }: Contender): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${service.httpPort}/metrics`)).text();
  return Number(/^process_cpu_seconds_total (\S+)/m.exec(text)?.[1]) * 1_000;
}

/** How often Redis has run each command. */
async function commandCounts(redis: Redis): Promise<ReadonlyMap<string, number>> {
  const info = await redis.info('commandstats');
  return new Map([...info.matchAll(/^cmdstat_(\S+?):calls=(\d+)/gm)].map(([, name = '', calls]) => [name, Number(calls)]));
}

async function tableReads({ sql }: Contender): Promise<number> {
  await sql.query('select pg_stat_force_next_flush()');
  const { rows } = await sql.query<{ reads: number }>(
    // Rows are read by their key; the readiness check reads none.
    `select sum(coalesce(idx_scan, 0))::integer as reads from pg_stat_user_tables where relname in ('messages', 'conversations')`,
  );
  return rows[0]?.reads ?? 0;
}

async function hitCost(cached: Contender, redis: Redis): Promise<void> {
  const { message } = await cached.client.messages.sendMessage({ message: draft(0) });
  const id = message?.id ?? '';
  const sourceOf = async () => {
    let source = '';
    const onHeaders = (headers: Readonly<Record<string, string>>): void => {
      source = headers['x-cache'] ?? '';
    };
    await cached.client.messages.getMessage({ id }, { onHeaders });
    return source;
  };
  while ((await sourceOf()) !== 'hit') await new Promise((resolve) => setTimeout(resolve, 5));
  const questions = async () => {
    const counts = await commandCounts(redis);
    // The relay and its watermark use GET, from inside their scripts; readers put their questions into MGET.
    return counts.get('mget') ?? 0;
  };
  const [asked, reads] = [await questions(), await tableReads(cached)];
  for (let index = 0; index < HITS; index += 1) await sourceOf();
  const own = (await questions()) - asked;
  console.log(`  a hit: ${show(own / HITS)} Redis commands, ${(await tableReads(cached)) - reads} reads of tables in ${HITS} hits`);
}

async function writeCost(cached: Contender, plain: Contender, redis: Redis): Promise<object> {
  for (const contender of [cached, plain]) await sendTimes(contender, WRITES_A_ROUND);
  const ratios: number[] = [];
  const added: number[] = [];
  const cpuRatios: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const p50: number[] = [];
    const cpu: number[] = [];
    for (const contender of round % 2 === 0 ? [cached, plain] : [plain, cached]) {
      const before = await cpuMs(contender);
      const time = median(await sendTimes(contender, WRITES_A_ROUND));
      const used = (await cpuMs(contender)) - before;
      const place = contender === cached ? 0 : 1;
      p50[place] = time;
      cpu[place] = used / WRITES_A_ROUND;
    }
    const [with_ = Number.NaN, without = Number.NaN] = p50;
    ratios.push(with_ / without);
    added.push(with_ - without);
    cpuRatios.push((cpu[0] ?? Number.NaN) / (cpu[1] ?? Number.NaN));
  }
  const before = await commandCounts(redis);
  await sendTimes(cached, WRITES_A_ROUND);
  const after = await commandCounts(redis);
  const scripts = ((after.get('evalsha') ?? 0) - (before.get('evalsha') ?? 0)) / WRITES_A_ROUND;
  console.log(`  SendMessage with the cache / without: p50 ${range(ratios)}, added ms ${range(added)}, CPU ${range(cpuRatios)}`);
  console.log(
    `  its Redis round trips: 2 (marks of both rows, settles of both rows); scripts a write, the relay's included: ${show(scripts, 1)}`,
  );
  return { p50Ratio: ratios, p50AddedMs: added, cpuRatio: cpuRatios };
}

/** Ranks by Zipf's law: rank r is read in proportion to 1 / r^s. */
function zipf(count: number, exponent: number): () => number {
  const cumulative = new Float64Array(count);
  let sum = 0;
  for (let rank = 0; rank < count; rank += 1) {
    sum += 1 / (rank + 1) ** exponent;
    cumulative[rank] = sum;
  }
  return () => {
    const wanted = Math.random() * sum;
    let [low, high] = [0, count - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((cumulative[middle] ?? 0) < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}

async function hitRatio({ client, sql }: Contender): Promise<object> {
  await sql.query(
    `insert into conversations (id, participant_from, participant_to, from_key, to_key, channel_type, thread, title)
     select gen_random_uuid(), '+14155552671', '+1212' || n, '+14155552671', '+1212' || n, 'sms', true, 'n ' || n from generate_series(1, $1::integer) n`,
    [ROWS],
  );
  const { rows } = await sql.query<{ id: string }>(`select id from conversations where thread limit ${ROWS}`);
  const ids = rows.map(({ id }) => id);
  const next = zipf(ids.length, ZIPF_EXPONENT);
  const results: Record<string, number> = {};
  for (const phase of ['from an empty cache', 'after that']) {
    const sources: Record<string, number> = {};
    let [done, reads] = [0, 0];
    const work = async (): Promise<void> => {
      while (done < ZIPF_OPERATIONS) {
        done += 1;
        const id = ids[next()] ?? '';
        if (Math.random() < WRITE_SHARE) {
          await client.conversations.updateConversation({ conversation: { id, title: `n ${done}` } });
          continue;
        }
        reads += 1;
        const onHeaders = (headers: Readonly<Record<string, string>>) => {
          const source = headers['x-cache'] ?? 'none';
          sources[source] = (sources[source] ?? 0) + 1;
        };
        await client.conversations.getConversation({ id }, { onHeaders });
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    const ratio = (sources['hit'] ?? 0) / reads;
    results[phase] = ratio;
    console.log(
      `  Zipf (s = ${ZIPF_EXPONENT}) over ${ROWS} rows, 5 % writes, ${ZIPF_OPERATIONS} operations ${phase}: ${show(100 * ratio)} % hits`,
    );
    if (phase === 'from an empty cache') await warm(client);
  }
  return results;
}

/** What operators do after a start: see CacheService.WarmCache. */
async function warm(client: MessagingClient): Promise<void> {
  for await (const progress of client.cache.warmCache({ entity: CachedEntity.CONVERSATION, count: ROWS, rate: 100_000 })) {
    if (progress.examined === progress.total) console.log(`  warmed ${progress.loaded} of ${progress.total}`);
  }
}

await using opened = new AsyncDisposableStack();
const postgres = opened.use(await startPostgres({ fast: true }));
const server = await startRedis();
if (server === undefined) throw new Error('There is no redis-server; run `make peers`.');
opened.use(server);
const redis = opened.adopt(new Redis({ host: server.host, port: server.port }), (client) => client.disconnect());
const cached = opened.use(await open(postgres.url, 'cached', { REDIS_HOST: server.host, REDIS_PORT: String(server.port) }));
const plain = opened.use(await open(postgres.url, 'plain', {}));
console.log('\n  The cache, its cost and its use');
await hitCost(cached, redis);
const write = await writeCost(cached, plain, redis);
const zipfHits = await hitRatio(cached);
const results = { date: new Date().toISOString(), node: process.version, rounds: ROUNDS, write, zipfHits };
writeFileSync('bench/results/cache-cost.json', `${JSON.stringify(results, undefined, 2)}\n`);
