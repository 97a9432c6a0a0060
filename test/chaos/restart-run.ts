/**
 * Proves that processes of the service can be replaced under load without their callers noticing: several processes on one port, one after
 * the other ended at random moments, by SIGTERM as in a rolling restart or by SIGKILL as in a crash, while callers read, write and watch
 * through the client package. restart-settings.ts lists what it can be told by the environment.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { seededRandom, seedOf } from '../support/seeded-random.ts';
import { type LoadResult, startLoad } from './restart-load.ts';
import { type RestartKind, type RestartSettings, readRestartSettings } from './restart-settings.ts';
import { type RestartStack, startRestartStack } from './restart-stack.ts';
import { startWatcher, type Watched } from './restart-watch.ts';

interface Outcome {
  readonly kind: RestartKind;
  readonly restarts: number;
  readonly load: LoadResult;
  readonly watched: readonly Watched[];
  readonly lost: number;
  readonly doubled: number;
}

/** A run of many minutes says how far it is. */
const RESTARTS_PER_LINE = 20;
const WATCHERS = 2;
const MAX_PAUSE_MS = 600;

/** Writes that were acknowledged and are not there; and writes that are there more than once. */
async function countWrites(
  { sql }: RestartStack,
  kind: RestartKind,
  { acknowledged }: LoadResult,
): Promise<{ lost: number; doubled: number }> {
  const { rows } = await sql.query<{ id: string; body: string }>('select id, body from messages where starts_with(body, $1)', [`${kind} `]);
  const ids = new Set(rows.map(({ id }) => id));
  return {
    lost: [...acknowledged.values()].filter((id) => !ids.has(id)).length,
    doubled: rows.length - new Set(rows.map(({ body }) => body)).size,
  };
}

async function runKind(kind: RestartKind, stack: RestartStack, settings: RestartSettings): Promise<Outcome> {
  const random = seededRandom(seedOf(settings.seed, kind));
  const watchers = await Promise.all(Array.from({ length: WATCHERS }, (_, index) => startWatcher(stack.address, stack.access, index)));
  const load = startLoad({ ...settings, address: stack.address, access: stack.access, label: kind });
  for (let restarts = 1; restarts <= settings.restarts; restarts += 1) {
    await wait(random() * MAX_PAUSE_MS);
    await stack.restart(Math.floor(random() * settings.processes), kind);
    if (restarts % RESTARTS_PER_LINE === 0) console.log(`  ${kind}: ${restarts} of ${settings.restarts}`);
  }
  const result = await load.stop();
  const watched = await Promise.all(watchers.map((watcher) => watcher.finish([...result.acknowledged.values()])));
  return { kind, restarts: settings.restarts, load: result, watched, ...(await countWrites(stack, kind, result)) };
}

const sumOf = (watched: readonly Watched[], name: keyof Watched): number => watched.reduce((sum, each) => sum + each[name], 0);

const COLUMNS = {
  kind: ({ kind }: Outcome) => kind,
  restarts: ({ restarts }: Outcome) => restarts,
  calls: ({ load }: Outcome) => load.calls,
  failures: ({ load }: Outcome) => load.failures.length,
  'retried calls': ({ load }: Outcome) => load.retried,
  'slowest, ms': ({ load }: Outcome) => Math.round(load.slowestMs),
  'lost writes': ({ lost }: Outcome) => lost,
  'doubled writes': ({ doubled }: Outcome) => doubled,
  'events watched': ({ watched }: Outcome) => sumOf(watched, 'events'),
  'streams resumed': ({ watched }: Outcome) => sumOf(watched, 'resumed'),
  'events again': ({ watched }: Outcome) => sumOf(watched, 'again'),
  'events missing': ({ watched }: Outcome) => sumOf(watched, 'missing') + sumOf(watched, 'untold'),
  'out of order': ({ watched }: Outcome) => sumOf(watched, 'outOfOrder'),
} as const;
const MUST_BE_NONE = ['failures', 'lost writes', 'doubled writes', 'events missing', 'out of order'] as const;

function tell(outcomes: readonly Outcome[]): void {
  const rows = [Object.keys(COLUMNS), Object.keys(COLUMNS).map(() => '---')];
  for (const outcome of outcomes) rows.push(Object.values(COLUMNS).map((column) => column(outcome).toLocaleString('en-US')));
  console.log(`\n${rows.map((cells) => `| ${cells.join(' | ')} |`).join('\n')}`);
  for (const { kind, load } of outcomes) {
    for (const [reason, count] of Object.entries(load.reasons)) console.log(`  ${kind}: an attempt ended with ${reason}, ${count} times`);
    for (const failure of load.failures.slice(0, 10)) console.log(`  ${kind}: FAILED ${failure}`);
  }
}

const settings = readRestartSettings(process.env);
console.log(`${settings.processes} processes on one port, SEED=${settings.seed}`);
const outcomes: Outcome[] = [];
{
  await using stack = await startRestartStack(settings);
  for (const kind of settings.kinds) outcomes.push(await runKind(kind, stack, settings));
}
tell(outcomes);
const faults = outcomes.flatMap((outcome) =>
  MUST_BE_NONE.filter((name) => COLUMNS[name](outcome) > 0).map((name) => `${outcome.kind}: ${name} ${COLUMNS[name](outcome)}`),
);
for (const { kind, load, watched } of outcomes) {
  if (load.calls === 0 || sumOf(watched, 'events') === 0) faults.push(`${kind}: nothing was called or watched`);
}
console.log(faults.length === 0 ? '\nPASSED' : `\nFAILED: ${faults.join('; ')}; SEED=${settings.seed} repeats the choices`);
process.exit(faults.length === 0 ? 0 : 1);
