import fc from 'fast-check';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FailureReason, MessageEvent_Type, MessageStatus, Provider } from '../../gen/messaging/v1/message_pb.js';
import { newAttempt } from '../../src/domain/delivery-attempt.ts';
import type { ReportedDelivery } from '../../src/domain/delivery-report.ts';
import { lockConversation } from '../support/row-locks.ts';
import {
  caller,
  draftBetween,
  inboundBetween,
  newPair,
  type OpenedStorage,
  openStorage,
  reportOn,
  useCases,
} from '../support/use-cases.ts';

let storage: OpenedStorage;
beforeAll(async () => {
  storage = await openStorage();
});
afterAll(() => storage?.[Symbol.asyncDispose]());
const cases = () => useCases(storage);
const emailDraft = {
  fromAddress: 'support@example.com',
  toAddress: 'ada@example.org',
  email: { subject: 'Hello', htmlBody: '', replyTo: '', internetMessageId: '' },
};

const sentMessage = async () => (await cases().send(draftBetween(newPair()))).message;

async function historyOf(id: string) {
  const { message, events, conversation } = (await cases().messages.get(id, { conversation: true, events: true })).value;
  return { message, events, conversation };
}

describe('ReportDelivery', () => {
  it('applies a report and records it', async () => {
    const { id } = await sentMessage();
    const occurredAt = new Date('2026-05-01T12:00:00.000Z');
    const report = reportOn(id, { providerStatus: 'sent', providerMessageId: `SM${id}`, occurredAt });
    const { message, event, duplicate } = await cases().report(report);
    expect(duplicate).toBe(false);
    expect(message).toMatchObject({ status: MessageStatus.SENT, providerMessageId: `SM${id}`, provider: Provider.TWILIO });
    expect(event).toMatchObject({ type: MessageEvent_Type.PROVIDER_STATUS, providerStatus: 'sent', sequence: 2n });
    expect(event).toMatchObject({ statusBefore: MessageStatus.PENDING, statusAfter: MessageStatus.SENT });
    expect(await historyOf(id)).toMatchObject({ message, events: [{ sequence: 1n }, event], conversation: { lastSequence: 2n } });
  });

  it('tells why a message failed', async () => {
    const { id } = await sentMessage();
    const words = { providerStatus: 'undelivered', providerCode: '30003', providerMessage: 'x'.repeat(4_000) };
    const { message, event } = await cases().report(reportOn(id, words));
    expect(message.failure).toMatchObject({ reason: FailureReason.UNREACHABLE, providerCode: '30003', retryable: true });
    expect(message.failure?.providerMessage).toHaveLength(1_024);
    expect(event.failure).toEqual(message.failure);
  });

  it('records words that mean nothing here without applying them', async () => {
    const { id } = await sentMessage();
    const { message, event } = await cases().report(reportOn(id, { providerStatus: 'opened' }));
    expect(message.status).toBe(MessageStatus.PENDING);
    expect(event).toMatchObject({ statusBefore: MessageStatus.PENDING, statusAfter: MessageStatus.PENDING, providerStatus: 'opened' });
  });

  it('never changes an inbound message', async () => {
    const { message } = await cases().receive(inboundBetween(newPair()));
    const reported = await cases().report(reportOn(message.id, { providerStatus: 'failed' }));
    expect(reported.message.status).toBe(MessageStatus.DELIVERED);
  });

  it('finds the message by the id of the provider', async () => {
    const { id } = await sentMessage();
    const providerMessageId = `SM${id}`;
    await cases().report(reportOn(id, { providerStatus: 'sent', providerMessageId }));
    const { message } = await cases().report(reportOn(undefined, { providerMessageId }));
    expect(message).toMatchObject({ id, status: MessageStatus.DELIVERED });
  });

  it('records a report once; again it answers with the first event', async () => {
    const { id } = await sentMessage();
    const report = reportOn(id);
    const first = await cases().report(report);
    const again = await cases().report({ ...report, providerStatus: 'failed', messageId: uuidv7() });
    expect(again).toEqual({ ...first, duplicate: true });
    expect((await historyOf(id)).events).toHaveLength(2);
  });

  it('takes one event id of two providers for two events', async () => {
    const providerEventId = `EV${uuidv7()}`;
    const { message } = await cases().send(emailDraft);
    const phone = await cases().report(reportOn((await sentMessage()).id, { providerEventId }));
    const mail = await cases().report(reportOn(message.id, { providerEventId, provider: 'sendgrid' }));
    expect([phone.duplicate, mail.duplicate]).toEqual([false, false]);
  });

  it.each([
    ['of a message that is not stored', () => reportOn(uuidv7()), 'message_not_found'],
    ['of an id that the provider never gave', () => reportOn(undefined, { providerMessageId: 'SM-unknown' }), 'message_not_found'],
    [
      'of another provider than the one that carries it',
      async () => reportOn((await sentMessage()).id, { provider: 'sendgrid' }),
      'field_invalid',
    ],
    [
      'that names two messages',
      async () => {
        const [one, two] = [await sentMessage(), await sentMessage()];
        await cases().report(reportOn(one.id, { providerStatus: 'sent', providerMessageId: `SM${one.id}` }));
        return reportOn(two.id, { providerMessageId: `SM${one.id}` });
      },
      'field_invalid',
    ],
  ] as const)('refuses a report %s, and takes it when it comes again and is right', async (_which, make, code) => {
    const report = await make();
    await expect(cases().report(report)).rejects.toMatchObject({ name: 'DomainError', code });
    const right = await cases().report({ ...report, provider: 'twilio', messageId: (await sentMessage()).id, providerMessageId: '' });
    expect(right.duplicate).toBe(false);
  });

  it.each<readonly [string, (id: string) => Partial<ReportedDelivery>]>([
    ['its number', () => ({ attempt: 1 })],
    ['its id at the provider', (id) => ({ messageId: undefined, providerMessageId: `SM${id}` })],
  ])('that waits while RetryMessage supersedes its attempt, named by %s, is recorded only', async (_how, named) => {
    const { id, conversationId } = await sentMessage();
    const fields = { id: uuidv7(), messageId: id, attempt: 1, provider: 'twilio', traceParent: '', startedAt: new Date() } as const;
    await storage.store.transaction((tx) => tx.writeAttempt({ ...newAttempt(fields), outcome: 'accepted', providerMessageId: `SM${id}` }));
    await cases().report(reportOn(id, { providerStatus: 'undelivered', attempt: 1 }));
    await using lock = await lockConversation(storage.url, conversationId);
    const retried = cases().changeMessage.retry(id, true, undefined, caller);
    await lock.awaited();
    const reported = cases().report(reportOn(id, named(id)));
    await lock.awaited(2);
    await lock.release();
    expect((await retried).status).toBe(MessageStatus.PENDING);
    const { message, event } = await reported;
    expect(message.status).toBe(MessageStatus.PENDING);
    expect(event).toMatchObject({ statusBefore: MessageStatus.PENDING, statusAfter: MessageStatus.PENDING, attempt: 1 });
  });

  it('ends where the transition table says, however often and in whatever order reports come at once', async () => {
    const word = fc.constantFrom('queued', 'sending', 'sent', 'delivered', 'undelivered', 'opened');
    const repeated = fc.array(fc.tuple(word, fc.integer({ min: 1, max: 10 })), { minLength: 1, maxLength: 6 });
    const calls = repeated.chain((reports) => {
      const all = reports.flatMap(([providerStatus, count], index) => Array.from({ length: count }, () => ({ providerStatus, index })));
      return fc.shuffledSubarray(all, { minLength: all.length });
    });
    await fc.assert(
      fc.asyncProperty(calls, async (order) => {
        const { id } = await sentMessage();
        const eventIds = new Map(order.map(({ index }) => [index, `EV${uuidv7()}`]));
        const answers = await Promise.all(
          order.map(({ providerStatus, index }) =>
            cases().report(reportOn(id, { providerStatus, providerEventId: eventIds.get(index) ?? '' })),
          ),
        );
        expect(answers.filter(({ duplicate }) => !duplicate)).toHaveLength(eventIds.size);
        const { message, events, conversation } = await historyOf(id);
        expect(events).toHaveLength(1 + eventIds.size);
        expect(conversation?.lastSequence).toBe(BigInt(events.length));
        // Each event takes up where the one before left off, and the last leaves the message as it is.
        const chain = events.map(({ statusBefore, statusAfter }) => [statusBefore, statusAfter]);
        for (const [index, [before]] of chain.entries()) expect(before).toBe(index === 0 ? 0 : chain[index - 1]?.[1]);
        expect(message.status).toBe(chain.at(-1)?.[1]);
        const words: ReadonlySet<string> = new Set(order.map(({ providerStatus }) => providerStatus));
        const final = [
          ...(words.has('delivered') ? [MessageStatus.DELIVERED] : []),
          ...(words.has('undelivered') ? [MessageStatus.FAILED] : []),
        ];
        if (final.length > 0) expect(final).toContain(message.status);
        else
          expect(message.status).toBe(
            ['queued', 'sending', 'sent'].some((status) => words.has(status)) ? MessageStatus.SENT : MessageStatus.PENDING,
          );
      }),
      { numRuns: 20 },
    );
  });
});
