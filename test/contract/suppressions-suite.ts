import { v7 as uuidv7 } from 'uuid';
import { describe, expect, it } from 'vitest';
import { type Channel, parseSender, storedAddress } from '../../src/domain/address.ts';
import { newConversation } from '../../src/domain/conversation.ts';
import type { Tx } from '../../src/domain/ports.ts';
import { newSuppression, type SuppressionFields, type SuppressionPair, type SuppressionSource } from '../../src/domain/suppression.ts';
import { messageFields } from '../support/message-fields.ts';
import { type Open, openForAll, signal } from '../support/store-and-reads.ts';

const [us, usToo] = [storedAddress('+14155552671', 'sms'), storedAddress('+14155552699', 'sms')];
const early = new Date('2026-01-01T00:00:00.123Z');
const late = new Date('2026-01-02T00:00:00.456Z');

let people = 0;
const somebody = () => storedAddress(`+1212${3_000_000 + ++people}`, 'sms');

const suppressionOf = (pair: SuppressionPair, source: SuppressionSource = 'keyword', at = early): SuppressionFields =>
  newSuppression({ id: uuidv7(), source, pair, messageId: uuidv7(), at });

export function describeSuppressions(open: Open): void {
  describe('a suppression', () => {
    const opened = openForAll(open);
    const inTx = <T>(work: (tx: Tx) => Promise<T>): Promise<T> => opened.store.transaction(work);
    const add = (fields: SuppressionFields) => inTx((tx) => tx.suppress(fields));
    const find = ({ theirs, ours = us }: SuppressionPair) => opened.suppressions.findSuppression(theirs.channel, theirs.key, ours.key);

    it('of one sender forbids that sender alone', async () => {
      const theirs = somebody();
      const fields = suppressionOf({ theirs, ours: us });
      expect(await add(fields)).toEqual(fields);
      expect(await find({ theirs, ours: us })).toEqual(fields);
      expect(await find({ theirs, ours: usToo })).toBeUndefined();
      expect(await find({ theirs: somebody(), ours: us })).toBeUndefined();
    });

    it('of all senders forbids each', async () => {
      const theirs = somebody();
      const fields = await add({ ...suppressionOf({ theirs, ours: undefined }, 'manual'), messageId: null });
      expect(fields).toMatchObject({ fromKey: '', fromAddress: '', messageId: null });
      expect(await find({ theirs, ours: us })).toEqual(fields);
      expect(await find({ theirs, ours: usToo })).toEqual(fields);
    });

    it('is one of a channel', async () => {
      const theirs = parseSender('ACME', 'sms', 'address');
      await add(suppressionOf({ theirs, ours: undefined }));
      expect(await opened.suppressions.findSuppression('email', theirs.key, us.key)).toBeUndefined();
    });

    it('stays as it began when it comes again', async () => {
      const theirs = somebody();
      const first = await add(suppressionOf({ theirs, ours: us }, 'keyword', early));
      expect(await add(suppressionOf({ theirs, ours: us }, 'provider', late))).toEqual(first);
      expect(await find({ theirs, ours: us })).toEqual(first);
    });

    it.each<readonly [Channel, SuppressionSource, SuppressionSource]>([
      ['sms', 'keyword', 'manual'],
      ['sms', 'provider', 'manual'],
      ['email', 'group_unsubscribe', 'manual'],
      ['email', 'group_unsubscribe', 'unsubscribe'],
      ['email', 'group_unsubscribe', 'spam_report'],
      ['email', 'group_unsubscribe', 'hard_bounce'],
      // Of an email, the list of a provider is none that the recipient has a say in.
      ['email', 'group_unsubscribe', 'provider'],
    ])('of %s by %s, which the recipient may lift, becomes one by %s, which not, and is as old as it was', async (channel, old, fresh) => {
      const theirs = { ...somebody(), channel };
      const first = await add(suppressionOf({ theirs, ours: us }, old, early));
      const second = suppressionOf({ theirs, ours: us }, fresh, late);
      const both = { ...first, source: fresh, messageId: second.messageId };
      expect(await add(second)).toEqual(both);
      expect(await add(suppressionOf({ theirs, ours: us }, old, late))).toEqual(both);
      expect(await find({ theirs, ours: us })).toEqual(both);
    });

    it('that is the older of two is the one that is told', async () => {
      const theirs = somebody();
      const own = await add(suppressionOf({ theirs, ours: us }, 'keyword', early));
      const general = await add(suppressionOf({ theirs, ours: undefined }, 'manual', late));
      expect(await find({ theirs, ours: us })).toEqual(own);
      expect(await find({ theirs, ours: usToo })).toEqual(general);
    });

    it('comes once of fifty transactions at once, and all are told the same', async () => {
      const theirs = somebody();
      const all = await Promise.all(Array.from({ length: 50 }, () => add(suppressionOf({ theirs, ours: us }))));
      expect(new Set(all.map(({ id }) => id)).size).toBe(1);
      expect(await find({ theirs, ours: us })).toEqual(all[0]);
    });

    it('is lifted for its pair alone, and by one of its sources alone', async () => {
      const theirs = somebody();
      const pairs: readonly SuppressionPair[] = [
        { theirs, ours: us },
        { theirs, ours: usToo },
        { theirs, ours: undefined },
      ];
      for (const pair of pairs) await add(suppressionOf(pair));
      const lift = (ours: typeof us | undefined, sources: readonly SuppressionSource[]) => inTx((tx) => tx.lift({ theirs, ours }, sources));
      await lift(us, ['manual', 'provider']);
      expect(await find({ theirs, ours: us })).toMatchObject({ fromKey: us.key });
      await lift(us, ['manual', 'keyword']);
      await lift(us, ['keyword']);
      expect(await find({ theirs, ours: us })).toMatchObject({ fromKey: '' });
      await lift(undefined, ['keyword']);
      expect(await find({ theirs, ours: us })).toBeUndefined();
      expect(await find({ theirs, ours: usToo })).toMatchObject({ fromKey: usToo.key });
    });

    it('that is being lifted begins anew when it comes again meanwhile', async () => {
      const theirs = somebody();
      await add(suppressionOf({ theirs, ours: us }));
      const [lifted, asked] = [signal(), signal()];
      const lifting = inTx(async (tx) => {
        await tx.lift({ theirs, ours: us }, ['keyword']);
        lifted.give();
        await asked.given;
      });
      await lifted.given;
      const again = suppressionOf({ theirs, ours: us }, 'manual', late);
      const adding = add(again);
      asked.give();
      expect((await Promise.all([lifting, adding]))[1]).toEqual(again);
      expect(await find({ theirs, ours: us })).toEqual(again);
    });

    it('of a transaction that fails never was', async () => {
      const theirs = somebody();
      const failing = inTx(async (tx) => {
        await tx.suppress(suppressionOf({ theirs, ours: us }));
        throw new Error('after it');
      });
      await expect(failing).rejects.toThrow('after it');
      expect(await find({ theirs, ours: us })).toBeUndefined();
    });

    /** Stores a message that goes out, and tells since when it should not have. */
    const store = (theirs: SuppressionPair['theirs'], before: (tx: Tx) => Promise<unknown> = async () => undefined) =>
      inTx(async (tx) => {
        const participants = { ours: us, theirs };
        const fresh = newConversation({ id: uuidv7(), title: '', metaData: {}, thread: false, participants, at: early });
        const { conversationId, sequence } = await tx.appendToOpen(fresh, 'outbound', early);
        await before(tx);
        const message = messageFields({ id: uuidv7(), conversationId, sequence, toAddress: theirs.text });
        const first = {
          ...{ id: uuidv7(), messageId: message.id, conversationId, sequence, type: 'created' as const, statusBefore: null },
          ...{ statusAfter: message.status, provider: null, providerStatus: '', providerEventId: null, failure: null, attempt: 0 },
          ...{ occurredAt: null, recordedAt: early },
        };
        const job = { messageId: message.id, conversationId, provider: 'twilio' as const, runAt: early, traceParent: '' };
        return tx.storeMessage(message, first, { job, participants });
      });

    it('is told by the statement that stores a message to its address', async () => {
      const [free, own, general, both] = [somebody(), somebody(), somebody(), somebody()];
      await add(suppressionOf({ theirs: free, ours: usToo }));
      await add(suppressionOf({ theirs: own, ours: us }, 'keyword', late));
      await add(suppressionOf({ theirs: general, ours: undefined }, 'keyword', early));
      await add(suppressionOf({ theirs: both, ours: us }, 'keyword', late));
      await add(suppressionOf({ theirs: both, ours: undefined }, 'keyword', early));
      expect(await store(free)).toBeUndefined();
      expect(await store(own)).toEqual(late);
      expect(await store(general)).toEqual(early);
      expect(await store(both)).toEqual(early);
    });

    it('is told also when it was committed after that transaction began', async () => {
      const theirs = somebody();
      expect(await store(theirs, () => add(suppressionOf({ theirs, ours: us }, 'keyword', late)))).toEqual(late);
    });
  });
}
