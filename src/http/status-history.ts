/** What the metrics were in the last minutes, so that a page that is opened now shows them. */
import type { CacheAnswer, Readings } from '../telemetry/metric-readings.ts';
import { type Rates, ratesBetween, type Sample } from './status-rates.ts';

/** One step of the chart. */
export interface HistoryPoint {
  /** Milliseconds between its end and the latest reading. */
  readonly agoMs: number;
  readonly perSecond: number;
  readonly failedShare: number;
  readonly reads: Readonly<Record<CacheAnswer, number>>;
}

export interface History {
  /** Once every STEP_MS: a step of the chart. */
  add(readings: Readings): void;
  /** Of the last minute, up to this reading. */
  latest(readings: Readings): Rates;
  /** Oldest first. */
  points(): readonly HistoryPoint[];
}

export const STEP_MS = 5_000;
const WINDOW_MS = 60_000;
/** Ten minutes. */
const MAX_POINTS = 120;
/** Of a bit more than the last minute. */
const MAX_SAMPLES = WINDOW_MS / STEP_MS + 2;

interface Point extends Omit<HistoryPoint, 'agoMs'> {
  readonly atMs: number;
}

/** `nowMs`: monotonic. */
export function createHistory(nowMs: () => number): History {
  const startedAtMs = nowMs();
  const samples: Sample[] = [];
  const points: Point[] = [];
  return {
    add(readings) {
      const sample = { atMs: nowMs(), readings };
      const { perSecond, failedShare, reads } = ratesBetween(samples.at(-1), sample, startedAtMs);
      samples.push(sample);
      points.push({ atMs: sample.atMs, perSecond, failedShare, reads });
      if (samples.length > MAX_SAMPLES) samples.shift();
      if (points.length > MAX_POINTS) points.shift();
    },

    latest(readings) {
      const now = { atMs: nowMs(), readings };
      // The youngest that is a minute old; until there is one, what was at the start: nothing.
      const before = samples.findLast(({ atMs }) => now.atMs - atMs >= WINDOW_MS);
      return ratesBetween(before, now, startedAtMs);
    },

    points() {
      const at = nowMs();
      return points.map(({ atMs, ...point }) => ({ agoMs: at - atMs, ...point }));
    },
  };
}
