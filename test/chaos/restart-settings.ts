/** What the environment asks of a run. */
export const RESTART_KINDS = ['SIGTERM', 'SIGKILL'] as const;
export type RestartKind = (typeof RESTART_KINDS)[number];

export interface RestartSettings {
  readonly kinds: readonly RestartKind[];
  /** Processes on the port; all but one serve at any time. */
  readonly processes: number;
  /** Of each kind. */
  readonly restarts: number;
  /** Connections of callers, each with a few calls at once. */
  readonly clients: number;
  /** Of each call; undefined: what the client package does by itself. 1 shows what its callers would see without retries. */
  readonly attempts: number | undefined;
  /** Callers speak TLS and have client certificates. */
  readonly tls: boolean;
  /** Choices follow from it; the timing of processes does not. */
  readonly seed: number;
}

const MAX_SEED = 1_000_000;
const LONG = { processes: 3, restarts: 100, clients: 8 };
const SHORT = { processes: 2, restarts: 3, clients: 4 };

function numberFrom(environment: NodeJS.ProcessEnv, name: string): number | undefined {
  const text = environment[name];
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`${name} must be a whole number from 1, not ${text}`);
  return value;
}

export function readRestartSettings(environment: NodeJS.ProcessEnv): RestartSettings {
  const extent = environment['SHORT'] === '1' ? SHORT : LONG;
  const named = environment['SCENARIO'];
  const kinds = RESTART_KINDS.filter((kind) => named === undefined || named === '' || named === kind);
  if (kinds.length === 0) throw new Error(`there is no scenario ${named}; there are ${RESTART_KINDS.join(', ')}`);
  return {
    kinds,
    processes: extent.processes,
    restarts: numberFrom(environment, 'RESTARTS') ?? extent.restarts,
    clients: extent.clients,
    attempts: numberFrom(environment, 'ATTEMPTS'),
    tls: environment['TLS'] === '1',
    seed: numberFrom(environment, 'SEED') ?? Math.ceil(Math.random() * MAX_SEED),
  };
}
