/** What a run comes to: the table, the verdict, and what is kept for a run that goes on later. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Scenario } from './scenario.ts';
import type { Protocol } from './stack.ts';
import { addCounts, type Counts, newCounts } from './tally.ts';

export interface Line extends Pick<Scenario, 'name' | 'kind'> {
  readonly counts: Counts;
  /** The first few findings, in words. */
  readonly notes: readonly string[];
}

export interface Verdict {
  readonly passed: boolean;
  readonly reasons: readonly string[];
}

/** About 3 s, which is the life of the relay's watermark, and what a busy machine adds. */
const MAX_AGE_MS = 3_500;
/** The check must find this much wrong with a design that is known to be wrong. */
const MIN_NAIVE_STALE = 1_000;

export const per100k = (count: number, reads: number): number => (reads === 0 ? 0 : (count * 100_000) / reads);

export function totalOf(lines: readonly Line[]): Counts {
  const total = newCounts();
  for (const { counts } of lines) addCounts(total, counts);
  return total;
}

function faultsOf({ name, kind, counts }: Line): readonly string[] {
  const { stale, backward, maxAgeMs, wrongAtRest, restless, reads } = counts;
  return [
    ...(reads === 0 ? [`${name}: nothing was read`] : []),
    ...(kind === 'sound' && stale > 0 ? [`${name}: ${stale} stale reads`] : []),
    ...(kind === 'sound' && backward > 0 ? [`${name}: ${backward} reads went backward`] : []),
    ...(kind === 'redis-fault' && maxAgeMs > MAX_AGE_MS ? [`${name}: an answer was ${Math.round(maxAgeMs)} ms old`] : []),
    ...(wrongAtRest > 0 ? [`${name}: ${wrongAtRest} answers or entries were wrong at rest`] : []),
    ...(restless > 0 ? [`${name}: it did not come to rest`] : []),
  ];
}

export function judge(lines: readonly Line[], protocol: Protocol): Verdict {
  if (protocol === 'coherent') {
    const reasons = lines.flatMap(faultsOf);
    return { passed: reasons.length === 0, reasons };
  }
  const { hotStale, hotReads } = totalOf(lines);
  const found = per100k(hotStale, hotReads);
  const told = `${Math.round(found)} stale per 100,000 reads of hot rows`;
  return found > MIN_NAIVE_STALE
    ? { passed: true, reasons: [`naive fails as it must: ${told}`] }
    : { passed: false, reasons: [`naive was to show more than ${MIN_NAIVE_STALE}: ${told}`] };
}

type Column = readonly [title: string, cell: (line: Line) => string];

const whole = (value: number): string => Math.round(value).toLocaleString('en-US');

const columns: readonly Column[] = [
  ['scenario', ({ name }) => name],
  ['kind', ({ kind }) => kind],
  ['faults', ({ counts }) => whole(counts.faults)],
  ['reads', ({ counts }) => whole(counts.reads)],
  ['writes', ({ counts }) => whole(counts.writes)],
  ['stale/100k', ({ counts }) => per100k(counts.stale, counts.reads).toFixed(1)],
  ['hot stale/100k', ({ counts }) => per100k(counts.hotStale, counts.hotReads).toFixed(1)],
  ['backward/100k', ({ counts }) => per100k(counts.backward, counts.reads).toFixed(1)],
  ['oldest ms', ({ counts }) => whole(counts.maxAgeMs)],
  ['failed reads', ({ counts }) => whole(counts.failedReads)],
  ['unknown writes', ({ counts }) => whole(counts.unknownWrites)],
  ['wrong at rest', ({ counts }) => (counts.restless > 0 ? 'no rest' : whole(counts.wrongAtRest))],
];

export function table(lines: readonly Line[]): string {
  const total: Line = { name: 'total', kind: 'sound', counts: totalOf(lines), notes: [] };
  const body = [...lines, total].map((line) => columns.map(([title, cell]) => (line === total && title === 'kind' ? '' : cell(line))));
  const rows = [columns.map(([title]) => title), ...body];
  const widths = columns.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const text = rows.map((row) =>
    row.map((cell, column) => (column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join('  '),
  );
  return [text[0], '-'.repeat(text[0]?.length ?? 0), ...text.slice(1)].join('\n');
}

/** Whole or not at all: a run may be stopped at any time. */
export function writeJson(path: string, value: unknown): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.new`, `${JSON.stringify(value, null, 2)}\n`);
  renameSync(`${path}.new`, path);
}

export interface Progress {
  readonly seed: number;
  readonly protocol: Protocol;
  /** Scenarios that were run, over all rounds. */
  readonly done: number;
  readonly elapsedMs: number;
  readonly lines: readonly Line[];
}

/** undefined: there is nothing to go on with. */
export function readProgress(path: string): Progress | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Progress;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
