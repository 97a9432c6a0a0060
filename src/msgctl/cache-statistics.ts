/** What the cache did, and how Redis is, as tables. */
import { durationMs } from '@bufbuild/protobuf/wkt';
import { CachedEntity, CacheTier, type GetCacheStatisticsResponse } from '../client/messaging-client.ts';
import { words } from './message-text.ts';
import type { Output } from './output.ts';

type Row = readonly string[];

const percent = (ratio: number): string => `${(ratio * 100).toFixed(1)} %`;
const minutes = (ms: number): string => (ms < 3_600_000 ? `last ${ms / 60_000} min` : `last ${ms / 3_600_000} h`);

function bytes(count: bigint): string {
  const megabytes = Number(count) / 1_048_576;
  return megabytes < 1 ? `${(Number(count) / 1_024).toFixed(0)} KiB` : `${megabytes.toFixed(1)} MiB`;
}

type Counts = Pick<GetCacheStatisticsResponse, 'tiers' | 'hitRatio'> & { readonly entities: GetCacheStatisticsResponse['total'] };

/** One line for each entity, each tier and all together, in each stretch of time that has reads. */
function readRows(period: string, { entities, tiers, hitRatio }: Counts): readonly Row[] {
  const cells = (...counts: readonly (bigint | number)[]): Row => counts.map(String);
  const all = (name: 'hits' | 'localHits' | 'negativeHits' | 'misses' | 'bypasses'): bigint =>
    entities.reduce((sum, counts) => sum + counts[name], 0n);
  return [
    ...entities.map(({ entity, hits, localHits, negativeHits, misses, bypasses, hitRatio: ratio }) => {
      return [period, words(CachedEntity[entity]), ...cells(hits, localHits, negativeHits, misses, bypasses), percent(ratio)];
    }),
    ...tiers.map(({ tier, hits, localHits, misses, bypasses, hitRatio: ratio }) => {
      return [period, `- ${words(CacheTier[tier])}`, ...cells(hits, localHits), '', ...cells(misses, bypasses), percent(ratio)];
    }),
    [period, 'all', ...cells(all('hits'), all('localHits'), all('negativeHits'), all('misses'), all('bypasses')), percent(hitRatio)],
  ];
}

const counted = (...names: readonly string[]) => names.map((name) => ({ name, number: true }));

export function showCacheStatistics(output: Output, statistics: GetCacheStatisticsResponse): void {
  const { total, tiers, hitRatio, windows, settles, verified, warnings } = statistics;
  const periods = [
    ...windows.map((counts) => [minutes(counts.window === undefined ? 0 : durationMs(counts.window)), counts] as const),
    ['since start', { entities: total, tiers, hitRatio }] as const,
  ];
  output.title('Reads');
  output.table(
    [{ name: 'period' }, { name: 'what' }, ...counted('hits', 'local', 'negative', 'misses', 'bypasses', 'hit ratio')],
    periods.flatMap(([period, counts]) => readRows(period, counts)),
  );
  output.title('Entries, since start');
  output.table(
    [{ name: 'what' }, ...counted('stored', 'invalidated')],
    total.map(({ entity, sets, invalidations }) => [words(CachedEntity[entity]), String(sets), String(invalidations)]),
  );
  const { redisUsedBytes: used, redisMaxBytes: most, redisEvictionPolicy: policy } = statistics;
  const memory = `${bytes(used)} of ${most === 0n ? 'unlimited' : bytes(most)}, ${policy || 'policy unknown'}`;
  output.title('Coherence, now or since start');
  output.fields({
    trusted: statistics.trusted ? 'yes' : 'no',
    'relay lag': statistics.relayLag === undefined ? 'unknown' : `${durationMs(statistics.relayLag)} ms`,
    'outbox rows': String(statistics.outboxRows),
    'settles: stored, dropped, left, failed': [settles?.stored, settles?.dropped, settles?.left, settles?.failed].join(', '),
    'mark failures': String(statistics.markFailures),
    'verified: match, superseded, MISMATCH': [verified?.matches, verified?.superseded, verified?.mismatches].join(', '),
    'epoch flushes': String(statistics.epochFlushes),
    'Redis memory': used === 0n ? 'unknown' : memory,
  });
  for (const warning of warnings) output.line(`\nwarning  ${warning}`);
}
