/** Requests as providers make them, signed with keys of the test's own. */
import { generateKeyPairSync, sign } from 'node:crypto';
import { getExpectedTwilioSignature } from 'twilio/lib/webhooks/webhooks.js';
import type { SignedWebhook } from '../../src/domain/webhook-ports.ts';
import { WEBHOOK_PATHS, type WebhookEndpoint } from '../../src/domain/webhook-request.ts';

/** A POST to a path of the service; `signature` headers among the others. */
export interface Posted {
  readonly endpoint: WebhookEndpoint;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** As the HTTP server hands it on. */
export function webhookOf(posted: Posted, changes: Partial<SignedWebhook> = {}): SignedWebhook {
  return { ...posted, contentType: posted.headers['content-type'] ?? '', ...changes };
}

export const publicUrl = 'https://messages.example.com';
export const authToken = 'twilio-token-of-tests';

const FORM = 'application/x-www-form-urlencoded';

/** Signed by Twilio's own code. */
export function twilioPost(endpoint: 'twilio_status' | 'twilio_inbound', form: Readonly<Record<string, string>>, query = ''): Posted {
  const path = `${WEBHOOK_PATHS[endpoint]}${query}`;
  const signature = getExpectedTwilioSignature(authToken, `${publicUrl}${path}`, { ...form });
  const body = Buffer.from(new URLSearchParams(form).toString());
  return { endpoint, path, body, headers: { 'content-type': FORM, 'x-twilio-signature': signature } };
}

/** About an attempt of ours, as Twilio is told to call back. */
export function twilioStatus(messageId: string, attempt: number, status: string, form: Readonly<Record<string, string>> = {}): Posted {
  const own = { MessageSid: `SM${messageId.replaceAll('-', '')}`, MessageStatus: status, AccountSid: 'AC1' };
  return twilioPost('twilio_status', { ...own, ...form }, `?message_id=${messageId}&message_attempt=${attempt}`);
}

export interface SigningKey {
  /** As SendGrid shows it. */
  readonly publicKey: string;
  sign(timestamp: string, body: Uint8Array): string;
}

export function newSigningKey(): SigningKey {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  return {
    publicKey: publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
    sign: (timestamp, body) => sign('sha256', Buffer.concat([Buffer.from(timestamp), body]), privateKey).toString('base64'),
  };
}

export interface SendgridPost {
  readonly endpoint: 'sendgrid_events' | 'sendgrid_inbound';
  readonly contentType: string;
  readonly body: Buffer;
  readonly key: SigningKey;
  readonly at: Date;
}

export function sendgridPost({ endpoint, contentType, body, key, at }: SendgridPost): Posted {
  const timestamp = String(Math.floor(at.getTime() / 1_000));
  return {
    endpoint,
    path: WEBHOOK_PATHS[endpoint],
    body,
    headers: {
      'content-type': contentType,
      'x-twilio-email-event-webhook-signature': key.sign(timestamp, body),
      'x-twilio-email-event-webhook-timestamp': timestamp,
    },
  };
}

/** As SendGrid ends it. */
export const eventsBody = (events: readonly object[]): Buffer => Buffer.from(`${JSON.stringify(events)}\r\n`);

export interface MultipartFile {
  readonly name: string;
  readonly filename: string;
  readonly type: string;
  readonly bytes: Buffer;
}

const BOUNDARY = 'xYzZY';
export const MULTIPART = `multipart/form-data; boundary=${BOUNDARY}`;

/** Text fields are given in bytes when their charset matters. */
export function multipartBody(fields: Readonly<Record<string, string | Buffer>>, files: readonly MultipartFile[] = []): Buffer {
  const parts = Object.entries(fields).map(([name, value]) =>
    Buffer.concat([
      Buffer.from(`--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n`),
      Buffer.from(value),
      Buffer.from('\r\n'),
    ]),
  );
  const attached = files.map(({ name, filename, type, bytes }) => {
    const head = `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"; filename="${filename}"\r\nContent-Type: ${type}\r\n\r\n`;
    return Buffer.concat([Buffer.from(head), bytes, Buffer.from('\r\n')]);
  });
  return Buffer.concat([...parts, ...attached, Buffer.from(`--${BOUNDARY}--\r\n`)]);
}

/** The fields of a mail as Inbound Parse posts them. */
export function mailFields(mail: Readonly<Record<string, string | Buffer>> = {}): Readonly<Record<string, string | Buffer>> {
  return {
    headers: 'Received: by mx.example.com\r\nMessage-ID: <1@example.org>\r\nFrom: Ada <ada@example.org>\r\nTo: support@example.com\r\n',
    envelope: JSON.stringify({ to: ['support@example.com'], from: 'bounces@example.org' }),
    from: 'Ada <ada@example.org>',
    to: 'Support <support@example.com>',
    subject: 'Hello',
    text: 'How are you?',
    charsets: JSON.stringify({ to: 'UTF-8', from: 'UTF-8', subject: 'UTF-8', text: 'utf-8' }),
    ...mail,
  };
}
