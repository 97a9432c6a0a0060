/** What providers post, read into reports and messages; anything else into events that say why they cannot be read. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ReportedDelivery } from '../../src/domain/delivery-report.ts';
import type { InboundMessage } from '../../src/domain/inbound-message.ts';
import type { WebhookContent, WebhookEvent } from '../../src/domain/webhook-ports.ts';
import { WEBHOOK_PATHS, type WebhookEndpoint, webhookEndpoints } from '../../src/domain/webhook-request.ts';
import { parseWebhook } from '../../src/providers/webhooks.ts';
import { eventsBody, MULTIPART, mailFields, multipartBody, twilioPost, twilioStatus } from '../support/signed-webhooks.ts';

const messageId = '01900000-0000-7000-8000-000000000001';
const FORM = 'application/x-www-form-urlencoded';
const contentTypes = { twilio_status: FORM, twilio_inbound: FORM, sendgrid_events: 'application/json', sendgrid_inbound: MULTIPART };

const contentOf = (endpoint: WebhookEndpoint, body: Uint8Array, changes: Partial<WebhookContent> = {}): WebhookContent => {
  return { endpoint, path: WEBHOOK_PATHS[endpoint], contentType: contentTypes[endpoint], body, ...changes };
};

function reportIn(events: readonly WebhookEvent[]): ReportedDelivery {
  const [event, ...more] = events;
  if (event?.kind !== 'report' || more.length > 0) throw new Error(`it is not one report: ${JSON.stringify(events)}`);
  return event.report;
}

function inboundIn(events: readonly WebhookEvent[]): InboundMessage {
  const [event, ...more] = events;
  if (event?.kind !== 'inbound' || more.length > 0) throw new Error(`it is not one message: ${JSON.stringify(events)}`);
  return event.inbound;
}

const statusOf = async (posted: { readonly path: string; readonly body: Uint8Array }) =>
  reportIn(await parseWebhook(contentOf('twilio_status', posted.body, { path: posted.path })));

describe("Twilio's status callback", () => {
  it('names message, attempt, status and code', async () => {
    const report = await statusOf(twilioStatus(messageId, 2, 'undelivered', { MessageSid: 'SM1', ErrorCode: '30003' }));
    const words = { providerStatus: 'undelivered', providerCode: '30003', providerMessage: '', occurredAt: undefined };
    expect(report).toEqual({
      ...words,
      provider: 'twilio',
      messageId,
      attempt: 2,
      providerMessageId: 'SM1',
      providerEventId: expect.stringMatching(/^[\w-]{43}$/),
    });
  });

  it('has one id per message, status and code, however often it comes', async () => {
    const ids = [
      await statusOf(twilioStatus(messageId, 1, 'sent')),
      await statusOf(twilioStatus(messageId, 1, 'sent', { RawDlrDoneDate: '2605011200' })),
      await statusOf(twilioStatus(messageId, 1, 'delivered')),
      await statusOf(twilioStatus(messageId, 1, 'sent', { ErrorCode: '30003' })),
      await statusOf(twilioStatus(messageId, 1, 'sent', { MessageSid: 'SM2' })),
    ].map(({ providerEventId }) => providerEventId);
    expect(ids[0]).toBe(ids[1]);
    expect(new Set(ids).size).toBe(4);
  });

  it.each<readonly [string, string, Pick<ReportedDelivery, 'messageId' | 'attempt'>]>([
    ['nothing', '', { messageId: undefined, attempt: undefined }],
    ['an id in capitals', `?message_attempt=1&message_id=${messageId.toUpperCase()}`, { messageId, attempt: 1 }],
    ['an id that is none of ours', '?message_id=42&message_attempt=1', { messageId: undefined, attempt: undefined }],
    ['no attempt', `?message_id=${messageId}`, { messageId, attempt: undefined }],
    ['attempt 0', `?message_id=${messageId}&message_attempt=0`, { messageId, attempt: undefined }],
    ['an attempt that is no number', `?message_id=${messageId}&message_attempt=1e3`, { messageId, attempt: undefined }],
    ['an attempt beyond all bounds', `?message_id=${messageId}&message_attempt=${'9'.repeat(30)}`, { messageId, attempt: undefined }],
  ])('may echo %s', async (_what, query, echoed) => {
    expect(await statusOf(twilioPost('twilio_status', { MessageSid: 'SM1', MessageStatus: 'sent' }, query))).toMatchObject(echoed);
  });

  it.each([
    ['no MessageSid', { MessageStatus: 'sent' }],
    ['no MessageStatus', { MessageSid: 'SM1' }],
  ])('with %s is unreadable', async (error, form) => {
    const { body } = twilioPost('twilio_status', form);
    expect(await parseWebhook(contentOf('twilio_status', body))).toEqual([{ kind: 'unreadable', error: `it has ${error}` }]);
  });
});

describe("Twilio's inbound message", () => {
  const receive = async (form: Readonly<Record<string, string>>) =>
    inboundIn(await parseWebhook(contentOf('twilio_inbound', twilioPost('twilio_inbound', form).body)));

  it('is an SMS with what Twilio knows of it', async () => {
    const facts = { NumMedia: '0', NumSegments: '1', FromCity: 'BERLIN', FromCountry: 'DE', FromZip: '', OptOutType: 'STOP' };
    expect(await receive({ MessageSid: 'SM1', From: '+4930901820', To: '+14155552671', Body: 'Grüße 👋', ...facts })).toEqual({
      provider: 'twilio',
      providerMessageId: 'SM1',
      messageType: 'sms',
      fromAddress: '+4930901820',
      toAddress: '+14155552671',
      body: 'Grüße 👋',
      attachments: [],
      email: undefined,
      metaData: { num_segments: '1', from_city: 'BERLIN', from_country: 'DE', opt_out_type: 'STOP' },
      occurredAt: undefined,
    });
  });

  it('is an MMS when it has media', async () => {
    const media = { MediaUrl0: 'https://api.twilio.com/0', MediaContentType0: 'image/png', MediaUrl1: 'https://api.twilio.com/1' };
    const { messageType, attachments } = await receive({ MessageSid: 'MM1', NumMedia: '2', ...media });
    expect(messageType).toBe('mms');
    expect(attachments).toEqual([
      { url: 'https://api.twilio.com/0', contentType: 'image/png', filename: '', sizeBytes: 0, contentId: '' },
      { url: 'https://api.twilio.com/1', contentType: '', filename: '', sizeBytes: 0, contentId: '' },
    ]);
  });

  it('never has more media than Twilio allows, or characters that PostgreSQL has not', async () => {
    const media = Object.fromEntries(Array.from({ length: 30 }, (_, index) => [`MediaUrl${index}`, `https://example.com/${index}`]));
    expect((await receive({ MessageSid: 'MM1', NumMedia: '30', ...media })).attachments).toHaveLength(10);
    expect((await receive({ MessageSid: 'MM1', NumMedia: '-3', ...media })).messageType).toBe('sms');
    expect((await receive({ MessageSid: 'SM1', Body: 'a\0b' })).body).toBe('a\uFFFDb');
  });
});

const event = { sg_event_id: 'E1', sg_message_id: 'abc.filter-1.0', event: 'delivered', timestamp: 1_777_636_800 };
const eventsIn = (events: readonly object[]) => parseWebhook(contentOf('sendgrid_events', eventsBody(events)));

describe("SendGrid's events", () => {
  it('name message, attempt, status and time', async () => {
    const bounce = { ...event, event: 'bounce', type: 'bounce', status: '5.1.1', reason: 'no such user' };
    expect(reportIn(await eventsIn([{ ...bounce, message_id: messageId, message_attempt: '2', email: 'ada@example.org' }]))).toEqual({
      provider: 'sendgrid',
      providerEventId: 'E1',
      messageId,
      attempt: 2,
      providerMessageId: 'abc',
      providerStatus: 'bounce',
      providerCode: '5.1.1',
      providerMessage: 'no such user',
      occurredAt: new Date('2026-05-01T12:00:00.000Z'),
    });
  });

  it('tell blocks from bounces', async () => {
    expect(reportIn(await eventsIn([{ ...event, event: 'bounce', type: 'blocked' }])).providerStatus).toBe('blocked');
  });

  it("do not take SendGrid's count of attempts for ours", async () => {
    const deferred = { ...event, event: 'deferred', response: '450 later', attempt: '5', message_id: messageId, message_attempt: '2' };
    expect(reportIn(await eventsIn([deferred]))).toMatchObject({ messageId, attempt: 2, providerMessage: '450 later' });
  });

  it.each([
    ['an old one', -1],
    ['one beyond the calendar', 1e15],
    ['a word', 'yesterday'],
    ['nothing', null],
  ])('have no time when it is %s', async (_what, timestamp) => {
    expect(reportIn(await eventsIn([{ ...event, timestamp }])).occurredAt).toBeUndefined();
  });

  it('are read one by one: what is wrong with one is not wrong with the others', async () => {
    const wrong = [{ ...event, sg_event_id: '' }, { ...event, event: undefined }, { ...event, sg_message_id: 7.5 }, [], 'x', null];
    const events = await eventsIn([event, ...(wrong as object[]), { ...event, sg_event_id: 'E2' }]);
    expect(events.map((read) => (read.kind === 'unreadable' ? read.error : read.kind))).toEqual([
      'report',
      'it has no sg_event_id, or too long a one',
      'it has no event',
      'report',
      'it is not an object',
      'it is not an object',
      'it is not an object',
      'report',
    ]);
    const { sg_message_id: _left, ...nameless } = event;
    expect(await eventsIn([nameless])).toEqual([{ kind: 'unreadable', error: 'it names no message' }]);
  });

  it('are unreadable where they are no UTF-8, in any part', async () => {
    const body = Buffer.from(JSON.stringify([{ ...event, reason: 'né' }]), 'latin1');
    expect(await parseWebhook(contentOf('sendgrid_events', body))).toEqual([{ kind: 'unreadable', error: 'it is not UTF-8' }]);
  });

  it.each([
    ['[{', 'it is not JSON'],
    ['{}', 'it is not a list'],
    [JSON.stringify(Array.from({ length: 5_001 }, () => event)), 'it has more than 5000 events'],
    ['['.repeat(100_000), 'it is not JSON'],
  ])('are unreadable as %.20s', async (text, error) => {
    expect(await parseWebhook(contentOf('sendgrid_events', Buffer.from(text)))).toEqual([{ kind: 'unreadable', error }]);
  });

  it('may be none', async () => expect(await eventsIn([])).toEqual([]));
});

describe('every parser', () => {
  it.each(webhookEndpoints)('of %s refuses another content type', async (endpoint) => {
    for (const contentType of ['', 'text/plain', 'application/x-www-form-urlencodedx', 'multipart/form-data', 'application/jsonp']) {
      const [read] = await parseWebhook(contentOf(endpoint, Buffer.from('a=b'), { contentType }));
      expect(read?.kind).toBe('unreadable');
    }
  });

  it.each(webhookEndpoints)('of %s reads any bytes, or says that it cannot', async (endpoint) => {
    const [whole] = [{ twilio_status: 'MessageSid=SM1&MessageStatus=sent', twilio_inbound: 'MessageSid=SM1&NumMedia=2&MediaUrl0=x' }];
    const sample = {
      ...whole,
      sendgrid_events: JSON.stringify([event]),
      sendgrid_inbound: multipartBody(mailFields(), [{ name: 'attachment1', filename: 'a', type: 'x/y', bytes: Buffer.of(1, 2) }]),
    };
    const valid = Buffer.from(sample[endpoint]);
    const cut = fc.nat(valid.byteLength).map((length) => valid.subarray(0, length));
    const spoiled = fc.tuple(fc.nat(valid.byteLength - 1), fc.uint8Array({ maxLength: 8 })).map(([at, bytes]) => {
      return Buffer.concat([valid.subarray(0, at), bytes, valid.subarray(at + bytes.byteLength)]);
    });
    const bodies = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      cut,
      spoiled,
      fc.json().map((text) => Buffer.from(text)),
    );
    const paths = fc.oneof(
      fc.constant(WEBHOOK_PATHS[endpoint]),
      fc.webQueryParameters().map((query) => `/x?${query}`),
    );
    const types = fc.oneof({ weight: 8, arbitrary: fc.constant(contentTypes[endpoint]) }, { weight: 1, arbitrary: fc.string() });
    await fc.assert(
      fc.asyncProperty(bodies, paths, types, async (body, path, contentType) => {
        for (const read of await parseWebhook({ endpoint, path, contentType, body })) {
          expect(['report', 'inbound', 'unreadable']).toContain(read.kind);
          const words = read.kind === 'unreadable' ? read.error : JSON.stringify(read);
          expect(words).not.toContain('\\u0000');
          expect(words.isWellFormed()).toBe(true);
        }
      }),
      { numRuns: 400 },
    );
  });
});
