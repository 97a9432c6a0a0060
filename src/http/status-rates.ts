/** From two readings of the metrics: how much, how fast and how well in between. */
import { type CacheAnswer, cacheAnswers, type MethodReading, type Readings } from '../telemetry/metric-readings.ts';

/** A reading and when it was taken, on a clock that never goes back. */
export interface Sample {
  readonly atMs: number;
  readonly readings: Readings;
}

export interface MethodRates {
  readonly service: string;
  readonly method: string;
  /** Its durations are those of whole streams, and are left out. */
  readonly isStream: boolean;
  readonly calls: number;
  readonly perSecond: number;
  /** Share of calls that failed by the fault of this side, 0 to 1. */
  readonly failedShare: number;
  /** Share of calls that were refused, canceled or found nothing, 0 to 1. */
  readonly refusedShare: number;
  /** undefined: no call ended. */
  readonly p50Ms: number | undefined;
  readonly p95Ms: number | undefined;
  readonly p99Ms: number | undefined;
}

export interface Rates {
  readonly windowMs: number;
  readonly perSecond: number;
  readonly failedShare: number;
  readonly refusedShare: number;
  /** Reads by who answered them. */
  readonly reads: Readonly<Record<CacheAnswer, number>>;
  /** Every one that was called since the start. */
  readonly methods: readonly MethodRates[];
}

/** Codes of which nobody but this side, or what it depends on, is the cause. */
const FAILURES: ReadonlySet<string> = new Set(['UNKNOWN', 'DEADLINE_EXCEEDED', 'INTERNAL', 'UNAVAILABLE', 'DATA_LOSS']);

const since = (now: number, before: number | undefined): number => Math.max(0, now - (before ?? 0));

/**
 * In the way of Prometheus' histogram_quantile: the duration that `share` of the calls did not exceed, taken to lie evenly within a
 * bucket. Of calls above the highest bound, that bound.
 */
export function quantileMs(share: number, bounds: readonly number[], upTo: readonly number[]): number | undefined {
  const total = upTo.at(-1) ?? 0;
  if (total === 0) return undefined;
  const rank = share * total;
  const place = upTo.findIndex((count) => count >= rank);
  const [lower, upper] = [bounds[place - 1] ?? 0, bounds[place] ?? 0];
  if (!Number.isFinite(upper)) return lower * 1_000;
  const below = upTo[place - 1] ?? 0;
  const within = (upTo[place] ?? 0) - below;
  return (lower + (upper - lower) * (within === 0 ? 1 : (rank - below) / within)) * 1_000;
}

interface Counted {
  readonly calls: number;
  readonly failed: number;
  readonly refused: number;
}

function countedOf(now: MethodReading, before: MethodReading | undefined): Counted {
  let [calls, failed, refused] = [0, 0, 0];
  for (const [code, count] of now.codes) {
    const grown = since(count, before?.codes.get(code));
    calls += grown;
    if (FAILURES.has(code)) failed += grown;
    else if (code !== 'OK') refused += grown;
  }
  return { calls, failed, refused };
}

const share = (part: number, whole: number): number => (whole === 0 ? 0 : part / whole);

export function ratesBetween(before: Sample | undefined, now: Sample, startedAtMs: number): Rates {
  const windowMs = Math.max(1, now.atMs - (before?.atMs ?? startedAtMs));
  const perSecondOf = (count: number): number => (count * 1_000) / windowMs;
  const called = [...now.readings.methods].filter(([, { upTo }]) => (upTo.at(-1) ?? 0) > 0);
  const counted = called.map(([name, method]) => {
    const earlier = before?.readings.methods.get(name);
    return { method, counts: countedOf(method, earlier), upTo: method.upTo.map((count, place) => since(count, earlier?.upTo[place])) };
  });
  const methods = counted.map(({ method: { service, method, isStream, bounds }, counts, upTo }): MethodRates => {
    const quantile = (part: number) => (isStream ? undefined : quantileMs(part, bounds, upTo));
    return {
      service,
      method,
      isStream,
      calls: counts.calls,
      perSecond: perSecondOf(counts.calls),
      failedShare: share(counts.failed, counts.calls),
      refusedShare: share(counts.refused, counts.calls),
      p50Ms: quantile(0.5),
      p95Ms: quantile(0.95),
      p99Ms: quantile(0.99),
    };
  });
  const sum = (part: keyof Counted): number => counted.reduce((total, { counts }) => total + counts[part], 0);
  const reads = cacheAnswers.map((answer) => [answer, since(now.readings.reads[answer], before?.readings.reads[answer])] as const);
  return {
    windowMs,
    perSecond: perSecondOf(sum('calls')),
    failedShare: share(sum('failed'), sum('calls')),
    refusedShare: share(sum('refused'), sum('calls')),
    reads: Object.fromEntries(reads) as Record<CacheAnswer, number>,
    methods,
  };
}
