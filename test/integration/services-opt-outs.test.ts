import fc from 'fast-check';
import { v7 as uuidv7 } from 'uuid';
import { describe, expect, it } from 'vitest';
import { MessageStatus } from '../../gen/messaging/v1/message_pb.js';
import { newAttempt } from '../../src/domain/delivery-attempt.ts';
import type { ReportedDelivery } from '../../src/domain/delivery-report.ts';
import type { SuppressionFields } from '../../src/domain/suppression.ts';
import { createManageSuppressions } from '../../src/services/manage-suppressions.ts';
import { openForAll } from '../support/store-and-reads.ts';
import { draftBetween, inboundBetween, newPair, openStorage, type Pair, reportOn, useCases } from '../support/use-cases.ts';

let storage: Awaited<ReturnType<typeof openStorage>>;
const stored = openForAll(async () => {
  storage = await openStorage();
  return storage;
});
const cases = () => useCases(stored);

const own = ({ theirs }: Pair) => storage.suppressions.findSuppressions('sms', theirs);
const email = { subject: 'Hello', htmlBody: '', replyTo: '', internetMessageId: '' };
let mailboxes = 0;
const newMailbox = () => `Ada.${++mailboxes}@example.org`;
const mailTo = (toAddress: string, fromAddress = 'support@example.com') => ({ fromAddress, toAddress, email });
const ofMailbox = (address: string) => storage.suppressions.findSuppressions('email', address.toLowerCase());
const sources = (all: readonly SuppressionFields[]) => all.map(({ source }) => source);

const say = (pair: Pair, body: string, metaData = {}) => cases().receive(inboundBetween(pair, { body, metaData }));
const optedOut = expect.objectContaining({ name: 'DomainError', code: 'recipient_opted_out' });

describe('an inbound STOP', () => {
  it('is in force when it is stored, between these two addresses', async () => {
    const pair = newPair();
    const { message } = await say(pair, 'Stop.');
    const at = await own(pair);
    expect(at).toMatchObject([{ address: pair.theirs, fromAddress: pair.ours, source: 'keyword', messageId: message.id }]);
    await expect(cases().send(draftBetween(pair))).rejects.toEqual(optedOut);
    await expect(cases().send({ ...draftBetween(pair), fromAddress: newPair().ours })).resolves.toBeDefined();
    expect((await stored.reads.findMessage(message.id)).value).toMatchObject({ body: 'Stop.', status: MessageStatus.DELIVERED });
  });

  it('is obeyed once, so that it does not undo a START when it is delivered again', async () => {
    const pair = newPair();
    const stop = inboundBetween(pair, { body: 'STOP' });
    await cases().receive(stop);
    const [first] = await own(pair);
    await cases().receive(stop);
    await say(pair, 'stop');
    expect(await own(pair)).toEqual([first]);
    await say(pair, 'START');
    expect(await own(pair)).toEqual([]);
    expect((await cases().receive(stop)).duplicate).toBe(true);
    expect(await own(pair)).toEqual([]);
    await expect(cases().send(draftBetween(pair))).resolves.toBeDefined();
  });

  it('outlives the conversation it was in', async () => {
    const pair = newPair();
    const { message } = await say(pair, 'STOP');
    await cases().changeConversation.delete(message.conversationId, '', false);
    expect(await own(pair)).toMatchObject([{ messageId: message.id }]);
  });

  it('by words that only the provider knows counts, too', async () => {
    const pair = newPair();
    await say(pair, 'ARRET', { opt_out_type: 'STOP' });
    expect(sources(await own(pair))).toEqual(['keyword']);
    await say(pair, 'STOP', { opt_out_type: 'HELP' });
    await say(pair, 'ENCORE', { opt_out_type: 'START' });
    expect(await own(pair)).toEqual([]);
  });

  it('ends as the last of any keywords, however many come and however often each', async () => {
    const word = fc.constantFrom('STOP', 'START', 'HELP', 'hello');
    const told = fc.array(fc.tuple(word, fc.boolean()), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(told, async (words) => {
        const pair = newPair();
        const earlier = [];
        for (const [body, again] of words) {
          const inbound = inboundBetween(pair, { body });
          await cases().receive(inbound);
          earlier.push(inbound);
          // Once more everything that came before, at once.
          if (again) await Promise.all(earlier.map((known) => cases().receive(known)));
        }
        const last = words.map(([body]) => body).findLast((body) => body === 'STOP' || body === 'START');
        expect(sources(await own(pair))).toEqual(last === 'STOP' ? ['keyword'] : []);
      }),
      { numRuns: 15 },
    );
  });

  it('and START at once end as the later one of the conversation', async () => {
    const pair = newPair();
    const answers = await Promise.all(Array.from({ length: 16 }, (_, index) => say(pair, index % 2 === 0 ? 'STOP' : 'START')));
    const events = await Promise.all(
      answers.map(async ({ message }) => {
        const [event] = (await stored.reads.listMessageEvents(message.id, { size: 1 })).items;
        return { sequence: Number(event?.sequence), body: message.body };
      }),
    );
    const [last] = events.toSorted((left, right) => right.sequence - left.sequence);
    expect(sources(await own(pair))).toEqual(last?.body === 'STOP' ? ['keyword'] : []);
  });
});

describe('an inbound START', () => {
  it("lifts the recipient's own and the provider's, never what callers or all senders were told", async () => {
    const pair = newPair();
    const { create } = createManageSuppressions({ ...storage, clock: { now: () => new Date() }, newId: uuidv7 });
    const name = { channel: 'sms', address: pair.theirs } as const;
    const { message } = await cases().send(draftBetween(pair));
    await cases().report(reportOn(message.id, { providerStatus: 'failed', providerCode: '21610' }));
    expect(await own(pair)).toMatchObject([{ source: 'provider', fromAddress: pair.ours, messageId: message.id }]);
    await say(pair, 'unstop');
    expect(await own(pair)).toEqual([]);
    await create({ ...name, fromAddress: '' });
    await create({ ...name, fromAddress: pair.ours });
    await say(pair, 'STOP');
    await say(pair, 'START');
    expect(sources(await own(pair))).toEqual(['manual', 'manual']);
  });

  it('lifts no block that a caller put upon a STOP', async () => {
    const pair = newPair();
    await say(pair, 'STOP');
    const { create } = createManageSuppressions({ ...storage, clock: { now: () => new Date() }, newId: uuidv7 });
    await create({ channel: 'sms', address: pair.theirs, fromAddress: pair.ours });
    await say(pair, 'START');
    expect(sources(await own(pair))).toEqual(['manual']);
  });
});

describe('a report', () => {
  const reported = async (address: string, report: Partial<ReportedDelivery>, from?: string) => {
    const { message } = await cases().send(mailTo(address, from));
    await cases().report(reportOn(message.id, { provider: 'sendgrid', ...report }));
    return message;
  };

  it.each([
    [{ providerStatus: 'bounce' }, 'hard_bounce'],
    [{ providerStatus: 'spamreport' }, 'spam_report'],
    [{ providerStatus: 'group_unsubscribe' }, 'group_unsubscribe'],
    [{ providerStatus: 'unsubscribe' }, 'unsubscribe'],
    [{ providerStatus: 'dropped', providerMessage: 'Bounced Address' }, 'provider'],
  ] as const)('%j on an email suppresses its recipient for all of our addresses', async (report, source) => {
    const address = newMailbox();
    const { id, toAddress } = await reported(address, report);
    expect(await ofMailbox(address)).toMatchObject([{ address: toAddress, fromAddress: '', source, messageId: id }]);
    await expect(cases().send(mailTo(address.toUpperCase(), 'other@example.com'))).rejects.toEqual(optedOut);
  });

  it.each(['blocked', 'deferred', 'delivered', 'open'])('%s suppresses nobody', async (providerStatus) => {
    const address = newMailbox();
    await reported(address, { providerStatus });
    expect(await ofMailbox(address)).toEqual([]);
  });

  it('suppresses also when its attempt no longer counts', async () => {
    const address = newMailbox();
    const { message } = await cases().send(mailTo(address));
    const attempt = {
      id: uuidv7(),
      messageId: message.id,
      attempt: 1,
      provider: 'sendgrid',
      traceParent: '',
      startedAt: new Date(),
    } as const;
    await stored.store.transaction((tx) => tx.writeAttempt({ ...newAttempt(attempt), superseded: true }));
    const report = reportOn(message.id, { provider: 'sendgrid', providerStatus: 'bounce', attempt: 1 });
    expect((await cases().report(report)).message.status).toBe(MessageStatus.PENDING);
    expect(sources(await ofMailbox(address))).toEqual(['hard_bounce']);
  });

  it('suppresses also when the message has long been settled', async () => {
    const address = newMailbox();
    const { id } = await reported(address, { providerStatus: 'delivered' });
    await cases().report(reportOn(id, { provider: 'sendgrid', providerStatus: 'spamreport' }));
    expect(sources(await ofMailbox(address))).toEqual(['spam_report']);
    expect((await stored.reads.findMessage(id)).value?.status).toBe(MessageStatus.DELIVERED);
  });

  it('on an inbound message suppresses nobody', async () => {
    const pair = newPair();
    const { message } = await say(pair, 'hello');
    await cases().report(reportOn(message.id, { providerStatus: 'failed', providerCode: '21610' }));
    expect(await own(pair)).toEqual([]);
    expect(await storage.suppressions.findSuppressions('sms', pair.ours)).toEqual([]);
  });

  it('of a new subscription to a group lifts that the group was left', async () => {
    const address = newMailbox();
    const { id } = await reported(address, { providerStatus: 'group_unsubscribe' });
    await cases().report(reportOn(id, { provider: 'sendgrid', providerStatus: 'group_resubscribe' }));
    expect(await ofMailbox(address)).toEqual([]);
  });

  it.each([
    ['spamreport', 'spam_report'],
    ['bounce', 'hard_bounce'],
    ['unsubscribe', 'unsubscribe'],
  ])('of a new subscription to a group lifts no %s, be it the first one or not', async (word, source) => {
    for (const words of [[word], ['group_unsubscribe', word], [word, 'group_unsubscribe']]) {
      const address = newMailbox();
      const { message } = await cases().send(mailTo(address));
      for (const providerStatus of [...words, 'group_resubscribe']) {
        await cases().report(reportOn(message.id, { provider: 'sendgrid', providerStatus }));
      }
      expect(sources(await ofMailbox(address))).toEqual([source]);
    }
  });

  it('is obeyed once: the same one again does not undo what came after it', async () => {
    const address = newMailbox();
    const { message } = await cases().send(mailTo(address));
    const unsubscribe = reportOn(message.id, { provider: 'sendgrid', providerStatus: 'group_unsubscribe' });
    await Promise.all(Array.from({ length: 10 }, () => cases().report(unsubscribe)));
    expect(await ofMailbox(address)).toHaveLength(1);
    await cases().report(reportOn(message.id, { provider: 'sendgrid', providerStatus: 'group_resubscribe' }));
    await cases().report(unsubscribe);
    expect(await ofMailbox(address)).toEqual([]);
  });

  it('of many kinds at once, in any order and each several times, makes one suppression', async () => {
    const words = fc.shuffledSubarray(['bounce', 'spamreport', 'unsubscribe', 'group_unsubscribe', 'delivered'], { minLength: 1 });
    await fc.assert(
      fc.asyncProperty(words, async (order) => {
        const address = newMailbox();
        const { message } = await cases().send(mailTo(address));
        const reports = order.map((providerStatus) => reportOn(message.id, { provider: 'sendgrid', providerStatus }));
        await Promise.all([...reports, ...reports].map((report) => cases().report(report)));
        expect(await ofMailbox(address)).toHaveLength(order.some((word) => word !== 'delivered') ? 1 : 0);
      }),
      { numRuns: 10 },
    );
  });
});
