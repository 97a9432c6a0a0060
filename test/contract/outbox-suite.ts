/** What the cache relies on: row locks, versions, visibility, the outbox. For the database and for its double in memory. */
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AroundCommit, Outbox, OutboxLease, Reads, RowChange, Store } from '../../src/domain/ports.ts';
import { conversationFields } from '../support/message-fields.ts';
import { signal } from '../support/store-and-reads.ts';

export interface WithOutbox extends AsyncDisposable {
  readonly store: Store;
  readonly reads: Reads;
  readonly outbox: Outbox;
}

export function describeOutbox(name: string, open: () => Promise<WithOutbox>): void {
  describe(name, () => {
    let opened: WithOutbox;
    let lease: OutboxLease;
    beforeAll(async () => {
      opened = await open();
      const taken = await opened.outbox.tryLease();
      if (taken === undefined) throw new Error('somebody else has the lease');
      lease = taken;
    });
    afterAll(async () => {
      await lease?.[Symbol.asyncDispose]();
      await opened?.[Symbol.asyncDispose]();
    });

    const versionOf = async (id: string) => (await opened.reads.findConversation(id)).value?.etag;
    const add = async (id: string) =>
      opened.store.transaction(async (tx) => void tx.addConversation(conversationFields({ id, thread: true })));
    const retitle = (id: string, title: string, aroundCommit?: AroundCommit) =>
      opened.store.transaction(async (tx) => {
        const locked = await tx.lockConversation(id);
        if (locked !== undefined) locked.title = title;
      }, aroundCommit);
    const remove = (id: string) =>
      opened.store.transaction(async (tx) => {
        const locked = await tx.lockConversation(id);
        if (locked !== undefined) await tx.deleteConversation(locked);
      });
    /** Versions of this row that wait, in the order of their transactions. */
    const waiting = async (id: string) => {
      const changes = (await lease.read(1_000)).filter((change) => change.id === id);
      return changes.toSorted((left, right) => Number(left.transactionId) - Number(right.transactionId));
    };

    it('raises the version with every change, and not without one', async () => {
      const id = uuidv7();
      await add(id);
      expect(await versionOf(id)).toBe('v1');
      await retitle(id, 'one');
      await retitle(id, 'one');
      await retitle(id, 'two');
      expect(await versionOf(id)).toBe('v3');
      expect((await waiting(id)).map(({ version }) => version)).toEqual([1, 2, 3]);
    });

    it('notes a deletion as one version more', async () => {
      const id = uuidv7();
      await add(id);
      await remove(id);
      expect(await versionOf(id)).toBeUndefined();
      expect((await waiting(id)).map(({ version }) => version)).toEqual([1, 2]);
    });

    it('notes nothing of a transaction that fails', async () => {
      const id = uuidv7();
      const failing = opened.store.transaction(async (tx) => {
        tx.addConversation(conversationFields({ id, thread: true }));
        throw new Error('no');
      });
      await expect(failing).rejects.toThrow('no');
      expect(await waiting(id)).toEqual([]);
    });

    it('shows and notes a change when it is committed, not before; the wrapper knows it in between', async () => {
      const id = uuidv7();
      await add(id);
      const steps: unknown[] = [];
      await retitle(id, 'new', async (changed: readonly RowChange[], tx) => {
        steps.push(changed, (await tx.conversationView(id)).title, await versionOf(id), (await waiting(id)).length);
        return async () => void steps.push(await versionOf(id), (await waiting(id)).length);
      });
      expect(steps).toEqual([[{ entity: 'conversation', id, version: 2, deleted: false }], 'new', 'v1', 1, 'v2', 2]);
    });

    it('lets a second writer of a row wait for the first', async () => {
      const id = uuidv7();
      await add(id);
      const [held, go] = [signal(), signal()];
      const order: string[] = [];
      const first = retitle(id, 'first', async () => {
        held.give();
        await go.given;
        order.push('first');
        return async () => undefined;
      });
      await held.given;
      const second = retitle(id, 'second', async () => {
        order.push('second');
        return async () => undefined;
      });
      for (let round = 0; round < 10; round += 1) await versionOf(id);
      go.give();
      await Promise.all([first, second]);
      expect(order).toEqual(['first', 'second']);
      expect((await opened.reads.findConversation(id)).value).toMatchObject({ title: 'second', etag: 'v3' });
    });

    it('keeps a change until it is removed, and removes no other', async () => {
      const [one, other] = [uuidv7(), uuidv7()];
      await add(one);
      await add(other);
      await lease.remove(await waiting(one));
      expect([(await waiting(one)).length, (await waiting(other)).length]).toEqual([0, 1]);
      expect((await opened.outbox.backlog()).rows).toBeGreaterThan(0);
    });

    it('is leased to one at a time, and remembers to what it was applied', async () => {
      expect(await opened.outbox.tryLease()).toBeUndefined();
      expect(await lease.appliedTo()).toBe('');
      await lease.setAppliedTo('a cache');
      expect(await lease.appliedTo()).toBe('a cache');
      expect(lease.databaseIdentity).not.toBe('');
    });
  });
}
