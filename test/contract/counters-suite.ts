import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Open, openForAll } from '../support/store-and-reads.ts';
import {
  conversationBetween,
  draftBetween,
  inboundBetween,
  newPair,
  type Pair,
  reportOn,
  type UseCases,
  useCases,
} from '../support/use-cases.ts';
import { expectConsistent } from './recount.ts';

interface Known {
  readonly messageId: string;
  readonly conversationId: string;
}

type Step = (cases: UseCases, pair: Pair, known: Known) => Promise<Known | undefined>;

const storing = async (work: Promise<{ readonly message: { readonly id: string; readonly conversationId: string } }>): Promise<Known> => {
  const { message } = await work;
  return { messageId: message.id, conversationId: message.conversationId };
};
const changing = async (work: Promise<unknown>): Promise<undefined> => void (await work);

const send: Step = (cases, pair) => storing(cases.send(draftBetween(pair)));
const sendInto: Step = (cases, pair, { conversationId }) => storing(cases.send({ ...draftBetween(pair), conversationId }));
const receive: Step = (cases, pair) => storing(cases.receive(inboundBetween(pair)));
const report =
  (providerStatus: string): Step =>
  (cases, _pair, { messageId }) =>
    changing(cases.report(reportOn(messageId, { providerStatus })));
const cancel: Step = (cases, _pair, { messageId }) => changing(cases.changeMessage.cancel(messageId));
const markRead: Step = ({ changeConversation }, _pair, { conversationId, messageId }) =>
  changing(changeConversation.markRead(conversationId, messageId));
const create: Step = (cases, pair) => changing(cases.createConversation(conversationBetween(pair), 'test'));
const archive: Step = (cases, _pair, { conversationId }) => changing(cases.changeConversation.archive(conversationId, ''));
const close: Step = (cases, _pair, { conversationId }) => changing(cases.changeConversation.close(conversationId, ''));
const reopen: Step = (cases, _pair, { conversationId }) => changing(cases.changeConversation.reopen(conversationId, ''));
const remove: Step = (cases, _pair, { conversationId }) => changing(cases.changeConversation.delete(conversationId, '', true));

const frequent: readonly Step[] = [
  send,
  receive,
  receive,
  sendInto,
  report('sent'),
  report('delivered'),
  report('failed'),
  cancel,
  markRead,
];
const rare: readonly Step[] = [create, archive, close, reopen, remove];

/** What a step may meet because of what runs beside it. */
const REFUSALS = [
  'conversation_closed',
  'participants_mismatch',
  'status_forbids',
  'conversation_exists',
  'message_not_found',
  'conversation_not_found',
];

const WORKERS = 10;
const STEPS_OF_EACH = 15;

export function describeCounters(open: Open): void {
  describe('counters', () => {
    const opened = openForAll(open);

    it('equal a recount, whatever happened at once', async () => {
      const cases = useCases(opened);
      const pairs = [newPair(), newPair(), newPair()] as const;
      const known: Known[] = [];
      for (const pair of pairs) known.push(await storing(cases.receive(inboundBetween(pair))));
      const [first] = known;
      if (first === undefined) throw new Error('three were stored');
      const step = fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...frequent) }, { weight: 1, arbitrary: fc.constantFrom(...rare) });
      // The choice is the same every time; what happens at once is not.
      const choices = fc.sample(fc.tuple(step, fc.constantFrom(...pairs), fc.nat(999)), { numRuns: WORKERS * STEPS_OF_EACH, seed: 11 });
      const outcomes: string[] = [];
      const worker = async (): Promise<void> => {
        for (let choice = choices.pop(); choice !== undefined; choice = choices.pop()) {
          const [run, pair, pick] = choice;
          try {
            const stored = await run(cases, pair, known[pick % known.length] ?? first);
            if (stored !== undefined) known.push(stored);
            outcomes.push('done');
          } catch (error) {
            outcomes.push(error instanceof Error && 'code' in error ? String(error.code) : String(error));
          }
        }
      };
      await Promise.all(Array.from({ length: WORKERS }, worker));
      expect(outcomes).toHaveLength(WORKERS * STEPS_OF_EACH);
      expect(outcomes.filter((outcome) => outcome !== 'done' && !REFUSALS.includes(outcome))).toEqual([]);
      for (const pair of pairs) {
        await cases.receive(inboundBetween(pair));
        const filter = { participant: pair.ours, unreadOnly: false };
        const all = await opened.reads.listConversations({ ...filter, statuses: [] }, { size: 200 });
        expect(all.items.filter(({ lastMessageAt }) => lastMessageAt !== undefined).length).toBeGreaterThan(0);
        for (const { id } of all.items) await expectConsistent(opened, id);
        const openOnes = await opened.reads.listConversations({ ...filter, statuses: ['active', 'archived'] }, { size: 200 });
        expect(openOnes.items).toHaveLength(1);
      }
    });
  });
}
