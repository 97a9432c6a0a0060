/** `make cache-stats`: what the cache of a running service did, and how Redis is, for a person. */
import { styleText } from 'node:util';
import { durationMs } from '@bufbuild/protobuf/wkt';
import {
  CachedEntity,
  CacheTier,
  createMessagingClient,
  type GetCacheStatisticsResponse,
  MessagingError,
  status,
} from '../client/messaging-client.ts';
import { findRun } from './run-lock.ts';

type Row = readonly string[];

const percent = (ratio: number): string => `${(ratio * 100).toFixed(1)} %`;
/** `IN_FLIGHT` as people write it. */
const named = (name: string | undefined): string => (name ?? '?').toLowerCase().replaceAll('_', ' ');
const minutes = (ms: number): string => (ms < 3_600_000 ? `last ${ms / 60_000} min` : `last ${ms / 3_600_000} h`);

function bytes(count: bigint): string {
  const megabytes = Number(count) / 1_048_576;
  return megabytes < 1 ? `${(Number(count) / 1_024).toFixed(0)} KiB` : `${megabytes.toFixed(1)} MiB`;
}

/** The first `texts` columns to the left, numbers to the right. */
function printTable(title: string, texts: number, head: Row, rows: readonly Row[]): void {
  const widths = head.map((text, column) => Math.max(text.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const aligned = (row: Row): string =>
    row
      .map((text, column) => (column < texts ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0)))
      .join('  ')
      .trimEnd();
  console.log(`\n  ${styleText('bold', title)}`);
  console.log(styleText('dim', `  ${aligned(head)}`));
  for (const row of rows) console.log(`  ${aligned(row)}`);
}

type Counts = Pick<GetCacheStatisticsResponse, 'tiers' | 'hitRatio'> & { readonly entities: GetCacheStatisticsResponse['total'] };

/** One line for each entity, each tier and all together, in each stretch of time that has reads. */
function readRows(period: string, { entities, tiers, hitRatio }: Counts): readonly Row[] {
  const cells = (...counts: readonly (bigint | number)[]): Row => counts.map(String);
  const all = (name: 'hits' | 'localHits' | 'negativeHits' | 'misses' | 'bypasses'): bigint =>
    entities.reduce((sum, counts) => sum + counts[name], 0n);
  return [
    ...entities.map(({ entity, hits, localHits, negativeHits, misses, bypasses, hitRatio: ratio }) => {
      return [period, named(CachedEntity[entity]), ...cells(hits, localHits, negativeHits, misses, bypasses), percent(ratio)];
    }),
    ...tiers.map(({ tier, hits, localHits, misses, bypasses, hitRatio: ratio }) => {
      return [period, `- ${named(CacheTier[tier])}`, ...cells(hits, localHits), '', ...cells(misses, bypasses), percent(ratio)];
    }),
    [period, 'all', ...cells(all('hits'), all('localHits'), all('negativeHits'), all('misses'), all('bypasses')), percent(hitRatio)],
  ];
}

function print(statistics: GetCacheStatisticsResponse): void {
  const { total, tiers, hitRatio, windows, settles, verified, warnings } = statistics;
  const periods = [
    ...windows.map((counts) => [minutes(counts.window === undefined ? 0 : durationMs(counts.window)), counts] as const),
    ['since start', { entities: total, tiers, hitRatio }] as const,
  ];
  printTable(
    'Reads',
    2,
    ['period', 'what', 'hits', 'local', 'negative', 'misses', 'bypasses', 'hit ratio'],
    periods.flatMap(([period, counts]) => readRows(period, counts)),
  );
  printTable(
    'Entries, since start',
    1,
    ['what', 'stored', 'invalidated'],
    total.map(({ entity, sets, invalidations }) => [named(CachedEntity[entity]), String(sets), String(invalidations)]),
  );
  const limit = statistics.redisMaxBytes === 0n ? 'unlimited' : bytes(statistics.redisMaxBytes);
  const lag = statistics.relayLag === undefined ? 'unknown' : `${durationMs(statistics.relayLag)} ms`;
  printTable(
    'Coherence',
    2,
    ['', 'now, or since start'],
    [
      ['trusted', statistics.trusted ? 'yes' : 'no'],
      ['relay lag', lag],
      ['outbox rows', String(statistics.outboxRows)],
      ['settles: stored, dropped, left, failed', [settles?.stored, settles?.dropped, settles?.left, settles?.failed].join(', ')],
      ['mark failures', String(statistics.markFailures)],
      ['verified: match, superseded, MISMATCH', [verified?.matches, verified?.superseded, verified?.mismatches].join(', ')],
      ['epoch flushes', String(statistics.epochFlushes)],
      ['Redis memory', `${bytes(statistics.redisUsedBytes)} of ${limit}, ${statistics.redisEvictionPolicy || 'policy unknown'}`],
    ],
  );
  for (const warning of warnings) console.log(`\n  ${styleText('yellow', 'warning')}  ${warning}`);
  console.log('');
}

const address = process.argv[2] ?? (await findRun())?.address?.grpc ?? 'localhost:50051';
try {
  using client = createMessagingClient(address);
  const statistics = await client.cache.getCacheStatistics({});
  console.log(`  Service at ${address}`);
  print(statistics);
} catch (error) {
  if (!(error instanceof MessagingError)) throw error;
  const isAway = error.code === status.UNAVAILABLE || error.code === status.DEADLINE_EXCEEDED;
  console.error(isAway ? `  No service answers at ${address}: ${error.message}` : `  ${address}: ${error.message}`);
  process.exitCode = 1;
}
