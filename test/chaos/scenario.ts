/** What a scenario is, and how one is run. */
import { setTimeout as wait } from 'node:timers/promises';
import { between, type Random, seededRandom, seedOf } from '../support/seeded-random.ts';
import { settled, viewsOf, wrongAtRest } from './at-rest.ts';
import { createHistory } from './history.ts';
import { isMessage, type Population, type Row } from './population.ts';
import { readOn, versionOf } from './readers.ts';
import type { Protocol, Servers, Stack, Wiring } from './stack.ts';
import { type Counts, newCounts } from './tally.ts';
import type { World } from './world.ts';
import { writeOn } from './writers.ts';

export interface Scenario {
  readonly name: string;
  /** `sound`: nothing is wrong with Redis, the network or the relay, so no answer may be. */
  readonly kind: 'sound' | 'redis-fault';
  readonly wiring: Wiring;
  /** Between faults, in ms. */
  readonly gapMs: readonly [least: number, most: number];
  /** One fault, from its beginning to its end: what it did is undone when it resolves. */
  readonly inject?: (world: World) => Promise<void>;
  /** Before the first and after the last fault. */
  readonly prepare?: (world: World) => Promise<void>;
  readonly restore?: (world: World) => Promise<void>;
}

export interface Extent {
  readonly durationMs: number;
  /** This many faults, however long they take. */
  readonly rounds: number | undefined;
}

export interface RunOptions {
  readonly servers: Servers;
  readonly stack: Stack;
  readonly population: Population;
  readonly protocol: Protocol;
  readonly seed: number;
  readonly extent: Extent;
  readonly note: (text: string) => void;
  /** Sees the counts while they grow. */
  readonly watch: (counts: Counts) => void;
}

/** The longest is seven seconds, and a process that is started on a busy machine. */
const MAX_FAULT_MS = 60_000;
const READERS = 2;
const WRITERS = 3;

/** What is known of every row while nothing happens. */
async function begin(world: World): Promise<void> {
  const { population, history, nowMs } = world;
  const rows: readonly Row[] = [...population.conversations, ...population.messages, ...population.gone];
  for (const entity of ['message', 'conversation'] as const) {
    const own = rows.filter((row) => isMessage(row) === (entity === 'message'));
    const views = await viewsOf(
      world,
      entity,
      own.map(({ id }) => id),
    );
    for (const { id, key } of own) {
      const view = views.get(id);
      if (view === undefined) history.deleted(key, nowMs());
      else history.began(key, versionOf(view), nowMs());
    }
  }
  // Of these nobody knows whether they were deleted; if not, they still may be when what was under way ends.
  for (const { key } of population.gone) history.deletionBegan(key);
}

/** A fault that does not end has found a process that does nothing any more. */
async function within(fault: Promise<void>): Promise<void> {
  const late = new AbortController();
  const { signal } = late;
  const ended = fault.finally(() => late.abort());
  const timer = wait(MAX_FAULT_MS, undefined, { signal }).then(
    () => {
      throw new Error(`a fault had not ended after ${MAX_FAULT_MS} ms`);
    },
    () => undefined,
  );
  await Promise.all([ended, timer]);
}

async function injectFaults(world: World, { inject, gapMs }: Scenario, { durationMs, rounds }: Extent, failed: AbortSignal): Promise<void> {
  const { counts, random, nowMs } = world;
  const endsAtMs = nowMs() + durationMs;
  const isOver = (): boolean => failed.aborted || (rounds === undefined ? nowMs() >= endsAtMs : counts.faults >= rounds);
  while (!isOver()) {
    await wait(rounds === undefined ? Math.min(between(random, ...gapMs), Math.max(0, endsAtMs - nowMs())) : between(random, ...gapMs));
    if (inject === undefined || isOver()) continue;
    await within(inject(world));
    counts.faults += 1;
  }
}

/** Readers and writers on every process, until the faults are over. */
async function underLoad(world: World, seed: number, work: (failed: AbortSignal) => Promise<void>): Promise<void> {
  const stopping = new AbortController();
  const { signal } = stopping;
  const loops = world.stack.replicas.flatMap((replica) => {
    const randomOf = (role: string, index: number): Random => seededRandom(seedOf(seed, role, replica.index, index));
    const readers = Array.from({ length: READERS }, (_, index) => readOn(world, replica, randomOf('reader', index), signal));
    const writers = Array.from({ length: WRITERS }, (_, index) => writeOn(world, replica, randomOf('writer', index), signal));
    return [...readers, ...writers];
  });
  const running = Promise.all(loops).finally(() => stopping.abort());
  try {
    // A defect of the checker ends everything at once.
    await Promise.race([work(signal), running]);
  } finally {
    stopping.abort();
    await running;
  }
}

export async function runScenario(scenario: Scenario, options: RunOptions): Promise<Counts> {
  const { servers, stack, population, protocol, extent, note } = options;
  const naive = protocol === 'naive';
  const seed = seedOf(options.seed, scenario.name);
  const counts = newCounts();
  const nowMs = (): number => performance.now();
  const world: World = { servers, stack, population, history: createHistory(), counts, random: seededRandom(seed), nowMs, note };
  await settled(world, naive);
  await begin(world);
  await scenario.prepare?.(world);
  const watching = setInterval(() => options.watch(counts), 1_000);
  try {
    await underLoad(world, seed, (failed) => injectFaults(world, scenario, extent, failed));
    await scenario.restore?.(world);
    await settled(world, naive);
    counts.wrongAtRest = await wrongAtRest(world, naive);
  } catch (error) {
    console.error(`${scenario.name} did not come to rest:`, error);
    counts.restless += 1;
  } finally {
    clearInterval(watching);
  }
  return counts;
}
