/** What providers' words and codes mean here. Sources: Twilio's message status and error dictionaries, SendGrid's event webhook. */
import type { Failure, FailureReason, Provider, StatusEvent } from './message.ts';

export interface DeliveryReport {
  readonly provider: Provider;
  /** The provider's word, e.g. `undelivered`. Case does not matter. */
  readonly providerStatus: string;
  /** The provider's error code; empty when none. */
  readonly providerCode: string;
  /** The provider's error text; empty when none. */
  readonly providerMessage: string;
}

/** A report and what it is about. */
export interface ReportedDelivery extends DeliveryReport {
  /** Unique per provider. */
  readonly providerEventId: string;
  /** Our id, when the provider echoes it. */
  readonly messageId: string | undefined;
  /** Our attempt, when the provider echoes it. */
  readonly attempt: number | undefined;
  /** The provider's message id; empty when not reported. */
  readonly providerMessageId: string;
  readonly occurredAt: Date | undefined;
}

type Meaning = 'accepted' | 'delivered' | 'failed' | 'bounced';

/** A map, not an object: words come from outside, and `constructor` is in every object. */
function wordMap<Value>(words: Readonly<Record<string, Value>>): ReadonlyMap<string, Value> {
  return new Map(Object.entries(words));
}

const STATUS_MEANING: Readonly<Record<Provider, ReadonlyMap<string, Meaning>>> = {
  twilio: wordMap({
    accepted: 'accepted',
    scheduled: 'accepted',
    queued: 'accepted',
    sending: 'accepted',
    sent: 'accepted',
    delivered: 'delivered',
    read: 'delivered',
    failed: 'failed',
    undelivered: 'failed',
    canceled: 'failed',
  }),
  sendgrid: wordMap({
    processed: 'accepted',
    deferred: 'accepted',
    delivered: 'delivered',
    bounce: 'bounced',
    blocked: 'bounced',
    dropped: 'failed',
  }),
};

const CODE_REASON: Readonly<Record<Provider, ReadonlyMap<string, FailureReason>>> = {
  twilio: wordMap({
    21211: 'invalid_destination',
    21265: 'invalid_destination',
    21614: 'invalid_destination',
    21635: 'invalid_destination',
    30005: 'invalid_destination',
    30006: 'invalid_destination',
    30003: 'unreachable',
    30008: 'unreachable',
    21610: 'opted_out',
    30004: 'filtered',
    30007: 'filtered',
  }),
  sendgrid: wordMap({}),
};

/** Codes that find no fault with the message: too much at once, or something about our account. */
const CODE_OBSTACLE: Readonly<Record<Provider, ReadonlyMap<string, 'transient' | 'credentials'>>> = {
  twilio: wordMap({
    20429: 'transient',
    21611: 'transient',
    30001: 'transient',
    20003: 'credentials',
    20005: 'credentials',
    20006: 'credentials',
    20008: 'credentials',
    20403: 'credentials',
    30002: 'credentials',
  }),
  sendgrid: wordMap({}),
};

/** Reasons for which the same message to the same address may well succeed later. */
const RETRYABLE: ReadonlySet<FailureReason> = new Set(['unreachable', 'attempts_exhausted', 'expired', 'canceled']);

const DEFAULT_REASON: Readonly<Record<'failed' | 'bounced', FailureReason>> = { failed: 'rejected', bounced: 'invalid_destination' };

const MAX_PROVIDER_MESSAGE_CHARACTERS = 1_024;

/** What a code says of the request it refused. `credentials`: no request will succeed before our account is mended. undefined: not known. */
export function refusalOf(provider: Provider, providerCode: string): 'rejected' | 'transient' | 'credentials' | undefined {
  return CODE_REASON[provider].has(providerCode) ? 'rejected' : CODE_OBSTACLE[provider].get(providerCode);
}

/** The failure that a code stands for; its reason is `otherwise` when the code is not known. The text is cut at 1,024 characters. */
export function failureOf(provider: Provider, providerCode: string, providerMessage: string, otherwise: FailureReason): Failure {
  const reason = CODE_REASON[provider].get(providerCode) ?? otherwise;
  return {
    reason,
    providerCode,
    providerMessage: [...providerMessage].slice(0, MAX_PROVIDER_MESSAGE_CHARACTERS).join(''),
    retryable: RETRYABLE.has(reason) || CODE_OBSTACLE[provider].has(providerCode),
  };
}

/** undefined: a word that says nothing about the status (opens, clicks, words we do not know); it is recorded and changes nothing. */
export function statusEventOf(report: DeliveryReport): StatusEvent | undefined {
  const { provider, providerCode, providerMessage } = report;
  const meaning = STATUS_MEANING[provider].get(report.providerStatus.toLowerCase());
  if (meaning === undefined || meaning === 'accepted' || meaning === 'delivered') return meaning && { kind: meaning };
  return { kind: meaning, failure: failureOf(provider, providerCode, providerMessage, DEFAULT_REASON[meaning]) };
}
