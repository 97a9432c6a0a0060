import { describe, expect, it } from 'vitest';
import { createLocalAnswers } from '../../src/cache/local-answers.ts';
import { createDoorkeeper, isRefreshDue, type PolicyOptions, placeConversation, placeMessage, withJitter } from '../../src/cache/policy.ts';
import { toConversationView, toMessageView } from '../../src/domain/views.ts';
import { conversationFields, messageFields } from '../support/message-fields.ts';

const minute = 60_000;
const options: PolicyOptions = {
  ttlMs: 5 * minute,
  inFlightTtlMs: minute,
  terminalTtlMs: 240 * minute,
  negativeTtlMs: minute / 2,
  doorkeeperMs: 0,
  refreshBeta: 1,
};

describe('the life of an entry', () => {
  it.each([
    ['pending', 'in_flight', minute],
    ['sent', 'in_flight', minute],
    ['delivered', 'terminal', 240 * minute],
    ['failed', 'terminal', 240 * minute],
  ] as const)('of a message that is %s', (status, tier, ttlMs) => {
    expect(placeMessage(toMessageView(messageFields({ status })), options)).toEqual({ tier, ttlMs });
  });

  const conversation = (version: number, lifetimeMs: number) => {
    const createdAt = new Date('2026-01-01T00:00:00Z');
    const updatedAt = new Date(createdAt.getTime() + lifetimeMs);
    return { view: toConversationView(conversationFields({ version, createdAt, updatedAt })), updatedMs: updatedAt.getTime() };
  };
  it.each([
    { what: 'that is new: the default', version: 1, lifetimeMs: 0, idleMs: 0, tier: 'busy', ttlMs: 5 * minute },
    { what: 'written every two minutes: two minutes', version: 11, lifetimeMs: 20 * minute, idleMs: 0, tier: 'busy', ttlMs: 2 * minute },
    { what: 'written every second: the shortest', version: 101, lifetimeMs: 100_000, idleMs: 0, tier: 'busy', ttlMs: minute },
    { what: 'written hourly: an hour', version: 3, lifetimeMs: 120 * minute, idleMs: 0, tier: 'quiet', ttlMs: 60 * minute },
    {
      what: 'once busy, and left alone for an hour: an hour',
      version: 101,
      lifetimeMs: 100_000,
      idleMs: 60 * minute,
      tier: 'quiet',
      ttlMs: 60 * minute,
    },
    { what: 'of last year: the longest', version: 2, lifetimeMs: minute, idleMs: 1e10, tier: 'quiet', ttlMs: 240 * minute },
  ])('of a conversation $what', ({ version, lifetimeMs, idleMs, tier, ttlMs }) => {
    const { view, updatedMs } = conversation(version, lifetimeMs);
    expect(placeConversation(view, options, updatedMs + idleMs)).toEqual({ tier, ttlMs });
  });

  it('varies by 10 % to both sides', () => {
    expect([withJitter(1_000, 0), withJitter(1_000, 0.5), withJitter(1_000, 1)]).toEqual([900, 1_000, 1_100]);
  });
});

describe('early refresh', () => {
  it('gets likelier towards the end, with slower loads, and with more eagerness', () => {
    const share = (expiresInMs: number, loadMs: number, beta: number) =>
      Array.from({ length: 1_000 }, (_, index) => isRefreshDue(expiresInMs, loadMs, beta, (index + 0.5) / 1_000)).filter(Boolean).length;
    expect(share(60_000, 5, 1)).toBe(0);
    expect(share(20, 5, 1)).toBeGreaterThan(0);
    expect(share(5, 5, 1)).toBeGreaterThan(share(20, 5, 1));
    expect(share(20, 20, 1)).toBeGreaterThan(share(20, 5, 1));
    expect(share(20, 5, 4)).toBeGreaterThan(share(20, 5, 1));
    expect(share(0, 5, 1)).toBe(1_000);
  });

  it('can be switched off', () => {
    expect(isRefreshDue(-1, 5, 0, 0.000_1)).toBe(false);
  });
});

describe('the doorkeeper', () => {
  it('admits a row at its second miss', () => {
    const doorkeeper = createDoorkeeper(60_000);
    expect([doorkeeper.admits('a'), doorkeeper.admits('b'), doorkeeper.admits('a'), doorkeeper.admits('a')]).toEqual([
      false,
      false,
      true,
      true,
    ]);
  });

  it('admits everybody when it is off', () => {
    expect(createDoorkeeper(0).admits('a')).toBe(true);
  });
});

describe('remembered answers', () => {
  const answer = (knownAtMs: number, bytes = 100) => ({
    view: `at ${knownAtMs}`,
    tier: undefined,
    cell: { bytes: Buffer.alloc(bytes), version: 1, expiresAtMs: 0 },
    knownAtMs,
  });

  it('are not replaced by what a slower reader found earlier', () => {
    const answers = createLocalAnswers<string>(100_000);
    answers.remember('a', answer(10));
    answers.remember('a', answer(5));
    expect(answers.find('a')?.view).toBe('at 10');
    answers.remember('a', answer(10));
    answers.remember('a', answer(11));
    expect(answers.find('a')?.view).toBe('at 11');
  });

  it('take no more memory than they may; the latest stay', () => {
    const answers = createLocalAnswers<string>(10_000);
    for (let index = 0; index < 100; index += 1) answers.remember(String(index), answer(index, 1_000));
    const kept = [...answers.ids()];
    expect(kept[0]).toBe('99');
    expect(kept.length).toBeGreaterThan(1);
    expect(kept.length).toBeLessThan(5);
  });

  it('keep nothing of the larger buffer that a cell came in', () => {
    const answers = createLocalAnswers<string>(100_000);
    const reply = Buffer.from('V:1 and what else Redis sent');
    answers.remember('a', { ...answer(1), cell: { bytes: reply.subarray(0, 3), version: 1, expiresAtMs: 0 } });
    const bytes = answers.find('a')?.cell?.bytes;
    expect(bytes?.toString()).toBe('V:1');
    expect(bytes?.buffer.byteLength).toBe(3);
  });

  it('are none when there is no memory for them', () => {
    const answers = createLocalAnswers<string>(0);
    answers.remember('a', answer(1));
    expect(answers.find('a')).toBeUndefined();
  });
});
