/** What the environment asks of a soak. */
export interface SoakSettings {
  readonly minutes: number;
  /** Of what the stack can do, 0 to 1. */
  readonly load: number;
  readonly seed: number;
  /** Memory is not judged: so soon after its start a process still grows. */
  readonly short: boolean;
}

const MAX_SEED = 1_000_000;

function numberFrom(environment: NodeJS.ProcessEnv, name: string, otherwise: number): number {
  const text = environment[name];
  if (text === undefined || text === '') return otherwise;
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new Error(`${name} must be a number above 0, not ${text}`);
  return value;
}

export function readSoakSettings(environment: NodeJS.ProcessEnv): SoakSettings {
  const short = environment['SHORT'] === '1';
  return {
    minutes: numberFrom(environment, 'MINUTES', short ? 0.5 : 30),
    load: numberFrom(environment, 'LOAD', 0.6),
    seed: numberFrom(environment, 'SEED', Math.ceil(Math.random() * MAX_SEED)),
    short,
  };
}
