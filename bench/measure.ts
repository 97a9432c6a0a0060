/** One scenario's share of one round. */
import { cellKeys } from '../src/cache/keys.ts';
import type { Lab, RunningContender } from './lab.ts';
import type { Window } from './load.ts';
import { type Form, prefixOf, type Scenario } from './plan.ts';
import { HOT_ROWS } from './requests.ts';
import { messageId } from './rows.ts';

export interface Measurement {
  /** CPU time of the server. */
  readonly cpuUs: number;
  readonly requestsPerSecond: number;
  /** CPU time of the load generator. */
  readonly loadCpuUs: number;
  /** At half of this round's saturation. */
  readonly p50Us?: number;
  readonly p99Us?: number;
  /** One connection, one request at a time. */
  readonly unloadedP50Us?: number;
}

const CONNECTIONS = 10;
const KEYS_AT_ONCE = 1_000;

/** Takes the cold rows out of the cache. That is always allowed: an absent entry promises nothing. */
async function forgetColdRows({ redis }: Lab, { contender }: Scenario, { coldRows }: Form): Promise<void> {
  const keys = cellKeys(prefixOf(contender));
  for (let from = 0; from < coldRows; from += KEYS_AT_ONCE) {
    const rows = Array.from({ length: Math.min(KEYS_AT_ONCE, coldRows - from) }, (_, index) => HOT_ROWS + from + index);
    await redis.unlink(...rows.map((row) => keys.of('message', messageId(row))));
  }
}

function windowOf(scenario: Scenario, { port, pid }: RunningContender, form: Form): Window {
  const { path, requestSet, order, inFlight, isCold } = scenario;
  return {
    ...{ port, pid, path, requestSet, order, inFlight, connections: CONNECTIONS, rampMs: form.rampMs, windowMs: form.windowMs },
    limit: isCold ? form.coldRows : undefined,
  };
}

export interface Asked {
  readonly latency: boolean;
  readonly unloaded: boolean;
}

export async function measure(lab: Lab, server: RunningContender, scenario: Scenario, form: Form, asked: Asked): Promise<Measurement> {
  const window = windowOf(scenario, server, form);
  const run = async (changes: Partial<Window>) => {
    if (scenario.isCold) await forgetColdRows(lab, scenario, form);
    return lab.load.run({ ...window, ...changes });
  };
  const { requests, seconds, cpuUs, loadCpuUs } = await run({});
  const requestsPerSecond = requests / seconds;
  const half = asked.latency ? await run({ rate: requestsPerSecond / 2, windowMs: form.latencyMs }) : undefined;
  const unloaded = asked.unloaded ? await run({ connections: 1, inFlight: 1, windowMs: form.unloadedMs }) : undefined;
  return {
    cpuUs: cpuUs / requests,
    requestsPerSecond,
    loadCpuUs: loadCpuUs / requests,
    ...(half && { p50Us: half.p50Us, p99Us: half.p99Us }),
    ...(unloaded && { unloadedP50Us: unloaded.p50Us }),
  };
}

/** Until the compiler has seen enough of it, and the cache holds what it is to hold. */
export async function warmUp(lab: Lab, server: RunningContender, scenario: Scenario, form: Form): Promise<void> {
  if (scenario.isCold) await forgetColdRows(lab, scenario, form);
  const order = 'cycle';
  await lab.load.run({ ...windowOf(scenario, server, form), order, rampMs: 0, windowMs: form.warmUpMs, limit: form.warmUpRequests });
}
