/** Twilio's posts to a webhook: signed forms, and retries as the fragment of their URL asks for them. */
import { getExpectedTwilioSignature, SIGNATURE_HEADER } from 'twilio/lib/webhooks/webhooks.js';
import type { Step } from './simulator-fate.ts';
import { derivedId } from './simulator-ids.ts';
import type { AcceptedText, Journal } from './simulator-journal.ts';
import type { WebhookPoster, WebhookRequest } from './simulator-poster.ts';
import { type Posting, postPatiently, type RetryCause, type RetryPolicy } from './simulator-retries.ts';

export interface TwilioAccount {
  readonly accountSid: string;
  readonly authToken: string;
  /** Inbound STOP, START and HELP say so in OptOutType, and after STOP nothing is sent to that number (21610). Default false. */
  readonly advancedOptOut?: boolean;
}

export const API_VERSION = '2010-04-01';

/** Twilio's words in `rp`, and what they stand for here. */
const POLICY_WORDS: ReadonlyMap<string, readonly RetryCause[]> = new Map<string, readonly RetryCause[]>([
  ['4xx', ['4xx']],
  ['5xx', ['5xx']],
  ['ct', ['connect']],
  ['rt', ['read']],
  ['all', ['4xx', '5xx', 'connect', 'read']],
]);
const MAX_RETRIES = 5;
const LEAST_TIMEOUT_MS = 100;
const MOST_CONNECT_MS = 10_000;
const MOST_READ_MS = 15_000;

function numberOf(text: string | null, least: number, most: number, otherwise: number): number {
  if (text === null || !/^\d{1,6}$/.test(text)) return otherwise;
  return Math.min(most, Math.max(least, Number(text)));
}

/**
 * Twilio's connection overrides, e.g. `#rc=5&rp=all`. Without them one retry, and only when no connection was made: an HTTP error
 * is not repeated.
 */
export function retryPolicyOf(url: string): RetryPolicy {
  const overrides = new URLSearchParams(url.split('#')[1] ?? '');
  const words = (overrides.get('rp') ?? 'ct').split(',');
  return {
    retries: numberOf(overrides.get('rc'), 0, MAX_RETRIES, 1),
    on: new Set(words.flatMap((word) => POLICY_WORDS.get(word) ?? [])),
    connectTimeoutMs: numberOf(overrides.get('ct'), LEAST_TIMEOUT_MS, MOST_CONNECT_MS, 5_000),
    readTimeoutMs: numberOf(overrides.get('rt'), LEAST_TIMEOUT_MS, MOST_READ_MS, MOST_READ_MS),
    totalMs: numberOf(overrides.get('tt'), LEAST_TIMEOUT_MS, MOST_READ_MS, MOST_READ_MS),
  };
}

export interface TwilioPostsOptions {
  readonly account: TwilioAccount;
  readonly poster: WebhookPoster;
  readonly journal: Journal;
  readonly firstPauseMs: number;
}

export class TwilioPosts {
  readonly #options: TwilioPostsOptions;

  constructor(options: TwilioPostsOptions) {
    this.#options = options;
  }

  /** Signed over the URL as it was given, but for the fragment. Without a URL nothing is posted. */
  post(url: string | undefined, fields: Readonly<Record<string, string>>): Posting {
    const { account, poster, journal, firstPauseMs } = this.#options;
    const [signedUrl = ''] = (url ?? '').split('#');
    const request: WebhookRequest = {
      url: signedUrl,
      headers: {
        'Content-Type': 'application/x-www-form-urlencoded; charset=utf-8',
        Accept: '*/*',
        'User-Agent': 'TwilioProxy/1.1',
        [SIGNATURE_HEADER]: getExpectedTwilioSignature(account.authToken, signedUrl, fields),
        'I-Twilio-Idempotency-Token': derivedId(fields['MessageSid'] ?? '', fields['SmsStatus'] ?? ''),
      },
      body: Buffer.from(new URLSearchParams(fields).toString()),
    };
    const onAnswer = journal.countPost.bind(journal);
    return postPatiently({ poster, policy: retryPolicyOf(url ?? ''), firstPauseMs, request: () => request, onAnswer });
  }

  /** The status callback for one step. */
  tell(message: AcceptedText, step: Step): Posting {
    return this.post(message.statusCallback, {
      AccountSid: this.#options.account.accountSid,
      ApiVersion: API_VERSION,
      From: message.from,
      To: message.to,
      MessageSid: message.providerMessageId,
      SmsSid: message.providerMessageId,
      MessageStatus: step.status,
      SmsStatus: step.status,
      ...(message.messagingServiceSid === undefined ? {} : { MessagingServiceSid: message.messagingServiceSid }),
      ...(step.code === undefined ? {} : { ErrorCode: String(step.code) }),
      ...(DELIVERY_RECEIPTS.has(step.status) ? { RawDlrDoneDate: receiptDate(message.acceptedAtMs + step.afterMs) } : {}),
    });
  }
}

/** Statuses that come with a receipt of the network. */
const DELIVERY_RECEIPTS: ReadonlySet<string> = new Set(['delivered', 'undelivered']);

/** YYMMDDhhmm. */
function receiptDate(atMs: number): string {
  return new Date(atMs).toISOString().slice(2, 16).replaceAll(/\D/g, '');
}
