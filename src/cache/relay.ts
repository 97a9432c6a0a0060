/** Applies every committed change to the cells, whoever made it, and says so by the watermark. One process at a time does. */
import type { Outbox, OutboxChange, OutboxLease } from '../domain/ports.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { ANY_VERSION } from './cell-commands.ts';
import type { CellKeys } from './keys.ts';
import type { RedisConnection } from './redis.ts';

export interface RelayOptions {
  readonly outbox: Outbox;
  readonly connection: Pick<RedisConnection, 'commands' | 'generation' | 'runIds' | 'scan'>;
  readonly keys: CellKeys;
  /** Resolves after `ms`, or at once when the signal is aborted. */
  readonly wait: (ms: number, signal?: AbortSignal) => Promise<void>;
  readonly random: () => number;
  readonly metrics: Metrics;
  readonly log: Log;
}

const PASS_INTERVAL_MS = 50;
const CLOSE_PATIENCE_MS = 500;
const WATERMARK_LIFE_MS = 3_000;
const BATCH_ROWS = 1_000;
/** Between attempts to lead, with as much again at random. */
const RETRY_MS = 250;

/** Others may keep keys that begin like ours. */
const ROW_ID = /:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * Drops every cell that matches, write marks aside, which are kept from becoming values. Returns how many there were. `pace` is awaited
 * after every batch, and ends it by throwing.
 */
export async function dropCells(
  { commands, scan }: Pick<RedisConnection, 'commands' | 'scan'>,
  pattern: string,
  pace?: (keys: number) => Promise<void>,
): Promise<number> {
  let dropped = 0;
  for await (const keys of scan(pattern)) {
    const rows = keys.filter((key) => ROW_ID.test(key));
    const found = await Promise.all(rows.map((key) => commands.bump(key, ANY_VERSION)));
    dropped += found.filter(Boolean).length;
    await pace?.(keys.length);
  }
  return dropped;
}

async function apply(changes: readonly OutboxChange[], { connection, keys }: RelayOptions): Promise<void> {
  const wholeEntities = new Set(changes.filter(({ id }) => id === undefined).map(({ entity }) => entity));
  for (const entity of wholeEntities) await dropCells(connection, keys.patternOf(entity));
  await Promise.all(
    changes.map(async ({ entity, id, version }) => id !== undefined && connection.commands.bump(keys.of(entity, id), version)),
  );
}

/** A cache that may lack invalidations, or hold rows that this PostgreSQL lost, is emptied before it is trusted. */
async function ensureAppliedTo(cache: string, lease: OutboxLease, options: RelayOptions): Promise<void> {
  const { connection, keys, metrics, log } = options;
  if ((await lease.appliedTo()) === cache) return;
  await connection.commands.dropWatermark(keys.watermark);
  for (const entity of keys.entities) await dropCells(connection, keys.patternOf(entity));
  await lease.setAppliedTo(cache);
  metrics.cacheFlushed();
  log.info('cache emptied: this Redis and this PostgreSQL were not together before');
}

/** All changes that were committed before it began are in the cells when it publishes the watermark. Returns the run ids of Redis. */
export async function relayPass(lease: OutboxLease, options: RelayOptions, knownRunIds: string | undefined): Promise<string> {
  const { connection, keys, metrics } = options;
  const generation = connection.generation();
  const [runIds, beganMs] = await Promise.all([connection.runIds(), connection.commands.redisTimeMs(keys.watermark)]);
  const { databaseIdentity } = lease;
  if (runIds !== knownRunIds) await ensureAppliedTo(`${keys.prefix}|${runIds}|${databaseIdentity}`, lease, options);
  const found = { rows: 0, oldestSeconds: 0 };
  let changes: readonly OutboxChange[];
  do {
    changes = await lease.read(BATCH_ROWS);
    found.rows += changes.length;
    for (const { ageMs } of changes) found.oldestSeconds = Math.max(found.oldestSeconds, ageMs / 1_000);
    await apply(changes, options);
    if (changes.length > 0) await lease.remove(changes);
  } while (changes.length === BATCH_ROWS);
  metrics.relayPassed(found);
  if (connection.generation() !== generation) throw new Error('the connection to Redis was lost during the pass');
  await connection.commands.publishWatermark(keys.watermark, { runIds, databaseIdentity }, beganMs + WATERMARK_LIFE_MS);
  return runIds;
}

async function lead(lease: OutboxLease, options: RelayOptions, signal: AbortSignal, onLeading: () => void): Promise<void> {
  try {
    let runIds = await relayPass(lease, options, undefined);
    onLeading();
    options.log.info('this process relays invalidations');
    while (!signal.aborted) {
      await options.wait(PASS_INTERVAL_MS, signal);
      runIds = await relayPass(lease, options, runIds);
    }
  } finally {
    // What it found last would otherwise be shown for as long as the process lives.
    options.metrics.relayPassed({ rows: 0, oldestSeconds: 0 });
  }
}

/** Runs until disposed. Whatever fails, the right to lead is given up, so that a process for which it works can have it. */
export function startRelay(options: RelayOptions): AsyncDisposable {
  const { outbox, wait, random, log } = options;
  const stopping = new AbortController();
  let failing = false;

  async function run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await using lease = await outbox.tryLease();
        if (lease !== undefined) {
          await lead(lease, options, signal, () => {
            failing = false;
          });
        }
      } catch (error) {
        if (!signal.aborted && !failing) log.warn({ err: error }, 'relaying invalidations failed; trying again until it works');
        failing = true;
      }
      await wait(RETRY_MS * (1 + random()), signal);
    }
  }

  const running = run(stopping.signal);
  return {
    async [Symbol.asyncDispose]() {
      stopping.abort();
      // A question that nobody answers must not keep the process.
      await Promise.race([running, wait(CLOSE_PATIENCE_MS)]);
    },
  };
}
