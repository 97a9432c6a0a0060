/** Values that no use case can do anything with: INVALID_ARGUMENT that names the field, whatever the value. */
import { randomUUID } from 'node:crypto';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConversationStatus } from '../../gen/messaging/v1/conversation_pb.js';
import { MessageStatus, MessageType, type Provider } from '../../gen/messaging/v1/message_pb.js';
import { type MessageFilterSchema, MessageInclude, type OutboundMessageSchema } from '../../gen/messaging/v1/message_service_pb.js';
import { startTestApp, type TestApp } from '../support/apps.ts';
import { createDatabase } from '../support/database.ts';
import { type Failure, failure, type Services, servicesOf } from '../support/protocols.ts';
import { connectRaw, failureIn, type RawClient } from '../support/raw-calls.ts';

const opened = new AsyncDisposableStack();
let app: TestApp;
let services: Services;
let raw: RawClient;

beforeAll(async () => {
  const database = opened.use(await createDatabase());
  app = opened.use(await startTestApp({ DATABASE_URL: database.url }));
  services = servicesOf(app);
  raw = opened.use(await connectRaw(`http://127.0.0.1:${app.grpcPort}`));
});
afterAll(async () => {
  const bugs = app.logLines().filter(({ level }) => level === 'error');
  await opened.disposeAsync();
  expect(bugs).toEqual([]);
});

const sms = { fromAddress: '+14155552671', toAddress: '+14155552672', body: 'hello', messageType: MessageType.SMS };
type Outbound = MessageInitShape<typeof OutboundMessageSchema>;
const send = (message: Outbound, requestId = '') => services.messages.sendMessage({ message, requestId });
const sendFailure = (fields: Outbound) => failure(send({ ...sms, ...fields }));

/** A call of Connect with JSON as text, for what no typed client would write. */
async function json(method: string, text: string): Promise<Failure> {
  const headers = { 'content-type': 'application/json' };
  return failureIn(await raw.call({ path: `/messaging.v1.${method}`, headers, body: Buffer.from(text) }));
}

const invalid = (...fields: string[]) => ({ code: 'InvalidArgument', reason: 'FIELD_INVALID', domain: 'messaging.v1', fields });
const id = randomUUID();

const noIds = [
  '',
  'x',
  '123',
  '{}',
  `${id} `,
  `{${id}}`,
  id.replaceAll('-', ''),
  `urn:uuid:${id}`,
  `${id}0`,
  '../..',
  "' or 1=1 --",
  'ü'.repeat(36),
];

describe('an id that is none', () => {
  const calls: Record<string, (bad: string) => Promise<unknown>> = {
    id: (bad) => services.messages.getMessage({ id: bad }),
    message_id: (bad) => services.messages.listMessageEvents({ messageId: bad }),
    'ids[1]': (bad) => services.messages.batchGetMessages({ ids: [id, bad] }),
    through_message_id: (bad) => services.conversations.markConversationRead({ id, throughMessageId: bad }),
    'conversation.id': (bad) => services.conversations.updateConversation({ conversation: { id: bad, title: 'x' } }),
    'filter.conversation_ids[0]': (bad) => services.messages.listMessages({ filter: { conversationIds: [bad] } }),
  };
  const optional: Record<string, (bad: string) => Promise<unknown>> = {
    request_id: (bad) => send(sms, bad),
    'message.parent_id': (bad) => send({ ...sms, parentId: bad }),
    'message.conversation_id': (bad) => send({ ...sms, conversationId: bad }),
    'filter.parent_id': (bad) => services.messages.listMessages({ filter: { parentId: bad } }),
  };

  it.each(Object.keys({ ...calls, ...optional }))('is refused as %s', async (field) => {
    const call = calls[field] ?? optional[field];
    for (const bad of noIds.filter((text) => text !== '' || field in calls)) {
      expect(await failure(call?.(bad) ?? Promise.resolve()), JSON.stringify(bad)).toMatchObject(invalid(field));
    }
  });
});

describe('an id in upper case', () => {
  it('names the same thing as in lower case, wherever it stands', async () => {
    const { message } = await send(sms);
    const [upper, conversation] = [message?.id.toUpperCase() ?? '', message?.conversationId.toUpperCase() ?? ''];
    const { messages, conversations } = services;
    expect((await messages.getMessage({ id: upper })).message).toEqual(message);
    expect((await messages.batchGetMessages({ ids: [upper] })).messages).toEqual([message]);
    expect((await messages.listMessageEvents({ messageId: upper })).events).toHaveLength(1);
    expect((await messages.listMessages({ filter: { conversationIds: [conversation] } })).messages).toContainEqual(message);
    expect((await conversations.getConversation({ id: conversation })).conversation?.id).toBe(message?.conversationId);
    expect((await conversations.batchGetConversations({ ids: [conversation] })).conversations).toHaveLength(1);
    expect((await conversations.markConversationRead({ id: conversation, throughMessageId: upper })).conversation).toBeDefined();
    const update = { conversation: { id: conversation, title: 'x' } };
    expect((await conversations.updateConversation(update)).conversation?.title).toBe('x');
    expect((await conversations.getConversationStatistics({ id: conversation })).statistics?.conversationId).toBe(message?.conversationId);
    const reply = await send({ ...sms, conversationId: conversation, parentId: upper });
    expect(reply.message).toMatchObject({ conversationId: message?.conversationId, parentId: message?.id });
    expect((await messages.listMessages({ filter: { parentId: upper } })).messages).toEqual([reply.message]);
  });

  it('is the same idempotency key', async () => {
    const requestId = randomUUID();
    await send(sms, requestId);
    expect(await send(sms, requestId.toUpperCase())).toMatchObject({ replayed: true });
  });
});

describe('an id that is named twice in a batch', () => {
  it('is refused, also in another case', async () => {
    const { messages, conversations } = services;
    expect(await failure(messages.batchGetMessages({ ids: [id, id] }))).toMatchObject(invalid('ids'));
    expect(await failure(messages.batchGetMessages({ ids: [randomUUID(), id, id.toUpperCase()] }))).toMatchObject(invalid('ids[2]'));
    expect(await failure(conversations.batchGetConversations({ ids: [id, id.toUpperCase()] }))).toMatchObject(invalid('ids[1]'));
    const requests = [id, id.toUpperCase()].map((requestId) => ({ message: sms, requestId }));
    expect(await failure(messages.batchSendMessages({ requests }))).toMatchObject(invalid('requests'));
  });

  it('is refused when the batch is empty or too long', async () => {
    const ids = Array.from({ length: 101 }, () => randomUUID());
    expect(await failure(services.messages.batchGetMessages({}))).toMatchObject(invalid('ids'));
    expect(await failure(services.messages.batchGetMessages({ ids }))).toMatchObject(invalid('ids'));
    expect(await failure(services.messages.batchSendMessages({}))).toMatchObject(invalid('requests'));
  });
});

describe('an update mask', () => {
  const update = (paths: string[]) => services.conversations.updateConversation({ conversation: { id }, updateMask: { paths } });

  it('may name nothing but what can be written', async () => {
    for (const path of ['status', 'id', 'Title', 'title ', 'metaData', 'meta_data.x', '', 'conversation.title', '**']) {
      expect(await failure(update([path])), path).toMatchObject(invalid('update_mask.paths'));
    }
  });

  it('that names nothing wrong is not what fails', async () => {
    for (const paths of [[], ['*'], ['title', 'meta_data'], ['title', 'title']]) {
      expect(await failure(update(paths))).toMatchObject({ reason: 'CONVERSATION_NOT_FOUND' });
    }
  });

  it('is refused in JSON when it is no mask', async () => {
    const mask = (text: string) => json('ConversationService/UpdateConversation', `{"conversation":{"id":"${id}"},"updateMask":${text}}`);
    expect(await mask('"meta_data"')).toMatchObject({ code: 'InvalidArgument', fields: ['update_mask'] });
    expect(await mask('["title"]')).toMatchObject({ code: 'InvalidArgument', fields: ['update_mask'] });
  });
});

describe('an enum value that does not exist', () => {
  const unknown: number = 99;
  const { messages, conversations, providerEvents } = {
    messages: () => services.messages,
    conversations: () => services.conversations,
    providerEvents: () => services.providerEvents,
  };

  it('is refused in binary', async () => {
    expect(await sendFailure({ messageType: unknown })).toMatchObject(invalid('message.message_type'));
    expect(await failure(messages().getMessage({ id, include: [unknown as MessageInclude] }))).toMatchObject(invalid('include[0]'));
    expect(await failure(messages().getMessage({ id, include: [MessageInclude.UNSPECIFIED] }))).toMatchObject(invalid('include[0]'));
    const filter = { statuses: [MessageStatus.SENT, unknown], messageTypes: [-1], direction: 2147483647 };
    expect(await failure(messages().listMessages({ filter }))).toMatchObject(
      invalid('filter.statuses[1]', 'filter.direction', 'filter.message_types[0]'),
    );
    const conversation = { statuses: [ConversationStatus.UNSPECIFIED], channelType: MessageType.MMS };
    expect(await failure(conversations().listConversations({ filter: conversation }))).toMatchObject(
      invalid('filter.channel_type', 'filter.statuses[0]'),
    );
    const report = { provider: unknown as Provider, providerEventId: 'x', messageId: id, providerStatus: 'sent' };
    expect(await failure(providerEvents().reportDelivery(report))).toMatchObject(invalid('provider'));
  });

  it('is refused in JSON, by name and by number', async () => {
    const list = (type: string) => json('MessageService/ListMessages', `{"filter":{"direction":${type}}}`);
    for (const value of ['"UPWARDS"', '"direction_inbound"', '""', 'true', '1.5']) {
      expect(await list(value), value).toMatchObject({ code: 'InvalidArgument', fields: ['filter.direction'] });
    }
    expect(await list('99')).toMatchObject(invalid('filter.direction'));
  });
});

describe('a page token', () => {
  beforeAll(async () => {
    for (const toAddress of ['+14155552673', '+14155552674', '+14155552675']) await send({ ...sms, toAddress });
  });
  const tokenInvalid = { code: 'InvalidArgument', reason: 'PAGE_TOKEN_INVALID', fields: ['page_token'] };

  it('is refused by another filter, another list and another query', async () => {
    const { messages, conversations } = services;
    const filter: MessageInitShape<typeof MessageFilterSchema> = { messageTypes: [MessageType.SMS] };
    const { nextPageToken: pageToken } = await messages.listMessages({ filter, pageSize: 1 });
    expect((await messages.listMessages({ filter, pageSize: 2, pageToken })).messages).toHaveLength(2);
    for (const other of [{}, { filter: { ...filter, address: sms.toAddress } }, { filter: { messageTypes: [MessageType.MMS] } }]) {
      expect(await failure(messages.listMessages({ ...other, pageToken }))).toMatchObject(tokenInvalid);
    }
    expect(await failure(messages.listMessageEvents({ messageId: id, pageToken }))).toMatchObject(tokenInvalid);
    expect(await failure(conversations.listConversations({ pageToken }))).toMatchObject(tokenInvalid);
    const found = await conversations.searchConversations({ query: '14155552671 or hello', pageSize: 1 });
    expect(found.nextPageToken).not.toBe('');
    expect(await failure(conversations.searchConversations({ query: 'hello', pageToken: found.nextPageToken }))).toMatchObject(
      tokenInvalid,
    );
    expect(await failure(conversations.listConversations({ pageToken: found.nextPageToken }))).toMatchObject(tokenInvalid);
  });

  it('is refused when it was changed, even by someone who knows what is inside', async () => {
    const { messages } = services;
    const { nextPageToken } = await messages.listMessages({ pageSize: 1 });
    const [version, digest, , messageId] = Buffer.from(nextPageToken, 'base64url').toString().split(' ');
    const forged = (...parts: (string | undefined)[]) => Buffer.from(parts.join(' ')).toString('base64url');
    const keys = ['9999-99-99T99:99:99.999Z', '0000-01-01T00:00:00.000Z', '2026-02-30T00:00:00.000Z', '5', '1e9', "'", '', '-infinity'];
    const tokens = [
      ...keys.map((key) => forged(version, digest, key, messageId)),
      forged(version, digest, '2026-01-01T00:00:00.000Z', 'x'),
      forged('p2', digest, '2026-01-01T00:00:00.000Z', messageId),
      forged(version, digest, '2026-01-01T00:00:00.000Z', messageId, 'more'),
      nextPageToken.slice(0, -3),
      'ü',
      ' ',
    ];
    for (const pageToken of tokens) expect(await failure(messages.listMessages({ pageToken })), pageToken).toMatchObject(tokenInvalid);
    expect(await failure(messages.listMessages({ pageToken: 'x'.repeat(1_025) }))).toMatchObject(invalid('page_token'));
  });

  it('of a history is refused when it was changed', async () => {
    const { message } = await send(sms);
    const messageId = message?.id ?? '';
    await services.messages.cancelMessage({ id: messageId });
    const { nextPageToken } = await services.messages.listMessageEvents({ messageId, pageSize: 1 });
    const [version, digest, , eventId] = Buffer.from(nextPageToken, 'base64url').toString().split(' ');
    for (const key of ['999999999999999', '1.5', '2026-01-01T00:00:00.000Z', '-1']) {
      const pageToken = Buffer.from([version, digest, key, eventId].join(' ')).toString('base64url');
      expect(await failure(services.messages.listMessageEvents({ messageId, pageToken })), key).toMatchObject(tokenInvalid);
    }
  });
});

describe('a page size', () => {
  it('of 0 is the default, above 200 is 200, below 0 is refused', async () => {
    const { messages, conversations } = services;
    const requests = Array.from({ length: 100 }, () => ({ message: { ...sms, toAddress: '+14155552680' } }));
    for (let batch = 0; batch < 3; batch += 1) await messages.batchSendMessages({ requests });
    const sizeOf = async (pageSize: number) => (await messages.listMessages({ pageSize })).messages.length;
    expect([await sizeOf(0), await sizeOf(1), await sizeOf(200), await sizeOf(201), await sizeOf(2_147_483_647)]).toEqual([
      50, 1, 200, 200, 200,
    ]);
    for (const pageSize of [-1, -2_147_483_648]) {
      expect(await failure(messages.listMessages({ pageSize }))).toMatchObject(invalid('page_size'));
      expect(await failure(conversations.searchConversations({ query: 'x', pageSize }))).toMatchObject(invalid('page_size'));
    }
  });
});
