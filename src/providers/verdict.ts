/** What is to be concluded from a request that brought no acceptance, for the message and for the provider. */
import type { IncomingHttpHeaders } from 'node:http';
import { failureOf, refusalOf } from '../domain/delivery-report.ts';
import type { Failure, FailureReason, Provider } from '../domain/message.ts';
import type { SubmissionOutcome } from '../domain/provider-client.ts';
import type { Judged } from './guard.ts';

/** A provider that asks for more is not waited for any longer. */
const MAX_RETRY_AFTER_MS = 3_600_000;
/** For which the provider is left alone when it says "too many requests" and nothing else. */
const SLOW_DOWN_MS = 1_000;

export interface Evidence {
  readonly provider: Provider;
  /** Some of the request may have left this process. */
  readonly sent: boolean;
  /** HTTP status; undefined when no answer came. */
  readonly status: number | undefined;
  readonly retryAfterMs: number | undefined;
  /** The provider's code; empty: none. */
  readonly code: string;
  /** What ended the request, for when there is no answer. */
  readonly ending: string;
  /** The provider's text; empty: none. */
  readonly text: string;
  /** The answer finds fault with something in this message. */
  readonly blamesMessage: boolean;
}

export interface Verdict extends Judged {
  readonly outcome: SubmissionOutcome;
  /** How long, in ms, the provider wants to be left alone. */
  readonly slowDownMs: number;
}

/** Whatever the body says: the server did not take the request. */
const NOT_TAKEN: ReadonlySet<number> = new Set([408, 429, 503]);

export function transient(failure: Failure, retryAfterMs?: number): SubmissionOutcome {
  return { kind: 'transient', failure, retryAfterMs };
}

function fromAnswer(evidence: Evidence, status: number): Verdict {
  const { provider, code, text, retryAfterMs } = evidence;
  const failure = (otherwise: FailureReason): Failure => failureOf(provider, code === '' ? `HTTP_${status}` : code, text, otherwise);
  const slowDownMs = 0;
  if (NOT_TAKEN.has(status)) {
    const refusal = transient(failure('attempts_exhausted'), retryAfterMs);
    // A queue of one sender that is full (21611) is no reason to slow down the others.
    const tooMany = status === 429 && !evidence.blamesMessage;
    return { outcome: refusal, health: status === 503 ? 'failing' : 'well', slowDownMs: tooMany ? (retryAfterMs ?? SLOW_DOWN_MS) : 0 };
  }
  if (status < 400 || status >= 500)
    return { outcome: { kind: 'unknown', failure: failure('outcome_unknown') }, health: 'failing', slowDownMs };
  const unauthorized = (status === 401 || status === 403) && !evidence.blamesMessage;
  switch (refusalOf(provider, code) ?? (unauthorized ? 'credentials' : 'rejected')) {
    case 'credentials':
      return { outcome: { kind: 'credentials', failure: failure('attempts_exhausted') }, health: 'refuses-us', slowDownMs };
    case 'transient':
      return { outcome: transient(failure('attempts_exhausted'), retryAfterMs), health: 'well', slowDownMs };
    case 'rejected':
      return { outcome: { kind: 'rejected', failure: failure('rejected') }, health: 'well', slowDownMs };
  }
}

/** A refusal that says by itself that nothing was processed is safe to repeat, and so is what never left. Anything else is not known. */
export function verdictOf(evidence: Evidence): Verdict {
  const { provider, status, ending, text } = evidence;
  if (status !== undefined) return fromAnswer(evidence, status);
  const outcome: SubmissionOutcome = evidence.sent
    ? { kind: 'unknown', failure: failureOf(provider, ending, text, 'outcome_unknown') }
    : transient(failureOf(provider, ending, text, 'attempts_exhausted'));
  return { outcome, health: 'failing', slowDownMs: 0 };
}

const DAY_NAME = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)/;

function untilMs(value: string, unixNowMs: number): number | undefined {
  if (/^\d{1,9}(?:\.\d{1,3})?$/.test(value)) return Number(value) * 1_000;
  const at = DAY_NAME.test(value) ? Date.parse(value) : Number.NaN;
  return Number.isNaN(at) ? undefined : at - unixNowMs;
}

/** Retry-After, in seconds or as an HTTP date; SendGrid has X-RateLimit-Reset, in Unix seconds. In ms, up to an hour. */
export function retryAfterOf(headers: IncomingHttpHeaders, unixNowMs: number): number | undefined {
  const { 'retry-after': retryAfter, 'x-ratelimit-remaining': remaining, 'x-ratelimit-reset': reset } = headers;
  let waitMs: number | undefined;
  if (retryAfter !== undefined) waitMs = untilMs(retryAfter.trim(), unixNowMs);
  else if (remaining === '0' && typeof reset === 'string' && /^\d{1,11}$/.test(reset)) waitMs = Number(reset) * 1_000 - unixNowMs;
  return waitMs === undefined ? undefined : Math.min(Math.max(waitMs, 0), MAX_RETRY_AFTER_MS);
}
