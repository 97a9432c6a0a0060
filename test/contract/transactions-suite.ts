import { v7 as uuidv7 } from 'uuid';
import { describe, expect, it } from 'vitest';
import type { AroundCommit, RequestKey, RowChange } from '../../src/domain/ports.ts';
import { conversationFields, messageFields } from '../support/message-fields.ts';
import { type Open, openForAll, signal } from '../support/store-and-reads.ts';

const DAY_MS = 86_400_000;

const aThread = () => conversationFields({ id: uuidv7(), thread: true });

export function describeTransactions(open: Open): void {
  describe('a transaction', () => {
    const opened = openForAll(open);

    it('shows what it wrote to everybody once it is committed', async () => {
      const conversation = aThread();
      const message = messageFields({ id: uuidv7(), conversationId: conversation.id });
      const result = await opened.store.transaction(async (tx) => {
        tx.addConversation(conversation);
        tx.addMessage(message);
        // Itself it sees what it has written, nobody else does.
        expect(await tx.conversationView(conversation.id)).toMatchObject({ id: conversation.id });
        expect((await opened.reads.findMessage(message.id)).value).toBeUndefined();
        return 'done';
      });
      expect(result).toBe('done');
      expect((await opened.reads.findMessage(message.id)).value?.id).toBe(message.id);
      expect((await opened.reads.findConversation(conversation.id)).value?.id).toBe(conversation.id);
    });

    it('that throws leaves nothing behind, and throws the same', async () => {
      const conversation = aThread();
      const existing = aThread();
      await opened.store.transaction(async (tx) => void tx.addConversation(existing));
      const failure = new Error('of the work');
      const failing = opened.store.transaction(async (tx) => {
        tx.addConversation(conversation);
        await tx.appendToExisting(existing.id, 'inbound', new Date());
        const locked = await tx.lockConversation(existing.id);
        if (locked !== undefined) locked.title = 'changed';
        await tx.conversationView(existing.id);
        throw failure;
      });
      await expect(failing).rejects.toBe(failure);
      expect((await opened.reads.findConversation(conversation.id)).value).toBeUndefined();
      expect((await opened.reads.findConversation(existing.id)).value).toMatchObject({ title: '', messageCount: 0n, etag: 'v1' });
    });

    it('that cannot be written leaves nothing behind', async () => {
      const conversation = aThread();
      const orphan = messageFields({ id: uuidv7(), conversationId: uuidv7() });
      const failing = opened.store.transaction(async (tx) => {
        tx.addConversation(conversation);
        tx.addMessage(orphan);
      });
      await expect(failing).rejects.toThrow();
      expect((await opened.reads.findConversation(conversation.id)).value).toBeUndefined();
    });

    it('tells a wrapper what it changed before the commit, and again after it; nothing when it is rolled back', async () => {
      const conversation = aThread();
      const message = messageFields({ id: uuidv7(), conversationId: conversation.id });
      const told: string[] = [];
      const visible = async () => ((await opened.reads.findConversation(conversation.id)).value === undefined ? 'unseen' : 'seen');
      const aroundCommit: AroundCommit = async (changed, tx) => {
        // By its own connection everything is written; nobody else sees it.
        expect((await tx.messageView(message.id)).id).toBe(message.id);
        told.push(`before: ${changed.map(({ entity, id, version, deleted }) => `${entity} ${id} ${version} ${deleted}`).toSorted()}`);
        return async () => void told.push(`after: ${await visible()}`);
      };
      await opened.store.transaction(async (tx) => {
        tx.addConversation(conversation);
        tx.addMessage(message);
        await tx.lockMessage(message.id);
      }, aroundCommit);
      expect(told).toEqual([`before: conversation ${conversation.id} 1 false,message ${message.id} 1 false`, 'after: seen']);
      await expect(opened.store.transaction(() => Promise.reject(new Error('no')), aroundCommit)).rejects.toThrow('no');
      expect(told).toHaveLength(2);
    });

    it('tells of every row it changed by whatever statement, once and with the last version', async () => {
      const conversation = aThread();
      const messages = [1, 2, 3].map((sequence) => messageFields({ id: uuidv7(), conversationId: conversation.id, sequence }));
      await opened.store.transaction(async (tx) => {
        tx.addConversation(conversation);
        for (const message of messages) tx.addMessage(message);
      });
      const told: RowChange[] = [];
      const collect: AroundCommit = async (changed) => {
        told.push(...changed);
        return async () => undefined;
      };
      await opened.store.transaction(async (tx) => {
        await tx.appendToExisting(conversation.id, 'inbound', new Date());
        await tx.nextSequence(conversation.id);
        await tx.lockMessage(messages[0]?.id ?? '');
      }, collect);
      expect(told).toEqual([{ entity: 'conversation', id: conversation.id, version: 3, deleted: false }]);
      told.length = 0;
      await opened.store.transaction(async (tx) => {
        const locked = await tx.lockConversation(conversation.id);
        if (locked !== undefined) await tx.deleteConversation(locked);
      }, collect);
      // The messages go by a cascade that no code here names.
      expect(told).toHaveLength(4);
      expect(told).toEqual(
        expect.arrayContaining([
          { entity: 'conversation', id: conversation.id, version: 4, deleted: true },
          ...messages.map(({ id }) => ({ entity: 'message', id, version: 2, deleted: true })),
        ]),
      );
    });

    it('is repeated from the start when it and another wait for each other', async () => {
      const [one, two] = [aThread(), aThread()];
      await opened.store.transaction(async (tx) => {
        for (const conversation of [one, two]) tx.addConversation(conversation);
      });
      const locked = [signal(), signal()] as const;
      let runs = 0;
      const lockBoth = (first: string, second: string, mine: 0 | 1) =>
        opened.store.transaction(async (tx) => {
          runs += 1;
          await tx.appendToExisting(first, 'inbound', new Date());
          locked[mine].give();
          await locked[(1 - mine) as 0 | 1].given;
          await tx.appendToExisting(second, 'inbound', new Date());
        });
      await Promise.all([lockBoth(one.id, two.id, 0), lockBoth(two.id, one.id, 1)]);
      expect(runs).toBeGreaterThanOrEqual(3);
      for (const { id } of [one, two]) {
        expect((await opened.reads.findConversation(id)).value).toMatchObject({ messageCount: 2n, unreadCount: 2n, lastSequence: 2n });
      }
    });

    it('waits for the one that holds a name', async () => {
      const order: string[] = [];
      const [held, asked] = [signal(), signal()];
      const first = opened.store.transaction(async (tx) => {
        await tx.lockName('a name');
        held.give();
        await asked.given;
        // The other would be past the lock by now if it did not wait.
        for (let round = 0; round < 10; round += 1) await tx.findMessage(uuidv7());
        order.push('first');
      });
      await held.given;
      const second = opened.store.transaction(async (tx) => {
        asked.give();
        await tx.lockName('a name');
        order.push('second');
      });
      await Promise.all([first, second]);
      expect(order).toEqual(['first', 'second']);
    });
  });

  describe('a request_id', () => {
    const opened = openForAll(open);
    const keyOf = (key: Partial<RequestKey> = {}): RequestKey => {
      return { caller: 'caller', requestId: uuidv7(), contentHash: 'hash', resourceId: uuidv7(), at: new Date(), ...key };
    };
    const claim = (key: RequestKey) => opened.store.transaction((tx) => tx.claimRequest(key));

    it('is claimed once; the same content is a replay, other content is reuse', async () => {
      const key = keyOf();
      const { resourceId } = key;
      expect(await claim(key)).toEqual({ outcome: 'claimed' });
      expect(await claim({ ...key, resourceId: uuidv7() })).toEqual({ outcome: 'replay', resourceId });
      expect(await claim({ ...key, resourceId: uuidv7(), contentHash: 'other' })).toEqual({ outcome: 'reused', resourceId });
      expect(await claim({ ...key, resourceId: uuidv7() })).toEqual({ outcome: 'replay', resourceId });
    });

    it('of one caller is not that of another', async () => {
      const key = keyOf();
      await claim(key);
      expect(await claim({ ...key, caller: 'another', contentHash: 'other' })).toEqual({ outcome: 'claimed' });
    });

    it('is free again when its transaction fails', async () => {
      const key = keyOf();
      const failing = opened.store.transaction(async (tx) => {
        await tx.claimRequest(key);
        throw new Error('no');
      });
      await expect(failing).rejects.toThrow('no');
      expect(await claim({ ...key, contentHash: 'other' })).toEqual({ outcome: 'claimed' });
    });

    it('is forgotten after 7 days, and remembered until then', async () => {
      const at = new Date('2026-01-01T00:00:00Z');
      const later = (ms: number) => new Date(at.getTime() + ms);
      const key = keyOf({ at });
      const again = { ...key, contentHash: 'other', resourceId: uuidv7() };
      await claim(key);
      expect(await claim({ ...again, at: later(7 * DAY_MS - 1) })).toEqual({ outcome: 'reused', resourceId: key.resourceId });
      expect(await claim({ ...again, at: later(7 * DAY_MS + 1) })).toEqual({ outcome: 'claimed' });
      // It is as good as new: seven more days for its new owner.
      const third = { ...again, resourceId: uuidv7(), at: later(14 * DAY_MS) };
      expect(await claim(third)).toEqual({ outcome: 'replay', resourceId: again.resourceId });
    });

    it.each(['commits', 'fails'] as const)('that is being claimed is waited for until the claim %s', async (end) => {
      const key = keyOf();
      const [claimed, asked] = [signal(), signal()];
      const first = opened.store.transaction(async (tx) => {
        await tx.claimRequest(key);
        claimed.give();
        await asked.given;
        if (end === 'fails') throw new Error('no');
      });
      await claimed.given;
      const second = opened.store.transaction(async (tx) => {
        asked.give();
        return tx.claimRequest({ ...key, resourceId: uuidv7() });
      });
      if (end === 'fails') await expect(first).rejects.toThrow('no');
      await first.catch(() => undefined);
      expect(await second).toEqual(end === 'commits' ? { outcome: 'replay', resourceId: key.resourceId } : { outcome: 'claimed' });
    });

    it('is claimed by one of many at once', async () => {
      for (const at of [new Date(), new Date(Date.now() + 8 * DAY_MS)]) {
        const requestId = '01900000-0000-7000-8000-000000000abc';
        const outcomes = await Promise.all(Array.from({ length: 20 }, () => claim(keyOf({ requestId, at }))));
        expect(outcomes.filter(({ outcome }) => outcome === 'claimed')).toHaveLength(1);
        expect(outcomes.filter(({ outcome }) => outcome === 'replay')).toHaveLength(19);
      }
    });
  });
}
