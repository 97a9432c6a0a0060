import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ADMISSION_MS, createGuard, type Guard, type GuardOptions, type Judged } from '../../src/providers/guard.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] }));
afterEach(() => void vi.useRealTimers());

const PAUSES = { failuresToOpen: 3, firstPauseMs: 5_000, maxPauseMs: 12_000, credentialsPauseMs: 60_000 };

function guardWith(changes: Partial<GuardOptions> = {}) {
  const changed: string[] = [];
  const guard = createGuard({
    maxConcurrent: 10,
    maxPerSecond: 100,
    breaker: PAUSES,
    unixNowMs: Date.now,
    onOpen: (health, pauseMs) => changed.push(`${health} ${pauseMs}`),
    onClosed: () => changed.push('closed'),
    ...changes,
  });
  return { guard, changed };
}

/** Lets promises that can settle do so; no time passes. */
const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);
const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

/** How many of so many were admitted. */
function admitting(guard: Guard, count: number): { readonly admitted: () => number } {
  let admitted = 0;
  for (let index = 0; index < count; index += 1) void guard.admit().then(() => (admitted += 1));
  return { admitted: () => admitted };
}

async function entered(guard: Guard): Promise<Disposable> {
  const place = await guard.enter();
  if (place === undefined) throw new Error('there was no place');
  return place;
}

const ending = (health: Judged['health']) => () => Promise.resolve({ health });

async function ask(guard: Guard, health: Judged['health'], times = 1): Promise<void> {
  for (let count = 0; count < times; count += 1) await guard.ask(ending(health));
}

describe('the rate', () => {
  it('admits so many in a second, and the others in the seconds after it', async () => {
    const { guard } = guardWith({ maxPerSecond: 2 });
    const { admitted } = admitting(guard, 5);
    await settle();
    expect(admitted()).toBe(2);
    await pass(999);
    expect(admitted()).toBe(2);
    await pass(1);
    expect(admitted()).toBe(4);
    await pass(1_000);
    expect(admitted()).toBe(5);
  });

  it('does not count those who were admitted and made no request, in the same second', async () => {
    const { guard } = guardWith({ maxPerSecond: 2 });
    const unused = await guard.admit();
    unused[Symbol.dispose]();
    const { admitted } = admitting(guard, 3);
    await settle();
    expect(admitted()).toBe(2);
    await pass(1_000);
    expect(admitted()).toBe(3);
    const late = await guard.admit();
    await pass(1_000);
    late[Symbol.dispose]();
    const { admitted: next } = admitting(guard, 3);
    await settle();
    expect(next()).toBe(2);
  });

  it('holds for those who were not admitted', async () => {
    const { guard } = guardWith({ maxPerSecond: 1 });
    expect(await guard.enter()).toBeDefined();
    expect(await guard.enter()).toBeUndefined();
  });

  it('does not cost a place when it is the only hindrance', async () => {
    const { guard } = guardWith({ maxPerSecond: 1, maxConcurrent: 2 });
    await guard.enter();
    expect(await guard.enter()).toBeUndefined();
    await pass(1_000);
    expect(await guard.enter()).toBeDefined();
  });

  it('is slowed down when the provider asks for it, for a minute at most', async () => {
    const { guard } = guardWith();
    guard.slowDown(3_000);
    guard.slowDown(1_000);
    const { admitted } = admitting(guard, 1);
    expect(guard.unavailableForMs()).toBe(3_000);
    await pass(2_999);
    expect([admitted(), guard.unavailableForMs()]).toEqual([0, 1]);
    await pass(1);
    expect([admitted(), guard.unavailableForMs()]).toEqual([1, 0]);
    guard.slowDown(3_600_000);
    expect(guard.unavailableForMs()).toBe(60_000);
  });

  it('goes on when the provider asks for no time', async () => {
    const { guard } = guardWith();
    guard.slowDown(0);
    await guard.admit();
    expect(guard.unavailableForMs()).toBe(0);
  });
});

describe('the places', () => {
  it('are so many; the next one is admitted when one is left', async () => {
    const { guard } = guardWith({ maxConcurrent: 2 });
    const { admitted } = admitting(guard, 3);
    await settle();
    expect(admitted()).toBe(2);
    const place = await entered(guard);
    await settle();
    expect(admitted()).toBe(2);
    place[Symbol.dispose]();
    await settle();
    expect(admitted()).toBe(3);
  });

  it('that were not used are there for the next as soon as they are given back', async () => {
    const { guard } = guardWith({ maxConcurrent: 1 });
    const place = await guard.admit();
    const { admitted } = admitting(guard, 1);
    await pass(0);
    expect(admitted()).toBe(0);
    place[Symbol.dispose]();
    await pass(0);
    expect(admitted()).toBe(1);
  });

  it('that were used are not given back twice', async () => {
    const { guard } = guardWith({ maxConcurrent: 1 });
    const place = await guard.admit();
    using entered = await guard.enter();
    expect(entered).toBeDefined();
    const { admitted } = admitting(guard, 1);
    place[Symbol.dispose]();
    await pass(0);
    expect(admitted()).toBe(0);
  });

  it('are kept for whoever was admitted, and nobody else gets in', async () => {
    const { guard } = guardWith({ maxConcurrent: 1 });
    await guard.admit();
    using _place = await entered(guard);
    expect(await guard.enter()).toBeUndefined();
  });

  it('are given to others when they are not taken in time', async () => {
    const { guard } = guardWith({ maxConcurrent: 1 });
    await guard.admit();
    const { admitted } = admitting(guard, 1);
    await pass(ADMISSION_MS - 1);
    expect(admitted()).toBe(0);
    await pass(1);
    expect(admitted()).toBe(1);
  });

  it('are waited for until a signal, and are not lost when they come too late', async () => {
    const { guard } = guardWith({ maxConcurrent: 1 });
    await guard.admit();
    const place = await entered(guard);
    const patience = new AbortController();
    const reserved = guard.reserve(patience.signal);
    patience.abort();
    expect(await reserved).toBeUndefined();
    place[Symbol.dispose]();
    await settle();
    expect(await guard.reserve(new AbortController().signal)).toBeDefined();
  });

  it('are not to be had any more when it is drained, but by those who were admitted; nobody waits for them', async () => {
    const { guard } = guardWith({ maxConcurrent: 1 });
    const { admitted } = admitting(guard, 3);
    await settle();
    expect(guard.unavailableForMs()).toBe(0);
    guard.drain();
    await settle();
    expect(admitted()).toBe(3);
    // What those who were let on without a place ask before they begin.
    expect(guard.unavailableForMs()).toBeGreaterThan(0);
    using _place = await entered(guard);
    expect(await guard.enter()).toBeUndefined();
    expect(await guard.reserve(new AbortController().signal)).toBeUndefined();
  });
});

describe('the breaker', () => {
  it('opens after failures in a row, and lets nothing through', async () => {
    const { guard, changed } = guardWith();
    await ask(guard, 'failing', 2);
    await ask(guard, 'well');
    await ask(guard, 'failing', 2);
    expect([guard.breaker(), guard.unavailableForMs(), changed]).toEqual(['closed', 0, []]);
    await ask(guard, 'failing');
    expect([guard.breaker(), guard.unavailableForMs(), changed]).toEqual(['open', 5_000, ['failing 5000']]);
    const work = vi.fn(ending('well'));
    expect(await guard.ask(work)).toBeUndefined();
    expect(work).not.toHaveBeenCalled();
  });

  it('opens at once, and for longer, when we are refused', async () => {
    const { guard, changed } = guardWith();
    await ask(guard, 'refuses-us');
    expect([guard.unavailableForMs(), changed]).toEqual([60_000, ['refuses-us 60000']]);
  });

  it('does not open at the next failure because we were refused before', async () => {
    const { guard } = guardWith();
    await Promise.all([ask(guard, 'refuses-us'), ask(guard, 'refuses-us')]);
    await pass(60_000);
    await ask(guard, 'well');
    await ask(guard, 'failing');
    expect(guard.breaker()).toBe('closed');
  });

  it('lets one through after the pause, refuses others meanwhile, and closes when it goes well', async () => {
    const { guard, changed } = guardWith();
    await ask(guard, 'failing', 3);
    await pass(5_000);
    expect([guard.breaker(), guard.unavailableForMs()]).toEqual(['open', 0]);
    const trial = Promise.withResolvers<Judged>();
    const asked = guard.ask(() => trial.promise);
    expect([guard.breaker(), guard.unavailableForMs()]).toEqual(['half-open', 1_000]);
    expect(await guard.ask(ending('well'))).toBeUndefined();
    trial.resolve({ health: 'well' });
    expect(await asked).toEqual({ health: 'well' });
    expect([guard.breaker(), guard.unavailableForMs(), changed]).toEqual(['closed', 0, ['failing 5000', 'closed']]);
  });

  it('pauses twice as long each time that fails, up to a limit, and starts anew afterwards', async () => {
    const { guard, changed } = guardWith();
    await ask(guard, 'failing', 3);
    for (const pauseMs of [5_000, 10_000, 12_000]) {
      expect(guard.unavailableForMs()).toBe(pauseMs);
      await pass(pauseMs);
      await ask(guard, 'failing');
    }
    await pass(12_000);
    await ask(guard, 'well');
    await ask(guard, 'failing', 3);
    expect(changed).toEqual(['failing 5000', 'failing 10000', 'failing 12000', 'failing 12000', 'closed', 'failing 5000']);
  });
});

describe('after the pause of the breaker', () => {
  async function pausedGuard() {
    const { guard } = guardWith();
    await ask(guard, 'failing', 3);
    await pass(5_000);
    const { admitted } = admitting(guard, 5);
    await settle();
    expect(admitted()).toBe(1);
    return { guard, admitted };
  }

  it('one is admitted, and all the others when it went well', async () => {
    const { guard, admitted } = await pausedGuard();
    {
      using _place = await entered(guard);
      await ask(guard, 'well');
      expect(admitted()).toBe(1);
    }
    await settle();
    expect([admitted(), guard.unavailableForMs()]).toEqual([5, 0]);
  });

  it('the others get on when it went wrong, and are told to wait', async () => {
    const { guard, admitted } = await pausedGuard();
    {
      using _place = await entered(guard);
      await ask(guard, 'failing');
    }
    await settle();
    expect([admitted(), guard.unavailableForMs()]).toEqual([5, 10_000]);
  });

  it('another one is admitted when the first does not come', async () => {
    const { admitted } = await pausedGuard();
    await pass(ADMISSION_MS);
    expect(admitted()).toBe(2);
  });
});
