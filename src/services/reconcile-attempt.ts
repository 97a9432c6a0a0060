import type { Message } from '../domain/message.ts';
import type { Tx } from '../domain/ports.ts';
import type { LookupOutcome, LostSubmission, ProviderClient } from '../domain/provider-client.ts';
import type { DispatchRequest } from './dispatch-message.ts';
import { changeInDispatch, type DispatchParts, unconfirmed } from './dispatch-parts.ts';
import { jobOf } from './dispatch-queue.ts';
import type { RecordOutcome } from './record-outcome.ts';

/** An attempt whose provider may have the message without our knowing. */
export interface LostAttempt {
  readonly request: DispatchRequest;
  readonly attempt: number;
}

type Step =
  | { readonly kind: 'done' }
  /** Whoever asked is gone: from now on the outcome is unknown. */
  | { readonly kind: 'abandoned' }
  | { readonly kind: 'ask'; readonly lost: LostSubmission };

const DONE: Step = { kind: 'done' };

export interface ReconcileOptions extends DispatchParts {
  readonly client: ProviderClient;
  readonly recordOutcome: RecordOutcome;
}

/**
 * Finds out what became of an attempt whose answer was lost: waits for a report, then asks the provider, then gives up with
 * OUTCOME_UNKNOWN. Never repeats the attempt.
 */
export function createReconcileAttempt({ client, recordOutcome, ...parts }: ReconcileOptions) {
  const { store, clock, newId, policy, observer } = parts;

  async function schedule(tx: Tx, message: Message, { request }: LostAttempt, atMs: number): Promise<Step> {
    await tx.scheduleDispatch(jobOf(message, new Date(atMs), request.traceParent));
    return DONE;
  }

  async function nextStep(tx: Tx, lostAttempt: LostAttempt): Promise<Step> {
    const now = clock.now();
    const state = await tx.lockForDispatch(lostAttempt.request, now, lostAttempt.attempt);
    if (state?.message.status !== 'pending' || state.attempt?.isOpen() !== true) return DONE;
    const { message, attempt } = state;
    const nowMs = now.getTime();
    const startedMs = attempt.startedAt.getTime();
    const hasReturnedMs = startedMs + policy.callMs;
    if (attempt.outcome === 'running') {
      // Another process may still be asking.
      return nowMs < hasReturnedMs ? schedule(tx, message, lostAttempt, hasReturnedMs) : { kind: 'abandoned' };
    }
    if (nowMs < startedMs + policy.callbackWaitMs) return schedule(tx, message, lostAttempt, startedMs + policy.callbackWaitMs);
    const { id: messageId, messageType, fromAddress, toAddress, body, attachments, email } = message;
    const { startedAt } = attempt;
    const content = { messageType, fromAddress, toAddress, body, attachments, email: email ?? null };
    return { kind: 'ask', lost: { messageId, attempt: attempt.attempt, startedAt, ...content } };
  }

  /** The provider does not know it, or cannot tell: asked again until the window is over. */
  async function waitOrGiveUp(lostAttempt: LostAttempt, startedAt: Date): Promise<void> {
    const gaveUp = await store.transaction(async (tx) => {
      const now = clock.now();
      const state = await tx.lockForDispatch(lostAttempt.request, now, lostAttempt.attempt);
      if (state?.message.status !== 'pending' || state.attempt?.isOpen() !== true) return false;
      const { message, attempt } = state;
      const endMs = startedAt.getTime() + policy.unknownWindowMs;
      if (now.getTime() < endMs) {
        await schedule(tx, message, lostAttempt, Math.min(endMs, now.getTime() + policy.callbackWaitMs));
        return false;
      }
      attempt.settle('given_up', attempt.failure ?? null, now);
      const failure = unconfirmed('outcome_unknown', attempt.failure);
      const event = { type: 'failed', at: now, failure, attempt } as const;
      await changeInDispatch(tx, state, event, newId, () => message.apply({ kind: 'failed', failure }, now));
      return true;
    });
    if (!gaveUp) return;
    observer.attempt(client.provider, 'given_up');
    observer.deadLetter(client.provider, 'outcome_unknown');
  }

  /** The oldest that belongs to no other message of ours; undefined also when that cannot be told. */
  async function ownOf(found: LookupOutcome, { messageId }: LostSubmission): Promise<string | undefined> {
    if (found.kind !== 'found') return undefined;
    return store.transaction(async (tx) => {
      // Asked first: what another one is told from now on is among the ids that are taken.
      if (found.by === 'content' && (await tx.hasOpenTwin(messageId))) return undefined;
      return tx.findUnclaimed(client.provider, found.providerMessageIds);
    });
  }

  return async (lostAttempt: LostAttempt): Promise<void> => {
    const step = await store.transaction((tx) => nextStep(tx, lostAttempt));
    switch (step.kind) {
      case 'done':
        return;
      case 'abandoned':
        return recordOutcome(lostAttempt.request, lostAttempt.attempt, { kind: 'unknown', failure: unconfirmed('outcome_unknown') });
      case 'ask': {
        const providerMessageId = await ownOf(await client.lookUp(step.lost), step.lost);
        if (providerMessageId === undefined) return waitOrGiveUp(lostAttempt, step.lost.startedAt);
        return recordOutcome(lostAttempt.request, lostAttempt.attempt, { kind: 'accepted', providerMessageId });
      }
      default:
        return step satisfies never;
    }
  };
}
