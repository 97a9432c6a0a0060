/** What the simulator accepted and posted, for tests and people to look at. Bounded: the oldest messages are forgotten. */
import { createHash } from 'node:crypto';
import type { Step } from './simulator-fate.ts';
import type { Trouble } from './simulator-faults.ts';
import type { WebhookAnswer } from './simulator-poster.ts';

export interface CallbackRecord {
  readonly status: string;
  /** Times it was posted, retries included. */
  readonly tries: number;
  /** HTTP status of the last try, or why there was none. */
  readonly answer: number | 'connect' | 'read' | 'unaddressed' | 'cancelled';
  readonly atMs: number;
}

interface Accepted {
  /** Our message's, from `message_id` of the arguments. */
  readonly messageId: string | undefined;
  /** From `message_attempt` of the arguments. */
  readonly attempt: number | undefined;
  /** Query parameters of the StatusCallback, or custom_args. */
  readonly args: Readonly<Record<string, string>>;
  readonly from: string;
  readonly to: string;
  /** The first 3,200 UTF-16 units: all of a text, the beginning of an email's first content block. */
  readonly body: string;
  /** SHA-256 of everything that was to be sent, in hexadecimal. */
  readonly bodyDigest: string;
  readonly mediaCount: number;
  readonly acceptedAtMs: number;
  /** Its fate, and what was reported on demand; a status holds from acceptedAtMs + afterMs on. */
  readonly steps: Step[];
  /** The latest 20. */
  readonly callbacks: CallbackRecord[];
}

export interface AcceptedText extends Accepted {
  readonly provider: 'twilio';
  /** The SID. */
  readonly providerMessageId: string;
  readonly messagingServiceSid: string | undefined;
  readonly segmentCount: number;
  /** As it was given, with its fragment. */
  readonly statusCallback: string | undefined;
}

/** One recipient of a mail. */
export interface AcceptedEmail extends Accepted {
  readonly provider: 'sendgrid';
  /** The X-Message-Id; recipients of one mail share it. */
  readonly providerMessageId: string;
  /** Of the recipient: begins with the X-Message-Id. */
  readonly sgMessageId: string;
  /** The first 998 UTF-16 units. */
  readonly subject: string;
}

export type AcceptedMessage = AcceptedText | AcceptedEmail;

export interface Counts {
  readonly accepted: { readonly twilio: number; readonly sendgrid: number };
  /** Requests to send that were refused for what they said, credentials included. */
  readonly refused: number;
  readonly lookups: number;
  readonly troubles: Readonly<Record<Trouble, number>>;
  /** Single posts to webhooks, retries included, by how they were answered. */
  readonly posts: { readonly accepted: number; readonly refused: number; readonly unanswered: number };
  /** Messages that were forgotten since. */
  readonly forgotten: number;
}

/** What others may read. */
export interface JournalView {
  readonly counts: Counts;
  /** Newest first. */
  messages(): readonly AcceptedMessage[];
  /** By SID, X-Message-Id or sg_message_id. */
  find(providerMessageId: string): AcceptedMessage | undefined;
  /** All that was accepted of one message of ours, oldest first: more than one is a message sent twice. */
  ofMessage(messageId: string): readonly AcceptedMessage[];
}

const MAX_CALLBACK_RECORDS = 20;
const MAX_BODY_UNITS = 3_200;
const MAX_SUBJECT_UNITS = 998;
/** Forgetting one by one would move the whole list every time. */
const FORGOTTEN_AT_ONCE_SHARE = 0.1;

export interface Draft {
  readonly from: string;
  readonly to: string;
  readonly body: string;
  /** Everything that makes the content, for the digest. */
  readonly content: readonly string[];
  readonly mediaCount: number;
  readonly args: Readonly<Record<string, string>>;
  readonly steps: readonly Step[];
}

/** Through bytes, for a slice would keep the whole text in memory. */
function beginning(text: string, units: number): string {
  return text.length <= units ? text : Buffer.from(text.slice(0, units)).toString();
}

export const subjectOf = (text: string): string => beginning(text, MAX_SUBJECT_UNITS);

export function acceptedOf({ content, steps, ...draft }: Draft, nowMs: number): Accepted {
  const digest = createHash('sha256');
  for (const part of content) digest.update(part).update('\0');
  const attempt = Number(draft.args['message_attempt']);
  return {
    ...draft,
    messageId: draft.args['message_id'],
    attempt: Number.isInteger(attempt) ? attempt : undefined,
    body: beginning(draft.body, MAX_BODY_UNITS),
    bodyDigest: digest.digest('hex'),
    acceptedAtMs: nowMs,
    steps: [...steps],
    callbacks: [],
  };
}

/** undefined: nothing has happened to it yet. */
export function stepAt(message: AcceptedMessage, nowMs: number): Step | undefined {
  return message.steps.findLast(({ afterMs }) => message.acceptedAtMs + afterMs <= nowMs);
}

/** Lookups know it: it is old enough. */
export function isVisible(message: AcceptedMessage, lagMs: number, nowMs: number): boolean {
  return message.acceptedAtMs + lagMs <= nowMs;
}

export class Journal implements JournalView {
  readonly counts = {
    accepted: { twilio: 0, sendgrid: 0 },
    refused: 0,
    lookups: 0,
    troubles: {
      fail: 0,
      unavailable: 0,
      throttle: 0,
      reject: 0,
      unauthorized: 0,
      dropAfterAccepting: 0,
      failAfterAccepting: 0,
      stallAfterAccepting: 0,
      dropBeforeAccepting: 0,
    },
    posts: { accepted: 0, refused: 0, unanswered: 0 },
    forgotten: 0,
  } satisfies Counts;
  readonly #maxMessages: number;
  readonly #oldestFirst: AcceptedMessage[] = [];
  readonly #byProviderId = new Map<string, AcceptedMessage>();
  readonly #byMessageId = new Map<string, AcceptedMessage[]>();

  constructor(maxMessages: number) {
    this.#maxMessages = maxMessages;
  }

  add(message: AcceptedMessage): void {
    this.counts.accepted[message.provider] += 1;
    this.#oldestFirst.push(message);
    this.#byProviderId.set(message.providerMessageId, message);
    if (message.provider === 'sendgrid') this.#byProviderId.set(message.sgMessageId, message);
    if (message.messageId !== undefined) {
      const siblings = this.#byMessageId.get(message.messageId);
      if (siblings === undefined) this.#byMessageId.set(message.messageId, [message]);
      else siblings.push(message);
    }
    if (this.#oldestFirst.length > this.#maxMessages) this.#forget(Math.ceil(this.#maxMessages * FORGOTTEN_AT_ONCE_SHARE));
  }

  messages(): readonly AcceptedMessage[] {
    return this.#oldestFirst.toReversed();
  }

  find(providerMessageId: string): AcceptedMessage | undefined {
    return this.#byProviderId.get(providerMessageId);
  }

  ofMessage(messageId: string): readonly AcceptedMessage[] {
    return this.#byMessageId.get(messageId) ?? [];
  }

  /** Newest first, without copying the list: lookups stop at the end of their page. */
  *newestFirst(): Generator<AcceptedMessage> {
    for (let index = this.#oldestFirst.length - 1; index >= 0; index -= 1) {
      const message = this.#oldestFirst[index];
      if (message !== undefined) yield message;
    }
  }

  addCallback(message: AcceptedMessage, record: CallbackRecord): void {
    message.callbacks.push(record);
    if (message.callbacks.length > MAX_CALLBACK_RECORDS) message.callbacks.shift();
  }

  countPost(answer: WebhookAnswer): void {
    if (answer.kind === 'unanswered') {
      if (answer.reason === 'connect' || answer.reason === 'read') this.counts.posts.unanswered += 1;
    } else if (answer.status < 300) this.counts.posts.accepted += 1;
    else this.counts.posts.refused += 1;
  }

  #forget(count: number): void {
    for (const message of this.#oldestFirst.splice(0, count)) {
      this.counts.forgotten += 1;
      this.#byProviderId.delete(message.providerMessageId);
      if (message.provider === 'sendgrid') this.#byProviderId.delete(message.sgMessageId);
      if (message.messageId !== undefined) this.#forgetOldest(message.messageId);
    }
  }

  #forgetOldest(messageId: string): void {
    const siblings = this.#byMessageId.get(messageId);
    siblings?.shift();
    if (siblings?.length === 0) this.#byMessageId.delete(messageId);
  }
}
