import { describe, expect, it } from 'vitest';
import { type DeliveryReport, statusEventOf } from '../../src/domain/delivery-report.ts';

function meaningOf(report: Partial<DeliveryReport>) {
  return statusEventOf({ provider: 'twilio', providerStatus: 'failed', providerCode: '', providerMessage: '', ...report });
}

describe("a provider's word", () => {
  it.each([
    ['twilio', ['accepted', 'scheduled', 'queued', 'sending', 'sent'], 'accepted'],
    ['twilio', ['delivered', 'read'], 'delivered'],
    ['twilio', ['failed', 'undelivered', 'canceled'], 'failed'],
    ['sendgrid', ['processed', 'deferred'], 'accepted'],
    ['sendgrid', ['delivered'], 'delivered'],
    ['sendgrid', ['dropped'], 'failed'],
    ['sendgrid', ['bounce', 'blocked'], 'bounced'],
  ] as const)('of %s, one of %j, means %s', (provider, words, kind) => {
    for (const providerStatus of words) expect(meaningOf({ provider, providerStatus })?.kind).toBe(kind);
  });

  it('means the same in any case', () => {
    expect(meaningOf({ providerStatus: 'DELIVERED' })).toEqual({ kind: 'delivered' });
  });

  it.each([
    ['sendgrid', 'open'],
    ['sendgrid', 'click'],
    ['sendgrid', 'unsubscribe'],
    ['sendgrid', 'spamreport'],
    ['twilio', 'receiving'],
    ['twilio', 'processed'],
    ['twilio', 'invented tomorrow'],
    ['twilio', ''],
    ['twilio', 'constructor'],
    ['twilio', '__proto__'],
  ] as const)('of %s that says nothing about delivery, such as %j, changes nothing', (provider, providerStatus) => {
    expect(meaningOf({ provider, providerStatus })).toBeUndefined();
  });
});

describe("a provider's error code", () => {
  it.each([
    ['21211', 'invalid_destination', false],
    ['21265', 'invalid_destination', false],
    ['21614', 'invalid_destination', false],
    ['21635', 'invalid_destination', false],
    ['30005', 'invalid_destination', false],
    ['30006', 'invalid_destination', false],
    ['30003', 'unreachable', true],
    ['30008', 'unreachable', true],
    ['21610', 'opted_out', false],
    ['30004', 'filtered', false],
    ['30007', 'filtered', false],
    ['30001', 'rejected', true],
    ['', 'rejected', false],
    ['99999', 'rejected', false],
    ['toString', 'rejected', false],
  ])('%j of Twilio is the failure %s, retryable: %s', (providerCode, reason, retryable) => {
    expect(meaningOf({ providerCode, providerMessage: 'why' })).toEqual({
      kind: 'failed',
      failure: { reason, providerCode, providerMessage: 'why', retryable },
    });
  });

  it('is not needed to see a bounce as an invalid destination', () => {
    expect(meaningOf({ provider: 'sendgrid', providerStatus: 'bounce' })).toMatchObject({ failure: { reason: 'invalid_destination' } });
  });
});

describe("a provider's error text", () => {
  it('is kept up to 1,024 characters', () => {
    expect(meaningOf({ providerMessage: 'x'.repeat(2_000) })).toMatchObject({ failure: { providerMessage: 'x'.repeat(1_024) } });
  });

  it('is not cut inside a character', () => {
    const text = `x${'😀'.repeat(1_100)}`;
    expect(meaningOf({ providerMessage: text })).toMatchObject({ failure: { providerMessage: `x${'😀'.repeat(1_023)}` } });
  });
});
