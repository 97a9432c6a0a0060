/** What providers report of one attempt, in every order and any number of times, ends in one status. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { statusEventOf } from '../../src/domain/delivery-report.ts';
import type { MessageStatus, MessageType } from '../../src/domain/message.ts';
import type { WebhookContent } from '../../src/domain/webhook-ports.ts';
import { parseWebhook } from '../../src/providers/webhooks.ts';
import { messageOf } from '../support/message-fields.ts';
import { eventsBody, twilioStatus } from '../support/signed-webhooks.ts';

const at = new Date('2026-05-01T12:00:00.000Z');
const messageId = '01900000-0000-7000-8000-000000000001';
const accepted = ['accepted', 'queued', 'sending', 'sent'];
const underWay = ['processed', 'deferred'];
const engagement = ['open', 'click', 'unsubscribe', 'spamreport', 'group_resubscribe'];

/** A path of one attempt as its provider documents it, and where it ends. */
const PATHS: readonly (readonly [MessageType, readonly string[], MessageStatus])[] = [
  ['sms', accepted, 'sent'],
  ['sms', [...accepted, 'delivered'], 'delivered'],
  ['sms', [...accepted, 'undelivered'], 'failed'],
  ['mms', [...accepted, 'failed'], 'failed'],
  ['sms', ['delivered'], 'delivered'],
  ['sms', [...accepted, 'delivered', 'read'], 'delivered'],
  ['sms', ['queued', 'canceled'], 'failed'],
  ['email', underWay, 'sent'],
  ['email', [...underWay, 'delivered'], 'delivered'],
  ['email', [...underWay, 'bounce'], 'failed'],
  ['email', [...underWay, 'blocked'], 'failed'],
  ['email', ['dropped'], 'failed'],
  // A mailbox provider may take a mail and give it back later.
  ['email', [...underWay, 'delivered', 'bounce'], 'failed'],
  ['email', [...underWay, 'delivered', ...engagement], 'delivered'],
  ['email', engagement, 'pending'],
];

function contentOf(messageType: MessageType, word: string): WebhookContent {
  if (messageType !== 'email') {
    const { endpoint, path, headers, body } = twilioStatus(messageId, 1, word);
    return { endpoint, path, contentType: headers['content-type'] ?? '', body };
  }
  const words = word === 'blocked' ? { event: 'bounce', type: 'blocked' } : { event: word };
  const body = eventsBody([{ sg_event_id: word, sg_message_id: 'abc.x', message_id: messageId, ...words }]);
  return { endpoint: 'sendgrid_events', path: '', contentType: 'application/json', body };
}

async function statusAfter(messageType: MessageType, words: readonly string[]): Promise<MessageStatus> {
  const message = messageOf({ messageType });
  for (const word of words) {
    const [event] = await parseWebhook(contentOf(messageType, word));
    if (event?.kind !== 'report') throw new Error(`it is no report: ${JSON.stringify(event)}`);
    const statusEvent = statusEventOf(event.report);
    if (statusEvent !== undefined) message.apply(statusEvent, at);
  }
  return message.status;
}

describe('reports of one attempt', () => {
  it.each(PATHS)('of an %s, %j, end as %s in any order', async (messageType, words, status) => {
    const repeated = fc.tuple(
      ...words.map((word) => fc.integer({ min: 1, max: 4 }).map((count) => Array.from({ length: count }, () => word))),
    );
    const orders = repeated.chain((all) => fc.shuffledSubarray(all.flat(), { minLength: all.flat().length }));
    await fc.assert(
      fc.asyncProperty(orders, async (order) => {
        expect(await statusAfter(messageType, order)).toBe(status);
      }),
      { numRuns: 100 },
    );
  });
});
