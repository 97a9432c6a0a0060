import { type Address, parseEmail } from '../domain/address.ts';
import { DomainError } from '../domain/errors.ts';
import type { NewId } from '../domain/ports.ts';
import { suppressionOf } from '../domain/reported-suppression.ts';
import { newSuppression, type SuppressionFields } from '../domain/suppression.ts';
import type { WebhookEvent } from '../domain/webhook-ports.ts';

function mailboxOf(recipient: string): Address | undefined {
  try {
    return parseEmail(recipient, 'recipient');
  } catch (error) {
    if (error instanceof DomainError) return undefined;
    throw error;
  }
}

/**
 * What a report asks for that tells of a message which is no longer there: who complained or left does so for good, whoever deletes the
 * message. Only when it echoes an id of ours, since the account may be shared. undefined: nothing.
 */
export function unmatchedOptOut(event: WebhookEvent, at: Date, newId: NewId): SuppressionFields | undefined {
  if (event.kind !== 'report' || event.report.messageId === undefined || event.recipient === undefined) return undefined;
  const change = suppressionOf(event.report);
  // Of one sender: nobody knows any more which it was.
  if (change?.kind !== 'suppress' || change.scope !== 'all') return undefined;
  const theirs = mailboxOf(event.recipient);
  if (theirs === undefined) return undefined;
  return newSuppression({ id: newId(), source: change.source, pair: { theirs, ours: undefined }, messageId: event.report.messageId, at });
}
