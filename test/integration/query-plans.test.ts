import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { storedAddress } from '../../src/domain/address.ts';
import { LOG_START } from '../../src/domain/log-place.ts';
import { deadLetterReasons } from '../../src/domain/message.ts';
import type { ConversationFilter, MessageFilter, Tx } from '../../src/domain/ports.ts';
import type { WebhookFilter } from '../../src/domain/webhook-ports.ts';
import { createDatabase } from '../support/database.ts';
import { reportOn } from '../support/use-cases.ts';
import {
  answeredMessageId,
  busyConversationId,
  conversationId,
  fillTables,
  messageId,
  ourNumber,
  suppressionId,
  theirNumber,
  webhookRequestId,
} from './query-plans-data.ts';
import { explained, nodesOf, rowsRead, tablesRead } from './query-plans-explained.ts';

const size = 50;
/** One more than the page tells whether there is another. Ranges are merged by id, and the rows of the page read once more. */
const ROWS_OF_A_RANGE = size + 1;

const opened = new AsyncDisposableStack();
let database: Database;
let client: pg.Client;

beforeAll(async () => {
  const { url } = opened.use(await createDatabase());
  client = new pg.Client({ connectionString: url });
  await client.connect();
  opened.defer(() => client.end());
  await fillTables(client);
  database = opened.use(await openDatabase({ url, poolMax: 1, statementTimeoutMs: 60_000, connectTimeoutMs: 60_000 }));
});

afterAll(() => opened.disposeAsync());

const plansOf = (work: () => Promise<unknown>) => explained(client, work);

const anyMessage: MessageFilter = { conversationIds: [], statuses: [], messageTypes: [], failureReasons: [] };
const anyConversation: ConversationFilter = { statuses: [], unreadOnly: false };

describe('a page of messages reads a page of rows of each range of an index, and never a table', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => conversationId(index + 1));
  it.each<readonly [string, Partial<MessageFilter>, number]>([
    ['without a filter', {}, 24],
    ['of a busy conversation', { conversationIds: [busyConversationId] }, 1],
    ['of two conversations, one busy', { conversationIds: [busyConversationId, conversationId(2)] }, 2],
    ['of a hundred conversations', { conversationIds: hundred }, 100],
    ['of a status', { statuses: ['delivered'] }, 6],
    ['of a rare status', { statuses: ['failed'] }, 6],
    ['of several statuses', { statuses: ['pending', 'sent', 'failed'] }, 18],
    ['of a rare type', { messageTypes: ['mms'] }, 8],
    ['of several types', { messageTypes: ['mms', 'email'] }, 16],
    ['of a direction', { direction: 'inbound' }, 12],
    ['of status, direction and type', { statuses: ['sent'], direction: 'outbound', messageTypes: ['email'] }, 1],
    ['of one of our numbers', { address: ourNumber }, 2],
    ['of a number outside', { address: theirNumber }, 2],
    ['that answer a message', { parentId: answeredMessageId }, 1],
    ['since a time', { createdAfter: new Date('2026-01-01T00:30:00Z') }, 24],
    ['before a time', { createdBefore: new Date('2026-01-01T00:30:00Z') }, 24],
    ['of a status before a time', { statuses: ['sent'], createdBefore: new Date('2026-01-01T04:30:00Z') }, 6],
    ['with a provider id', { providerMessageId: 'SM77' }, 2],
    ['of a reason of failure', { failureReasons: ['rejected'] }, 1],
    ['of dead letters', { failureReasons: deadLetterReasons }, 3],
  ])('%s', async (_name, filter, ranges) => {
    const list = (after?: { key: string; id: string }) =>
      database.reads.listMessages({ ...anyMessage, ...filter }, { size, ...(after && { after }) });
    for (const after of [undefined, { key: '2026-01-01T04:00:00.000Z', id: messageId(14_400) }]) {
      const plans = await plansOf(() => list(after));
      expect(plans).toHaveLength(1);
      expect(plans.flatMap(tablesRead)).toEqual([]);
      expect(Math.max(...plans.map(rowsRead))).toBeLessThanOrEqual((ranges + 1) * ROWS_OF_A_RANGE);
    }
  });

  it.each<readonly [string, Partial<MessageFilter>]>([
    ['conversation and status', { conversationIds: [busyConversationId], statuses: ['failed'] }],
    ['conversations and types', { conversationIds: hundred, messageTypes: ['mms', 'email'] }],
    ['address and status', { address: ourNumber, statuses: ['failed', 'pending'] }],
    ['address and conversation', { address: theirNumber, conversationIds: [busyConversationId] }],
    ['address and direction', { address: theirNumber, direction: 'inbound' }],
    ['parent and type', { parentId: answeredMessageId, messageTypes: ['mms'] }],
    ['provider id and status', { providerMessageId: 'SM77', statuses: ['failed'] }],
    ['dead letters and one of our numbers', { failureReasons: deadLetterReasons, address: ourNumber }],
    [
      'dead letters, type and time',
      { failureReasons: deadLetterReasons, messageTypes: ['sms'], createdAfter: new Date('2026-01-01T04:30:00Z') },
    ],
    ['status and time', { statuses: ['failed'], createdAfter: new Date('2026-01-01T04:30:00Z') }],
  ])('%s together use an index too', async (_name, filter) => {
    const plans = await plansOf(() => database.reads.listMessages({ ...anyMessage, ...filter }, { size }));
    expect(plans).toHaveLength(1);
    expect(plans.flatMap(tablesRead)).toEqual([]);
  });
});

it('failures by reason are looked for among FAILED messages alone', async () => {
  for (const failureReasons of [['outcome_unknown'] as const, deadLetterReasons]) {
    const plans = await plansOf(() => database.reads.listMessages({ ...anyMessage, failureReasons }, { size }));
    expect(plans.flatMap(nodesOf).map((node) => node['Index Name'])).toContain('messages_failed');
  }
});

describe('a page of conversations reads a page of rows of each range of an index, and never a table', () => {
  it.each<readonly [string, Partial<ConversationFilter>, number]>([
    ['without a filter', {}, 6],
    ['that are active', { statuses: ['active'] }, 2],
    ['of several statuses', { statuses: ['archived', 'closed'] }, 4],
    ['of a rare channel', { channelType: 'email' }, 3],
    ['of a channel and status', { channelType: 'sms', statuses: ['active'] }, 1],
    ['with unread messages', { unreadOnly: true }, 6],
    ['with unread messages, active', { unreadOnly: true, statuses: ['active'] }, 2],
    ['of one of our numbers', { participant: ourNumber }, 6],
    ['of one of our numbers, active', { participant: ourNumber, statuses: ['active'] }, 2],
    ['of a number outside', { participant: theirNumber }, 6],
    ['active since a time', { activeAfter: new Date('2026-01-03T00:00:00Z') }, 6],
  ])('%s', async (_name, filter, ranges) => {
    for (const after of [undefined, { key: '2026-01-05T00:00:00.000Z', id: conversationId(5_760) }]) {
      const page = { size, ...(after && { after }) };
      const plans = await plansOf(() => database.reads.listConversations({ ...anyConversation, ...filter }, page));
      expect(plans).toHaveLength(1);
      expect(plans.flatMap(tablesRead)).toEqual([]);
      expect(Math.max(...plans.map(rowsRead))).toBeLessThanOrEqual((ranges + 1) * ROWS_OF_A_RANGE);
    }
  });
});

describe('a page of suppressions reads a page of rows of each channel, and never a table', () => {
  it.each([
    ['of all', undefined, 2],
    ['of SMS', 'sms', 1],
    ['of email', 'email', 1],
  ] as const)('%s', async (_name, channel, ranges) => {
    for (const after of [undefined, { key: '2026-01-05T00:00:00.000Z', id: suppressionId(5_760) }]) {
      const plans = await plansOf(() => database.suppressions.listSuppressions(channel, { size, ...(after && { after }) }));
      expect(plans).toHaveLength(1);
      expect(plans.flatMap(tablesRead)).toEqual([]);
      expect(Math.max(...plans.map(rowsRead))).toBeLessThanOrEqual((ranges + 1) * ROWS_OF_A_RANGE);
    }
  });
});

describe('a page of webhook requests reads a page of rows of each range of an index, and never a table', () => {
  it.each<readonly [string, WebhookFilter, number]>([
    ['without a filter', {}, 8],
    ['of a provider', { provider: 'twilio' }, 4],
    ['of a rare state', { state: 'quarantined' }, 2],
    ['of a provider and state', { provider: 'sendgrid', state: 'processed' }, 1],
  ])('%s', async (_name, filter, ranges) => {
    for (const after of [undefined, { key: '2026-01-01T04:00:00.000Z', id: webhookRequestId(14_400) }]) {
      const plans = await plansOf(() => database.webhooks.listWebhookRequests(filter, { size, ...(after && { after }) }));
      expect(plans).toHaveLength(1);
      expect(plans.flatMap(tablesRead)).toEqual([]);
      expect(Math.max(...plans.map(rowsRead))).toBeLessThanOrEqual((ranges + 1) * ROWS_OF_A_RANGE);
    }
  });
});

describe('what watchers ask of a log reads a page of rows of an index, and never the table', () => {
  const ROWS = 200;
  /** That of the moment: whose log it is, and where it begins. */
  const ROWS_BESIDE = 20;
  it.each([
    ['messages', 'message_events'],
    ['conversations', 'conversation_log'],
  ] as const)('of %s', async (name, table) => {
    const log = database.changeLog[name];
    const { end } = await log.tail();
    for (const place of [LOG_START, { ...end, position: end.position / 2n }]) {
      for (const read of [() => log.tail(), () => log.read(place, ROWS), () => log.has({ ...place, frontier: 5n })]) {
        const plans = await plansOf(read);
        expect(plans).toHaveLength(1);
        expect(plans.flatMap(tablesRead)).not.toContain(table);
        expect(Math.max(...plans.map(rowsRead))).toBeLessThanOrEqual(ROWS + ROWS_BESIDE);
      }
    }
  });
});

describe('no other read goes through a table', () => {
  const search = (query: string, filter: Partial<ConversationFilter> = {}) =>
    database.reads.searchConversations(query, { ...anyConversation, ...filter }, { size });
  it.each<readonly [string, () => Promise<unknown>]>([
    ['one message', () => database.reads.findMessage(messageId(5))],
    ['a hundred conversations', () => database.reads.findConversations(Array.from({ length: 100 }, (_, index) => conversationId(index)))],
    ['the history of a message', () => database.reads.listMessageEvents(messageId(5), { size })],
    ['the statistics of a conversation', () => database.reads.conversationStatistics(conversationId(5))],
    ['the suppressions of an address', () => database.suppressions.findSuppressions('sms', theirNumber)],
    ['what forbids a message', () => database.suppressions.findSuppression('sms', theirNumber, ourNumber)],
    ['a webhook request', () => database.webhooks.findWebhookRequest(webhookRequestId(5))],
    ['webhook requests that are old', () => database.webhooks.deleteOlderThan(new Date('2026-01-01T00:10:00Z'), 100)],
    ['a search for a rare word', () => search('albatross')],
    ['a search with one of our numbers', () => search('albatross', { participant: ourNumber, statuses: ['active'] })],
    [
      'the open conversation of two addresses',
      () =>
        database.reads.findOpenConversationId({
          ours: { channel: 'sms', text: ourNumber, key: ourNumber },
          theirs: { channel: 'sms', text: theirNumber, key: theirNumber },
        }),
    ],
  ])('%s', async (_name, read) => {
    const plans = await plansOf(read);
    expect(plans).toHaveLength(1);
    expect(plans.flatMap(tablesRead)).toEqual([]);
  });

  it('but a search for a word that every message has, which stops after its candidates', async () => {
    const plans = await plansOf(() => search('order'));
    expect(plans).toHaveLength(1);
    expect(Math.max(...plans.map(rowsRead))).toBeLessThanOrEqual(2 * 5_000 + 2 * ROWS_OF_A_RANGE);
  });

  it.each<readonly [string, (tx: Tx) => Promise<unknown>]>([
    ['a message by its id at the provider', (tx) => tx.findMessageByProviderId('twilio', 'SM77')],
    ['an event by its id at the provider', (tx) => tx.findEventByProviderId('twilio', 'EV77')],
    ['what is unread after a watermark', (tx) => tx.countInboundAfter(busyConversationId, 29_000)],
    [
      'the end of an opt-out',
      (tx) => tx.lift({ theirs: storedAddress(theirNumber, 'sms'), ours: storedAddress(ourNumber, 'sms') }, ['keyword']),
    ],
    ['the lock of a message', (tx) => tx.lockMessage(messageId(5))],
    ['the lock of a webhook request', (tx) => tx.lockWebhookRequest(webhookRequestId(5))],
    [
      'the places of a few reports',
      (tx) => tx.placeReports('twilio', [reportOn(messageId(5), { attempt: 1 }), reportOn(undefined, { providerMessageId: 'SM77' })]),
    ],
    [
      'the places of many reports',
      (tx) =>
        tx.placeReports(
          'twilio',
          Array.from({ length: 500 }, (_, n) => reportOn(messageId(n + 1))),
        ),
    ],
    ['the next sequence number', (tx) => tx.nextSequence(busyConversationId)],
    [
      'the deletion of a conversation',
      async (tx) => {
        const conversation = await tx.lockConversation(conversationId(7));
        if (conversation !== undefined) await tx.deleteConversation(conversation);
      },
    ],
  ])('inside a transaction: %s', async (_name, work) => {
    const plans = await plansOf(() => database.store.transaction(work));
    expect(plans.length).toBeGreaterThan(0);
    expect(plans.flatMap(tablesRead)).toEqual([]);
  });
});
