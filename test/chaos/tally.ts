import type { Verdict } from './history.ts';

/** What one scenario, or several, came to. */
export interface Counts {
  reads: number;
  stale: number;
  backward: number;
  /** Of `reads`, those of hot rows. */
  hotReads: number;
  hotStale: number;
  maxAgeMs: number;
  /** Reads without an answer. */
  failedReads: number;
  writes: number;
  /** Writes that the service refused for what they are. */
  refusedWrites: number;
  /** Writes whose outcome nobody knows. */
  unknownWrites: number;
  faults: number;
  wrongAtRest: number;
  /** Times that things did not come to rest: somebody did not answer, or the outbox did not empty. */
  restless: number;
}

export function newCounts(): Counts {
  return {
    reads: 0,
    stale: 0,
    backward: 0,
    hotReads: 0,
    hotStale: 0,
    maxAgeMs: 0,
    failedReads: 0,
    writes: 0,
    refusedWrites: 0,
    unknownWrites: 0,
    faults: 0,
    wrongAtRest: 0,
    restless: 0,
  };
}

export function countRead(counts: Counts, hot: boolean, { stale, backward, ageMs }: Verdict): void {
  counts.reads += 1;
  if (stale) counts.stale += 1;
  if (backward) counts.backward += 1;
  if (ageMs > counts.maxAgeMs) counts.maxAgeMs = ageMs;
  if (!hot) return;
  counts.hotReads += 1;
  if (stale) counts.hotStale += 1;
}

export function addCounts(total: Counts, part: Counts): void {
  for (const name of Object.keys(part) as (keyof Counts)[]) {
    total[name] = name === 'maxAgeMs' ? Math.max(total[name], part[name]) : total[name] + part[name];
  }
}
