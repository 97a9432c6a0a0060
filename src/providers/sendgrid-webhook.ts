/** SendGrid's signed webhooks, and the events of its Event Webhook. Inbound Parse is in sendgrid-inbound.ts. */
import { isUtf8 } from 'node:buffer';
import { createPublicKey, createVerify, type KeyObject } from 'node:crypto';
import { ECHO } from '../domain/provider-client.ts';
import type { WebhookContent, WebhookEvent, WebhookVerifier } from '../domain/webhook-ports.ts';
import { submissionIdOf } from './sendgrid-ids.ts';
import { echoedOf, LIMITS, lineOf, utf8Of } from './webhook-text.ts';

export interface SendgridWebhookOptions {
  /** As SendGrid shows them, base64 of DER. One, or two while they are being changed. None: nothing can be checked. */
  readonly publicKeys: readonly string[];
  readonly now: () => Date;
}

const SIGNATURE_HEADER = 'x-twilio-email-event-webhook-signature';
const TIMESTAMP_HEADER = 'x-twilio-email-event-webhook-timestamp';
/** A request that was signed longer ago, or later than now, may be somebody's recording; or our clock is wrong. */
const MAX_SKEW_MS = 10 * 60_000;

/** Over bytes: mail comes in whatever charset its sender chose. */
function isSigned(key: KeyObject, timestamp: string, body: Uint8Array, signature: string): boolean {
  return createVerify('sha256').update(timestamp).update(body).verify(key, signature, 'base64');
}

/** Empty for a key that is none: it must not keep the other one from being tried. */
function keysOf(publicKey: string): readonly KeyObject[] {
  try {
    return [createPublicKey({ key: Buffer.from(publicKey, 'base64'), format: 'der', type: 'spki' })];
  } catch {
    return [];
  }
}

export function sendgridVerifier({ publicKeys, now }: SendgridWebhookOptions): WebhookVerifier {
  const keys = publicKeys.flatMap(keysOf);
  return async ({ headers, body }) => {
    if (keys.length === 0) return 'unverifiable';
    const [signature, timestamp] = [headers[SIGNATURE_HEADER], headers[TIMESTAMP_HEADER]];
    if (typeof signature !== 'string' || signature === '') return 'forged';
    if (typeof timestamp !== 'string' || !/^\d{1,12}$/.test(timestamp)) return 'forged';
    if (!keys.some((key) => isSigned(key, timestamp, body, signature))) return 'forged';
    return Math.abs(now().getTime() - Number(timestamp) * 1_000) > MAX_SKEW_MS ? 'unverifiable' : 'authentic';
  };
}

const unreadable = (error: string): WebhookEvent => ({ kind: 'unreadable', error });

/** More than SendGrid puts into one request; all of them are one transaction. */
const MAX_EVENTS = 5_000;
/** End of the year 9999. */
const MAX_TIMESTAMP_SECONDS = 253_402_300_799;

/** Empty when there is none, or it is neither text nor number. */
function fieldOf(event: object, name: string): string {
  const value: unknown = Object.hasOwn(event, name) ? (event as Readonly<Record<string, unknown>>)[name] : undefined;
  return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : '';
}

function timeOf(seconds: string): Date | undefined {
  const number = seconds === '' ? Number.NaN : Number(seconds);
  return number >= 0 && number <= MAX_TIMESTAMP_SECONDS ? new Date(number * 1_000) : undefined;
}

function eventOf(event: unknown): WebhookEvent {
  if (typeof event !== 'object' || event === null || Array.isArray(event)) return unreadable('it is not an object');
  const [id, word] = [fieldOf(event, 'sg_event_id'), fieldOf(event, 'event')];
  if (id === '' || id.length > LIMITS.id) return unreadable('it has no sg_event_id, or too long a one');
  if (word === '') return unreadable('it has no event');
  const report = {
    provider: 'sendgrid',
    providerEventId: lineOf(id, LIMITS.id),
    ...echoedOf(fieldOf(event, ECHO.messageId), fieldOf(event, ECHO.attempt)),
    providerMessageId: lineOf(submissionIdOf(fieldOf(event, 'sg_message_id')), LIMITS.id),
    // A block is a bounce that may pass by itself; they differ in `type` alone.
    providerStatus: word === 'bounce' && fieldOf(event, 'type') === 'blocked' ? 'blocked' : lineOf(word, LIMITS.status),
    providerCode: lineOf(fieldOf(event, 'status'), LIMITS.code),
    providerMessage: lineOf(fieldOf(event, 'reason') || fieldOf(event, 'response'), LIMITS.message),
    occurredAt: timeOf(fieldOf(event, 'timestamp')),
  } as const;
  if (report.messageId === undefined && report.providerMessageId === '') return unreadable('it names no message');
  const email = fieldOf(event, 'email');
  return { kind: 'report', report, ...(email === '' ? {} : { recipient: lineOf(email, LIMITS.address) }) };
}

export function parseSendgridEvents({ contentType, body }: WebhookContent): readonly WebhookEvent[] {
  if (!/^application\/json\s*(?:;|$)/i.test(contentType)) return [unreadable('the content type is not that of JSON')];
  // What is no UTF-8 would be read as other words than were signed.
  if (!isUtf8(body)) return [unreadable('it is not UTF-8')];
  let events: unknown;
  try {
    events = JSON.parse(utf8Of(body));
  } catch {
    return [unreadable('it is not JSON')];
  }
  if (!Array.isArray(events)) return [unreadable('it is not a list')];
  if (events.length > MAX_EVENTS) return [unreadable(`it has more than ${MAX_EVENTS} events`)];
  return events.map(eventOf);
}
