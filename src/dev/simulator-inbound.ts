/** Messages that reach us: Twilio's inbound webhook and SendGrid's Inbound Parse. */
import type { KeyObject } from 'node:crypto';
import { segment } from '../domain/segments.ts';
import type { Random } from './seeded-random.ts';
import { hexId, sid } from './simulator-ids.ts';
import type { Journal } from './simulator-journal.ts';
import { encodeMultipart, type Part } from './simulator-multipart.ts';
import type { OptOuts } from './simulator-opt-outs.ts';
import type { WebhookAnswer, WebhookPoster } from './simulator-poster.ts';
import { postPatiently, type RetryPolicy } from './simulator-retries.ts';
import { SENDGRID_RETRIES, signedHeaders } from './simulator-sendgrid-events.ts';
import { API_VERSION, type TwilioAccount, type TwilioPosts } from './simulator-twilio-callbacks.ts';

export interface InboundText {
  readonly type: 'sms' | 'mms';
  readonly from: string;
  readonly to: string;
  readonly body?: string;
  readonly media?: readonly { readonly url: string; readonly contentType: string }[];
  /** A SID; the same one again is the same message again. Default: a new one. */
  readonly providerMessageId?: string;
}

export interface InboundAttachment {
  readonly filename: string;
  readonly contentType: string;
  /** Bytes, or base64. */
  readonly content: Uint8Array | string;
  /** For what the HTML shows. */
  readonly contentId?: string;
}

export interface InboundEmail {
  readonly type: 'email';
  /** With or without a display name: `Ann <ann@example.com>`. */
  readonly from: string;
  readonly to: string;
  readonly cc?: string;
  readonly subject?: string;
  /** The text part. */
  readonly body?: string;
  readonly html?: string;
  /** How text and html are encoded; the others are UTF-8. Default utf-8. */
  readonly charset?: 'utf-8' | 'iso-8859-1';
  readonly attachments?: readonly InboundAttachment[];
  /** Beside the usual ones, e.g. In-Reply-To and References. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly spamScore?: number;
  /** The Message-ID, in angle brackets. Default: a new one. */
  readonly providerMessageId?: string;
}

export type InboundMessage = InboundText | InboundEmail;

export interface Received {
  readonly providerMessageId: string;
  /** Our webhook's last one. */
  readonly answer: WebhookAnswer;
  readonly tries: number;
  /** The provider takes it for received: 2xx, and from Twilio's point of view TwiML or nothing. */
  readonly ok: boolean;
}

/** 4xx loses the mail for good. */
const INBOUND_PARSE_RETRIES: RetryPolicy = { ...SENDGRID_RETRIES, on: new Set(['3xx', '5xx', 'connect', 'read']) };

export interface InboundOptions {
  readonly account: TwilioAccount;
  readonly signingKey: KeyObject;
  readonly optOuts: OptOuts;
  readonly twilioPosts: TwilioPosts;
  readonly poster: WebhookPoster;
  readonly journal: Journal;
  readonly random: Random;
  readonly now: () => number;
  readonly firstPauseMs: number;
  webhookUrl(): string | undefined;
}

/** As README tells operators to set it: without these words Twilio would not repeat a message that is answered 5xx. */
const TWILIO_INBOUND = '/webhooks/twilio/inbound#rc=5&rp=all';

const isAccepted = (answer: WebhookAnswer): boolean => answer.kind === 'answered' && answer.status >= 200 && answer.status < 300;

function isTwiml(answer: WebhookAnswer): boolean {
  return answer.kind === 'answered' && (answer.body === '' || /^(text|application)\/xml\b/.test(answer.contentType));
}

async function receiveText(options: InboundOptions, message: InboundText): Promise<Received> {
  const { account, optOuts, twilioPosts, random, webhookUrl } = options;
  const media = message.media ?? [];
  const body = message.body ?? '';
  const id = message.providerMessageId ?? sid(random, message.type === 'mms' ? 'MM' : 'SM');
  const optOut = account.advancedOptOut === true ? optOuts.apply(body, message.to, message.from) : undefined;
  const base = webhookUrl();
  const posting = twilioPosts.post(base === undefined ? undefined : `${base}${TWILIO_INBOUND}`, {
    ToCountry: 'US',
    FromCountry: 'US',
    SmsMessageSid: id,
    SmsSid: id,
    SmsStatus: 'received',
    MessageSid: id,
    AccountSid: account.accountSid,
    ApiVersion: API_VERSION,
    From: message.from,
    To: message.to,
    Body: body,
    NumSegments: String(segment(body).segmentCount),
    NumMedia: String(media.length),
    ...Object.fromEntries(media.map(({ url }, index) => [`MediaUrl${index}`, url])),
    ...Object.fromEntries(media.map(({ contentType }, index) => [`MediaContentType${index}`, contentType])),
    ...(optOut === undefined ? {} : { OptOutType: optOut }),
  });
  const { answer, tries } = await posting.done;
  return { providerMessageId: id, answer, tries, ok: isAccepted(answer) && isTwiml(answer) };
}

const bareAddress = (text: string): string => /<([^<>]+)>\s*$/.exec(text)?.[1] ?? text.trim();

/** Header values are ASCII, or words encoded as RFC 2047 says. */
function headerText(text: string): string {
  return /^[\x20-\x7e]*$/.test(text) ? text : `=?UTF-8?B?${Buffer.from(text).toString('base64')}?=`;
}

function headersOf(mail: InboundEmail, messageId: string, nowMs: number): string {
  const headers = {
    Received: `from mail.example.com (192.0.2.25) by mx0001.sendgrid.net with ESMTP id ${messageId.length}`,
    'Message-ID': messageId,
    Date: new Date(nowMs).toUTCString().replace('GMT', '+0000'),
    From: mail.from,
    To: mail.to,
    ...(mail.cc === undefined ? {} : { Cc: mail.cc }),
    ...(mail.subject === undefined ? {} : { Subject: mail.subject }),
    'MIME-Version': '1.0',
    ...mail.headers,
  };
  return Object.entries(headers)
    .map(([name, value]) => `${name}: ${headerText(value)}\n`)
    .join('');
}

function partsOf(mail: InboundEmail, messageId: string, nowMs: number): readonly Part[] {
  const { cc, subject, body, html, attachments = [] } = mail;
  const charset = mail.charset ?? 'utf-8';
  const encode = (text: string) => Buffer.from(text, charset === 'utf-8' ? 'utf8' : 'latin1');
  const text = (name: string, value: string | undefined): readonly Part[] =>
    value === undefined ? [] : [{ name, content: Buffer.from(value) }];
  const encoded = (name: string, value: string | undefined): readonly Part[] =>
    value === undefined ? [] : [{ name, content: encode(value) }];
  const used = Object.entries({ to: mail.to, from: mail.from, cc, subject, text: body, html }).filter(([, value]) => value !== undefined);
  const charsets = used.map(([name]) => [name, name === 'text' || name === 'html' ? charset : 'UTF-8']);
  const info = attachments.map(({ filename, contentType, contentId }, index) => [
    `attachment${index + 1}`,
    { filename, name: filename, type: contentType, ...(contentId === undefined ? {} : { 'content-id': contentId }) },
  ]);
  const envelope = { to: mail.to.split(',').map(bareAddress), from: bareAddress(mail.from) };
  const contentIds = attachments.flatMap(({ contentId }, index) =>
    contentId === undefined ? [] : [[contentId, `attachment${index + 1}`]],
  );
  return [
    ...text('headers', headersOf(mail, messageId, nowMs)),
    ...text('dkim', '{@example.com : pass}'),
    ...(contentIds.length === 0 ? [] : text('content-ids', JSON.stringify(Object.fromEntries(contentIds)))),
    ...text('to', mail.to),
    ...text('cc', cc),
    ...encoded('html', html),
    ...text('from', mail.from),
    ...encoded('text', body),
    ...text('sender_ip', '192.0.2.25'),
    ...text('envelope', JSON.stringify(envelope)),
    ...text('attachments', String(attachments.length)),
    ...text('subject', subject),
    ...text('spam_score', String(mail.spamScore ?? 0.1)),
    ...text('spam_report', ''),
    ...text('charsets', JSON.stringify(Object.fromEntries(charsets))),
    ...text('SPF', 'pass'),
    ...(attachments.length === 0 ? [] : text('attachment-info', JSON.stringify(Object.fromEntries(info)))),
    ...attachments.map(({ filename, contentType, content }, index) => ({
      name: `attachment${index + 1}`,
      filename,
      contentType,
      content: typeof content === 'string' ? Buffer.from(content, 'base64') : Buffer.from(content),
    })),
  ];
}

async function receiveEmail(options: InboundOptions, mail: InboundEmail): Promise<Received> {
  const { poster, journal, random, now, firstPauseMs, signingKey, webhookUrl } = options;
  const messageId = mail.providerMessageId ?? `<${hexId(random, 24)}@mail.example.com>`;
  const boundary = `xYzZY${hexId(random, 24)}`;
  const body = encodeMultipart(partsOf(mail, messageId, now()), boundary);
  const request = () => {
    const base = webhookUrl();
    return {
      url: base === undefined ? '' : `${base}/webhooks/sendgrid/inbound`,
      headers: {
        'Content-Type': `multipart/form-data; boundary=${boundary}`,
        'User-Agent': 'Sendlib/1.0',
        ...signedHeaders(signingKey, body, now()),
      },
      body,
    };
  };
  const onAnswer = journal.countPost.bind(journal);
  const { answer, tries } = await postPatiently({ poster, policy: INBOUND_PARSE_RETRIES, firstPauseMs, request, onAnswer }).done;
  return { providerMessageId: messageId, answer, tries, ok: isAccepted(answer) };
}

/** Resolves once our webhook accepted it, or the provider has given up. */
export async function receive(options: InboundOptions, message: InboundMessage): Promise<Received> {
  return message.type === 'email' ? await receiveEmail(options, message) : await receiveText(options, message);
}
