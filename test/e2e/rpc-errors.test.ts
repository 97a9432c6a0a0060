import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Message, MessageType, Provider } from '../../gen/messaging/v1/message_pb.js';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { SuppressionService } from '../../gen/messaging/v1/suppression_service_pb.js';
import { startTestApp, type TestApp } from '../support/apps.ts';
import { createDatabase } from '../support/database.ts';
import { startLane } from '../support/lane-server.ts';
import { failure, protocols, type Services, servicesOf } from '../support/protocols.ts';

const opened = new AsyncDisposableStack();
let app: TestApp;
let databaseUrl: string;

const us = '+14155552671';
const leanLane = process.env['LEAN_LANE'] !== 'false';

beforeAll(async () => {
  const database = opened.use(await createDatabase());
  databaseUrl = database.url;
  app = opened.use(await startTestApp({ DATABASE_URL: database.url, SENDER_ADDRESSES: `${us},us@example.com` }));
});
afterAll(() => opened.disposeAsync());

let lastNumber = 0;
/** A recipient that no other test knows. */
const newRecipient = () => `+1415555${String(3000 + ++lastNumber)}`;
const sms = (toAddress = newRecipient()) => ({ fromAddress: us, toAddress, body: 'hello', messageType: MessageType.SMS });

async function sendSms({ messages }: Services, toAddress?: string): Promise<Message> {
  const { message } = await messages.sendMessage({ message: sms(toAddress) });
  if (message === undefined) throw new Error('no message in the answer');
  return message;
}

describe.each(protocols)('through %s', (protocol) => {
  let services: Services;
  beforeAll(() => {
    services = servicesOf(app, protocol);
  });

  it('FIELD_INVALID names each field', async () => {
    const call = services.conversations.createConversation({ participantFrom: '', participantTo: 'x', channelType: MessageType.MMS });
    expect(await failure(call)).toMatchObject({
      code: 'InvalidArgument',
      reason: 'FIELD_INVALID',
      domain: 'messaging.v1',
      fields: ['participant_from', 'participant_to', 'channel_type'],
      message: expect.stringMatching(/^3 rules are broken, the first: participant_from: /),
    });
  });

  it('ADDRESS_INVALID names the field', async () => {
    expect(await failure(services.messages.sendMessage({ message: sms('+1 555') }))).toMatchObject({
      code: 'InvalidArgument',
      reason: 'ADDRESS_INVALID',
      domain: 'messaging.v1',
      metadata: { field: 'message.to_address' },
      fields: ['message.to_address'],
    });
  });

  it('PAGE_TOKEN_INVALID', async () => {
    expect(await failure(services.messages.listMessages({ pageToken: 'nonsense' }))).toMatchObject({
      code: 'InvalidArgument',
      reason: 'PAGE_TOKEN_INVALID',
      domain: 'messaging.v1',
      fields: ['page_token'],
    });
  });

  it('MESSAGE_NOT_FOUND names the resource', async () => {
    const id = randomUUID();
    expect(await failure(services.messages.getMessage({ id }))).toEqual({
      code: 'NotFound',
      message: `message ${id} does not exist`,
      reason: 'MESSAGE_NOT_FOUND',
      domain: 'messaging.v1',
      metadata: { id },
      fields: [],
      retryAfterMs: undefined,
      resource: { type: 'messaging.v1.Message', name: id },
    });
  });

  it('MESSAGE_NOT_FOUND names all that are missing of a batch', async () => {
    const { id } = await sendSms(services);
    const missing = Array.from({ length: 99 }, () => randomUUID());
    expect(await failure(services.messages.batchGetMessages({ ids: [id, ...missing] }))).toMatchObject({
      code: 'NotFound',
      reason: 'MESSAGE_NOT_FOUND',
      metadata: { ids: missing.join(',') },
      message: expect.stringContaining(' and 96 more do not exist'),
    });
  });

  it('CONVERSATION_NOT_FOUND names the resource', async () => {
    const id = randomUUID();
    const notFound = {
      code: 'NotFound',
      reason: 'CONVERSATION_NOT_FOUND',
      domain: 'messaging.v1',
      metadata: { id },
      resource: { type: 'messaging.v1.Conversation', name: id },
    };
    expect(await failure(services.conversations.getConversation({ id }))).toMatchObject(notFound);
    expect(await failure(services.conversations.deleteConversation({ id }))).toMatchObject(notFound);
    expect(await failure(services.messages.sendMessage({ message: { ...sms(), conversationId: id } }))).toMatchObject(notFound);
  });

  it('REQUEST_ID_REUSED names the message that was sent with it', async () => {
    const requestId = randomUUID();
    const { message } = await services.messages.sendMessage({ message: sms(), requestId });
    expect(await failure(services.messages.sendMessage({ message: sms(), requestId }))).toMatchObject({
      code: 'AlreadyExists',
      reason: 'REQUEST_ID_REUSED',
      domain: 'messaging.v1',
      metadata: { request_id: requestId, message_id: message?.id },
    });
  });

  it('ETAG_MISMATCH tells both etags', async () => {
    const { conversationId } = await sendSms(services);
    const { conversation } = await services.conversations.getConversation({ id: conversationId });
    expect(await failure(services.conversations.archiveConversation({ id: conversationId, etag: 'v0' }))).toMatchObject({
      code: 'Aborted',
      reason: 'ETAG_MISMATCH',
      domain: 'messaging.v1',
      metadata: { expected: 'v0', actual: conversation?.etag },
    });
  });

  it('SENDER_NOT_ALLOWED tells the sender', async () => {
    expect(await failure(services.messages.sendMessage({ message: { ...sms(), fromAddress: '+1 (415) 555-2699' } }))).toMatchObject({
      code: 'FailedPrecondition',
      reason: 'SENDER_NOT_ALLOWED',
      domain: 'messaging.v1',
      metadata: { from_address: '+14155552699' },
    });
  });

  it('STATUS_FORBIDS tells the status and what would be allowed', async () => {
    const { id } = await sendSms(services);
    await services.messages.cancelMessage({ id });
    expect(await failure(services.messages.cancelMessage({ id }))).toMatchObject({
      code: 'FailedPrecondition',
      reason: 'STATUS_FORBIDS',
      domain: 'messaging.v1',
      metadata: { status: 'failed', allowed: 'pending' },
    });
  });

  it('CONVERSATION_CLOSED tells the conversation', async () => {
    const recipient = newRecipient();
    const { conversationId } = await sendSms(services, recipient);
    await services.conversations.closeConversation({ id: conversationId });
    expect(await failure(services.messages.sendMessage({ message: { ...sms(recipient), conversationId } }))).toMatchObject({
      code: 'FailedPrecondition',
      reason: 'CONVERSATION_CLOSED',
      domain: 'messaging.v1',
      metadata: { conversation_id: conversationId },
    });
  });

  it('PARTICIPANTS_MISMATCH tells the conversation', async () => {
    const { id, conversationId } = await sendSms(services);
    const mismatch = {
      code: 'FailedPrecondition',
      reason: 'PARTICIPANTS_MISMATCH',
      domain: 'messaging.v1',
      metadata: { conversation_id: conversationId },
    };
    expect(await failure(services.messages.sendMessage({ message: { ...sms(), conversationId } }))).toMatchObject(mismatch);
    expect(await failure(services.messages.sendMessage({ message: { ...sms(), parentId: id } }))).toMatchObject(mismatch);
  });

  it('NOT_RETRYABLE tells why it failed', async () => {
    const { id } = await sendSms(services);
    const report = { provider: Provider.TWILIO, messageId: id, providerMessageId: randomUUID(), providerStatus: 'failed' };
    await services.providerEvents.reportDelivery({ ...report, providerEventId: randomUUID(), providerCode: '30006' });
    expect(await failure(services.messages.retryMessage({ id }))).toMatchObject({
      code: 'FailedPrecondition',
      reason: 'NOT_RETRYABLE',
      domain: 'messaging.v1',
      metadata: { reason: expect.stringMatching(/^[a-z_]+$/) },
    });
  });

  it('CONVERSATION_EXISTS tells the open one', async () => {
    const recipient = newRecipient();
    const closed = (await sendSms(services, recipient)).conversationId;
    await services.conversations.closeConversation({ id: closed });
    const open = (await sendSms(services, recipient)).conversationId;
    expect(await failure(services.conversations.reopenConversation({ id: closed }))).toMatchObject({
      code: 'AlreadyExists',
      reason: 'CONVERSATION_EXISTS',
      domain: 'messaging.v1',
      metadata: { conversation_id: open },
    });
  });

  it('METHOD_UNIMPLEMENTED for what the contract promises and a server does not do yet', async () => {
    await using unfinished = await startLane(leanLane, [(router) => router.service(SuppressionService, {})]);
    const { suppressions } = servicesOf({ grpcPort: unfinished.port }, protocol);
    expect(await failure(suppressions.getSuppression({ address: us }))).toMatchObject({
      code: 'Unimplemented',
      reason: 'METHOD_UNIMPLEMENTED',
      domain: 'messaging.v1',
      message: 'messaging.v1.SuppressionService.GetSuppression is not implemented',
    });
  });

  it('METHOD_UNIMPLEMENTED in a stream', async () => {
    await using unfinished = await startLane(leanLane, [(router) => router.service(MessageService, {})]);
    const { messages } = servicesOf({ grpcPort: unfinished.port }, protocol);
    expect(await failure(Array.fromAsync(messages.watchMessages({})))).toMatchObject({
      code: 'Unimplemented',
      reason: 'METHOD_UNIMPLEMENTED',
    });
  });

  it('FIELD_INVALID in a stream', async () => {
    expect(await failure(Array.fromAsync(services.messages.watchMessages({ progressInterval: { seconds: 0n } })))).toMatchObject({
      code: 'InvalidArgument',
      reason: 'FIELD_INVALID',
      fields: ['progress_interval'],
    });
  });

  it('MESSAGE_TOO_LARGE for a request', async () => {
    const filter = { address: 'x'.repeat(9_000_000) };
    expect(await failure(services.messages.listMessages({ filter }))).toMatchObject({
      code: 'ResourceExhausted',
      reason: 'MESSAGE_TOO_LARGE',
      domain: 'messaging.v1',
      message: 'the request is larger than 8388608 bytes',
    });
  });

  it('DEADLINE_EXCEEDED says that a write may have happened', async () => {
    const { conversationId } = await sendSms(services);
    const blocker = new pg.Client({ connectionString: databaseUrl });
    await blocker.connect();
    await blocker.query('begin');
    await blocker.query('select 1 from conversations where id = $1 for update', [conversationId]);
    // The client's own clock must not be the one that ends the call.
    const headers = protocol.startsWith('gRPC') ? { 'grpc-timeout': '200m' } : { 'connect-timeout-ms': '200' };
    const call = services.conversations.closeConversation({ id: conversationId }, { headers, timeoutMs: 0 });
    expect(await failure(call)).toMatchObject({ code: 'DeadlineExceeded', reason: 'DEADLINE_EXCEEDED', domain: 'messaging.v1' });
    await blocker.query('rollback');
    await blocker.end();
  });
});

describe('a bug', () => {
  it('reaches the caller as INTERNAL with nothing of the inside, and the log with everything', async () => {
    await using database = await createDatabase();
    await using broken = await startTestApp({ DATABASE_URL: database.url });
    const admin = new pg.Client({ connectionString: database.url });
    await admin.connect();
    await admin.query('alter table messages rename column body to text');
    await admin.end();
    for (const protocol of protocols) {
      expect(await failure(servicesOf(broken, protocol).messages.getMessage({ id: randomUUID() }))).toEqual({
        code: 'Internal',
        message: 'internal error',
        reason: 'INTERNAL',
        domain: 'messaging.v1',
        metadata: {},
        fields: [],
        retryAfterMs: undefined,
        resource: undefined,
      });
    }
    const lines = broken.logLines().filter(({ level }) => level === 'error');
    expect(lines).toHaveLength(protocols.length);
    expect(lines[0]).toMatchObject({ msg: 'call failed by a bug', rpc: 'messaging.v1.MessageService/GetMessage', err: { code: '42703' } });
  });
});

describe('PostgreSQL that cannot be reached', () => {
  it('is STORAGE_UNAVAILABLE with the time to try again, for reads and writes', async () => {
    await using cut = await startTestApp({ DATABASE_URL: 'postgresql://nobody:nothing@127.0.0.1:1/none' });
    const unavailable = {
      code: 'Unavailable',
      reason: 'STORAGE_UNAVAILABLE',
      domain: 'messaging.v1',
      retryAfterMs: 1_000,
      message: 'the database cannot be reached; try again',
    };
    for (const protocol of protocols) {
      const { messages, conversations } = servicesOf(cut, protocol);
      expect(await failure(messages.getMessage({ id: randomUUID() }))).toMatchObject(unavailable);
      expect(await failure(messages.sendMessage({ message: sms() }))).toMatchObject(unavailable);
      expect(await failure(conversations.listConversations({}))).toMatchObject(unavailable);
      expect(await failure(conversations.deleteConversation({ id: randomUUID(), allowMissing: true }))).toMatchObject(unavailable);
    }
  });
});
