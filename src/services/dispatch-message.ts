import { DeliveryAttempt, newAttempt } from '../domain/delivery-attempt.ts';
import type { DispatchState } from '../domain/delivery-ports.ts';
import type { Failure, Message } from '../domain/message.ts';
import type { Tx } from '../domain/ports.ts';
import type { ProviderClient, Submission } from '../domain/provider-client.ts';
import { changeInDispatch, type DispatchParts, unconfirmed } from './dispatch-parts.ts';
import { jobOf } from './dispatch-queue.ts';
import { createReconcileAttempt, type LostAttempt } from './reconcile-attempt.ts';
import { createRecordOutcome } from './record-outcome.ts';

/** What a job tells. */
export interface DispatchRequest {
  readonly messageId: string;
  readonly conversationId: string;
  /** Goes on to whatever is scheduled for this message. */
  readonly traceParent: string;
}

type Claim =
  /** There is nothing to do now; when there will be, it is scheduled. */
  | { readonly kind: 'idle' }
  | { readonly kind: 'submit'; readonly submission: Submission }
  | { readonly kind: 'reconcile'; readonly lost: LostAttempt };

const IDLE: Claim = { kind: 'idle' };

/** Between two looks at whether the earlier message of the conversation is settled, in case nobody tells. */
const BLOCKED_MS = 60_000;

/** Retrying it would fail the same way until the opt-out is lifted. */
const OPTED_OUT: Failure = { reason: 'opted_out', providerCode: '', providerMessage: '', retryable: false };

export interface DispatchOptions extends DispatchParts {
  readonly client: ProviderClient;
  /** W3C traceparent of the running job; empty: none. */
  readonly currentTraceParent: () => string;
}

function submissionOf(message: Message, now: Date): Submission {
  const { id, attemptCount, messageType, fromAddress, toAddress, body, attachments, email, expireAt } = message;
  const validityMs = expireAt == null ? 0 : expireAt.getTime() - now.getTime();
  return { messageId: id, attempt: attemptCount, messageType, fromAddress, toAddress, body, attachments, email: email ?? null, validityMs };
}

/**
 * Hands one message to its provider: at most once, unless the provider provably did not process it. Every step is safe to repeat after
 * a crash at any point: the attempt is committed before the provider is asked, and no transaction is open while it is.
 */
export function createDispatchMessage(options: DispatchOptions) {
  const { store, clock, newId, random, client, policy, observer } = options;
  const recordOutcome = createRecordOutcome(options);
  const reconcile = createReconcileAttempt({ ...options, recordOutcome });

  /** Under the locks of conversation and message, so that nobody else can claim it, cancel it or settle what it waits for. */
  async function claim(tx: Tx, request: DispatchRequest): Promise<Claim> {
    const now = clock.now();
    const state = await tx.lockForDispatch(request, now);
    if (state === undefined || state.message.status !== 'pending') return IDLE;
    const { message, attempt } = state;
    const later = async (at: number): Promise<Claim> => {
      const lastAt = Math.max(now.getTime(), message.expireAt?.getTime() ?? at);
      await tx.scheduleDispatch(jobOf(message, new Date(Math.min(at, lastAt)), request.traceParent));
      return IDLE;
    };
    const fail = async (failure: Failure): Promise<Claim> => {
      await changeInDispatch(tx, state, { type: 'failed', at: now, failure }, newId, () => message.apply({ kind: 'failed', failure }, now));
      return IDLE;
    };

    if (attempt?.isOpen() === true) return { kind: 'reconcile', lost: { request, attempt: attempt.attempt } };
    if (message.expireAt != null && message.expireAt <= now) {
      observer.deadLetter(client.provider, 'expired');
      return fail(unconfirmed('expired'));
    }
    const dueMs = (message.nextAttemptAt ?? message.createdAt).getTime();
    if (dueMs > now.getTime()) return later(dueMs);
    // Whoever settles the earlier one wakes this one, unless by that one's clock it was not due yet, or somebody settled it by hand.
    if (state.isBlocked) return later(now.getTime() + BLOCKED_MS);
    if (state.isSuppressed) {
      observer.suppressed();
      return fail(OPTED_OUT);
    }
    const unavailableMs = client.unavailableForMs();
    if (unavailableMs > 0) return later(now.getTime() + unavailableMs + policy.retryBaseMs * random());
    return { kind: 'submit', submission: await beginAttempt(tx, state, now) };
  }

  async function beginAttempt(tx: Tx, state: DispatchState, startedAt: Date): Promise<Submission> {
    const { message } = state;
    const fields = newAttempt({
      id: newId(),
      messageId: message.id,
      attempt: message.attemptCount + 1,
      provider: client.provider,
      traceParent: options.currentTraceParent(),
      startedAt,
    });
    const attempt = Object.assign(new DeliveryAttempt(), fields);
    await changeInDispatch(tx, state, { type: 'attempt_started', at: startedAt, attempt }, newId, () => message.beginAttempt());
    return submissionOf(message, startedAt);
  }

  /** Returns an attempt that is open already: nothing is submitted then. */
  async function submitOnce(request: DispatchRequest): Promise<LostAttempt | undefined> {
    // Before the attempt is written, so that no time passes between that and the request.
    using _place = await client.admit();
    const claimed = await store.transaction((tx) => claim(tx, request));
    switch (claimed.kind) {
      case 'idle':
        return undefined;
      case 'reconcile':
        return claimed.lost;
      case 'submit': {
        const outcome = await client.submit(claimed.submission);
        await recordOutcome(request, claimed.submission.attempt, outcome);
        return undefined;
      }
      default:
        return claimed satisfies never;
    }
  }

  return async (request: DispatchRequest): Promise<void> => {
    const lost = await submitOnce(request);
    if (lost !== undefined) await reconcile(lost);
  };
}
