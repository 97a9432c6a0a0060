/** The real cache code under a scheduler that lets every command, statement and commit take its time: a failure prints its seed. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CacheOptions } from '../../src/cache/with-cache.ts';
import { type Action, type CacheWorldOptions, createCacheWorld } from '../support/cache-world.ts';

interface Run {
  readonly actions: readonly Action[];
  readonly promise: CacheWorldOptions['promise'];
  readonly options?: Partial<CacheOptions>;
  readonly broken?: CacheWorldOptions['broken'];
}

/** A reader that stops between its load and its fill is the most dangerous one; chance alone would rarely hold one back for long. */
const SLOW_FILL_LAPS = 12;
/** Without it all would begin at once, and few would begin after another has ended. */
const MAX_DELAY = 20;

/** Two processes do these things to one row in whatever order the scheduler finds. Rejects when a promise is broken. */
const interleavings = ({ actions, promise, options, broken }: Run) =>
  fc.asyncProperty(
    fc.scheduler(),
    fc.array(fc.record({ action: fc.constantFrom(...actions), process: fc.nat(1), delay: fc.nat(MAX_DELAY) }), {
      minLength: 2,
      maxLength: 7,
    }),
    async (scheduler, steps) => {
      const pause = async (label: string) => {
        for (let laps = label === 'fill on its way' ? SLOW_FILL_LAPS : 1; laps > 0; laps -= 1) {
          await scheduler.schedule(Promise.resolve(), label);
        }
      };
      const world = await createCacheWorld({ pause, promise, ...(broken && { broken }), ...(options && { options }) });
      const running = steps.map(async ({ action, process, delay }) => {
        for (let laps = 0; laps <= delay; laps += 1) await pause(action);
        await world.act(action, process);
      });
      await scheduler.waitFor(Promise.all(running).then(() => world.rest()));
      expect(world.wrongAtRest()).toBeUndefined();
    },
  );

const reads = ['read', 'read', 'read batch'] as const;
const runs: readonly (Run & { readonly name: string; readonly times: number })[] = [
  {
    name: 'reads and writes are linearizable, also for readers whom Redis does not answer',
    actions: [...reads, 'write', 'write', 'lose get', 'relay'],
    promise: 'linearizable',
    times: 3_000,
  },
  {
    name: 'so they are without write-through and with eager refresh',
    actions: [...reads, 'write', 'lose get', 'relay'],
    promise: 'linearizable',
    options: { writeThrough: false, refreshBeta: 1e9 },
    times: 1_500,
  },
  {
    name: 'evictions, lost commands and writers that die hide no acknowledged write',
    actions: [...reads, 'write', 'write and die', 'evict', 'lose command', 'lose answer', 'relay'],
    promise: 'acknowledged',
    times: 2_500,
  },
  {
    name: 'SQL from outside and restarts of Redis are over with the next pass of the relay',
    actions: [...reads, 'write', 'update outside', 'write and die', 'lose command', 'lose answer', 'restart', 'evict', 'relay'],
    promise: 'relayed',
    times: 2_500,
  },
  {
    name: 'rows that come and go leave nothing wrong behind',
    actions: [...reads, 'write', 'delete outside', 'insert outside', 'lose answer', 'restart', 'relay'],
    promise: 'none',
    times: 1_500,
  },
];

describe('in every order of events that is tried,', () => {
  it.each(runs)(
    '$name',
    async ({ times, ...run }) => {
      await fc.assert(interleavings(run), { numRuns: times });
    },
    120_000,
  );
});

describe('the same runs fail', () => {
  /** `seed`: of a sequence that soon has an order which shows it; any other has one too, some after thousands of runs. */
  const mutants: readonly (Run & { readonly name: string; readonly seed: number })[] = [
    {
      name: 'when a fill does not ask for its lease',
      seed: 2,
      actions: ['read', 'write'],
      promise: 'linearizable',
      options: { writeThrough: false },
      broken: (sound, { cells }) => ({
        async fill(key, token, value, ttlMs) {
          await sound.fill(key, token, value, ttlMs);
          cells.set(key, value.toString('latin1'));
          return true;
        },
      }),
    },
    {
      name: 'when writers do not mark',
      seed: 3,
      actions: ['read', 'write', 'lose get'],
      promise: 'linearizable',
      broken: () => ({ mark: async () => false }),
    },
    {
      name: 'when writers do not settle',
      seed: 1,
      actions: ['read', 'write'],
      promise: 'acknowledged',
      broken: () => ({ mark: async () => false, settle: async () => 'left' }),
    },
    {
      name: 'when the relay does nothing',
      seed: 1,
      actions: ['read', 'update outside'],
      promise: 'none',
      broken: () => ({ bump: async () => false }),
    },
    {
      name: 'when the relay leaves marks alone',
      seed: 3,
      actions: ['read', 'write', 'update outside', 'relay'],
      promise: 'none',
      broken: (sound) => ({
        async bump(key, version) {
          const cell = await sound.get(key);
          return cell?.toString('latin1').startsWith('W:') === true ? false : sound.bump(key, version);
        },
      }),
    },
  ];
  it.each(mutants)(
    '$name',
    async ({ seed, ...run }) => {
      const { failed, counterexample } = await fc.check(interleavings(run), { seed, numRuns: 20_000, endOnFailure: true });
      expect({ failed, hasExample: counterexample !== null }).toEqual({ failed: true, hasExample: true });
    },
    120_000,
  );
});
