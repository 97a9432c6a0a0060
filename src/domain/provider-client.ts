/** What the centre needs from a provider. providers/ implements it; tests run it against the simulator. */
import type { Attachment, EmailContent, Failure, MessageType, Provider } from './message.ts';

/**
 * Names under which providers carry our ids back: in the query of Twilio's StatusCallback and in SendGrid's custom_args. SendGrid puts an
 * `attempt` of its own into some events.
 */
export const ECHO = { messageId: 'message_id', attempt: 'message_attempt' } as const;

/** One message to one provider, once. */
export interface Submission {
  readonly messageId: string;
  /** Comes back in the provider's reports, with the id. */
  readonly attempt: number;
  readonly messageType: MessageType;
  readonly fromAddress: string;
  readonly toAddress: string;
  readonly body: string;
  readonly attachments: readonly Attachment[];
  readonly email: EmailContent | null;
  /** How long the provider may still try, in ms. */
  readonly validityMs: number;
}

export type SubmissionOutcome =
  | { readonly kind: 'accepted'; readonly providerMessageId: string }
  /** For good: the same request would be refused again. */
  | { readonly kind: 'rejected'; readonly failure: Failure }
  /** Provably not processed. `retryAfterMs`: what the provider asked for. */
  | { readonly kind: 'transient'; readonly failure: Failure; readonly retryAfterMs: number | undefined }
  /** Provably not processed, and no message will be until somebody mends our credentials. */
  | { readonly kind: 'credentials'; readonly failure: Failure }
  /** The request may have been processed. It must not be repeated. */
  | { readonly kind: 'unknown'; readonly failure: Failure };

/** What identifies a submission whose answer was lost. */
export interface LostSubmission extends Omit<Submission, 'validityMs'> {
  readonly startedAt: Date;
}

export type LookupOutcome =
  /** Ids of submissions that the provider has, oldest first. `by` content: one may belong to another message with the same. */
  | { readonly kind: 'found'; readonly by: 'message_id' | 'content'; readonly providerMessageIds: readonly string[] }
  | { readonly kind: 'absent' }
  /** The provider could not be asked, or cannot tell. */
  | { readonly kind: 'unavailable' };

export interface ProviderHealth {
  readonly provider: Provider;
  /** `open`: it does not answer, or refuses our credentials, and is not asked for a while. */
  readonly breaker: 'closed' | 'half-open' | 'open';
}

/**
 * One provider's API. Concurrency, rate and time of its requests are limited inside. In order: admit, unavailableForMs, submit; a
 * submission that was not admitted is transient unless there happens to be room.
 */
export interface ProviderClient {
  readonly provider: Provider;
  /** 0: may be asked now; otherwise how long, in ms, until it is worth trying. Changes while one waits to be admitted: ask afterwards. */
  unavailableForMs(): number;
  /**
   * Resolves when one more request may start by rate and concurrency, and keeps its place for 15 s: a submission that begins by then does
   * not wait. After a failure of the provider one request is admitted first and the others wait for what becomes of it. Never rejects.
   * Disposing gives a place back that was not used.
   */
  admit(): Promise<Disposable>;
  /** Never throws. Resolves within the time-out it was configured with. */
  submit(submission: Submission): Promise<SubmissionOutcome>;
  /** Asks for a submission whose answer was lost. Never throws. */
  lookUp(lost: LostSubmission): Promise<LookupOutcome>;
  health(): ProviderHealth;
  /** Before a stop: nobody is admitted any more, and those who wait are told that it is unavailable. What is under way goes on. */
  drain(): void;
}
