/** SendGrid's event webhook: events of several messages in one signed POST, repeated until it is accepted. */
import { type KeyObject, sign } from 'node:crypto';
import type { Step } from './simulator-fate.ts';
import { derivedId } from './simulator-ids.ts';
import type { AcceptedEmail, Journal } from './simulator-journal.ts';
import type { WebhookPoster, WebhookRequest } from './simulator-poster.ts';
import { type Posting, type PostOutcome, postPatiently, type RetryPolicy } from './simulator-retries.ts';

/** What SendGrid does for up to a day, within the patience of a test. */
export const SENDGRID_RETRIES: RetryPolicy = {
  retries: 40,
  on: new Set(['3xx', '4xx', '5xx', 'connect', 'read']),
  connectTimeoutMs: 5_000,
  readTimeoutMs: 15_000,
  totalMs: 24 * 3_600_000,
};

const MAX_EVENTS_IN_POST = 500;

/** The headers that prove who sent `body`; the signature covers the timestamp and the raw bytes. */
export function signedHeaders(key: KeyObject, body: Buffer, nowMs: number): Readonly<Record<string, string>> {
  const timestamp = String(Math.floor(nowMs / 1_000));
  const signature = sign('sha256', Buffer.concat([Buffer.from(timestamp), body]), { key, dsaEncoding: 'der' });
  return {
    'X-Twilio-Email-Event-Webhook-Signature': signature.toString('base64'),
    'X-Twilio-Email-Event-Webhook-Timestamp': timestamp,
  };
}

const READER = { useragent: 'Mozilla/5.0', ip: '192.0.2.7' };

/** What each event says beside the fields that all have. */
const EVENT_FIELDS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  processed: {},
  deferred: { response: '450 4.2.1 The user is receiving mail too quickly', attempt: '1' },
  delivered: { response: '250 2.0.0 OK', ip: '192.0.2.1', tls: 1 },
  bounce: { type: 'bounce', status: '5.1.1', reason: '550 5.1.1 The account does not exist', bounce_classification: 'Invalid Address' },
  blocked: { type: 'blocked', status: '5.7.1', reason: '550 5.7.1 Blocked by the recipient', bounce_classification: 'Reputation' },
  dropped: { reason: 'Bounced Address' },
  open: { ...READER, sg_machine_open: false },
  click: { ...READER, url: 'https://example.com/', url_offset: { index: 0, type: 'html' } },
  spamreport: {},
  unsubscribe: {},
  group_unsubscribe: { ...READER, asm_group_id: 1, url: 'https://example.com/unsubscribe' },
  group_resubscribe: { ...READER, asm_group_id: 1, url: 'https://example.com/resubscribe' },
};

export const EMAIL_EVENTS: readonly string[] = Object.keys(EVENT_FIELDS);

/** SendGrid's own fields win over custom arguments of the same name, as in `attempt` of a deferral: such a name loses its value. */
function eventOf(message: AcceptedEmail, step: Step): Readonly<Record<string, unknown>> {
  return {
    ...message.args,
    email: message.to,
    timestamp: Math.floor((message.acceptedAtMs + step.afterMs) / 1_000),
    'smtp-id': `<${message.providerMessageId}@geopod-ismtpd-0>`,
    ...EVENT_FIELDS[step.status],
    // SendGrid tells of blocks as bounces of another type.
    event: step.status === 'blocked' ? 'bounce' : step.status,
    // Copies of one event carry one id.
    sg_event_id: derivedId(message.sgMessageId, message.steps.indexOf(step)),
    sg_message_id: message.sgMessageId,
  };
}

export interface SendGridEventsOptions {
  readonly signingKey: KeyObject;
  readonly poster: WebhookPoster;
  readonly journal: Journal;
  readonly now: () => number;
  readonly firstPauseMs: number;
  /** How long the first event of a post waits for others. */
  readonly batchMs: number;
  /** Asked at every try. undefined: nowhere yet. */
  webhookUrl(): string | undefined;
}

interface Batch {
  readonly events: Readonly<Record<string, unknown>>[];
  readonly firstTry: PromiseWithResolvers<void>;
  readonly done: PromiseWithResolvers<PostOutcome>;
}

export class SendGridEvents {
  readonly #options: SendGridEventsOptions;
  #open: Batch | undefined;

  constructor(options: SendGridEventsOptions) {
    this.#options = options;
  }

  /** Joins the post that is being filled. */
  tell(message: AcceptedEmail, step: Step): Posting {
    const batch = this.#open ?? this.#begin();
    batch.events.push(eventOf(message, step));
    if (batch.events.length >= MAX_EVENTS_IN_POST) this.#open = undefined;
    return { firstTry: batch.firstTry.promise, done: batch.done.promise };
  }

  #begin(): Batch {
    const { poster, batchMs } = this.#options;
    const batch: Batch = { events: [], firstTry: Promise.withResolvers(), done: Promise.withResolvers() };
    this.#open = batch;
    const fill = async () => {
      await poster.wait(batchMs);
      if (this.#open === batch) this.#open = undefined;
      const posting = this.#post(batch.events);
      void posting.firstTry.then(batch.firstTry.resolve);
      batch.done.resolve(await posting.done);
    };
    void poster.track(fill());
    return batch;
  }

  #post(events: Batch['events']): Posting {
    const { poster, journal, now, signingKey, firstPauseMs, webhookUrl } = this.#options;
    const body = Buffer.from(JSON.stringify(events));
    const request = (): WebhookRequest => {
      const base = webhookUrl();
      return {
        url: base === undefined ? '' : `${base}/webhooks/sendgrid/events`,
        headers: {
          'Content-Type': 'application/json; charset=utf-8',
          'User-Agent': 'SendGrid Event API',
          ...signedHeaders(signingKey, body, now()),
        },
        body,
      };
    };
    const onAnswer = journal.countPost.bind(journal);
    return postPatiently({ poster, policy: SENDGRID_RETRIES, firstPauseMs, request, onAnswer });
  }
}
