/** Work that is let through a few at a time: who waits, who gives up, and what an outage does to both. */
import { describe, expect, it } from 'vitest';
import { createSlots } from '../../src/services/slots.ts';

const breathe = () => new Promise(setImmediate);
const outage = new Error('away');

/** Two slots, and pieces of work that end when they are told to. */
function world() {
  const slots = createSlots(2, (error) => error === outage);
  const begun: string[] = [];
  const running = new Map<string, PromiseWithResolvers<string>>();
  return {
    begun,
    ask(name: string, signal = new AbortController().signal) {
      const answer = slots(() => {
        begun.push(name);
        const work = Promise.withResolvers<string>();
        running.set(name, work);
        return work.promise;
      }, signal);
      // Looked at later.
      answer.catch(() => undefined);
      return answer;
    },
    async end(name: string, error?: Error) {
      if (error === undefined) running.get(name)?.resolve(name);
      else running.get(name)?.reject(error);
      await breathe();
    },
  };
}

describe('slots', () => {
  it('let so many run at once, the others first come first served, whatever becomes of those before', async () => {
    const { ask, end, begun } = world();
    const answers = ['a', 'b', 'c', 'd'].map((name) => ask(name));
    await breathe();
    expect(begun).toEqual(['a', 'b']);
    await end('b');
    expect(begun).toEqual(['a', 'b', 'c']);
    await end('a', new Error('a bug'));
    expect(begun).toEqual(['a', 'b', 'c', 'd']);
    await end('c');
    await end('d');
    expect((await Promise.allSettled(answers)).map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled', 'fulfilled']);
  });

  it('do nothing for who gave up while it waited, and keep no slot for it', async () => {
    const { ask, end, begun } = world();
    const leaving = new AbortController();
    void ask('a');
    void ask('b');
    const left = ask('c', leaving.signal);
    const next = ask('d');
    leaving.abort(new Error('gone'));
    await expect(left).rejects.toThrow('gone');
    await end('a');
    await end('d');
    expect(await next).toBe('d');
    expect(begun).toEqual(['a', 'b', 'd']);
    await expect(ask('e', leaving.signal)).rejects.toThrow('gone');
    expect(begun).not.toContain('e');
  });

  it('let go at once who gives up while its work runs, which holds its slot until it ends', async () => {
    const { ask, end, begun } = world();
    const leaving = new AbortController();
    const left = ask('a', leaving.signal);
    void ask('b');
    void ask('c');
    leaving.abort(new Error('gone'));
    await expect(left).rejects.toThrow('gone');
    await breathe();
    expect(begun).toEqual(['a', 'b']);
    await end('a', new Error('too late for anybody'));
    expect(begun).toEqual(['a', 'b', 'c']);
  });

  it('refuse in an outage who waits and who would have to, until something succeeds', async () => {
    const { ask, end, begun } = world();
    const waiting = ['a', 'b', 'c', 'd'].map((name) => ask(name)).slice(2);
    await end('a', outage);
    for (const refused of waiting) await expect(refused).rejects.toBe(outage);
    // A slot is free: somebody has to find out.
    const [, next] = [ask('e'), ask('f')];
    await expect(next).rejects.toBe(outage);
    await end('b');
    expect(begun).toEqual(['a', 'b', 'e']);
    void ask('g');
    const patient = ask('h');
    await end('e');
    await end('h');
    expect(await patient).toBe('h');
  });
});
