/** Which reports say that an address must not be messaged. Sources: Twilio's error dictionary, SendGrid's event webhook. */
import type { DeliveryReport } from './delivery-report.ts';
import { LIFTABLE, type SuppressionChange, type SuppressionSource } from './suppression.ts';

/** Twilio keeps opt-outs per recipient and sender; its STOP reply may have gone past us. */
const TWILIO_OPTED_OUT = '21610';

const suppressed = (source: SuppressionSource): SuppressionChange => ({ kind: 'suppress', source, scope: 'all' });

/**
 * SendGrid keeps its lists per account, whatever the sender. `bounce` is a permanent one: a temporary one is told as `blocked` or
 * `deferred`.
 */
const SENDGRID_CHANGE: ReadonlyMap<string, SuppressionChange> = new Map<string, SuppressionChange>([
  ['bounce', suppressed('hard_bounce')],
  ['spamreport', suppressed('spam_report')],
  ['unsubscribe', suppressed('unsubscribe')],
  ['group_unsubscribe', suppressed('group_unsubscribe')],
  // Whoever left everything, complained or bounced is still on another list.
  ['group_resubscribe', { kind: 'lift', sources: LIFTABLE.email, scope: 'all' }],
]);

/** Reasons of `dropped` that name one of SendGrid's lists; others are about the content or the account. */
const LISTED: ReadonlySet<string> = new Set(['bounced address', 'unsubscribed address', 'spam reporting address', 'invalid']);

/** undefined: the report is about the message alone. */
export function suppressionOf({ provider, providerStatus, providerCode, providerMessage }: DeliveryReport): SuppressionChange | undefined {
  switch (provider) {
    case 'twilio':
      return providerCode === TWILIO_OPTED_OUT ? { kind: 'suppress', source: 'provider', scope: 'sender' } : undefined;
    case 'sendgrid': {
      const word = providerStatus.toLowerCase();
      if (word === 'dropped') return LISTED.has(providerMessage.trim().toLowerCase()) ? suppressed('provider') : undefined;
      return SENDGRID_CHANGE.get(word);
    }
    default:
      return provider satisfies never;
  }
}
