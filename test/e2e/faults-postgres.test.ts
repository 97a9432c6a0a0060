/** PostgreSQL stopped, silent or busy: what Redis holds is answered, everything else fails in a way that says when to come again. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { MessageType, Provider } from '../../gen/messaging/v1/message_pb.js';
import { MessageInclude } from '../../gen/messaging/v1/message_service_pb.js';
import { patiently } from '../support/cached-service.ts';
import { type Calls, callsTo, type Failure, failureOf } from '../support/calls.ts';
import { type ServiceProcess, startService } from '../support/processes.ts';
import { type OwnPostgres, startOwnPostgres } from '../support/servers.ts';

const POOL = 3;

describe.skipIf(inject('redis') === null)('PostgreSQL', () => {
  const opened = new AsyncDisposableStack();
  let postgres: OwnPostgres;
  let service: ServiceProcess;
  let calls: Calls;
  /** In Redis for as long as this file runs. */
  let cached: { readonly id: string; readonly conversationId: string };
  /** Never read, so never in Redis. */
  let unread: { readonly id: string; readonly conversationId: string };

  beforeAll(async () => {
    const redis = inject('redis');
    postgres = opened.use(await startOwnPostgres());
    service = opened.use(
      await startService({
        DATABASE_URL: postgres.url,
        DATABASE_POOL_MAX: String(POOL),
        DATABASE_STATEMENT_TIMEOUT_MS: '1000',
        DATABASE_CONNECT_TIMEOUT_MS: '500',
        DEFAULT_DEADLINE_MS: '3000',
        REDIS_HOST: redis?.host ?? '',
        REDIS_PORT: String(redis?.port),
        CACHE_KEY_PREFIX: 'faults-postgres:',
        // What a slow machine does in this time is not the matter.
        REDIS_COMMAND_TIMEOUT_MS: '10000',
        CACHE_TTL_SECONDS: '86400',
      }),
    );
    calls = callsTo(service);
    cached = await calls.send({ toAddress: '+14155553901' });
    unread = await calls.send({ toAddress: '+14155553902' });
    await vi.waitFor(expectHits, patiently);
  });
  afterAll(() => opened.disposeAsync());

  async function expectHits(): Promise<void> {
    expect((await calls.readMessage(cached.id)).source).toBe('hit');
    expect((await calls.readConversation(cached.conversationId)).source).toBe('hit');
    const include = [MessageInclude.CONVERSATION];
    expect((await calls.messages.getMessage({ id: cached.id, include })).conversation?.id).toBe(cached.conversationId);
    expect((await calls.messages.batchGetMessages({ ids: [cached.id] })).messages).toHaveLength(1);
    expect((await calls.conversations.batchGetConversations({ ids: [cached.conversationId] })).conversations).toHaveLength(1);
  }

  const message = { fromAddress: '+14155552671', toAddress: '+14155553901', body: 'hello', messageType: MessageType.SMS };
  const provided = { provider: Provider.TWILIO, providerMessageId: 'SM1' };
  /** Every call that cannot be answered from Redis. */
  const needy: Readonly<Record<string, () => Promise<unknown>>> = {
    SendMessage: () => calls.messages.sendMessage({ message }),
    'SendMessage with a request_id': () => calls.messages.sendMessage({ message, requestId: randomUUID() }),
    BatchSendMessages: () => calls.messages.batchSendMessages({ requests: [{ message }] }),
    PreviewMessage: () => calls.messages.previewMessage({ message }),
    GetMessage: () => calls.messages.getMessage({ id: unread.id }),
    'GetMessage with events': () => calls.messages.getMessage({ id: cached.id, include: [MessageInclude.EVENTS] }),
    'GetMessage of nothing': () => calls.messages.getMessage({ id: randomUUID() }),
    BatchGetMessages: () => calls.messages.batchGetMessages({ ids: [cached.id, unread.id] }),
    ListMessages: () => calls.messages.listMessages({}),
    ListMessageEvents: () => calls.messages.listMessageEvents({ messageId: cached.id }),
    CancelMessage: () => calls.messages.cancelMessage({ id: cached.id }),
    RetryMessage: () => calls.messages.retryMessage({ id: cached.id }),
    CreateConversation: () =>
      calls.conversations.createConversation({
        participantFrom: message.fromAddress,
        participantTo: message.toAddress,
        channelType: MessageType.SMS,
      }),
    GetConversation: () => calls.conversations.getConversation({ id: unread.conversationId }),
    BatchGetConversations: () => calls.conversations.batchGetConversations({ ids: [unread.conversationId, cached.conversationId] }),
    ListConversations: () => calls.conversations.listConversations({}),
    SearchConversations: () => calls.conversations.searchConversations({ query: 'hello' }),
    GetConversationStatistics: () => calls.conversations.getConversationStatistics({ id: cached.conversationId }),
    UpdateConversation: () => calls.conversations.updateConversation({ conversation: { id: cached.conversationId, title: 'T' } }),
    MarkConversationRead: () => calls.conversations.markConversationRead({ id: cached.conversationId, throughMessageId: cached.id }),
    ArchiveConversation: () => calls.conversations.archiveConversation({ id: cached.conversationId }),
    ReopenConversation: () => calls.conversations.reopenConversation({ id: cached.conversationId }),
    CloseConversation: () => calls.conversations.closeConversation({ id: cached.conversationId }),
    DeleteConversation: () => calls.conversations.deleteConversation({ id: unread.conversationId, allowMissing: true }),
    ReceiveMessage: () =>
      calls.providerEvents.receiveMessage({ ...provided, ...message, fromAddress: message.toAddress, toAddress: message.fromAddress }),
    GetSuppression: () => calls.suppressions.getSuppression({ address: message.toAddress }),
    ListSuppressions: () => calls.suppressions.listSuppressions({}),
    CreateSuppression: () => calls.suppressions.createSuppression({ address: '+14155553903', channelType: MessageType.SMS }),
    DeleteSuppression: () => calls.suppressions.deleteSuppression({ address: '+14155553903', channelType: MessageType.SMS }),
    ReportDelivery: () =>
      calls.providerEvents.reportDelivery({ ...provided, providerEventId: '1', messageId: cached.id, providerStatus: 'sent' }),
  };

  const tryLater: Partial<Failure> = { code: 'Unavailable', reason: 'STORAGE_UNAVAILABLE', retryAfterSeconds: 1 };
  const outcomes = async (): Promise<Readonly<Record<string, Failure>>> =>
    Object.fromEntries(await Promise.all(Object.entries(needy).map(async ([name, call]) => [name, await failureOf(call())] as const)));

  /** Reads and writes, and nothing was left behind in the pool. */
  async function expectRecovery(): Promise<void> {
    await expect
      .poll(async () => (await calls.messages.listMessages({}).catch(() => undefined))?.messages.length, patiently)
      .toBeGreaterThan(1);
    // After more than 3 s without PostgreSQL the cache is not trusted until the relay has gone on.
    await vi.waitFor(expectHits, patiently);
    for (let round = 0; round < 2 * POOL; round += 1) await calls.send();
    const title = randomUUID();
    await expect
      .poll(async () => {
        await calls.conversations.updateConversation({ conversation: { id: cached.conversationId, title } });
        return (await calls.readConversation(cached.conversationId)).conversation.title;
      }, patiently)
      .toBe(title);
    await expect.poll(async () => (await calls.readConversation(cached.conversationId)).source, patiently).toBe('hit');
  }

  it('stopped: hits are answered, everything else is told to try later', async () => {
    await postgres.stop();
    await expectHits();
    const all = await outcomes();
    for (const [rpc, outcome] of Object.entries(all)) expect.soft(outcome, rpc).toMatchObject(tryLater);
    await expect.poll(async () => (await fetch(`http://127.0.0.1:${service.httpPort}/readyz`)).status, patiently).toBe(503);
    await postgres.start();
    await expectRecovery();
  });

  it('silent: hits are answered, everything else fails before its deadline or at it', async () => {
    postgres.pause();
    try {
      await expectHits();
      const all = await outcomes();
      for (const [rpc, { code, reason }] of Object.entries(all)) {
        // The deadline is the service's own: were it not kept, these calls would not end.
        expect.soft(['Unavailable STORAGE_UNAVAILABLE', 'DeadlineExceeded DEADLINE_EXCEEDED'], rpc).toContain(`${code} ${reason}`);
      }
    } finally {
      postgres.resume();
    }
    await expectRecovery();
  });

  it('busy with one locked row: those who wait for it, and those who wait for them, are told to try later', async () => {
    const client = new pg.Client({ connectionString: postgres.url });
    await client.connect();
    await client.query('begin');
    await client.query('select from conversations where id = $1 for update', [cached.conversationId]);
    try {
      // More than there are connections, so that calls for other rows get none.
      const blocked = Array.from({ length: 3 * POOL }, () =>
        failureOf(calls.conversations.updateConversation({ conversation: { id: cached.conversationId, title: 'locked' } })),
      );
      await expectHits();
      for (const outcome of await Promise.all(blocked)) expect(outcome).toMatchObject(tryLater);
    } finally {
      await client.query('rollback');
      await client.end();
    }
    await expectRecovery();
  });
});
