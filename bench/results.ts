/** What all rounds have measured. */
import type { Measurement } from './measure.ts';

/** By scenario, one measurement a round. */
export type Results = ReadonlyMap<string, readonly Measurement[]>;

export const valuesOf = (results: Results, key: string, field: keyof Measurement): readonly number[] =>
  (results.get(key) ?? []).flatMap((measurement) => measurement[field] ?? []);

/** One scenario over another, within each round: what disturbs the machine for long disturbs both. */
export function ratios(results: Results, key: string, other: string, field: keyof Measurement = 'cpuUs'): readonly number[] {
  const [values, others] = [valuesOf(results, key, field), valuesOf(results, other, field)];
  return values.map((value, round) => value / (others[round] ?? Number.NaN));
}
