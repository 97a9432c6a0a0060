/** What stands in a cell that is not ours, and what a hit costs PostgreSQL: nothing. */
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { ConversationInclude } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageInclude } from '../../gen/messaging/v1/message_service_pb.js';
import { type CachedService, patiently, startCachedService } from '../support/cached-service.ts';
import { scrape } from '../support/scrape.ts';

describe.skipIf(inject('redis') === null)('cells', () => {
  let on: CachedService;
  beforeAll(async () => {
    on = await startCachedService('cells:');
  });
  afterAll(() => on?.[Symbol.asyncDispose]());

  /** A message and its conversation, both cached. */
  async function cachedRow(toAddress?: string) {
    const { id, conversationId } = await on.calls.send(toAddress === undefined ? {} : { toAddress });
    await on.relayed();
    await Promise.all([on.calls.readMessage(id), on.calls.readConversation(conversationId)]);
    await Promise.all([on.cellOf('message', id), on.cellOf('conversation', conversationId)]);
    return { id, conversationId };
  }

  describe('a hit runs no SQL', () => {
    it('for GetMessage', async () => {
      const { id } = await cachedRow();
      expect(await on.proxy.statementsOf(() => on.calls.readMessage(id))).toEqual([]);
    });

    it('for GetConversation', async () => {
      const { conversationId } = await cachedRow();
      expect(await on.proxy.statementsOf(() => on.calls.readConversation(conversationId))).toEqual([]);
    });

    it('for BatchGetMessages and BatchGetConversations', async () => {
      const [one, two] = [await cachedRow('+14155552801'), await cachedRow('+14155552802')];
      const statements = await on.proxy.statementsOf(async () => {
        await on.calls.messages.batchGetMessages({ ids: [one.id, two.id] });
        await on.calls.conversations.batchGetConversations({ ids: [one.conversationId, two.conversationId] });
      });
      expect(statements).toEqual([]);
    });

    it('for the included conversation of a message either', async () => {
      const { id } = await cachedRow();
      const include = [MessageInclude.CONVERSATION];
      expect(await on.proxy.statementsOf(() => on.calls.messages.getMessage({ id, include }))).toEqual([]);
    });
  });

  describe('a read takes from PostgreSQL only what Redis does not have', () => {
    it('a miss costs one statement', async () => {
      const { id } = await on.calls.send();
      expect(await on.proxy.statementsOf(() => on.calls.readMessage(id))).toEqual([
        expect.stringMatching(/^select .* from messages where id/),
      ]);
    });

    it('the events of a cached message', async () => {
      const { id } = await cachedRow();
      const include = [MessageInclude.CONVERSATION, MessageInclude.EVENTS];
      const statements = await on.proxy.statementsOf(async () => {
        const { events } = await on.calls.messages.getMessage({ id, include });
        expect(events).toHaveLength(1);
      });
      expect(statements).toEqual([expect.stringMatching(/from .?message_events/)]);
    });

    it('the messages of a cached conversation', async () => {
      const { conversationId: id } = await cachedRow();
      const include = [ConversationInclude.MESSAGES];
      const statements = await on.proxy.statementsOf(() => on.calls.conversations.getConversation({ id, include }));
      expect(statements).toEqual([expect.stringMatching(/from .?messages/)]);
    });

    it('the missing ones of a batch, all in one statement', async () => {
      const known = await cachedRow();
      const unknown = await Promise.all([on.calls.send(), on.calls.send()]);
      const ids = [known.id, ...unknown.map(({ id }) => id)];
      expect(await on.proxy.statementsOf(() => on.calls.messages.batchGetMessages({ ids }))).toHaveLength(1);
    });
  });

  describe('that are not ours', () => {
    const spoil: readonly { readonly what: string; readonly spoilt: (cell: string) => string | Buffer }[] = [
      { what: 'text of somebody else', spoilt: () => '{"id":"1"}' },
      { what: 'nothing', spoilt: () => '' },
      { what: 'bytes that are no text', spoilt: () => Buffer.from([0x56, 0x3a, 0xff, 0x00, 0xfe]) },
      { what: 'the cell of a build with another schema', spoilt: (cell) => cell.replace(/(:j1\.)[0-9a-f]{8}\./, '$100000000.') },
      { what: 'the cell of a later format', spoilt: (cell) => cell.replace(':j1.', ':j2.') },
      { what: 'the cell of a format that it is not in', spoilt: (cell) => cell.replace(':j1.', ':z1.') },
      { what: 'half a cell', spoilt: (cell) => cell.slice(0, cell.length / 2) },
      { what: 'a field that the contract does not have', spoilt: (cell) => cell.replace('{', '{"nickname":"x",') },
      { what: 'a cell without a version', spoilt: (cell) => cell.replace(/^V:\d+:/, 'V::') },
    ];
    it.each(spoil)('$what: PostgreSQL answers', async ({ spoilt }) => {
      const { id } = await cachedRow();
      const { message } = await on.calls.readMessage(id);
      const cell = await on.cellOf('message', id);
      const foreign = spoilt(cell);
      expect(foreign).not.toBe(cell);
      await on.redis.set(on.keyOf('message', id), foreign, 'PX', 60_000);
      expect(await on.calls.readMessage(id)).toEqual({ message, source: 'bypass' });
      // Whoever wrote it may still want it.
      expect(await on.redis.getBuffer(on.keyOf('message', id))).toEqual(Buffer.from(foreign));
    });

    it('a key of another type: PostgreSQL answers, and a write clears it away', async () => {
      const { conversationId: id } = await cachedRow();
      const key = on.keyOf('conversation', id);
      await on.redis.del(key);
      await on.redis.hset(key, { field: 'value' });
      expect((await on.calls.readConversation(id)).source).toBe('bypass');
      await on.calls.conversations.updateConversation({ conversation: { id, title: 'cleared' } });
      expect(await on.calls.readConversation(id)).toMatchObject({ source: 'miss', conversation: { title: 'cleared' } });
      expect((await scrape(on.service)).sum('cache_breaker_open')).toBe(0);
    });
  });

  describe('a reader that was overtaken by a writer', () => {
    const select = /^select .* from conversations where id = any/;

    it('gets the row as it was when it asked, and stores nothing', async () => {
      const { conversationId: id } = await on.calls.send({ toAddress: '+14155552811' });
      await on.relayed();
      const before = await scrape(on.service);
      const held = on.proxy.holdNext(select);
      const reading = on.calls.readConversation(id);
      await held.answered;
      await on.calls.conversations.updateConversation({ conversation: { id, title: 'new' } });
      held.release();
      expect(await reading).toMatchObject({ source: 'miss', conversation: { title: '' } });
      const refused = { operation: 'set', result: 'refused', entity: 'conversation' };
      await expect
        .poll(async () => (await scrape(on.service)).sum('cache_operations_total', refused), patiently)
        .toBe(before.sum('cache_operations_total', refused) + 1);
      // The writer has stored the new one: somebody was asking for it.
      expect(await on.calls.readConversation(id)).toMatchObject({ source: 'hit', conversation: { title: 'new' } });
    });

    it('does not put the old row over what a later reader stored', async () => {
      const { conversationId: id } = await on.calls.send({ toAddress: '+14155552812' });
      await on.relayed();
      const held = on.proxy.holdNext(select);
      const reading = on.calls.readConversation(id);
      await held.answered;
      await on.calls.conversations.updateConversation({ conversation: { id, title: 'newer' } });
      await on.calls.readConversation(id);
      const cell = await on.cellOf('conversation', id);
      const before = await scrape(on.service);
      held.release();
      expect((await reading).conversation.title).toBe('');
      await expect
        .poll(async () => (await scrape(on.service)).sum('cache_operations_total', { operation: 'set', result: 'refused' }), patiently)
        .toBe(before.sum('cache_operations_total', { operation: 'set', result: 'refused' }) + 1);
      expect(await on.redis.get(on.keyOf('conversation', id))).toBe(cell);
      expect(await on.calls.readConversation(id)).toMatchObject({ source: 'hit', conversation: { title: 'newer' } });
    });
  });
});
