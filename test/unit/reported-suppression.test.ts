import { describe, expect, it } from 'vitest';
import type { DeliveryReport } from '../../src/domain/delivery-report.ts';
import { suppressionOf } from '../../src/domain/reported-suppression.ts';

const reported = (report: Partial<DeliveryReport>) =>
  suppressionOf({ provider: 'sendgrid', providerStatus: '', providerCode: '', providerMessage: '', ...report });

describe('a report', () => {
  it.each<readonly [Partial<DeliveryReport>, string]>([
    [{ providerStatus: 'bounce', providerCode: '5.1.1' }, 'hard_bounce'],
    [{ providerStatus: 'Bounce' }, 'hard_bounce'],
    [{ providerStatus: 'spamreport' }, 'spam_report'],
    [{ providerStatus: 'unsubscribe' }, 'unsubscribe'],
    [{ providerStatus: 'group_unsubscribe' }, 'group_unsubscribe'],
    [{ providerStatus: 'dropped', providerMessage: 'Bounced Address' }, 'provider'],
    [{ providerStatus: 'dropped', providerMessage: ' unsubscribed address' }, 'provider'],
    [{ providerStatus: 'dropped', providerMessage: 'Spam Reporting Address' }, 'provider'],
    [{ providerStatus: 'dropped', providerMessage: 'Invalid' }, 'provider'],
  ])('of SendGrid such as %j suppresses the address for all senders: %s', (report, source) => {
    expect(reported(report)).toEqual({ kind: 'suppress', source, scope: 'all' });
  });

  it('of SendGrid that the recipient is back in a group lifts that they left one, and no more', () => {
    expect(reported({ providerStatus: 'group_resubscribe' })).toEqual({ kind: 'lift', sources: ['group_unsubscribe'], scope: 'all' });
  });

  it.each(['failed', 'undelivered'])('of Twilio, %s with 21610, suppresses the address for the sender', (providerStatus) => {
    expect(reported({ provider: 'twilio', providerStatus, providerCode: '21610' })).toEqual({
      kind: 'suppress',
      source: 'provider',
      scope: 'sender',
    });
  });

  it.each<Partial<DeliveryReport>>([
    { providerStatus: 'blocked', providerCode: '5.7.1' },
    { providerStatus: 'deferred' },
    { providerStatus: 'delivered' },
    { providerStatus: 'open' },
    { providerStatus: 'dropped', providerMessage: 'Spam Content (if Spam Checker app is enabled)' },
    { providerStatus: 'dropped', providerMessage: 'Recipient List over Package Quota' },
    { providerStatus: 'dropped', providerMessage: 'Invalid SMTPAPI header' },
    { providerStatus: 'dropped' },
    { providerStatus: 'constructor' },
    { providerStatus: 'dropped', providerMessage: 'toString' },
    { providerStatus: 'failed', providerCode: '21610' },
    { provider: 'twilio', providerStatus: 'bounce' },
    { provider: 'twilio', providerStatus: 'unsubscribe' },
    { provider: 'twilio', providerStatus: 'undelivered', providerCode: '30005' },
    { provider: 'twilio', providerStatus: 'undelivered', providerCode: '30007' },
    { provider: 'twilio', providerStatus: 'delivered' },
  ])('such as %j is about the message alone', (report) => {
    expect(reported(report)).toBeUndefined();
  });
});
