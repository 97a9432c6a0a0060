/**
 * Proves the cache under faults: several processes over one PostgreSQL and one Redis, every answer held against what had been
 * acknowledged or shown before. settings.ts lists what it can be told by the environment; SHORT=1 is the form that CI runs.
 */
import { createPopulation, type Population } from './population.ts';
import { judge, type Line, type Progress, readProgress, table, totalOf, writeJson } from './report.ts';
import { runScenario, type Scenario } from './scenario.ts';
import { scenarios } from './scenarios.ts';
import { readSettings, type Settings } from './settings.ts';
import { type Servers, type Stack, startServers, startStack } from './stack.ts';
import { addCounts, type Counts, newCounts } from './tally.ts';
import { populate } from './writers.ts';

const PROGRESS = '.cache/chaos/progress.json';
const MAX_NOTES = 10;
const TELL_EVERY_MS = 5_000;

/** Without Redis faults for the naive cache, which does not promise anything under them; the short form shows one that it cannot stand. */
function chosen({ scenario, protocol, short }: Settings): readonly Scenario[] {
  const named = scenarios.filter(({ name }) => scenario === undefined || name === scenario);
  if (named.length === 0) throw new Error(`there is no scenario ${scenario}; there are ${scenarios.map(({ name }) => name).join(', ')}`);
  if (protocol === 'coherent') return named;
  return short ? named.slice(0, 1) : named.filter(({ kind }) => kind === 'sound');
}

const durationText = (ms: number): string => {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
};

/** Starts the processes anew when the next scenario needs them wired in another way. */
async function stackFor(scenario: Scenario, servers: Servers, stack: Stack | undefined, { protocol, seed }: Settings): Promise<Stack> {
  if (stack?.wiring === scenario.wiring) return stack;
  await stack?.[Symbol.asyncDispose]();
  return startStack(servers, { wiring: scenario.wiring, protocol, seed });
}

async function populated(stack: Stack, population: Population): Promise<void> {
  const serving = await stack.replicas[0]?.serving();
  if (serving !== undefined && population.conversations.length === 0) await populate({ population }, serving.writes);
}

class Run {
  readonly #settings: Settings;
  readonly #list: readonly Scenario[];
  readonly #startedMs: number;
  readonly #lines: Map<string, Line>;
  #done: number;

  constructor(settings: Settings, before: Progress | undefined) {
    this.#settings = settings;
    this.#list = chosen(settings);
    this.#startedMs = performance.now() - (before?.elapsedMs ?? 0);
    this.#lines = new Map(before?.lines.map((line) => [line.name, line]));
    this.#done = before?.done ?? 0;
  }

  lines(): readonly Line[] {
    return [...this.#lines.values()];
  }

  elapsedMs(): number {
    return performance.now() - this.#startedMs;
  }

  /** The next one; undefined when every scenario was run and there are reads enough. */
  next(): Scenario | undefined {
    const index = this.#done % this.#list.length;
    const enough = this.#done >= this.#list.length && totalOf(this.lines()).reads >= this.#settings.reads;
    return index === 0 && enough ? undefined : this.#list[index];
  }

  tell(scenario: Scenario, { reads, faults }: Counts): void {
    const { reads: wanted, rounds } = this.#settings;
    const readsSoFar = totalOf(this.lines()).reads + reads;
    const byTime = rounds === undefined ? (this.#done + 0.5) / this.#list.length : faults / rounds;
    const share = Math.min(1, Math.max(0.001, wanted > 0 ? readsSoFar / wanted : byTime));
    const left = durationText(this.elapsedMs() * (1 / share - 1));
    const of = wanted > 0 ? ` of ${wanted.toLocaleString('en-US')}` : '';
    const place = `${(this.#done % this.#list.length) + 1}/${this.#list.length} ${scenario.name}`;
    console.error(`[${durationText(this.elapsedMs())}] ${place}: ${readsSoFar.toLocaleString('en-US')}${of} reads, about ${left} left`);
  }

  /** Returns whether the processes are as good as new. */
  async one(scenario: Scenario, servers: Servers, stack: Stack, population: Population): Promise<boolean> {
    const { protocol, seed, scenarioMs, rounds } = this.#settings;
    const notes: string[] = [];
    let toldMs = Number.NEGATIVE_INFINITY;
    const counts = await runScenario(scenario, {
      servers,
      stack,
      population,
      protocol,
      seed: seed + Math.floor(this.#done / this.#list.length),
      extent: { durationMs: scenarioMs, rounds },
      note: (text) => void (notes.length < MAX_NOTES && notes.push(text)),
      watch: (counting) => {
        if (performance.now() - toldMs < TELL_EVERY_MS) return;
        toldMs = performance.now();
        this.tell(scenario, counting);
      },
    });
    const before = this.#lines.get(scenario.name);
    const sum = newCounts();
    for (const part of [before?.counts, counts]) if (part !== undefined) addCounts(sum, part);
    const { name, kind } = scenario;
    this.#lines.set(name, { name, kind, counts: sum, notes: [...(before?.notes ?? []), ...notes].slice(0, MAX_NOTES) });
    this.#done += 1;
    const progress: Progress = { seed, protocol, done: this.#done, elapsedMs: this.elapsedMs(), lines: this.lines() };
    if (this.#settings.reads > 0) writeJson(PROGRESS, progress);
    return counts.wrongAtRest + counts.restless === 0;
  }
}

async function main(): Promise<boolean> {
  const asked = readSettings(process.env);
  const before = asked.resume ? readProgress(PROGRESS) : undefined;
  const settings = { ...asked, ...(before && { seed: before.seed, protocol: before.protocol }) };
  console.log(`SEED=${settings.seed} CACHE_PROTOCOL=${settings.protocol}`);
  const run = new Run(settings, before);
  await using servers = await startServers();
  const population = createPopulation();
  let stack: Stack | undefined;
  try {
    for (let scenario = run.next(); scenario !== undefined; scenario = run.next()) {
      stack = await stackFor(scenario, servers, stack, settings);
      await populated(stack, population);
      const good = await run.one(scenario, servers, stack, population);
      if (good) continue;
      await stack[Symbol.asyncDispose]();
      stack = undefined;
    }
  } catch (error) {
    console.log(`\n${table(run.lines())}\n`);
    throw error;
  } finally {
    await stack?.[Symbol.asyncDispose]();
  }
  const verdict = judge(run.lines(), settings.protocol);
  const path = `.cache/chaos/report-${settings.scenario ?? settings.protocol}.json`;
  writeJson(path, { ...settings, elapsedMs: run.elapsedMs(), verdict, total: totalOf(run.lines()), lines: run.lines() });
  console.log(`\n${table(run.lines())}\n`);
  for (const { name, notes } of run.lines()) for (const text of notes.slice(0, verdict.passed ? 0 : 3)) console.log(`${name}: ${text}`);
  console.log(`${verdict.passed ? 'PASSED' : 'FAILED'} in ${durationText(run.elapsedMs())}, SEED=${settings.seed}, see ${path}`);
  for (const reason of verdict.reasons) console.log(`  ${reason}`);
  return verdict.passed;
}

process.exitCode = (await main()) ? 0 : 1;
