/** Mail as SendGrid's Inbound Parse posts it: a multipart form with the parts of the message as fields. */
import { createHash } from 'node:crypto';
import type { JsonObject, JsonValue } from '../domain/json.ts';
import type { WebhookContent, WebhookEvent } from '../domain/webhook-ports.ts';
import { type FormPart, partsOf } from './multipart.ts';
import { bodyOf, LIMITS, lineOf, utf8Of } from './webhook-text.ts';

/** What the JSON in a field has; undefined when it is none. */
function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function memberOf(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
  return (value as Readonly<Record<string, unknown>>)[name];
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

/** The fields by name, each in the charset that the form says it has, and in UTF-8 when it says none that exists. */
function fieldsOf(parts: readonly FormPart[]): (name: string) => string {
  const bytes = new Map(parts.flatMap((part) => (part.filename === undefined ? [[part.name, part.bytes] as const] : [])));
  const charsets = jsonIn(utf8Of(bytes.get('charsets') ?? Buffer.of()));
  return (name) => {
    const field = bytes.get(name);
    if (field === undefined) return '';
    try {
      return new TextDecoder(textOf(memberOf(charsets, name)) || 'utf-8').decode(field);
    } catch {
      return utf8Of(field);
    }
  };
}

/** The first header of this name, its folded lines joined; empty when there is none. */
function headerOf(headers: string, name: string): string {
  const start = `${name}:`;
  const line = headers
    .replaceAll(/\r?\n[ \t]+/g, ' ')
    .split(/\r?\n/)
    .find((candidate) => candidate.slice(0, start.length).toLowerCase() === start);
  return line?.slice(start.length).trim() ?? '';
}

const MAX_HEADERS_CHARACTERS = 262_144;
const MAX_HEADER_CHARACTERS = 2_000;

const headersOf = (field: (name: string) => string): string => field('headers').slice(0, MAX_HEADERS_CHARACTERS);

/** The address in `Ada Lovelace <ada@example.org>`, in the first of several, or the text itself. */
function addressIn(header: string): string {
  const text = header.slice(0, MAX_HEADER_CHARACTERS);
  // What is in quotes is a name, whatever it looks like.
  const unquoted = text.replaceAll(/"(?:[^"\\]|\\.)*"/g, '');
  const [, bracketed] = /<([^<>\s]+@[^<>\s]+)>/.exec(unquoted) ?? [];
  const [plain] = /[^\s<>,;"]+@[^\s<>,;"]+/.exec(unquoted) ?? [];
  return lineOf(bracketed ?? plain ?? text.trim(), LIMITS.address);
}

const MAX_MESSAGE_ID_CHARACTERS = 998;
const MAX_REPLY_TO_CHARACTERS = 254;
const MAX_FACT_CHARACTERS = 255;
/** meta_data may have 16 KiB in all. */
const MAX_ATTACHMENT_BYTES = 8_192;
const MAX_RECIPIENT_BYTES = 2_048;

/** As many of the items, from the first, as fit into so many bytes of JSON. */
function fitting(items: readonly JsonValue[], maxBytes: number): JsonValue[] {
  const kept: JsonValue[] = [];
  let bytes = 0;
  for (const item of items) {
    bytes += Buffer.byteLength(JSON.stringify(item)) + 1;
    if (bytes > maxBytes) break;
    kept.push(item);
  }
  return kept;
}

function attachmentsOf(parts: readonly FormPart[], info: unknown): JsonValue[] {
  return parts.flatMap(({ name, filename, contentType, sizeBytes }) => {
    if (filename === undefined) return [];
    const told = memberOf(info, name);
    const contentId = lineOf(textOf(memberOf(told, 'content-id')), MAX_FACT_CHARACTERS);
    return [
      {
        filename: lineOf(textOf(memberOf(told, 'filename')) || filename, MAX_FACT_CHARACTERS),
        content_type: lineOf(textOf(memberOf(told, 'type')) || contentType, MAX_FACT_CHARACTERS),
        size_bytes: sizeBytes,
        ...(contentId === '' ? {} : { content_id: contentId }),
      },
    ];
  });
}

interface Envelope {
  readonly from: string;
  readonly to: readonly string[];
}

function envelopeOf(field: string): Envelope {
  const envelope = jsonIn(field);
  const to = memberOf(envelope, 'to');
  return { from: textOf(memberOf(envelope, 'from')), to: Array.isArray(to) ? to.filter((item) => typeof item === 'string') : [] };
}

function factsOf(parts: readonly FormPart[], field: (name: string) => string, recipients: readonly string[]): JsonObject {
  const attachments = attachmentsOf(parts, jsonIn(field('attachment-info')));
  const lines = {
    in_reply_to: headerOf(headersOf(field), 'in-reply-to'),
    spam_score: field('spam_score'),
    spf: field('SPF'),
    dkim: field('dkim'),
  };
  const facts = Object.entries(lines).map(([name, text]): [string, JsonValue] => [name, lineOf(text, MAX_FACT_CHARACTERS)]);
  return {
    ...Object.fromEntries(facts.filter(([, text]) => text !== '')),
    ...(recipients.length > 1
      ? {
          recipients: fitting(
            recipients.map((recipient) => lineOf(recipient, LIMITS.address)),
            MAX_RECIPIENT_BYTES,
          ),
        }
      : {}),
    ...(attachments.length > 0 ? { attachment_count: attachments.length, attachments: fitting(attachments, MAX_ATTACHMENT_BYTES) } : {}),
  };
}

/** Message-ID names a message; one that has none, or too long a one, is known by its content. */
function providerIdOf(messageId: string, body: Uint8Array): string {
  return messageId !== '' && messageId.length <= LIMITS.id ? messageId : createHash('sha256').update(body).digest('base64url');
}

export async function parseSendgridInbound({ contentType, body }: WebhookContent): Promise<readonly WebhookEvent[]> {
  const parts = await partsOf(contentType, body);
  if (parts === undefined) return [{ kind: 'unreadable', error: 'it is not a whole multipart form' }];
  const field = fieldsOf(parts);
  const [headers, envelope] = [headersOf(field), envelopeOf(field('envelope'))];
  if (headers === '') return [{ kind: 'unreadable', error: 'it has no headers; Inbound Parse must not post the raw message' }];
  const messageId = lineOf(headerOf(headers, 'message-id'), MAX_MESSAGE_ID_CHARACTERS);
  const replyTo = addressIn(headerOf(headers, 'reply-to'));
  const inbound = {
    provider: 'sendgrid',
    providerMessageId: providerIdOf(messageId, body),
    messageType: 'email',
    // The envelope's sender takes bounces, and is often a machine's; its recipient is the mailbox of ours that the mail came to.
    fromAddress: addressIn(field('from') || headerOf(headers, 'from') || envelope.from),
    toAddress: addressIn(envelope.to[0] ?? (field('to') || headerOf(headers, 'to'))),
    body: bodyOf(field('text')),
    attachments: [],
    email: {
      subject: lineOf(field('subject'), LIMITS.subject),
      htmlBody: bodyOf(field('html')),
      replyTo: replyTo.includes('@') && replyTo.length <= MAX_REPLY_TO_CHARACTERS ? replyTo : '',
      internetMessageId: messageId,
    },
    metaData: factsOf(parts, field, envelope.to),
    occurredAt: undefined,
  } as const;
  return [{ kind: 'inbound', inbound }];
}
