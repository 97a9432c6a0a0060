import { describe, expect, it } from 'vitest';
import { createLoadQueue } from '../../src/cache/load-queue.ts';

/** Loads that the test answers, by the ids they asked for. */
function queueOf(concurrency: number) {
  const begun: { readonly ids: readonly string[]; answer(rows: Record<string, string>): void; fail(error: Error): void }[] = [];
  const queue = createLoadQueue<string>({
    concurrency,
    nowMs: () => 0,
    load(ids) {
      const { promise, resolve, reject } = Promise.withResolvers<ReadonlyMap<string, string>>();
      begun.push({ ids, answer: (rows) => resolve(new Map(Object.entries(rows))), fail: reject });
      return promise;
    },
  });
  const idsOf = () => begun.map(({ ids }) => ids.join(' '));
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  return { queue, begun, idsOf, turn };
}

describe('the queue of loads', () => {
  it('puts ids that are asked for together into one statement, and shares an id', async () => {
    const { queue, begun, idsOf, turn } = queueOf(2);
    const asked = [queue.load('a'), queue.load('b'), queue.load('a')];
    await turn();
    expect(idsOf()).toEqual(['a b']);
    begun[0]?.answer({ a: 'A' });
    expect(await Promise.all(asked)).toEqual(['A', undefined, 'A']);
  });

  it('never joins a statement that has begun: it may have missed the latest commit', async () => {
    const { queue, begun, idsOf, turn } = queueOf(1);
    const first = queue.load('a');
    await turn();
    const [second, third] = [queue.load('a'), queue.load('a')];
    await turn();
    expect(idsOf()).toEqual(['a']);
    begun[0]?.answer({ a: 'old' });
    await turn();
    expect(idsOf()).toEqual(['a', 'a']);
    begun[1]?.answer({ a: 'new' });
    expect(await Promise.all([first, second, third])).toEqual(['old', 'new', 'new']);
  });

  it('runs no more statements at once than it may; what waits shares the next ones, a hundred ids each', async () => {
    const { queue, begun, idsOf, turn } = queueOf(2);
    for (const id of ['a', 'b']) {
      void queue.load(id);
      await turn();
    }
    const many = Array.from({ length: 150 }, (_, index) => queue.load(String(index)));
    await turn();
    expect(idsOf()).toEqual(['a', 'b']);
    for (const { answer } of begun) answer({});
    await turn();
    expect(begun.slice(2).map(({ ids }) => ids.length)).toEqual([100, 50]);
    for (const { answer } of begun.slice(2)) answer({ 7: 'seven' });
    expect((await Promise.all(many)).filter((row) => row !== undefined)).toEqual(['seven']);
  });

  it('passes a failure on to all who waited, and goes on', async () => {
    const { queue, begun, turn } = queueOf(1);
    const asked = Promise.allSettled([queue.load('a'), queue.load('b')]);
    await turn();
    begun[0]?.fail(new Error('gone'));
    expect((await asked).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    const again = queue.load('a');
    await turn();
    begun[1]?.answer({ a: 'A' });
    expect(await again).toBe('A');
  });
});
