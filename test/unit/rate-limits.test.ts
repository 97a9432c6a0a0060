/** Rate limits by a clock that stands: shares come from a double that counts as Redis does, shared by several processes. */
import type { ConnectError } from '@connectrpc/connect';
import { beforeEach, describe, expect, it } from 'vitest';
import { openAccess } from '../../src/rpc/access-control.ts';
import type { Call } from '../../src/rpc/call.ts';
import { limitAccess, type RateRule, ruleFor } from '../../src/rpc/rate-limits.ts';
import { describeFailure } from '../support/protocols.ts';

let nowMs: number;
let asked: number;
let windows: Map<string, { consumed: number; endsMs: number }>;

beforeEach(() => {
  nowMs = 1_000;
  asked = 0;
  windows = new Map();
});

async function takeShare(key: string, { calls, seconds }: RateRule, wanted: number) {
  asked += 1;
  const known = windows.get(key);
  const current = known !== undefined && known.endsMs > nowMs ? known : { consumed: 0, endsMs: nowMs + seconds * 1_000 };
  windows.set(key, current);
  const granted = Math.max(0, Math.min(wanted, calls - current.consumed));
  current.consumed += wanted;
  return { granted, windowMs: current.endsMs - nowMs };
}

const rule = (text: Partial<RateRule>): RateRule => ({ caller: '*', method: '*', calls: 100, seconds: 1, ...text });
const process = (...rules: readonly RateRule[]) => limitAccess(openAccess, rules, { takeShare, nowMs: () => nowMs });

const call = (method: string, caller = 'billing', service = 'messaging.v1.MessageService') =>
  ({ caller, endpoint: { name: `${service}/${method}`, method: { name: method }, access: 'known' } }) as unknown as Call;

type Limited = ReturnType<typeof process>;

async function admitted(limited: Limited, times: number, one = call('SendMessage')): Promise<number> {
  let count = 0;
  for (let index = 0; index < times; index += 1) if ((await limited.admit(one)) === undefined) count += 1;
  return count;
}

describe('a limit', () => {
  it('lets in what it says in a window, and again in the next', async () => {
    const limited = process(rule({}));
    expect(await admitted(limited, 150)).toBe(100);
    nowMs += 999;
    expect(await admitted(limited, 10)).toBe(0);
    nowMs += 1;
    expect(await admitted(limited, 150)).toBe(100);
  });

  it('is one for all processes, and never gives away more', async () => {
    const processes = [process(rule({})), process(rule({})), process(rule({}))];
    let count = 0;
    for (let round = 0; round < 100; round += 1) for (const one of processes) count += await admitted(one, 1);
    expect(count).toBeLessThanOrEqual(100);
    // What a process still holds of its portion, a twentieth, is all that can be missing.
    expect(count).toBeGreaterThan(100 - 3 * 5);
  });

  it('is decided here and now while there is a share', async () => {
    const limited = process(rule({ calls: 2_000 }));
    expect(limited.admit(call('GetMessage'))).toBeInstanceOf(Promise);
    await admitted(limited, 1, call('GetMessage'));
    let waited = 0;
    for (let index = 0; index < 1_000; index += 1) {
      if (limited.admit(call('GetMessage')) instanceof Promise) waited += 1;
      // The next share arrives between two calls.
      await Promise.resolve();
      await Promise.resolve();
      await Promise.resolve();
    }
    expect(waited).toBe(0);
    expect(asked).toBeLessThan(25);
  });

  it('takes what is left even if it is less than a portion', async () => {
    const limited = process(rule({ calls: 43 }));
    expect(await admitted(limited, 100)).toBe(43);
  });

  it('gives many calls at once one share, large enough for all of them', async () => {
    const limited = process(rule({ calls: 10_000 }));
    const outcomes = await Promise.all(Array.from({ length: 3_000 }, () => limited.admit(call('SendMessage'))));
    expect(outcomes.every((outcome) => outcome === undefined)).toBe(true);
    expect(asked).toBeLessThan(5);
  });

  it('says in its refusal what it is and when to come again', async () => {
    const limited = process(rule({ method: 'SendMessage', calls: 1, seconds: 60 }));
    await admitted(limited, 2);
    nowMs += 20_000;
    const failure = describeFailure((await limited.admit(call('SendMessage'))) as ConnectError);
    expect(failure).toMatchObject({
      code: 'ResourceExhausted',
      reason: 'RATE_LIMITED',
      message: 'more than 1 calls of SendMessage in 60 s; try again later',
      metadata: { limit: '1', window: '60s' },
      retryAfterMs: 40_000,
    });
  });
});

describe('who is limited', () => {
  it('is each caller and each method by itself', async () => {
    const limited = process(rule({ calls: 10 }));
    expect(await admitted(limited, 20)).toBe(10);
    expect(await admitted(limited, 20, call('SendMessage', 'shop'))).toBe(10);
    expect(await admitted(limited, 20, call('GetMessage'))).toBe(10);
  });

  it('is found by the closest rule', () => {
    const rules = [
      rule({ calls: 1 }),
      rule({ method: 'SendMessage', calls: 2 }),
      rule({ caller: 'a', calls: 3 }),
      rule({ caller: 'a', method: 'GetMessage', calls: 4 }),
    ];
    expect(ruleFor(rules, 'b', 'GetMessage')?.calls).toBe(1);
    expect(ruleFor(rules, 'b', 'SendMessage')?.calls).toBe(2);
    expect(ruleFor(rules, 'a', 'SendMessage')?.calls).toBe(3);
    expect(ruleFor(rules, 'a', 'GetMessage')?.calls).toBe(4);
    expect(ruleFor(rules.slice(1, 2), 'b', 'GetMessage')).toBeUndefined();
  });

  it('is nobody without a rule, and no probe', async () => {
    const limited = process(rule({ method: 'SendMessage', calls: 1 }), rule({ caller: 'anonymous', calls: 1 }));
    expect(await admitted(limited, 50, call('GetMessage'))).toBe(50);
    expect(await admitted(limited, 50, call('Check', 'anonymous', 'grpc.health.v1.Health'))).toBe(50);
    expect(asked).toBe(0);
  });

  it('is refused first by those who do not let it in', async () => {
    const refusal = {} as ConnectError;
    const closed = { ...openAccess, admit: () => refusal };
    const limited = limitAccess(closed, [rule({})], { takeShare, nowMs: () => nowMs });
    expect(limited.admit(call('SendMessage'))).toBe(refusal);
    expect(
      await limitAccess({ ...openAccess, admit: async () => refusal }, [rule({})], { takeShare, nowMs: () => nowMs }).admit(
        call('SendMessage'),
      ),
    ).toBe(refusal);
    expect(asked).toBe(0);
  });
});

it('a limit of a method that there is not stops the start', () => {
  expect(() => process(rule({ method: 'SendMesage' }))).toThrow('RATE_LIMITS: there is no method SendMesage');
});
