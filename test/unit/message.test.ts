import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type DeliveryReport, statusEventOf } from '../../src/domain/delivery-report.ts';
import { DomainError } from '../../src/domain/errors.ts';
import { failureReasons, type Message, type MessageFields, messageStatuses, type StatusEvent } from '../../src/domain/message.ts';
import { failureOf, messageOf } from '../support/message-fields.ts';

const early = new Date('2026-01-01T10:00:00.000Z');
const late = new Date('2026-01-01T10:00:05.000Z');

const accepted: StatusEvent = { kind: 'accepted' };
const delivered: StatusEvent = { kind: 'delivered' };
const failed: StatusEvent = { kind: 'failed', failure: failureOf({ reason: 'unreachable', retryable: true }) };
const bounced: StatusEvent = { kind: 'bounced', failure: failureOf({ reason: 'invalid_destination' }) };
const canceled: StatusEvent = { kind: 'canceled' };
const retried: StatusEvent = { kind: 'retried' };
const everyEvent = [accepted, delivered, failed, bounced, canceled, retried];
const verdict = (reason: 'expired' | 'attempts_exhausted' | 'outcome_unknown'): StatusEvent => ({
  kind: 'failed',
  failure: failureOf({ reason }),
});

function withEvents(message: Message, ...events: readonly StatusEvent[]): Message {
  for (const event of events) message.apply(event, late);
  return message;
}

const pending = (fields: Partial<MessageFields> = {}) => messageOf(fields);
const sent = (fields: Partial<MessageFields> = {}) => messageOf({ status: 'sent', sentAt: early, ...fields });
const deliveredMessage = (fields: Partial<MessageFields> = {}) =>
  messageOf({ status: 'delivered', sentAt: early, deliveredAt: early, ...fields });
const failedMessage = (reason: (typeof failureReasons)[number] = 'rejected', retryable = false) =>
  messageOf({ status: 'failed', failedAt: early, failure: failureOf({ reason, retryable }) });

describe('a PENDING message', () => {
  it('becomes SENT when the provider accepts it', () => {
    expect(withEvents(pending(), accepted)).toMatchObject({ status: 'sent', sentAt: late, deliveredAt: null, failure: null });
  });

  it('becomes DELIVERED by a report that overtakes the acceptance, which also says when it was sent', () => {
    expect(withEvents(pending(), delivered)).toMatchObject({ status: 'delivered', sentAt: late, deliveredAt: late });
  });

  it.each([failed, bounced])('becomes FAILED with the reason of the report when it %j', (event) => {
    const { failure } = event as { failure: unknown };
    expect(withEvents(pending(), event)).toMatchObject({ status: 'failed', failedAt: late, failure, sentAt: null });
  });

  it('becomes FAILED with reason CANCELED when it is canceled', () => {
    const message = pending();
    message.cancel(late, false);
    expect(message).toMatchObject({ status: 'failed', failedAt: late, failure: { reason: 'canceled', retryable: true } });
  });

  it.each(['expired', 'attempts_exhausted', 'outcome_unknown'] as const)('becomes FAILED by our own verdict %s', (reason) => {
    expect(withEvents(pending(), verdict(reason))).toMatchObject({ status: 'failed', failure: { reason } });
  });

  it('is no longer waiting for its next attempt once its status changes', () => {
    expect(withEvents(pending({ nextAttemptAt: early }), accepted).nextAttemptAt).toBeNull();
  });
});

describe('a SENT message', () => {
  it('becomes DELIVERED and keeps the time it was sent', () => {
    expect(withEvents(sent(), delivered)).toMatchObject({ status: 'delivered', sentAt: early, deliveredAt: late });
  });

  it.each([failed, bounced])('becomes FAILED when it %j', (event) => {
    expect(withEvents(sent(), event)).toMatchObject({ status: 'failed', sentAt: early, failedAt: late });
  });

  it.each([accepted, canceled, retried])('stays as it is when %j', (event) => {
    expect(withEvents(sent(), event)).toEqual(sent());
  });

  it.each(['expired', 'attempts_exhausted', 'outcome_unknown'] as const)(
    'is not failed by our own verdict %s that came too late',
    (reason) => {
      expect(withEvents(sent(), verdict(reason))).toEqual(sent());
    },
  );

  it('cannot be canceled', () => {
    expect(() => sent().cancel(late, false)).toThrow(
      expect.objectContaining({ code: 'status_forbids', metadata: { status: 'sent', allowed: 'pending' } }),
    );
  });
});

describe('a DELIVERED message', () => {
  it('becomes FAILED when the mailbox provider bounces the email later, and keeps the time of delivery', () => {
    expect(withEvents(deliveredMessage({ messageType: 'email' }), bounced)).toMatchObject({
      status: 'failed',
      deliveredAt: early,
      failedAt: late,
      failure: { reason: 'bounced_after_delivery', retryable: false },
    });
  });

  it('stays DELIVERED when a bounce is reported for something other than an email', () => {
    expect(withEvents(deliveredMessage({ messageType: 'sms' }), bounced)).toEqual(deliveredMessage({ messageType: 'sms' }));
  });

  it.each([accepted, delivered, failed, canceled, retried, verdict('outcome_unknown')])('stays as it is when %j', (event) => {
    expect(withEvents(deliveredMessage(), event)).toEqual(deliveredMessage());
  });
});

describe('a FAILED message', () => {
  it.each(['expired', 'attempts_exhausted', 'outcome_unknown'] as const)(
    'whose failure %s was our own verdict yields to the provider',
    (reason) => {
      expect(withEvents(failedMessage(reason), accepted)).toMatchObject({ status: 'sent', sentAt: late, failure: null, failedAt: null });
      expect(withEvents(failedMessage(reason), delivered)).toMatchObject({
        status: 'delivered',
        deliveredAt: late,
        failure: null,
        failedAt: null,
      });
    },
  );

  it('takes over the reason of the provider for our own verdict, which is then final', () => {
    const message = withEvents(failedMessage('outcome_unknown'), failed);
    expect(message).toMatchObject({ status: 'failed', failedAt: early, failure: { reason: 'unreachable' } });
    expect(withEvents(message, accepted, delivered)).toMatchObject({ status: 'failed', failure: { reason: 'unreachable' } });
  });

  it.each(failureReasons.filter((reason) => !['expired', 'attempts_exhausted', 'outcome_unknown'].includes(reason)))(
    'for %s stays as it is whatever is reported',
    (reason) => {
      expect(withEvents(failedMessage(reason), accepted, delivered, failed, bounced, canceled, verdict('expired'))).toEqual(
        failedMessage(reason),
      );
    },
  );

  it('becomes PENDING again by a retry, without the id and times of the old attempt', () => {
    const message = messageOf({
      ...failedMessage('bounced_after_delivery'),
      providerMessageId: 'SM-old',
      sentAt: early,
      deliveredAt: early,
    });
    message.retry(late, true);
    expect(message).toMatchObject({
      status: 'pending',
      failure: null,
      failedAt: null,
      sentAt: null,
      deliveredAt: null,
      providerMessageId: null,
    });
  });

  it('is valid for as long after each retry as it was at first', () => {
    const message = messageOf({
      ...failedMessage('unreachable', true),
      createdAt: early,
      sendAt: null,
      expireAt: new Date(early.getTime() + 60_000),
    });
    message.retry(late, false);
    expect(message.expireAt).toEqual(new Date(late.getTime() + 60_000));
    message.apply(failed, late);
    const again = new Date(late.getTime() + 3_600_000);
    message.retry(again, true);
    expect(message).toMatchObject({ sendAt: again, nextAttemptAt: again, expireAt: new Date(again.getTime() + 60_000) });
  });

  it('is retried without force when its failure says that it may succeed', () => {
    const message = failedMessage('unreachable', true);
    message.retry(late, false);
    expect(message.status).toBe('pending');
  });

  it('is retried only with force when its failure says that it cannot succeed', () => {
    const message = failedMessage('invalid_destination');
    expect(() => message.retry(late, false)).toThrow(
      expect.objectContaining({ code: 'not_retryable', metadata: { reason: 'invalid_destination' } }),
    );
    expect(message).toEqual(failedMessage('invalid_destination'));
  });
});

describe('a message that has not failed', () => {
  it.each([pending(), sent(), deliveredMessage()])('and is $status cannot be retried, not even with force', (message) => {
    expect(() => message.retry(late, true)).toThrow(expect.objectContaining({ code: 'status_forbids' }));
  });
});

describe('an inbound message', () => {
  it('never changes', () => {
    for (const status of messageStatuses) {
      for (const event of everyEvent) {
        const inbound = messageOf({ direction: 'inbound', status });
        expect(withEvents(inbound, event)).toEqual(messageOf({ direction: 'inbound', status }));
      }
    }
  });

  it('can be neither canceled nor retried', () => {
    expect(() => messageOf({ direction: 'inbound', status: 'delivered' }).cancel(late, false)).toThrow(DomainError);
    expect(() => messageOf({ direction: 'inbound', status: 'failed' }).retry(late, true)).toThrow(DomainError);
  });
});

describe('the id that the provider gave', () => {
  it('is recorded once and never replaced', () => {
    const message = pending();
    message.carriedBy('twilio', '');
    expect(message).toMatchObject({ provider: 'twilio', providerMessageId: null });
    message.carriedBy('twilio', 'SM-1');
    message.carriedBy('sendgrid', 'SM-2');
    expect(message).toMatchObject({ provider: 'twilio', providerMessageId: 'SM-1' });
  });
});

describe('the reports about one attempt', () => {
  const twilio = (providerStatus: string, providerCode = ''): DeliveryReport => ({
    provider: 'twilio',
    providerStatus,
    providerCode,
    providerMessage: '',
  });
  const sendgrid = (providerStatus: string): DeliveryReport => ({
    provider: 'sendgrid',
    providerStatus,
    providerCode: '',
    providerMessage: '',
  });
  const lives = [
    { type: 'sms', reports: [twilio('queued'), twilio('sending'), twilio('sent'), twilio('delivered')], ends: 'delivered' },
    {
      type: 'sms',
      reports: [twilio('accepted'), twilio('queued'), twilio('sent'), twilio('delivered'), twilio('read')],
      ends: 'delivered',
    },
    { type: 'sms', reports: [twilio('queued'), twilio('sent'), twilio('undelivered', '30005')], ends: 'failed' },
    { type: 'mms', reports: [twilio('queued'), twilio('failed', '30008')], ends: 'failed' },
    { type: 'sms', reports: [twilio('queued'), twilio('sent')], ends: 'sent' },
    { type: 'email', reports: [sendgrid('processed'), sendgrid('deferred'), sendgrid('delivered'), sendgrid('open')], ends: 'delivered' },
    { type: 'email', reports: [sendgrid('processed'), sendgrid('deferred'), sendgrid('bounce')], ends: 'failed' },
    { type: 'email', reports: [sendgrid('processed'), sendgrid('delivered'), sendgrid('bounce')], ends: 'failed' },
    { type: 'email', reports: [sendgrid('processed'), sendgrid('dropped')], ends: 'failed' },
  ] as const;
  const shuffledWithDuplicates = fc.constantFrom(...lives).chain(({ reports, ...life }) =>
    fc
      .subarray([...reports])
      .chain((again) => fc.shuffledSubarray([...reports, ...again], { minLength: reports.length + again.length }))
      .map((arrivals) => ({ ...life, arrivals })),
  );
  const beginnings = fc.constantFrom(undefined, 'expired' as const, 'attempts_exhausted' as const, 'outcome_unknown' as const);

  it('end in the same status in whatever order and however often they arrive, also after a verdict of our own', () => {
    fc.assert(
      fc.property(shuffledWithDuplicates, beginnings, ({ type, arrivals, ends }, reason) => {
        const message = withEvents(pending({ messageType: type }), ...(reason === undefined ? [] : [verdict(reason)]));
        for (const report of arrivals) {
          const event = statusEventOf(report);
          if (event !== undefined) message.apply(event, late);
        }
        expect(message.status).toBe(ends);
      }),
      { numRuns: 500 },
    );
  });

  it('leave times and failure that fit the status after each of them', () => {
    fc.assert(
      fc.property(shuffledWithDuplicates, ({ type, arrivals }) => {
        const message = pending({ messageType: type });
        for (const report of arrivals) {
          const event = statusEventOf(report);
          if (event !== undefined) message.apply(event, late);
          expect(message.failure != null).toBe(message.status === 'failed');
          expect(message.failedAt != null).toBe(message.status === 'failed');
          if (message.status === 'delivered') expect(message.deliveredAt).not.toBeNull();
          if (message.status === 'sent' || message.status === 'delivered') expect(message.sentAt).not.toBeNull();
        }
      }),
      { numRuns: 200 },
    );
  });
});
