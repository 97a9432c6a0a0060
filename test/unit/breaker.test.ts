import { describe, expect, it } from 'vitest';
import { createBreaker } from '../../src/cache/breaker.ts';

function breakerAt0() {
  const time = { nowMs: 0 };
  const changes: boolean[] = [];
  const breaker = createBreaker({ failuresToOpen: 3, pauseMs: 1_000, nowMs: () => time.nowMs, onChange: (open) => changes.push(open) });
  const fail = (times: number): void => {
    for (let count = 0; count < times; count += 1) breaker.failed();
  };
  return { breaker, changes, time, fail };
}

describe('the breaker', () => {
  it('lets everything through until failures come in a row', () => {
    const { breaker, changes, fail } = breakerAt0();
    fail(2);
    breaker.succeeded();
    fail(2);
    expect(breaker.allows()).toBe(true);
    expect(changes).toEqual([]);
    fail(1);
    expect(breaker.allows()).toBe(false);
    expect(changes).toEqual([true]);
  });

  it('lets one trial through after the pause, and the others not', () => {
    const { breaker, time, fail } = breakerAt0();
    fail(3);
    time.nowMs = 999;
    expect(breaker.allows()).toBe(false);
    time.nowMs = 1_000;
    expect([breaker.allows(), breaker.allows(), breaker.allows()]).toEqual([true, false, false]);
  });

  it('closes when the trial succeeds, and reports it once', () => {
    const { breaker, changes, time, fail } = breakerAt0();
    fail(3);
    time.nowMs = 1_000;
    breaker.allows();
    breaker.succeeded();
    breaker.succeeded();
    expect([breaker.allows(), breaker.allows()]).toEqual([true, true]);
    expect(changes).toEqual([true, false]);
  });

  it('stays open for another pause when the trial fails, without saying so again', () => {
    const { breaker, changes, time, fail } = breakerAt0();
    fail(3);
    time.nowMs = 1_500;
    breaker.allows();
    fail(1);
    time.nowMs = 2_499;
    expect(breaker.allows()).toBe(false);
    time.nowMs = 2_500;
    expect(breaker.allows()).toBe(true);
    expect(changes).toEqual([true]);
  });

  it('lets another trial through when the first never ends', () => {
    const { breaker, time, fail } = breakerAt0();
    fail(3);
    time.nowMs = 1_000;
    breaker.allows();
    time.nowMs = 2_000;
    expect(breaker.allows()).toBe(true);
  });
});
