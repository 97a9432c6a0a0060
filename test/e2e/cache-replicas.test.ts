/** Two processes of the service over one PostgreSQL and one Redis. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { MessageType } from '../../gen/messaging/v1/message_pb.js';
import { createMessagingClient, type MessagingClient } from '../../src/client/messaging-client.ts';
import { type Calls, callsTo } from '../support/calls.ts';
import { createDatabase } from '../support/database.ts';
import { startService } from '../support/processes.ts';

const SENDS = 1_000;
const REPEATS = 50;

describe('two processes', () => {
  const opened = new AsyncDisposableStack();
  const redis = inject('redis');
  let calls: readonly [Calls, Calls];
  let clients: readonly [MessagingClient, MessagingClient];

  beforeAll(async () => {
    const database = opened.use(await createDatabase());
    const cache: Record<string, string> = redis === null ? {} : { REDIS_HOST: redis.host, REDIS_PORT: String(redis.port) };
    // What a slow machine does in this time is not the matter.
    const patience = { DATABASE_CONNECT_TIMEOUT_MS: '150000', REDIS_COMMAND_TIMEOUT_MS: '10000' };
    const env = { DATABASE_URL: database.url, CACHE_KEY_PREFIX: 'replicas:', ...patience, ...cache };
    const [a, b] = await Promise.all([startService(env), startService(env)]);
    opened.use(a);
    opened.use(b);
    calls = [callsTo(a), callsTo(b)];
    const clientOf = ({ grpcPort }: { readonly grpcPort: number }) =>
      opened.use(createMessagingClient(`127.0.0.1:${grpcPort}`, { deadlineMs: 150_000 }));
    clients = [clientOf(a), clientOf(b)];
  });
  afterAll(() => opened.disposeAsync());

  const sms = (toAddress: string) => ({ fromAddress: '+14155552671', toAddress, body: 'hello', messageType: MessageType.SMS });
  const either = (index: number): MessagingClient => clients[index % 2 === 0 ? 0 : 1];

  it(`put ${SENDS} messages that are sent at once into one conversation`, async () => {
    const sent = await Promise.all(
      Array.from({ length: SENDS }, (_, index) => either(index).messages.sendMessage({ message: sms('+14155552901') })),
    );
    const conversationIds = new Set(sent.map(({ message }) => message?.conversationId));
    expect(conversationIds.size).toBe(1);
    const [id = ''] = conversationIds;
    for (const { readConversation } of calls) {
      expect((await readConversation(id)).conversation).toMatchObject({ messageCount: BigInt(SENDS), lastSequence: BigInt(SENDS) });
    }
    const { statistics } = await calls[0].conversations.getConversationStatistics({ id });
    expect(statistics?.totalMessages).toBe(BigInt(SENDS));
  }, 180_000);

  it(`store one message for ${REPEATS} calls with one request_id`, async () => {
    const requestId = randomUUID();
    const sent = await Promise.all(
      Array.from({ length: REPEATS }, (_, index) => either(index).messages.sendMessage({ message: sms('+14155552902'), requestId })),
    );
    expect(new Set(sent.map(({ message }) => message?.id)).size).toBe(1);
    expect(sent.filter(({ replayed }) => replayed)).toHaveLength(REPEATS - 1);
    const { conversation } = await calls[0].readConversation(sent[0]?.message?.conversationId ?? '');
    expect(conversation.messageCount).toBe(1n);
  });

  it.skipIf(redis === null)('see what the other one wrote', async () => {
    const [one, other] = calls;
    const { conversationId: id } = await one.send({ toAddress: '+14155552903' });
    await expect.poll(async () => (await other.readConversation(id)).source, { timeout: 20_000 }).toBe('hit');
    expect((await one.readConversation(id)).source).toBe('hit');
    await one.conversations.updateConversation({ conversation: { id, title: 'through one' } });
    expect(await other.readConversation(id)).toMatchObject({ source: 'hit', conversation: { title: 'through one' } });
    await other.conversations.updateConversation({ conversation: { id, title: 'through the other' } });
    expect(await one.readConversation(id)).toMatchObject({ conversation: { title: 'through the other' } });
  });
});
