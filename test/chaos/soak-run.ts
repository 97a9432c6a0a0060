/**
 * Runs a server and a worker for a long time under a load they can bear, and looks whether they come to hold more and more: memory,
 * handles, files, sessions. soak-settings.ts lists what it can be told by the environment.
 */
import { setTimeout as wait } from 'node:timers/promises';
import type pg from 'pg';
import { seedOf } from '../support/seeded-random.ts';
import { type DeliveryStack, startDeliveryStack } from './delivery-stack.ts';
import { soak } from './soak-load.ts';
import { databaseSessions, type Sample, sample, type Trend, trendsOf, type Watched } from './soak-samples.ts';
import { readSoakSettings, type SoakSettings } from './soak-settings.ts';

const CALIBRATION_MS = 10_000;
const SAMPLE_MS = 5_000;
const MINUTE_MS = 60_000;
/** Of the samples, for the process to reach what it needs. */
const WARM_UP_SHARE = 1 / 3;
/** Of the median, in what is left of the samples. Beyond it the process is taken to leak. */
const MOST_GROWTH = 0.05;
/** Of handles and files a few more or less are chance. */
const MOST_MORE_HANDLES = 8;
const DRAIN_MS = 120_000;
/** Full before memory is judged: by default it would fill for hours, which looks like a leak. */
const LOCAL_BYTES = 4 * 1_048_576;

const pendingIn = async (sql: pg.Pool): Promise<number> =>
  (await sql.query<{ count: number }>(`select count(*)::integer as count from messages where status = 'pending'`)).rows[0]?.count ?? 0;

async function drained({ sql }: DeliveryStack): Promise<void> {
  const untilMs = performance.now() + DRAIN_MS;
  while ((await pendingIn(sql)) > 0) {
    if (performance.now() > untilMs) throw new Error(`${await pendingIn(sql)} messages are still PENDING after ${DRAIN_MS / 1_000} s`);
    await wait(250);
  }
}

function faultsOf(name: string, trends: readonly Trend[], { short }: SoakSettings): readonly string[] {
  return trends.flatMap(({ measure, median, growth }) => {
    const isMemory = measure === 'rss' || measure === 'heap' || measure === 'external';
    if (short && isMemory) return [];
    const most = isMemory ? median * MOST_GROWTH : Math.max(median * MOST_GROWTH, MOST_MORE_HANDLES);
    return growth > most ? [`${name}: ${measure} grew by ${growth.toFixed(1)}, more than ${most.toFixed(1)}`] : [];
  });
}

async function watchOver(watched: readonly Watched[], sql: pg.Pool, signal: AbortSignal) {
  const samples = new Map<string, Sample[]>(watched.map(({ name }) => [name, []]));
  let [mostSessions, idleInTransaction, beat] = [0, 0, 0];
  while (!signal.aborted) {
    for (const one of watched) samples.get(one.name)?.push(await sample(one));
    const database = await databaseSessions(sql);
    mostSessions = Math.max(mostSessions, database.sessions);
    idleInTransaction += database.idleInTransaction;
    if (beat % (MINUTE_MS / SAMPLE_MS) === 0) {
      const texts = watched.map(({ name }) => `${name} ${samples.get(name)?.at(-1)?.rss.toFixed(0)} MB`);
      console.log(
        `  ${(beat * SAMPLE_MS) / MINUTE_MS} min: ${texts.join(', ')}, ${await pendingIn(sql)} PENDING, ${database.sessions} sessions`,
      );
    }
    beat += 1;
    await wait(SAMPLE_MS, undefined, { signal }).catch(() => undefined);
  }
  return { samples, mostSessions, idleInTransaction };
}

function tell(name: string, trends: readonly Trend[]): void {
  for (const { measure, median, most, growth } of trends) {
    console.log(
      `  ${name.padEnd(10)} ${measure.padEnd(9)} median ${median.toFixed(1).padStart(7)}  most ${most.toFixed(1).padStart(7)}  growth ${growth.toFixed(1).padStart(6)}`,
    );
  }
}

async function run(settings: SoakSettings): Promise<readonly string[]> {
  const env = { CACHE_LOCAL_BYTES: String(LOCAL_BYTES) };
  await using stack = await startDeliveryStack({ seed: seedOf(settings.seed, 'soak'), servers: 1, workers: 1, env });
  const { mortals, addresses, sql } = stack;
  const [address = ''] = addresses;
  const load = { address, seed: settings.seed };
  const calibration = await soak({ ...load, ms: CALIBRATION_MS });
  const perSecond = Math.floor(((calibration.calls * 1_000) / CALIBRATION_MS) * settings.load);
  await drained(stack);
  console.log(`${calibration.calls} calls in ${CALIBRATION_MS / 1_000} s; ${perSecond} a second for ${settings.minutes} minutes`);

  const watched = mortals.map(({ name, running }) => ({ name, ...{ pid: running.pid, httpPort: running.httpPort } }));
  const over = new AbortController();
  const watching = watchOver(watched, sql, over.signal);
  const result = await soak({ ...load, ms: settings.minutes * MINUTE_MS, perSecond });
  over.abort();
  const { samples, mostSessions, idleInTransaction } = await watching;
  await drained(stack);

  const { calls, failed, failure, watched: told, connections } = result;
  console.log(`\n${calls} calls over ${connections} connections, ${failed} failed; watchers were told ${told} times`);
  console.log(`PostgreSQL: at most ${mostSessions} sessions, ${idleInTransaction} left in a transaction`);
  const faults = failed === 0 ? [] : [`${failed} calls failed, the first: ${failure}`];
  if (idleInTransaction > 0) faults.push(`${idleInTransaction} times a session was left in a transaction`);
  for (const { name } of watched) {
    const all = samples.get(name) ?? [];
    const trends = trendsOf(all.slice(Math.floor(all.length * WARM_UP_SHARE)));
    tell(name, trends);
    faults.push(...faultsOf(name, trends, settings));
  }
  return faults;
}

const settings = readSoakSettings(process.env);
console.log(`Soak, SEED=${settings.seed}`);
const faults = await run(settings);
for (const fault of faults) console.log(`  WRONG: ${fault}`);
console.log(faults.length === 0 ? '\nPASSED' : '\nFAILED');
process.exit(faults.length === 0 ? 0 : 1);
