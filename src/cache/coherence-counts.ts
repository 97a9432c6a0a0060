import type { CoherenceCounts } from '../domain/ports.ts';
import type { Metrics } from '../telemetry/metrics.ts';

export interface CountedMetrics {
  /** The same, and counted here. */
  readonly metrics: Metrics;
  read(): CoherenceCounts;
}

/** Counts what coherence depends on, on its way to Prometheus: operators are told the same numbers that alerts are made of. */
export function countCoherence(metrics: Metrics): CountedMetrics {
  const settled = { stored: 0, dropped: 0, left: 0, failed: 0 };
  const verified = { match: 0, mismatch: 0, superseded: 0 };
  let marksFailed = 0;
  let flushes = 0;
  return {
    metrics: {
      ...metrics,
      cacheSettled(outcome) {
        settled[outcome] += 1;
        metrics.cacheSettled(outcome);
      },
      cacheMarksFailed(count) {
        marksFailed += count;
        metrics.cacheMarksFailed(count);
      },
      cacheVerified(result) {
        verified[result] += 1;
        metrics.cacheVerified(result);
      },
      cacheFlushed() {
        flushes += 1;
        metrics.cacheFlushed();
      },
    },
    read: () => ({ settled: { ...settled }, marksFailed, verified: { ...verified }, flushes }),
  };
}
