/** What the environment asks of a run. */
export const SCENARIOS = ['crash', 'postgres-restart', 'provider-down'] as const;
export type DeliveryScenario = (typeof SCENARIOS)[number];

export interface DeliverySettings {
  readonly scenarios: readonly DeliveryScenario[];
  /** Messages that are sent in each scenario. */
  readonly messages: number;
  /** Processes that are killed in `crash`. */
  readonly kills: number;
  /** How long the provider is away in `provider-down`. */
  readonly downMs: number;
  /** Choices follow from it; the timing of processes does not. */
  readonly seed: number;
}

const MAX_SEED = 1_000_000;
const LONG = { messages: 10_000, kills: 200, downMs: 60_000 };
const SHORT = { messages: 600, kills: 12, downMs: 5_000 };

function numberFrom(environment: NodeJS.ProcessEnv, name: string): number | undefined {
  const text = environment[name];
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new Error(`${name} must be a whole number, not ${text}`);
  return value;
}

export function readDeliverySettings(environment: NodeJS.ProcessEnv): DeliverySettings {
  const extent = environment['SHORT'] === '1' ? SHORT : LONG;
  const named = environment['SCENARIO'];
  const scenarios = SCENARIOS.filter((scenario) => named === undefined || named === '' || named === scenario);
  if (scenarios.length === 0) throw new Error(`there is no scenario ${named}; there are ${SCENARIOS.join(', ')}`);
  return {
    scenarios,
    messages: numberFrom(environment, 'MESSAGES') ?? extent.messages,
    kills: numberFrom(environment, 'KILLS') ?? extent.kills,
    downMs: extent.downMs,
    seed: numberFrom(environment, 'SEED') ?? Math.floor(Math.random() * MAX_SEED),
  };
}
