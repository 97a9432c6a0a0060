/** Arbitrary requests to the endpoints of webhooks: what providers post, with odd values in it, spoiled, or nothing like it. */
import fc from 'fast-check';
import { WEBHOOK_PATHS, type WebhookEndpoint } from '../../src/domain/webhook-request.ts';
import { eventsBody, MULTIPART, mailFields, multipartBody } from './signed-webhooks.ts';

export interface AnyWebhook {
  readonly endpoint: WebhookEndpoint;
  /** With its query. */
  readonly path: string;
  readonly contentType: string;
  readonly body: Buffer;
}

const FORM = 'application/x-www-form-urlencoded';
const TYPES = { twilio_status: FORM, twilio_inbound: FORM, sendgrid_events: 'application/json', sendgrid_inbound: MULTIPART };

const text = fc.oneof(
  { weight: 4, arbitrary: fc.string({ unit: 'binary', maxLength: 30 }) },
  {
    weight: 3,
    arbitrary: fc.constantFrom('', '0', '-1', '1e9', '+14155552671', '+14155552672', 'a@example.com', 'STOP', 'delivered', 'bounce'),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom('\0', '\ud800', 'x'.repeat(3_000), '{"to":["a@example.com"],"from":7}', '[', 'utf-7', '\r\n\r\n'),
  },
);

/** Some of what belongs there and some of what does not. */
function fieldsOf(names: readonly string[]): fc.Arbitrary<Readonly<Record<string, string>>> {
  const own = fc.record(Object.fromEntries(names.map((name) => [name, text])), { requiredKeys: [] }) as fc.Arbitrary<
    Record<string, string>
  >;
  return fc
    .tuple(own, fc.dictionary(fc.string({ maxLength: 8 }), text, { maxKeys: 2 }))
    .map(([known, others]) => ({ ...others, ...known }));
}

const TWILIO_NAMES = [
  'MessageSid',
  'MessageStatus',
  'ErrorCode',
  'From',
  'To',
  'Body',
  'NumMedia',
  'MediaUrl0',
  'MediaContentType0',
  'OptOutType',
];
const MAIL_NAMES = ['headers', 'envelope', 'from', 'to', 'subject', 'text', 'html', 'charsets', 'attachment-info', 'attachments'];
const EVENT_NAMES = [
  'sg_event_id',
  'sg_message_id',
  'event',
  'type',
  'reason',
  'status',
  'email',
  'timestamp',
  'message_id',
  'message_attempt',
];

const form = fieldsOf(TWILIO_NAMES).map((fields) => Buffer.from(new URLSearchParams(fields).toString()));
const value = fc.oneof({ weight: 3, arbitrary: text }, { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 2 }) });
const event = fc.record(Object.fromEntries(EVENT_NAMES.map((name) => [name, value])), { requiredKeys: ['sg_event_id', 'event'] });
const events = fc
  .array(fc.oneof({ weight: 5, arbitrary: event }, { weight: 1, arbitrary: fc.jsonValue() }), { maxLength: 6 })
  .map((all) => {
    return eventsBody(all as object[]);
  });
const file = fc.record({ name: fc.constantFrom('attachment1', 'x'), filename: text, type: text, bytes: fc.uint8Array({ maxLength: 50 }) });
const mail = fc.tuple(fieldsOf(MAIL_NAMES), fc.boolean(), fc.array(file, { maxLength: 2 })).map(([fields, isWhole, files]) => {
  const own = isWhole ? mailFields(fields) : fields;
  return multipartBody(
    own,
    files.map((one) => ({ ...one, bytes: Buffer.from(one.bytes) })),
  );
});
const BODIES = { twilio_status: form, twilio_inbound: form, sendgrid_events: events, sendgrid_inbound: mail };

function spoiled(whole: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> {
  return fc.tuple(whole, fc.nat(), fc.uint8Array({ maxLength: 8 }), fc.boolean()).map(([body, place, bytes, cut]) => {
    const at = place % (body.byteLength + 1);
    return cut ? body.subarray(0, at) : Buffer.concat([body.subarray(0, at), bytes, body.subarray(at + bytes.byteLength)]);
  });
}

export function anyWebhook(endpoint: WebhookEndpoint): fc.Arbitrary<AnyWebhook> {
  const body = fc.oneof(
    { weight: 4, arbitrary: BODIES[endpoint] },
    { weight: 3, arbitrary: spoiled(BODIES[endpoint]) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
    { weight: 1, arbitrary: fc.json().map((json) => Buffer.from(json)) },
  );
  const path = fc.oneof(
    { weight: 2, arbitrary: fc.constant(WEBHOOK_PATHS[endpoint] as string) },
    { weight: 1, arbitrary: fc.webQueryParameters().map((query) => `${WEBHOOK_PATHS[endpoint]}?${query}`) },
    { weight: 1, arbitrary: fc.nat(9).map((attempt) => `${WEBHOOK_PATHS[endpoint]}?message_id=${MESSAGE_ID}&message_attempt=${attempt}`) },
  );
  const type = fc.oneof(
    { weight: 8, arbitrary: fc.constant(TYPES[endpoint]) },
    { weight: 1, arbitrary: fc.constantFrom('', 'text/plain', FORM, 'application/json', 'multipart/form-data', `${MULTIPART}; charset=x`) },
  );
  return fc.record({ endpoint: fc.constant(endpoint), path, contentType: type, body });
}

/** Of no message. */
const MESSAGE_ID = '01900000-0000-7000-8000-000000000001';
