/** The tables. */
import type { Bar } from './chart.ts';
import type { Judged } from './goals.ts';
import type { Measurement } from './measure.ts';
import { scenarios } from './plan.ts';
import { type Results, ratios, valuesOf } from './results.ts';
import { rangeOf, showRange } from './statistics.ts';

const HEAD = ['', 'CPU µs/request', 'x floor', 'requests/s', 'p50 ms', 'p99 ms', 'p50 alone', 'RSS MB'] as const;

function printTable(rows: readonly (readonly string[])[]): void {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  const pad = (cell: string, column: number): string => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0));
  console.log();
  for (const row of rows) console.log(`  ${row.map(pad).join('  ')}`);
}

const milliseconds = (us: number): string => (Number.isNaN(us) ? '' : (us / 1_000).toFixed(2));

export function printReport(
  results: Results,
  residentMegabytes: ReadonlyMap<string, number>,
  h2load: Readonly<Record<string, number>>,
): void {
  const median = (key: string, field: keyof Measurement): number => rangeOf(valuesOf(results, key, field)).median;
  const rows = scenarios.map(({ key, label, contender }) => [
    label,
    median(key, 'cpuUs').toFixed(1),
    showRange(rangeOf(ratios(results, key, 'floor'))),
    Math.round(median(key, 'requestsPerSecond')).toLocaleString('en-US'),
    milliseconds(median(key, 'p50Us')),
    milliseconds(median(key, 'p99Us')),
    milliseconds(median(key, 'unloadedP50Us')),
    (residentMegabytes.get(contender) ?? Number.NaN).toFixed(0),
  ]);
  printTable([HEAD, ...rows]);
  console.log(`
  CPU: of the server process alone, over 100 requests in flight; x floor: within each round, median (min-max). p50, p99: at half of
  saturation, sent in small bursts once a millisecond. p50 alone: one request at a time. The load generator takes ${median('floor', 'loadCpuUs').toFixed(1)} µs a request.`);
  const opinions = Object.entries(h2load).map(([key, rate]) => `${key} ${Math.round(rate).toLocaleString('en-US')} requests/s`);
  if (opinions.length > 0) console.log(`  h2load, of one and the same row: ${opinions.join(', ')}.`);
}

const verdict = ({ met, absent }: Judged): string => {
  if (met === undefined) return absent ?? 'not measured';
  return met ? 'met' : 'MISSED';
};

export function printGoals(goals: readonly Judged[]): void {
  const rows = goals.map((goal) => {
    const { what, bound, limit, unit, measured } = goal;
    return [what, `${bound} ${limit} ${unit}`, measured === undefined ? '' : `${showRange(measured)} ${unit}`, verdict(goal)];
  });
  printTable([['goal', '', 'measured', ''], ...rows]);
}

const CHARTED = new Set([
  ...['floor', 'bounded', 'strong', 'miss', 'no-cache', 'grpc-js-ready', 'grpc-js-redis', 'grpc-js-pg', 'grpc-js-mikro-orm', 'bentocache'],
  ...['bentocache-redis', 'cacheable', 'cacheable-redis', 'connect-ready', 'connect-redis', 'connect-pg', 'connect-mikro-orm'],
]);

/** The cheapest first. */
export function barsOf(results: Results): readonly Bar[] {
  const bars = scenarios
    .filter(({ key }) => CHARTED.has(key))
    .map(({ key, label, contender }) => ({
      label: label.replace(' (in-process copy, no coherence)', ''),
      range: rangeOf(ratios(results, key, 'floor')),
      isOurs: contender.startsWith('service'),
    }));
  return bars.toSorted((left, right) => left.range.median - right.range.median);
}
