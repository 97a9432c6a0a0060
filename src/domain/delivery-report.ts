/** What providers' words and codes mean here. Sources: Twilio's message status and error dictionaries, SendGrid's event webhook. */
import type { FailureReason, Provider, StatusEvent } from './message.ts';

export interface DeliveryReport {
  readonly provider: Provider;
  /** The provider's word, e.g. `undelivered`. Case does not matter. */
  readonly providerStatus: string;
  /** The provider's error code; empty when none. */
  readonly providerCode: string;
  /** The provider's error text; empty when none. */
  readonly providerMessage: string;
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
    21614: 'invalid_destination',
    30005: 'invalid_destination',
    30006: 'invalid_destination',
    30003: 'unreachable',
    30008: 'unreachable',
    21610: 'opted_out',
    30007: 'filtered',
  }),
  sendgrid: wordMap({}),
};

/** Reasons for which the same message to the same address may well succeed later. */
const RETRYABLE: ReadonlySet<FailureReason> = new Set(['unreachable', 'attempts_exhausted', 'expired', 'canceled']);

const DEFAULT_REASON: Readonly<Record<'failed' | 'bounced', FailureReason>> = { failed: 'rejected', bounced: 'invalid_destination' };

const MAX_PROVIDER_MESSAGE_CHARACTERS = 1_024;

/** undefined: a word that says nothing about the status (opens, clicks, words we do not know); it is recorded and changes nothing. */
export function statusEventOf(report: DeliveryReport): StatusEvent | undefined {
  const meaning = STATUS_MEANING[report.provider].get(report.providerStatus.toLowerCase());
  if (meaning === undefined || meaning === 'accepted' || meaning === 'delivered') return meaning && { kind: meaning };
  const reason = CODE_REASON[report.provider].get(report.providerCode) ?? DEFAULT_REASON[meaning];
  const failure = {
    reason,
    providerCode: report.providerCode,
    providerMessage: [...report.providerMessage].slice(0, MAX_PROVIDER_MESSAGE_CHARACTERS).join(''),
    retryable: RETRYABLE.has(reason),
  };
  return { kind: meaning, failure };
}
