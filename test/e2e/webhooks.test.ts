/** Webhooks as providers post them, with real signatures, to the running service. */
import { Code } from '@connectrpc/connect';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MessageStatus, MessageType, Provider } from '../../gen/messaging/v1/message_pb.js';
import { WebhookRequest_State as State } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { startTestApp, type TestApp } from '../support/apps.ts';
import { type Calls, callsTo, failureOf } from '../support/calls.ts';
import { scrape } from '../support/scrape.ts';
import { type OwnPostgres, startOwnPostgres } from '../support/servers.ts';
import {
  authToken,
  eventsBody,
  MULTIPART,
  mailFields,
  multipartBody,
  newSigningKey,
  type Posted,
  publicUrl,
  type SigningKey,
  sendgridPost,
  twilioPost,
  twilioStatus,
} from '../support/signed-webhooks.ts';
import { until } from '../support/until.ts';

const [key, oldKey] = [newSigningKey(), newSigningKey()];
const settings = {
  PROCESS_ROLE: 'server',
  PUBLIC_URL: `${publicUrl}/`,
  TWILIO_ACCOUNT_SID: `AC${'0'.repeat(32)}`,
  TWILIO_AUTH_TOKEN: 'the new token',
  TWILIO_AUTH_TOKEN_SECONDARY: authToken,
  SENDGRID_WEBHOOK_KEYS: `${oldKey.publicKey},${key.publicKey}`,
  WEBHOOK_MAX_BYTES: '2000000',
  DATABASE_CONNECT_TIMEOUT_MS: '2000',
};

const opened = new AsyncDisposableStack();
let postgres: OwnPostgres;
let app: TestApp;
let calls: Calls;
beforeAll(async () => {
  postgres = opened.use(await startOwnPostgres());
  app = opened.use(await startTestApp({ ...settings, DATABASE_URL: postgres.url }));
  calls = callsTo(app);
});
afterAll(() => opened.disposeAsync());

const postTo = (
  { httpPort }: { readonly httpPort: number },
  { path, headers, body }: Posted,
  more: Readonly<Record<string, string>> = {},
) => fetch(`http://127.0.0.1:${httpPort}${path}`, { method: 'POST', body: new Uint8Array(body), headers: { ...headers, ...more } });
const post = (posted: Posted, more?: Readonly<Record<string, string>>) => postTo(app, posted, more);

const json = 'application/json';
const events = (body: Buffer, by: SigningKey = key, at = new Date()) =>
  sendgridPost({ endpoint: 'sendgrid_events', contentType: json, body, key: by, at });
const mail = (body: Buffer, by: SigningKey = key, contentType = MULTIPART) =>
  sendgridPost({ endpoint: 'sendgrid_inbound', contentType, body, key: by, at: new Date() });

async function sentEmail(): Promise<string> {
  const email = { subject: 'Hello' };
  const addresses = { fromAddress: 'support@example.com', toAddress: `ada-${uuidv7()}@example.org` };
  const { message } = await calls.messages.sendMessage({ message: { ...addresses, messageType: MessageType.EMAIL, body: 'x', email } });
  return message?.id ?? '';
}

const statusOf = async (id: string) => (await calls.readMessage(id)).message.status;
const latest = async () => (await calls.providerEvents.listWebhookRequests({ pageSize: 1 })).webhookRequests[0];
const received = async (providerMessageId: string) => (await calls.messages.listMessages({ filter: { providerMessageId } })).messages;

describe('an authentic webhook', () => {
  it('of Twilio about a status is applied, and answered without content', async () => {
    const { id } = await calls.send();
    for (const [word, status] of [
      ['queued', MessageStatus.SENT],
      ['delivered', MessageStatus.DELIVERED],
      ['delivered', MessageStatus.DELIVERED],
    ] as const) {
      const response = await post(twilioStatus(id, 1, word));
      expect([response.status, await response.text()]).toEqual([204, '']);
      expect(await statusOf(id)).toBe(status);
    }
    expect(await latest()).toMatchObject({
      provider: Provider.TWILIO,
      state: State.PROCESSED,
      path: expect.stringContaining(`message_id=${id}`),
    });
  });

  it('of Twilio with a message is stored, and answered with TwiML that says nothing', async () => {
    const form = { MessageSid: `SM${uuidv7()}`, From: '+12125550100', To: '+14155552671', Body: 'Grüße 👋' };
    for (let times = 0; times < 2; times += 1) {
      const response = await post(twilioPost('twilio_inbound', form));
      expect([response.status, response.headers.get('content-type'), await response.text()]).toEqual([
        200,
        'text/xml; charset=utf-8',
        '<Response/>',
      ]);
    }
    expect(await received(form.MessageSid)).toEqual([expect.objectContaining({ body: 'Grüße 👋', status: MessageStatus.DELIVERED })]);
  });

  it('of SendGrid with events is applied, by either key', async () => {
    const [one, two] = [await sentEmail(), await sentEmail()];
    const about = (id: string, event: string) => ({
      sg_event_id: uuidv7(),
      sg_message_id: `${id}.filter0001`,
      event,
      message_id: id,
      message_attempt: '1',
    });
    const response = await post(events(eventsBody([about(one, 'delivered'), about(two, 'processed')])));
    expect([response.status, await response.text()]).toEqual([200, '']);
    expect((await post(events(eventsBody([about(two, 'bounce')]), oldKey))).status).toBe(200);
    expect([await statusOf(one), await statusOf(two)]).toEqual([MessageStatus.DELIVERED, MessageStatus.FAILED]);
  });

  it('of SendGrid with a mail in any charset is stored, whatever it has attached', async () => {
    const id = `<${uuidv7()}@example.org>`;
    const fields = {
      headers: `Message-ID: ${id}\r\n`,
      text: Buffer.from([0x47, 0x72, 0xfc, 0xdf, 0x65]),
      charsets: '{"text":"iso-8859-1"}',
    };
    const bytes = Buffer.from(Array.from({ length: 4_096 }, (_, index) => index % 256));
    const body = multipartBody(mailFields(fields), [{ name: 'attachment1', filename: 'a.bin', type: 'x/y', bytes }]);
    const response = await post(mail(body));
    expect([response.status, await response.text()]).toEqual([200, '']);
    const [message] = await received(id);
    expect(message).toMatchObject({ body: 'Grüße', messageType: MessageType.EMAIL, email: { subject: 'Hello', internetMessageId: id } });
    expect(message?.metaData).toMatchObject({ attachments: [{ filename: 'a.bin', content_type: 'x/y', size_bytes: 4_096 }] });
  });

  it.each<readonly [string, () => Posted, number]>([
    ['Twilio status', () => twilioPost('twilio_status', { Nothing: 'known' }), 204],
    ['Twilio message', () => twilioPost('twilio_inbound', { From: '+1' }), 200],
    ['SendGrid event', () => events(Buffer.from('[{')), 200],
    ['SendGrid mail', () => mail(Buffer.from('hello')), 200],
    ['mail that is no form', () => mail(multipartBody(mailFields()), key, 'text/plain'), 200],
  ])('that cannot be read as a %s is kept and acknowledged', async (_what, make, status) => {
    expect((await post(make())).status).toBe(status);
    expect(await latest()).toMatchObject({ state: State.QUARANTINED, error: expect.stringMatching(/^event 1 of 1: it /) });
  });

  it('of a content type that its endpoint does not take is kept and acknowledged', async () => {
    const posted = twilioStatus((await calls.send()).id, 1, 'sent');
    expect((await post(posted, { 'content-type': 'text/plain' })).status).toBe(204);
    expect(await latest()).toMatchObject({ state: State.QUARANTINED, contentType: 'text/plain' });
    const wrong = events(eventsBody([]));
    expect((await post(wrong, { 'content-type': 'text/plain' })).status).toBe(200);
    expect(await latest()).toMatchObject({ state: State.QUARANTINED });
  });

  it('about a message that is not known is kept and acknowledged', async () => {
    expect((await post(twilioPost('twilio_status', { MessageSid: uuidv7(), MessageStatus: 'sent' }))).status).toBe(204);
    expect(await latest()).toMatchObject({ state: State.UNMATCHED });
  });
});

it('a batch of events that is signed and no UTF-8 is acknowledged, and kept for people', async () => {
  const batch = Buffer.from(JSON.stringify([{ sg_event_id: uuidv7(), sg_message_id: 'x', event: 'bounce', reason: 'né' }]), 'latin1');
  expect((await post(events(batch))).status).toBe(200);
  expect(await latest()).toMatchObject({ state: State.QUARANTINED, error: 'event 1 of 1: it is not UTF-8' });
});

describe('nothing is stored of a webhook', () => {
  it.each<readonly [string, () => Posted, Readonly<Record<string, string>>]>([
    ['of Twilio without a signature', () => twilioPost('twilio_status', {}), { 'x-twilio-signature': '' }],
    ['of Twilio with another signature', () => twilioPost('twilio_inbound', {}), { 'x-twilio-signature': 'RSOYDt4T1cUTdK1PDd93/VVr8B8=' }],
    ['of Twilio for another path', () => ({ ...twilioPost('twilio_status', {}), path: '/webhooks/twilio/inbound' }), {}],
    ['of SendGrid without a signature', () => events(eventsBody([])), { 'x-twilio-email-event-webhook-signature': '' }],
    ['of SendGrid by another key', () => events(eventsBody([]), newSigningKey()), {}],
    ['with another mail than was signed', () => ({ ...mail(Buffer.from('a')), body: Buffer.from('b') }), {}],
  ])('%s', async (_what, make, headers) => {
    const before = await latest();
    const response = await post(make(), headers);
    expect([response.status, await response.json()]).toEqual([403, { error: 'forbidden' }]);
    expect(await latest()).toEqual(before);
  });

  it.each([11, -11])('of SendGrid that was signed %i minutes ago, but it shall come again', async (minutes) => {
    const before = await latest();
    expect((await post(events(eventsBody([]), key, new Date(Date.now() - minutes * 60_000)))).status).toBe(503);
    expect(await latest()).toEqual(before);
  });

  it('that is larger than it may be', async () => {
    const before = await latest();
    expect((await post(mail(Buffer.alloc(2_000_001)))).status).toBe(413);
    expect(await latest()).toEqual(before);
  });

  it('where nothing is configured to check it by, but it shall come again', async () => {
    await using bare = await startTestApp({ DATABASE_URL: postgres.url });
    const all = [twilioPost('twilio_status', {}), twilioPost('twilio_inbound', {}), events(eventsBody([])), mail(Buffer.from('a'))];
    for (const posted of all) expect((await postTo(bare, posted)).status).toBe(503);
    expect((await scrape(bare)).sum('webhook_requests_total', { result: 'failed' })).toBe(4);
  });

  it('by a process that only works', async () => {
    await using worker = await startTestApp({ ...settings, DATABASE_URL: postgres.url, PROCESS_ROLE: 'worker' });
    expect((await postTo(worker, twilioPost('twilio_status', {}))).status).toBe(404);
  });
});

describe('operators', () => {
  it('list, read and replay what came', async () => {
    const { id: messageId } = await calls.send();
    const posted = twilioStatus(messageId, 1, 'delivered');
    await post(posted);
    const { webhookRequests, nextPageToken } = await calls.providerEvents.listWebhookRequests({ state: State.PROCESSED, pageSize: 1 });
    const [listed] = webhookRequests;
    expect(listed?.body).toHaveLength(0);
    const { webhookRequest } = await calls.providerEvents.getWebhookRequest({ id: listed?.id.toUpperCase() ?? '' });
    expect(webhookRequest).toMatchObject({ id: listed?.id, body: new Uint8Array(posted.body), path: posted.path });
    const { message } = await calls.readMessage(messageId);
    const replayed = await calls.providerEvents.replayWebhookRequest({ id: listed?.id ?? '' });
    expect(replayed.webhookRequest).toMatchObject({ id: listed?.id, state: State.PROCESSED });
    expect((await calls.readMessage(messageId)).message).toEqual(message);

    const next = await calls.providerEvents.listWebhookRequests({ state: State.PROCESSED, pageSize: 1, pageToken: nextPageToken });
    expect(next.webhookRequests[0]?.id).not.toBe(listed?.id);
    const otherFilter = calls.providerEvents.listWebhookRequests({ state: State.UNMATCHED, pageToken: nextPageToken });
    expect(await failureOf(otherFilter)).toMatchObject({ reason: 'PAGE_TOKEN_INVALID' });
  });

  it('are told when there is no such request, or not enough of it', async () => {
    const { providerEvents } = calls;
    for (const call of [providerEvents.getWebhookRequest, providerEvents.replayWebhookRequest]) {
      expect(await failureOf(call({ id: uuidv7() }))).toMatchObject({ code: Code[Code.NotFound], reason: 'WEBHOOK_REQUEST_NOT_FOUND' });
    }
    const large = multipartBody(mailFields({ headers: `Message-ID: <${uuidv7()}@example.org>\r\n`, html: 'x'.repeat(1_100_000) }));
    expect((await post(mail(large))).status).toBe(200);
    const refused = providerEvents.replayWebhookRequest({ id: (await latest())?.id ?? '' });
    expect(await failureOf(refused)).toMatchObject({ code: Code[Code.FailedPrecondition], reason: 'STATUS_FORBIDS' });
  });
});

it('what became of webhooks is counted, and nothing of them is in the log', async () => {
  const metrics = await scrape(app);
  for (const [endpoint, result] of [
    ['twilio_status', 'applied'],
    ['twilio_inbound', 'applied'],
    ['sendgrid_events', 'applied'],
    ['sendgrid_inbound', 'quarantined'],
    ['twilio_status', 'unmatched'],
    ['sendgrid_inbound', 'too_large'],
    ['sendgrid_events', 'forbidden'],
  ] as const) {
    expect(metrics.sum('webhook_requests_total', { endpoint, result })).toBeGreaterThan(0);
  }
  expect(metrics.sum('webhook_events_total', { provider: 'twilio', result: 'duplicate' })).toBe(2);
  const log = JSON.stringify(app.logLines());
  expect(log).toContain('webhook event quarantined');
  for (const secret of ['12125550100', 'Grüße', 'ada-', 'example.org', authToken, 'x-twilio']) expect(log).not.toContain(secret);
});

it('without PostgreSQL every webhook shall come again, and then counts once', async () => {
  const { id } = await calls.send();
  const sid = `SM${uuidv7()}`;
  const mailId = `<${uuidv7()}@example.org>`;
  const emailId = await sentEmail();
  const all = [
    twilioStatus(id, 1, 'delivered'),
    twilioPost('twilio_inbound', { MessageSid: sid, From: '+12125550101', To: '+14155552671', Body: 'hi' }),
    events(eventsBody([{ sg_event_id: uuidv7(), sg_message_id: 'x', event: 'delivered', message_id: emailId }])),
    mail(multipartBody(mailFields({ headers: `Message-ID: ${mailId}\r\n` }))),
  ];
  await postgres.stop();
  for (const posted of all) {
    const response = await post(posted);
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '5']);
  }
  expect((await post(twilioPost('twilio_status', {}), { 'x-twilio-signature': 'x' })).status).toBe(403);
  await postgres.start();
  await until('PostgreSQL serves again', async () => (await statusOf(id)) === MessageStatus.PENDING);
  for (const posted of [...all, ...all]) expect((await post(posted)).ok).toBe(true);
  expect([await statusOf(id), await statusOf(emailId)]).toEqual([MessageStatus.DELIVERED, MessageStatus.DELIVERED]);
  expect([await received(sid), await received(mailId)].map(({ length }) => length)).toEqual([1, 1]);
});
