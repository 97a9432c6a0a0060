/** What the seed promises of the cache: keys, content, life, invalidation, metrics and log lines. */
import { randomUUID } from 'node:crypto';
import { fromJson, type JsonObject, toJson } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { ConversationSchema } from '../../gen/messaging/v1/conversation_pb.js';
import { MessageSchema, MessageType, Provider } from '../../gen/messaging/v1/message_pb.js';
import { type CachedService, patiently, startCachedService } from '../support/cached-service.ts';
import { scrape } from '../support/scrape.ts';

const SEED_MESSAGE = [
  ...['id', 'conversation_id', 'provider', 'provider_message_id', 'direction', 'status', 'message_type', 'from_address', 'to_address'],
  ...['body', 'attachments', 'sent_at', 'delivered_at', 'created_at', 'updated_at', 'meta_data'],
];
const SEED_CONVERSATION = [
  ...['id', 'participant_from', 'participant_to', 'channel_type', 'status', 'message_count', 'unread_count', 'title', 'last_message_at'],
  ...['created_at', 'updated_at', 'meta_data'],
];

describe.skipIf(inject('redis') === null)('the cache of the seed', () => {
  let on: CachedService;
  beforeAll(async () => {
    on = await startCachedService('seed:');
  });
  afterAll(() => on?.[Symbol.asyncDispose]());

  let phone = 2_000;
  /** A number that no other test uses. */
  const newPhone = (): string => {
    phone += 1;
    return `+1415555${phone}`;
  };

  const payloadOf = (cell: string): JsonObject => JSON.parse(cell.replace(/^V:\d+:[^:]+:/, '')) as JsonObject;

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

  it('answers a message from PostgreSQL first, from Redis then', async () => {
    const { id } = await on.calls.send();
    await on.relayed();
    const first = await on.calls.readMessage(id);
    expect(first.source).toBe('miss');
    await on.cellOf('message', id);
    const second = await on.calls.readMessage(id);
    expect(second).toEqual({ source: 'hit', message: first.message });
    await expect
      .poll(() => on.linesAbout(id), patiently)
      .toEqual([`Invalidated message cache: ${id}`, `Message cache miss: ${id}`, `Cached message: ${id}`, `Message cache hit: ${id}`]);
  });

  it('answers a conversation from PostgreSQL first, from Redis then', async () => {
    const { conversationId: id } = await on.calls.send({ toAddress: newPhone() });
    await on.relayed();
    const first = await on.calls.readConversation(id);
    expect(first.source).toBe('miss');
    await on.cellOf('conversation', id);
    const second = await on.calls.readConversation(id);
    expect(second).toEqual({ source: 'hit', conversation: first.conversation });
    await expect
      .poll(() => on.linesAbout(id), patiently)
      .toEqual([
        `Invalidated conversation cache: ${id}`,
        `Conversation cache miss: ${id}`,
        `Cached conversation: ${id}`,
        `Conversation cache hit: ${id}`,
      ]);
  });

  it('says of a batch whether Redis had all of it', async () => {
    const [one, two] = [await on.calls.send(), await on.calls.send()];
    await on.relayed();
    const sources: unknown[] = [];
    const read = () =>
      on.calls.messages.batchGetMessages({ ids: [two.id, one.id] }, { onHeader: (headers) => sources.push(headers.get('x-cache')) });
    await on.calls.readMessage(one.id);
    await on.cellOf('message', one.id);
    await read();
    await on.cellOf('message', two.id);
    const { messages } = await read();
    expect(messages.map(({ id }) => id)).toEqual([two.id, one.id]);
    expect(sources).toEqual(['miss', 'hit']);
  });

  it('stores a message as its version and the fields of the seed', async () => {
    const { message } = await on.calls.messages.sendMessage({
      message: {
        fromAddress: '+14155552671',
        toAddress: newPhone(),
        messageType: MessageType.MMS,
        body: 'look',
        attachments: [{ url: 'https://example.com/cat.png', contentType: 'image/png', filename: 'cat.png', sizeBytes: 7n }],
        metaData: { order: 7 },
      },
    });
    const id = message?.id ?? '';
    await report(id, 'sent');
    await report(id, 'delivered');
    await on.relayed();
    const { message: read } = await on.calls.readMessage(id);
    const cell = await on.cellOf('message', id);
    expect(cell).toMatch(new RegExp(`^V:${read.etag.slice(1)}:j1\\.[0-9a-f]{8}\\.[0-9a-z]+:\\{`));
    expect(Object.keys(payloadOf(cell))).toEqual(expect.arrayContaining(SEED_MESSAGE));
    expect(payloadOf(cell)).toEqual(toJson(MessageSchema, read, { useProtoFieldName: true }));
    expect(fromJson(MessageSchema, payloadOf(cell))).toEqual(read);
  });

  it('stores a conversation as its version and the fields of the seed', async () => {
    const { conversationId: id } = (await receive(newPhone(), '+14155552671')) ?? { conversationId: '' };
    await on.calls.conversations.updateConversation({ conversation: { id, title: 'A cat', metaData: { vip: true } } });
    await on.relayed();
    const { conversation: read } = await on.calls.readConversation(id);
    const cell = await on.cellOf('conversation', id);
    expect(cell).toMatch(new RegExp(`^V:${read.etag.slice(1)}:j1\\.[0-9a-f]{8}\\.[0-9a-z]+:\\{`));
    expect(Object.keys(payloadOf(cell))).toEqual(expect.arrayContaining(SEED_CONVERSATION));
    expect(payloadOf(cell)).toEqual(toJson(ConversationSchema, read, { useProtoFieldName: true }));
  });

  describe('keeps', () => {
    const minutes = 60_000;
    const tiers: readonly {
      readonly what: string;
      readonly lifeMs: number;
      readonly add: () => Promise<readonly ['message' | 'conversation', string]>;
    }[] = [
      { what: 'a message under way for a minute', lifeMs: minutes, add: async () => ['message', (await on.calls.send()).id] },
      {
        what: 'a message that is done for four hours',
        lifeMs: 240 * minutes,
        add: async () => ['message', (await receive(newPhone(), '+14155552671'))?.id ?? ''],
      },
      {
        what: 'a conversation for 300 seconds, as long as nothing tells how often it changes',
        lifeMs: 5 * minutes,
        add: async () => ['conversation', (await on.calls.send({ toAddress: newPhone() })).conversationId],
      },
    ];
    it.each(tiers)('$what, give or take 10 %, from the fill, and not the same for all', async ({ lifeMs, add }) => {
      const rows = await Promise.all(Array.from({ length: 8 }, add));
      await on.relayed();
      const nowMs = async () => {
        const [seconds, microseconds] = (await on.redis.time()) as unknown as readonly [string, string];
        return Number(seconds) * 1_000 + Number(microseconds) / 1_000;
      };
      const read = (entity: string, id: string) => (entity === 'message' ? on.calls.readMessage(id) : on.calls.readConversation(id));
      const before = await nowMs();
      await Promise.all(rows.map(([entity, id]) => read(entity, id)));
      await Promise.all(rows.map(([entity, id]) => on.cellOf(entity, id)));
      const after = await nowMs();
      const expiryOf = ([entity, id]: (typeof rows)[number]) => on.redis.pexpiretime(on.keyOf(entity, id));
      const expiries = await Promise.all(rows.map(expiryOf));
      for (const expiry of expiries) {
        expect(expiry - before).toBeGreaterThanOrEqual(0.9 * lifeMs - 1);
        expect(expiry - after).toBeLessThanOrEqual(1.1 * lifeMs + 1);
      }
      expect(Math.max(...expiries) - Math.min(...expiries)).toBeGreaterThan(after - before);
      // Reading prolongs nothing.
      for (const row of rows) await read(...row);
      expect(await Promise.all(rows.map(expiryOf))).toEqual(expiries);
    });
  });

  it('counts hits, misses and writes under the names of the seed', async () => {
    const { id, conversationId } = await on.calls.send({ toAddress: newPhone() });
    await on.relayed();
    const before = await scrape(on.service);
    await on.calls.readMessage(id);
    await on.cellOf('message', id);
    await on.calls.readMessage(id);
    await on.calls.readConversation(conversationId);
    await on.cellOf('conversation', conversationId);
    await on.calls.conversations.updateConversation({ conversation: { id: conversationId, title: 'counted' } });
    const grown = async (operation: string, result: string, entity: string) => {
      const labels = { operation, result, entity };
      return (await scrape(on.service)).sum('cache_operations_total', labels) - before.sum('cache_operations_total', labels);
    };
    expect(await grown('get', 'miss', 'message')).toBe(1);
    expect(await grown('get', 'hit', 'message')).toBe(1);
    await expect.poll(() => grown('set', 'ok', 'message'), patiently).toBe(1);
    expect(await grown('get', 'miss', 'conversation')).toBe(1);
    // What the reader stored, and what the writer put in its place.
    await expect.poll(() => grown('set', 'ok', 'conversation'), patiently).toBe(2);
    expect(await grown('delete', 'ok', 'conversation')).toBe(1);
    expect(
      (await scrape(on.service)).sum('cache_operation_duration_seconds_count', { operation: 'get', entity: 'message' }),
    ).toBeGreaterThan(1);
  });
});
