import type { Participants } from '../domain/conversation.ts';
import type { NewId, Tx } from '../domain/ports.ts';
import { newSuppression, type SuppressionChange } from '../domain/suppression.ts';

/** What brought a change about. */
export interface SuppressionCause {
  readonly participants: Participants;
  readonly messageId: string;
  readonly at: Date;
}

/**
 * Carries out what a keyword or a report asks for, in force when the transaction commits. No change when it is so already. Callers hold
 * the conversation's lock: SendMessage to the same address waits, and sees what came of it.
 */
export async function applySuppression(
  tx: Tx,
  change: SuppressionChange,
  { participants: { theirs, ours }, messageId, at }: SuppressionCause,
  newId: NewId,
): Promise<void> {
  const pair = { theirs, ours: change.scope === 'sender' ? ours : undefined };
  switch (change.kind) {
    case 'suppress':
      await tx.suppress(newSuppression({ id: newId(), source: change.source, pair, messageId, at }));
      return;
    case 'lift':
      await tx.lift(pair, change.sources);
      return;
    default:
      change satisfies never;
  }
}
