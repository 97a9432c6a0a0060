import { messageNotFound } from '../domain/errors.ts';
import type { Message } from '../domain/message.ts';
import type { EventType } from '../domain/message-event.ts';
import type { Clock, NewId, Store, Tx } from '../domain/ports.ts';
import type { MessageView } from '../domain/views.ts';
import { claimOrReplay } from './claim-request.ts';
import { contentHash } from './content-hash.ts';
import { jobOf, wakeNext } from './dispatch-queue.ts';
import { addEvent, lockForEvent } from './record-event.ts';

export interface ChangeMessageOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly newId: NewId;
  /** W3C traceparent of the running call; empty: none. */
  readonly traceParent: () => string;
}

/** Changes one message by the transition table and records the event. */
export function createChangeMessage({ store, clock, newId, traceParent }: ChangeMessageOptions) {
  async function change(
    tx: Tx,
    id: string,
    type: EventType,
    apply: (message: Message, at: Date) => void | Promise<void>,
  ): Promise<Message> {
    const found = await tx.findMessage(id);
    if (found === undefined) throw messageNotFound([id]);
    const locked = await lockForEvent(tx, id, found.conversationId);
    const { message } = locked;
    const at = clock.now();
    const statusBefore = message.status;
    await apply(message, at);
    addEvent(tx, locked, { id: newId(), type, statusBefore, failure: message.failure ?? null, recordedAt: at });
    return message;
  }

  return {
    /** PENDING -> FAILED with reason CANCELED. Throws message_not_found, and status_forbids also while a provider may have it. */
    cancel: (id: string): Promise<MessageView> =>
      store.transaction(async (tx) => {
        const message = await change(tx, id, 'canceled', async (locked, at) => {
          const attempt = await tx.findLatestAttempt(id);
          locked.cancel(at, attempt?.isOpen() === true);
        });
        await wakeNext(tx, message, clock.now());
        return tx.messageView(id);
      }),

    /** FAILED -> PENDING. Throws message_not_found, status_forbids, not_retryable, request_id_reused. */
    retry: (id: string, force: boolean, requestId: string | undefined, caller: string): Promise<MessageView> =>
      store.transaction(async (tx) => {
        const key = { caller, requestId, contentHash: contentHash('retry', { id, force }), resourceId: id, at: clock.now() };
        if ((await claimOrReplay(tx, key, 'message_id')) !== undefined) {
          if ((await tx.findMessage(id)) === undefined) throw messageNotFound([id]);
          return tx.messageView(id);
        }
        const message = await change(tx, id, 'retried', (locked, at) => locked.retry(at, force));
        await tx.supersedeAttempts(id);
        await tx.scheduleDispatch(jobOf(message, clock.now(), traceParent()));
        return tx.messageView(id);
      }),
  };
}
