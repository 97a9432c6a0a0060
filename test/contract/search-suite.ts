import { v7 as uuidv7 } from 'uuid';
import { beforeAll, describe, expect, it } from 'vitest';
import { addressKey } from '../../src/domain/address.ts';
import type { ConversationFields } from '../../src/domain/conversation.ts';
import type { ConversationFilter } from '../../src/domain/ports.ts';
import { conversationFields, messageFields } from '../support/message-fields.ts';
import { allPages, type Open, openForAll } from '../support/store-and-reads.ts';

const anyConversation: ConversationFilter = { statuses: [], unreadOnly: false };

interface Said {
  readonly title?: string;
  readonly participant?: string;
  readonly bodies?: readonly string[];
  readonly subject?: string;
  readonly status?: ConversationFields['status'];
  readonly unread?: boolean;
}

const said: Readonly<Record<string, Said>> = {
  invoice: { title: 'Invoice 2026', bodies: ['thank you'] },
  payment: { bodies: ['we sent the invoice on Monday', 'invoice, invoice and invoice again'], unread: true },
  delivery: { bodies: ['the parcel arrives on Monday morning'], status: 'archived' },
  reversed: { bodies: ['in the morning, not Monday'], status: 'closed' },
  mail: { participant: 'ada.lovelace@example.com', subject: 'Analytical engine', bodies: ['see the attached notes'] },
  number: { participant: '+12125550123', bodies: ['привет \u{1f44b} café'] },
};
const names = Object.keys(said);
const ids = new Map(names.map((name) => [name, uuidv7()]));
const nameOf = (id: string): string | undefined => names.find((name) => ids.get(name) === id);

export function describeSearch(open: Open): void {
  describe('search', () => {
    const opened = openForAll(open);

    beforeAll(() =>
      opened.store.transaction(async (tx) => {
        for (const [index, [name, { title = '', participant, bodies = [], subject, status = 'active', unread }]] of Object.entries(
          said,
        ).entries()) {
          const conversationId = ids.get(name) ?? '';
          const theirs = participant ?? `+1212555${2_000 + index}`;
          const channelType = theirs.includes('@') ? ('email' as const) : ('sms' as const);
          const sides = { participantTo: theirs, toKey: addressKey(theirs), channelType };
          tx.addConversation(conversationFields({ id: conversationId, title, status, unreadCount: unread ? 1 : 0, ...sides }));
          for (const body of bodies) {
            const email = subject === undefined ? null : { subject, htmlBody: '', replyTo: '', internetMessageId: '' };
            tx.addMessage(messageFields({ id: uuidv7(), conversationId, body, email, messageType: channelType }));
          }
        }
      }),
    );

    const matches = (query: string, filter: Partial<ConversationFilter> = {}, size = 50) =>
      allPages((page) => opened.reads.searchConversations(query, { ...anyConversation, ...filter }, page), size);
    const found = async (query: string, filter: Partial<ConversationFilter> = {}, size = 50) =>
      (await matches(query, filter, size)).map(({ conversation }) => nameOf(conversation.id));

    it.each<readonly [string, string, readonly string[]]>([
      ['a word of a message', 'parcel', ['delivery']],
      ['a word whatever its case', 'PARCEL', ['delivery']],
      ['a word of a title and of messages', 'invoice', ['invoice', 'payment']],
      ['a word of a subject', 'analytical', ['mail']],
      ['a number in a title', '2026', ['invoice']],
      ['a word of another script', 'ПРИВЕТ', ['number']],
      ['a word with an accent', 'café', ['number']],
      ['all words, in any order', 'morning monday', ['delivery', 'reversed']],
      ['a phrase in its order only', '"monday morning"', ['delivery']],
      ['either word', 'parcel or engine', ['delivery', 'mail']],
      ['a word without another', 'monday -parcel', ['payment', 'reversed']],
      ['a whole email address', 'Ada.Lovelace@Example.com', ['mail']],
      ['a part of an email address', 'lovelace', ['mail']],
      ['a phone number', '+12125550123', ['number']],
      ['a phone number without its plus', '12125550123', ['number']],
      ['nothing that is not there', 'zeppelin', []],
      ['no part of a word', 'parc', []],
    ])('finds %s', async (_what, query, expected) => {
      expect((await found(query)).toSorted()).toEqual([...expected].toSorted());
    });

    it('lists the best match first: a title before messages, many mentions before one', async () => {
      expect(await found('invoice')).toEqual(['invoice', 'payment']);
      const [title, message] = await matches('invoice');
      expect(title?.messageId).toBeUndefined();
      const best = (await opened.reads.findMessage(message?.messageId ?? '')).value;
      expect(best?.body).toBe('invoice, invoice and invoice again');
    });

    it('shows the text around the match, without markup', async () => {
      const snippets = async (query: string) => (await matches(query)).map(({ snippet }) => snippet);
      expect(await snippets('parcel')).toEqual([expect.stringContaining('parcel arrives')]);
      expect(await snippets('analytical')).toEqual([expect.stringContaining('Analytical engine')]);
      expect(await snippets('2026')).toEqual([expect.stringContaining('Invoice 2026')]);
      for (const snippet of await snippets('monday')) expect(snippet).not.toMatch(/[<>]/);
    });

    it('gives the same matches whatever the size of a page', async () => {
      const all = await found('monday or invoice or notes or thank');
      expect(all.length).toBeGreaterThanOrEqual(5);
      for (const size of [1, 2, 3]) expect(await found('monday or invoice or notes or thank', {}, size)).toEqual(all);
    });

    it.each<readonly [string, Partial<ConversationFilter>, readonly string[]]>([
      ['status', { statuses: ['archived', 'closed'] }, ['delivery', 'reversed']],
      ['participant', { participant: addressKey('+14155552671'), statuses: ['archived'] }, ['delivery']],
      ['channel', { channelType: 'email' }, []],
      ['unread messages', { unreadOnly: true }, ['payment']],
      ['activity', { activeAfter: new Date('2030-01-01T00:00:00Z') }, []],
    ])('is restricted by a filter by %s', async (_name, filter, expected) => {
      expect((await found('monday', filter)).toSorted()).toEqual([...expected].toSorted());
    });

    it.each([
      '"',
      '"""',
      '"unclosed phrase',
      '&|!()',
      "' or 1=1 --",
      "it's",
      '\\',
      '\\\\ \\x',
      '-',
      '--parcel',
      '-parcel',
      'or or or',
      'a:b:*',
      '<->',
      '<b>',
      '%_%',
      '$1 ?',
      ':*',
      '\u{1f44b}',
      '\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{1f1e9}\u{1f1ea}',
      'e\u0301',
      '\u202e\u200b',
      '  \t\n ',
      'x'.repeat(256),
      'a '.repeat(128),
      '-'.repeat(24),
      '-'.repeat(256),
      '- '.repeat(128),
      '-a '.repeat(85),
      '-"" '.repeat(24),
      '"a" '.repeat(64),
      '((((((((((',
    ])('answers the odd query %j', async (query) => {
      const page = await opened.reads.searchConversations(query, anyConversation, { size: 3 });
      expect(page.items.length).toBeLessThanOrEqual(3);
    });

    it('finds words next to a message that is too long to be indexed as a whole', async () => {
      const conversation = conversationFields({ id: uuidv7(), thread: true });
      const words = Array.from({ length: 120_000 }, (_, index) => `w${index}-${'\u{10348}'.repeat(index % 3)}`).join(' ');
      await opened.store.transaction(async (tx) => {
        tx.addConversation(conversation);
        tx.addMessage(messageFields({ id: uuidv7(), conversationId: conversation.id, body: `beginning ${words}` }));
      });
      const [match] = await matches('beginning');
      expect(match?.conversation.id).toBe(conversation.id);
    });
  });
}
