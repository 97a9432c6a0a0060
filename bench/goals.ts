/** What the service is to reach, as ratios within one run, and whether it does. */
import type { Growth } from './growth-result.ts';
import type { Measurement } from './measure.ts';
import { BATCH } from './requests.ts';
import { type Results, ratios, valuesOf } from './results.ts';
import { type Range, rangeOf } from './statistics.ts';
import type { WatchersResult } from './watchers-result.ts';

export interface Goal {
  readonly what: string;
  readonly bound: 'at most' | 'at least';
  readonly limit: number;
  readonly unit: 'x' | '%' | 'ms' | 'MB' | 'KB';
  /** Why there is nothing to measure. */
  readonly absent?: string;
}

export interface Judged extends Goal {
  readonly measured: Range | undefined;
  readonly met: boolean | undefined;
}

type Values = readonly number[];

const percentAbove = (values: Values): Values => values.map((ratio) => 100 * (ratio - 1));

function differences(results: Results, key: string, other: string, field: keyof Measurement): Values {
  const others = valuesOf(results, other, field);
  return valuesOf(results, key, field).map((value, round) => value - (others[round] ?? Number.NaN));
}

const goal = (what: string, bound: Goal['bound'], limit: number, unit: Goal['unit'], values: Values, absent?: string) => ({
  ...{ what, bound, limit, unit, values },
  ...(absent === undefined ? {} : { absent }),
});

function judge({ values, ...rest }: ReturnType<typeof goal>): Judged {
  if (values.length === 0) return { ...rest, measured: undefined, met: undefined };
  const measured = rangeOf(values);
  return { ...rest, measured, met: rest.bound === 'at most' ? measured.median <= rest.limit : measured.median >= rest.limit };
}

export function judgeGoals(results: Results, growth: Growth | undefined, watchers: WatchersResult | undefined): readonly Judged[] {
  const cpu = (key: string, other: string): Values => ratios(results, key, other);
  const unloaded = (key: string): Values => ratios(results, key, 'floor', 'unloadedP50Us');
  const p50Us = valuesOf(results, 'strong', 'p50Us');
  const p99Us = valuesOf(results, 'strong', 'p99Us');
  const addedMs = differences(results, 'send', 'send-no-cache', 'unloadedP50Us').map((us) => us / 1_000);
  const grown = 'make bench-growth has not been run';
  return [
    goal('strong hit, CPU against the floor', 'at most', 1.8, 'x', cpu('strong', 'floor')),
    goal('the same, against connect-node + Redis + fromJson', 'at least', 5, 'x', cpu('connect-redis', 'strong')),
    goal('the same, against grpc-js + Redis + fromJson', 'at least', 1.7, 'x', cpu('grpc-js-redis', 'strong')),
    goal('bounded-staleness hit, CPU against the floor', 'at most', 1.5, 'x', cpu('bounded', 'floor')),
    goal('strong hit against MikroORM through the same lane', 'at least', 8, 'x', cpu('lane-mikro-orm', 'strong')),
    goal('miss against pg by primary key through the same lane', 'at most', 1.3, 'x', cpu('miss', 'lane-pg')),
    goal('telemetry: strong hit, CPU added', 'at most', 10, '%', percentAbove(cpu('strong', 'no-telemetry'))),
    goal('unloaded p50 against the floor, strong hit', 'at most', 2.5, 'x', unloaded('strong')),
    goal('unloaded p50 against the floor, bounded hit', 'at most', 1.3, 'x', unloaded('bounded')),
    goal('coherence: CPU added to a plain GET + decode', 'at most', 5, '%', percentAbove(cpu('strong', 'naive'))),
    goal('SendMessage: p50 added by the cache', 'at most', 0.8, 'ms', addedMs),
    goal('SendMessage: CPU added by the cache', 'at most', 40, '%', percentAbove(cpu('send', 'send-no-cache'))),
    goal(
      `${BATCH} single hits against BatchGetMessages of ${BATCH}`,
      'at least',
      10,
      'x',
      cpu('strong', 'batch').map((ratio) => BATCH * ratio),
    ),
    goal(
      'strong hit at half of saturation: p99 against p50',
      'at most',
      3,
      'x',
      p99Us.map((p99, round) => p99 / (p50Us[round] ?? Number.NaN)),
    ),
    goal('growth: CPU of a hit, 10^6 rows against 10^3, 1,000 read', 'at most', 1.1, 'x', growth?.rows ?? [], grown),
    goal('growth: the same, 100,000 read', 'at most', 1.1, 'x', growth?.spreadRows ?? [], grown),
    goal('growth: CPU of a hit, 1,000 connections against 1', 'at most', 1.1, 'x', growth?.connections ?? [], grown),
    goal('RSS of 1,000 idle connections, above none', 'at most', 150, 'MB', growth?.idleConnectionsMb ?? [], grown),
    goal('RSS of an idle watcher', 'at most', 40, 'KB', watchers?.kilobytes ?? [], 'make bench-watchers has not been run'),
  ].map(judge);
}
