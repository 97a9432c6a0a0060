/** What the environment asks of a run. */
import type { Protocol } from './stack.ts';

export interface Settings {
  readonly protocol: Protocol;
  /** The form that CI runs: every scenario once, for seconds. */
  readonly short: boolean;
  /** Choices follow from it; the timing of processes does not. */
  readonly seed: number;
  /** Ends with the round in which so many reads are reached. */
  readonly reads: number;
  readonly scenarioMs: number;
  /** Only this one, once. */
  readonly scenario: string | undefined;
  /** With `scenario`: so many faults, in place of a time. */
  readonly rounds: number | undefined;
  /** Goes on where the last run was stopped. */
  readonly resume: boolean;
}

const MAX_SEED = 1_000_000;
const LONG_READS = 10_000_000;
const LONG_SCENARIO_MS = 20_000;
const SHORT_SCENARIO_MS = 3_500;
const SHORT_NAIVE_MS = 8_000;

function numberFrom(environment: NodeJS.ProcessEnv, name: string): number | undefined {
  const text = environment[name];
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new Error(`${name} must be a whole number, not ${text}`);
  return value;
}

export function readSettings(environment: NodeJS.ProcessEnv): Settings {
  const { CACHE_PROTOCOL: protocol = 'coherent', SCENARIO: scenario } = environment;
  if (protocol !== 'coherent' && protocol !== 'naive') throw new Error(`CACHE_PROTOCOL is coherent or naive, not ${protocol}`);
  const short = environment['SHORT'] === '1';
  const shortMs = protocol === 'naive' ? SHORT_NAIVE_MS : SHORT_SCENARIO_MS;
  const single = scenario !== undefined && scenario !== '';
  return {
    protocol,
    short,
    seed: numberFrom(environment, 'SEED') ?? Math.floor(Math.random() * MAX_SEED),
    reads: short || single ? 0 : (numberFrom(environment, 'READS') ?? LONG_READS),
    scenarioMs: (numberFrom(environment, 'SECONDS') ?? 0) * 1_000 || (short ? shortMs : LONG_SCENARIO_MS),
    scenario: single ? scenario : undefined,
    rounds: numberFrom(environment, 'ROUNDS'),
    resume: environment['RESUME'] === '1',
  };
}
