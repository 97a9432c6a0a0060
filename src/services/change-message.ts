import { messageNotFound } from '../domain/errors.ts';
import type { Message } from '../domain/message.ts';
import type { EventType } from '../domain/message-event.ts';
import type { Clock, NewId, Store, Tx } from '../domain/ports.ts';
import type { MessageView } from '../domain/views.ts';
import { claimOrReplay } from './claim-request.ts';
import { contentHash } from './content-hash.ts';

export interface ChangeMessageOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly newId: NewId;
}

/** Changes one message by the transition table and records the event. */
export function createChangeMessage({ store, clock, newId }: ChangeMessageOptions) {
  async function change(tx: Tx, id: string, type: EventType, apply: (message: Message, at: Date) => void): Promise<MessageView> {
    const found = await tx.findMessage(id);
    if (found === undefined) throw messageNotFound([id]);
    const sequence = await tx.nextSequence(found.conversationId);
    const message = await tx.lockMessage(id);
    if (sequence === undefined || message === undefined) throw messageNotFound([id]);
    const at = clock.now();
    const statusBefore = message.status;
    apply(message, at);
    tx.addEvent({
      id: newId(),
      messageId: id,
      conversationId: message.conversationId,
      sequence,
      type,
      statusBefore,
      statusAfter: message.status,
      provider: null,
      providerStatus: '',
      providerEventId: null,
      failure: message.failure ?? null,
      attempt: message.attemptCount,
      occurredAt: null,
      recordedAt: at,
    });
    return tx.messageView(id);
  }

  return {
    /** PENDING -> FAILED with reason CANCELED. Throws message_not_found, status_forbids. */
    cancel: (id: string): Promise<MessageView> =>
      store.transaction((tx) => change(tx, id, 'canceled', (message, at) => message.cancel(at))),

    /** FAILED -> PENDING. Throws message_not_found, status_forbids, not_retryable, request_id_reused. */
    retry: (id: string, force: boolean, requestId: string | undefined, caller: string): Promise<MessageView> =>
      store.transaction(async (tx) => {
        const key = { caller, requestId, contentHash: contentHash('retry', { id, force }), resourceId: id, at: clock.now() };
        if ((await claimOrReplay(tx, key, 'message_id')) !== undefined) {
          if ((await tx.findMessage(id)) === undefined) throw messageNotFound([id]);
          return tx.messageView(id);
        }
        return change(tx, id, 'retried', (message, at) => message.retry(at, force));
      }),
  };
}
