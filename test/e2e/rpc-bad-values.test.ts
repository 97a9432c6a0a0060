/** Values that no use case can do anything with: INVALID_ARGUMENT that names the field, whatever the value. */
import { randomUUID } from 'node:crypto';
import type { JsonObject, MessageInitShape } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MessageType, Provider } from '../../gen/messaging/v1/message_pb.js';
import type { OutboundMessageSchema } from '../../gen/messaging/v1/message_service_pb.js';
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

describe('a NUL character', () => {
  const nul = 'a\0b';
  const requests: Record<string, () => Promise<unknown>> = {
    'message.from_address': () => send({ ...sms, fromAddress: nul }),
    'message.to_address': () => send({ ...sms, toAddress: nul }),
    'message.body': () => send({ ...sms, body: nul }),
    'message.email.subject': () => send({ ...email, email: { ...email.email, subject: nul } }),
    'message.email.html_body': () => send({ ...email, email: { ...email.email, htmlBody: nul } }),
    'message.email.internet_message_id': () => send({ ...email, email: { ...email.email, internetMessageId: nul } }),
    'message.attachments[1].filename': () => send({ ...mms, attachments: [picture, { ...picture, filename: nul }] }),
    'message.attachments[0].content_type': () => send({ ...mms, attachments: [{ ...picture, contentType: nul }] }),
    'message.meta_data.a.b[1]': () => send({ ...sms, metaData: { a: { b: ['', nul] } } }),
    'message.meta_data.a': () => send({ ...sms, metaData: { a: { [nul]: 1 } } }),
    'requests[1].message.body': () =>
      services.messages.batchSendMessages({ requests: [{ message: sms }, { message: { ...sms, body: nul } }] }),
    'filter.address': () => services.messages.listMessages({ filter: { address: nul } }),
    'filter.provider_message_id': () => services.messages.listMessages({ filter: { providerMessageId: nul } }),
    page_token: () => services.messages.listMessages({ pageToken: nul }),
    query: () => services.conversations.searchConversations({ query: nul }),
    title: () => services.conversations.createConversation({ ...pair, title: nul }),
    'meta_data.x': () => services.conversations.createConversation({ ...pair, metaData: { x: nul } }),
    participant_from: () => services.conversations.createConversation({ ...pair, participantFrom: nul }),
    'conversation.title': () => services.conversations.updateConversation({ conversation: { id, title: nul } }),
    'conversation.etag': () => services.conversations.updateConversation({ conversation: { id, etag: nul } }),
    'conversation.meta_data.x': () => services.conversations.updateConversation({ conversation: { id, metaData: { x: [nul] } } }),
    etag: () => services.conversations.archiveConversation({ id, etag: nul }),
    provider_message_id: () => services.providerEvents.receiveMessage({ ...inbound, providerMessageId: nul }),
    body: () => services.providerEvents.receiveMessage({ ...inbound, body: nul }),
    provider_event_id: () => services.providerEvents.reportDelivery({ ...report, providerEventId: nul }),
    provider_status: () => services.providerEvents.reportDelivery({ ...report, providerStatus: nul }),
    provider_code: () => services.providerEvents.reportDelivery({ ...report, providerCode: nul }),
    provider_message: () => services.providerEvents.reportDelivery({ ...report, providerMessage: nul }),
  };
  const email = { fromAddress: 'us@example.com', toAddress: 'them@example.com', body: 'hello', email: { subject: 'hello' } };
  const picture = { url: 'https://example.com/a.png' };
  const mms = { ...sms, messageType: MessageType.MMS };
  const pair = { participantFrom: sms.fromAddress, participantTo: sms.toAddress, channelType: MessageType.SMS };
  const inbound = {
    provider: Provider.TWILIO,
    providerMessageId: 'x',
    messageType: MessageType.SMS,
    fromAddress: sms.toAddress,
    toAddress: sms.fromAddress,
    body: 'x',
  };
  const report = { provider: Provider.TWILIO, providerEventId: 'x', messageId: id, providerStatus: 'sent' };

  it.each(Object.keys(requests))('is refused in %s', async (field) => {
    const { code, reason, fields } = await failure(requests[field]?.() ?? Promise.resolve());
    expect({ code, reason }).toEqual({ code: 'InvalidArgument', reason: 'FIELD_INVALID' });
    expect(
      fields.map((path) => path.replace(/(meta_data\.[xa]).*/, field.endsWith(']') ? path.slice(path.indexOf('meta_data')) : '$1')),
    ).toContain(field);
  });
});

describe('half a surrogate pair', () => {
  it('is refused in text, in values and in keys of JSON', async () => {
    const body = (message: string) =>
      json('MessageService/SendMessage', `{"message":{"fromAddress":"+14155552671","toAddress":"+14155552672",${message}}}`);
    expect(await body('"body":"\\ud83d"')).toMatchObject({ code: 'InvalidArgument', fields: ['message.body'] });
    expect(await body('"body":"x","metaData":{"a":"\\ude00x"}')).toMatchObject(invalid('message.meta_data.a'));
    expect(await body('"body":"x","metaData":{"\\ud83d":1}')).toMatchObject(invalid('message.meta_data'));
    expect(await json('ConversationService/SearchConversations', '{"query":"\\ud800"}')).toMatchObject({
      code: 'InvalidArgument',
      fields: ['query'],
    });
  });

  it('is no trouble when it is whole', async () => {
    const { message } = await send({ ...sms, body: '😀', metaData: { '😀': '😀' } });
    expect(message).toMatchObject({ body: '😀', metaData: { '😀': '😀' } });
  });
});

describe('a time', () => {
  const list = (createdAfter: { seconds: bigint; nanos?: number }) => services.messages.listMessages({ filter: { createdAfter } });

  it('outside of the years 1 to 9999 is refused', async () => {
    for (const seconds of [-62135596801n, 253402300800n, 2n ** 63n - 1n, -(2n ** 63n)]) {
      expect(await failure(list({ seconds })), String(seconds)).toMatchObject(invalid('filter.created_after'));
    }
  });

  it('with impossible nanoseconds is refused', async () => {
    for (const nanos of [-1, 1_000_000_000, 2_147_483_647, -2_147_483_648]) {
      expect(await failure(list({ seconds: 0n, nanos })), String(nanos)).toMatchObject(invalid('filter.created_after'));
      expect(await sendFailure({ sendAt: { seconds: 1_900_000_000n, nanos } }), String(nanos)).toMatchObject(invalid('message.send_at'));
    }
  });

  it('at the ends of the years 1 and 9999 is none too far', async () => {
    expect((await list({ seconds: -62135596800n })).messages.length).toBeGreaterThan(0);
    expect((await list({ seconds: 253402300799n })).messages).toEqual([]);
    const old = await services.providerEvents.receiveMessage({
      provider: Provider.TWILIO,
      providerMessageId: randomUUID(),
      messageType: MessageType.SMS,
      fromAddress: '+14155552690',
      toAddress: sms.fromAddress,
      body: 'from the year 1',
      occurredAt: { seconds: -62135596800n },
    });
    expect(old.message?.sentAt?.seconds).toBe(-62135596800n);
    expect((await services.messages.getMessage({ id: old.message?.id ?? '' })).message).toEqual(old.message);
  });

  it('to send at is at most 35 days ahead, and may be past', async () => {
    expect(await sendFailure({ sendAt: { seconds: 253402300799n } })).toMatchObject(invalid('message.send_at'));
    expect((await send({ ...sms, sendAt: { seconds: -62135596800n } })).message?.sendAt?.seconds).toBe(-62135596800n);
  });

  it('to be valid for has a unit sign and limits', async () => {
    for (const validityPeriod of [
      { seconds: 0n },
      { seconds: 259_201n },
      { seconds: -1n },
      { seconds: 2n ** 62n },
      { seconds: 5n, nanos: -5 },
      { seconds: 5n, nanos: 2_000_000_000 },
    ]) {
      expect(await sendFailure({ validityPeriod }), String(validityPeriod.seconds)).toMatchObject(invalid('message.validity_period'));
    }
    expect(await failure(services.messages.getMessage({ id, maxStaleness: { seconds: 301n } }))).toMatchObject(invalid('max_staleness'));
  });
});

describe('meta_data', () => {
  const nested = (depth: number): JsonObject => (depth === 1 ? {} : { a: nested(depth - 1) });

  it('of 16 KiB is kept, a byte more is refused', async () => {
    const metaData = { text: 'x'.repeat(16_384 - '{"text":""}'.length) };
    expect((await send({ ...sms, metaData })).message?.metaData).toEqual(metaData);
    const larger = { text: `${metaData.text}x` };
    expect(await sendFailure({ metaData: larger })).toMatchObject(invalid('message.meta_data'));
    expect(await failure(services.conversations.updateConversation({ conversation: { id, metaData: larger } }))).toMatchObject(
      invalid('conversation.meta_data'),
    );
    expect(await sendFailure({ metaData: { text: 'ü'.repeat(8_200) } })).toMatchObject(invalid('message.meta_data'));
  });

  it('keeps every kind of JSON as it was', async () => {
    const metaData: JsonObject = {
      '': [],
      ' ': null,
      'a.b': { c: [1, -0.5, 1e300, 5e-324, true, false, null, '', { d: {} }] },
      'ключ"\\': '\u2028\u0001',
    };
    const { message } = await send({ ...sms, metaData });
    expect((await services.messages.getMessage({ id: message?.id ?? '' })).message?.metaData).toEqual(metaData);
  });

  it('has no key that means something to JavaScript', async () => {
    const metaData: JsonObject = JSON.parse('{"__proto__":{"polluted":"yes"},"constructor":1,"toString":null}');
    const { message } = await send({ ...sms, metaData });
    const stored = (await services.messages.getMessage({ id: message?.id ?? '' })).message?.metaData;
    expect(JSON.parse(JSON.stringify(stored))).toEqual(metaData);
    expect(Object.hasOwn(stored ?? {}, '__proto__')).toBe(true);
    expect('polluted' in {}).toBe(false);
  });

  it('is refused when it is nested too deep', async () => {
    expect((await send({ ...sms, metaData: nested(32) })).message?.metaData).toEqual(nested(32));
    const { reason, fields } = await sendFailure({ metaData: nested(33) });
    expect({ reason, fields }).toEqual({ reason: 'FIELD_INVALID', fields: [`message.meta_data${'.a'.repeat(32)}`] });
    expect(await sendFailure({ metaData: nested(65) })).toMatchObject({ code: 'InvalidArgument' });
  });

  it('is refused with a number that JSON cannot say', async () => {
    const text = (value: string) =>
      json(
        'ConversationService/CreateConversation',
        `{"participantFrom":"+14155552671","participantTo":"+14155552672","channelType":1,"metaData":{"x":${value}}}`,
      );
    expect(await text('1e999')).toMatchObject(invalid('meta_data.x'));
    expect(await text('[-1e999]')).toMatchObject(invalid('meta_data.x[0]'));
  });
});

describe('a message', () => {
  it('is refused for its content, by the field', async () => {
    const attachment = { url: 'https://example.com/a.png' };
    const email = { fromAddress: 'us@example.com', toAddress: 'them@example.com', messageType: MessageType.EMAIL };
    expect(await sendFailure({ body: '' })).toMatchObject(invalid('message.body'));
    expect(await sendFailure({ body: 'x'.repeat(1_601) })).toMatchObject(invalid('message.body'));
    expect(await sendFailure({ attachments: [attachment] })).toMatchObject(invalid('message.attachments'));
    expect(await sendFailure({ email: { subject: 'x' } })).toMatchObject(invalid('message.email'));
    expect(await sendFailure({ ...email })).toMatchObject(invalid('message.email'));
    expect(await sendFailure({ ...email, email: {} })).toMatchObject(invalid('message.email'));
    expect(await sendFailure({ ...email, email: { subject: 'a\r\nBcc: b' } })).toMatchObject(invalid('message.email.subject'));
    expect(await sendFailure({ ...email, email: { subject: 'a', replyTo: 'nobody' } })).toMatchObject(invalid('message.email.reply_to'));
    const bad = { url: 'http://example.com', sizeBytes: -1n, contentId: '<x>' };
    expect(await sendFailure({ messageType: MessageType.MMS, attachments: [attachment, bad] })).toMatchObject(
      invalid('message.attachments[1].url', 'message.attachments[1].size_bytes', 'message.attachments[1].content_id'),
    );
    const inside = ['https://127.1/', 'https://[::1]/', 'https://a.internal/', 'https://169.254.169.254/latest'].map((url) => ({ url }));
    for (const local of inside) {
      const attachments = [attachment, local];
      expect(await sendFailure({ messageType: MessageType.MMS, attachments })).toMatchObject(invalid('message.attachments[1].url'));
      const requests = [{ message: sms }, { message: { ...email, email: { subject: 'x' }, attachments } }];
      const batch = await failure(services.messages.batchSendMessages({ requests }));
      expect(batch).toMatchObject(invalid('requests[1].message.attachments[1].url'));
    }
    const eleven = Array.from({ length: 11 }, () => attachment);
    expect(await sendFailure({ messageType: MessageType.MMS, attachments: eleven })).toMatchObject(invalid('message.attachments'));
    expect(await sendFailure({ messageType: MessageType.EMAIL, email: { subject: 'x' } })).toMatchObject(invalid('message.message_type'));
    expect(await failure(services.messages.sendMessage({}))).toMatchObject(invalid('message'));
  });

  it('that breaks a hundred rules is answered in trailers that every client takes', async () => {
    const bad = { message: { fromAddress: '', toAddress: '', metaData: { ['k'.repeat(500)]: '\0' } }, requestId: 'x' };
    const answer = await failure(services.messages.batchSendMessages({ requests: Array.from({ length: 100 }, () => bad) }));
    expect(answer).toMatchObject({ code: 'InvalidArgument', reason: 'FIELD_INVALID' });
    expect(answer.message).toMatch(/^\d{3} rules are broken, the first: requests\[0\]/);
    expect(answer.fields).toHaveLength(20);
  });
});
