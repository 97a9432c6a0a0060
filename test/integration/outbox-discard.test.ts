import { v7 as uuidv7 } from 'uuid';
import { describe, expect, it } from 'vitest';
import { openDatabase } from '../../src/db/database.ts';
import { discardChanges } from '../../src/db/outbox-discard.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createDatabase } from '../support/database.ts';
import { conversationFields } from '../support/message-fields.ts';

describe('without a cache', () => {
  it('the outbox is emptied, and a cache that comes later is told that it missed something', async () => {
    await using opened = new AsyncDisposableStack();
    const { url } = opened.use(await createDatabase());
    const database = opened.use(await openDatabase({ url, poolMax: 5, statementTimeoutMs: 60_000, connectTimeoutMs: 60_000 }));
    const { store, outbox } = database;
    {
      await using lease = await outbox.tryLease();
      await lease?.setAppliedTo('a cache');
    }
    await store.transaction(async (tx) => void tx.addConversation(conversationFields({ id: uuidv7() })));
    expect((await outbox.backlog()).rows).toBe(1);
    {
      await using _discarding = discardChanges(outbox, createLog({ level: 'silent' }), 50);
      await expect.poll(async () => (await outbox.backlog()).rows, { timeout: 20_000 }).toBe(0);
    }
    await using lease = await outbox.tryLease();
    expect(await lease?.appliedTo()).toBe('');
  });
});
