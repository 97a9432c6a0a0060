import type { DispatchJob } from '../domain/delivery-ports.ts';
import { type Message, type MessageFields, providerOf } from '../domain/message.ts';
import type { Tx } from '../domain/ports.ts';

/** The wake-up for a message at `runAt`. */
export function jobOf(
  { id, conversationId, messageType }: Pick<MessageFields, 'id' | 'conversationId' | 'messageType'>,
  runAt: Date,
  traceParent: string,
): DispatchJob {
  return { messageId: id, conversationId, provider: providerOf(messageType), runAt, traceParent };
}

/**
 * Messages of a conversation leave in the order they were accepted: whoever settles one, under the conversation's lock, wakes the next
 * that is due. It may have been waiting for this one.
 */
export async function wakeNext(
  tx: Tx,
  { conversationId, sequence }: Pick<Message, 'conversationId' | 'sequence'>,
  at: Date,
): Promise<void> {
  const next = await tx.findNextPending(conversationId, sequence, at);
  if (next !== undefined) await tx.wakeDispatch(next, at);
}
