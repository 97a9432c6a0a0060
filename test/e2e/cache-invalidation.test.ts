/** Whatever a write changes, the next read shows: after the commit, for every RPC that writes. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { MessageType, Provider } from '../../gen/messaging/v1/message_pb.js';
import { type CachedService, patiently, startCachedService } from '../support/cached-service.ts';
import { failureOf } from '../support/calls.ts';

const ways = [
  { way: 'written through', writeThrough: true },
  { way: 'dropped by writes', writeThrough: false },
] as const;

describe.skipIf(inject('redis') === null).each(ways)('a cached row, $way', ({ writeThrough }) => {
  let on: CachedService;
  beforeAll(async () => {
    on = await startCachedService(`invalidation-${writeThrough}:`, { CACHE_WRITE_THROUGH: String(writeThrough) });
  });
  afterAll(() => on?.[Symbol.asyncDispose]());

  let phone = 2_000;
  /** A number that no other test uses. */
  const newPhone = (): string => {
    phone += 1;
    return `+1415555${phone}`;
  };

  async function report(messageId: string, providerStatus: string, providerCode = ''): Promise<void> {
    const [provider, providerEventId] = [Provider.TWILIO, randomUUID()];
    const providerMessageId = `SM-${messageId}`;
    await on.calls.providerEvents.reportDelivery({ provider, providerEventId, messageId, providerMessageId, providerStatus, providerCode });
  }

  async function receive(fromAddress: string, toAddress: string) {
    const fields = { provider: Provider.TWILIO, providerMessageId: randomUUID(), messageType: MessageType.SMS, body: 'hi' };
    const { message } = await on.calls.providerEvents.receiveMessage({ ...fields, fromAddress, toAddress });
    return message;
  }

  it('is hidden while the commit is under way, and new before the answer', async () => {
    const { conversationId: id } = await on.calls.send({ toAddress: newPhone() });
    await on.relayed();
    await on.calls.readConversation(id);
    await on.cellOf('conversation', id);
    const commit = on.proxy.holdNext(/^commit/i);
    const update = on.calls.conversations.updateConversation({ conversation: { id, title: 'new' } });
    await commit.answered;
    expect(await on.redis.get(on.keyOf('conversation', id))).toMatch(/^W:2\.[0-9a-f-]{36}$/);
    // Whoever asks now may get either: it is committed, and not yet acknowledged.
    expect(await on.calls.readConversation(id)).toMatchObject({ source: 'bypass', conversation: { title: 'new' } });
    commit.release();
    await update;
    if (writeThrough) expect(await on.redis.get(on.keyOf('conversation', id))).toMatch(/^V:2:/);
    else expect(await on.redis.exists(on.keyOf('conversation', id))).toBe(0);
    expect(await on.calls.readConversation(id)).toMatchObject({ source: writeThrough ? 'hit' : 'miss', conversation: { title: 'new' } });
  });

  it('that nobody asked for is not stored by a write', async () => {
    const { conversationId: id } = await on.calls.send({ toAddress: newPhone() });
    await on.calls.conversations.updateConversation({ conversation: { id, title: 'unread' } });
    expect(await on.redis.exists(on.keyOf('conversation', id))).toBe(0);
  });

  it('stays when the write fails', async () => {
    const { conversationId: id } = await on.calls.send({ toAddress: newPhone() });
    await on.relayed();
    await on.calls.readConversation(id);
    const old = await on.cellOf('conversation', id);
    const { code } = await failureOf(on.calls.conversations.archiveConversation({ id, etag: 'v999' }));
    expect(code).toBe('Aborted');
    expect(await on.redis.get(on.keyOf('conversation', id))).toBe(old);
  });

  describe('after', () => {
    interface Row {
      readonly messageId: string;
      readonly conversationId: string;
      readonly toAddress: string;
    }
    interface Write {
      readonly rpc: string;
      readonly drops: readonly ('message' | 'conversation')[];
      readonly prepare?: (row: Row) => Promise<unknown>;
      readonly write: (row: Row) => Promise<unknown>;
    }
    const conversations = () => on.calls.conversations;
    const sms = (toAddress: string) => ({ fromAddress: '+14155552671', toAddress, messageType: MessageType.SMS, body: 'more' });
    const writes: readonly Write[] = [
      { rpc: 'SendMessage', drops: ['conversation'], write: ({ toAddress }) => on.calls.send({ toAddress }) },
      {
        rpc: 'BatchSendMessages',
        drops: ['conversation'],
        write: ({ toAddress }) =>
          on.calls.messages.batchSendMessages({ requests: [{ message: sms(toAddress) }, { message: sms(newPhone()) }] }),
      },
      { rpc: 'ReceiveMessage', drops: ['conversation'], write: ({ toAddress }) => receive(toAddress, '+14155552671') },
      { rpc: 'ReportDelivery (sent)', drops: ['message', 'conversation'], write: ({ messageId }) => report(messageId, 'sent') },
      {
        rpc: 'ReportDelivery (failed)',
        drops: ['message', 'conversation'],
        write: ({ messageId }) => report(messageId, 'failed', '30003'),
      },
      { rpc: 'CancelMessage', drops: ['message', 'conversation'], write: ({ messageId: id }) => on.calls.messages.cancelMessage({ id }) },
      {
        rpc: 'RetryMessage',
        drops: ['message', 'conversation'],
        prepare: ({ messageId: id }) => on.calls.messages.cancelMessage({ id }),
        write: ({ messageId: id }) => on.calls.messages.retryMessage({ id }),
      },
      {
        rpc: 'UpdateConversation',
        drops: ['conversation'],
        write: ({ conversationId: id }) => conversations().updateConversation({ conversation: { id, title: 'T' } }),
      },
      {
        rpc: 'MarkConversationRead',
        drops: ['conversation'],
        write: ({ conversationId: id, messageId }) => conversations().markConversationRead({ id, throughMessageId: messageId }),
      },
      {
        rpc: 'ArchiveConversation',
        drops: ['conversation'],
        write: ({ conversationId: id }) => conversations().archiveConversation({ id }),
      },
      {
        rpc: 'ReopenConversation',
        drops: ['conversation'],
        prepare: ({ conversationId: id }) => conversations().closeConversation({ id }),
        write: ({ conversationId: id }) => conversations().reopenConversation({ id }),
      },
      { rpc: 'CloseConversation', drops: ['conversation'], write: ({ conversationId: id }) => conversations().closeConversation({ id }) },
    ];

    async function newRow(): Promise<Row> {
      const toAddress = newPhone();
      const { id: messageId, conversationId } = await on.calls.send({ toAddress });
      await on.relayed();
      return { messageId, conversationId, toAddress };
    }

    async function readBoth({ messageId, conversationId }: Row) {
      return { message: await on.calls.readMessage(messageId), conversation: await on.calls.readConversation(conversationId) };
    }

    it.each(writes)('$rpc the next read of what it changed shows the change', async ({ drops, prepare, write }) => {
      const row = await newRow();
      await prepare?.(row);
      await on.relayed();
      await readBoth(row);
      await on.cellOf('message', row.messageId);
      await on.cellOf('conversation', row.conversationId);
      const before = await readBoth(row);
      expect([before.message.source, before.conversation.source]).toEqual(['hit', 'hit']);
      await write(row);
      const after = await readBoth(row);
      for (const entity of ['message', 'conversation'] as const) {
        expect(after[entity].source).toBe(drops.includes(entity) && !writeThrough ? 'miss' : 'hit');
      }
      expect(after.message.message.etag !== before.message.message.etag).toBe(drops.includes('message'));
      expect(after.conversation.conversation.etag).not.toBe(before.conversation.conversation.etag);
    });

    it('DeleteConversation neither it nor its messages are found', async () => {
      const row = await newRow();
      await readBoth(row);
      await on.cellOf('message', row.messageId);
      await on.cellOf('conversation', row.conversationId);
      await on.calls.conversations.deleteConversation({ id: row.conversationId });
      expect(await failureOf(on.calls.readMessage(row.messageId))).toMatchObject({ code: 'NotFound', reason: 'MESSAGE_NOT_FOUND' });
      expect(await failureOf(on.calls.readConversation(row.conversationId))).toMatchObject({ code: 'NotFound' });
      await on.relayed();
      await failureOf(on.calls.readMessage(row.messageId));
      // That there is none is known, too.
      await expect.poll(() => on.redis.get(on.keyOf('message', row.messageId)), patiently).toBe('N:0');
      expect(await on.proxy.statementsOf(() => failureOf(on.calls.readMessage(row.messageId)))).toEqual([]);
    });

    it('CreateConversation that finds one, it still answers right', async () => {
      const row = await newRow();
      const before = await readBoth(row);
      await on.cellOf('conversation', row.conversationId);
      const { conversation, created } = await on.calls.conversations.createConversation({
        participantFrom: '+14155552671',
        participantTo: row.toAddress,
        channelType: MessageType.SMS,
      });
      expect({ created, id: conversation?.id }).toEqual({ created: false, id: row.conversationId });
      expect((await readBoth(row)).conversation.conversation).toEqual(before.conversation.conversation);
    });
  });
});
