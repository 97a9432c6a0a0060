/** Keyset pages: each starts after the last item of the one before, so a page costs the same however deep it is. */
import { type RawBuilder, sql } from 'kysely';
import type { ConversationFilter, Cursor, MessageFilter, Page, PageRequest } from '../domain/ports.ts';
import {
  type ConversationView,
  type MessageEventView,
  type MessageView,
  toConversationView,
  toMessageEventView,
  toMessageView,
} from '../domain/views.ts';
import type { Database, RowReaders } from './rows.ts';

type Row = Record<string, unknown>;
type Condition = RawBuilder<unknown>;

const and = (conditions: readonly Condition[]): Condition => (conditions.length === 0 ? sql`true` : sql.join(conditions, sql` and `));

/** Cuts the surplus row that tells whether there is another page. */
export function pageOf<Item extends Row, T>(
  rows: readonly Item[],
  size: number,
  view: (row: Item) => T,
  cursor: (row: Item) => Cursor,
): Page<T> {
  const kept = rows.slice(0, size);
  const last = kept.at(-1);
  const items = kept.map(view);
  return rows.length > size && last !== undefined ? { items, next: cursor(last) } : { items };
}

/** Rows before the cursor in a descending order by time, then id. */
function before(column: string, after: Cursor | undefined): readonly Condition[] {
  return after === undefined ? [] : [sql`(${sql.ref(column)}, id) < (${after.key}::timestamptz, ${after.id}::uuid)`];
}

function messageConditions(filter: Omit<MessageFilter, 'address'>): readonly Condition[] {
  const { conversationIds, statuses, messageTypes, direction, parentId, createdAfter, createdBefore, providerMessageId } = filter;
  return [
    ...(conversationIds.length === 1 ? [sql`conversation_id = ${conversationIds[0]}`] : []),
    ...(conversationIds.length > 1 ? [sql`conversation_id = any(${conversationIds}::uuid[])`] : []),
    ...(statuses.length === 1 ? [sql`status = ${statuses[0]}`] : []),
    ...(statuses.length > 1 ? [sql`status = any(${statuses}::text[])`] : []),
    ...(messageTypes.length > 0 ? [sql`message_type = any(${messageTypes}::text[])`] : []),
    ...(direction === undefined ? [] : [sql`direction = ${direction}`]),
    ...(parentId === undefined ? [] : [sql`parent_id = ${parentId}`]),
    ...(createdAfter === undefined ? [] : [sql`created_at >= ${createdAfter.toISOString()}`]),
    ...(createdBefore === undefined ? [] : [sql`created_at < ${createdBefore.toISOString()}`]),
    ...(providerMessageId === undefined ? [] : [sql`provider_message_id = ${providerMessageId}`]),
  ];
}

/**
 * A filter by address is two ordered index scans, one per side, merged: `or` over two columns would read every message of the
 * address and sort it.
 */
function messagesQuery(readers: RowReaders, filter: MessageFilter, page: PageRequest): RawBuilder<Row> {
  const { address, ...rest } = filter;
  const conditions = [...messageConditions(rest), ...before('created_at', page.after)];
  const columns = sql.raw(readers.message.columns);
  const tail = sql`order by created_at desc, id desc limit ${page.size + 1}`;
  if (address === undefined) return sql<Row>`select ${columns} from messages where ${and(conditions)} ${tail}`;
  const side = (mine: Condition) => sql`(select * from messages where ${and([mine, ...conditions])} ${tail})`;
  return sql<Row>`
    select ${columns} from (${side(sql`lower(from_address) = ${address.toLowerCase()}`)} union all
      ${side(sql`lower(to_address) = ${address.toLowerCase()} and lower(from_address) <> ${address.toLowerCase()}`)}) messages ${tail}`;
}

export async function listMessages(
  database: Database,
  readers: RowReaders,
  filter: MessageFilter,
  page: PageRequest,
): Promise<Page<MessageView>> {
  const { rows } = await messagesQuery(readers, filter, page).execute(database);
  const fields = rows.map((row) => readers.message.fields(row));
  return pageOf(fields, page.size, toMessageView, ({ createdAt, id }) => ({ key: createdAt.toISOString(), id }));
}

export async function listMessageEvents(
  database: Database,
  readers: RowReaders,
  messageId: string,
  page: PageRequest,
): Promise<Page<MessageEventView>> {
  const conditions = [
    sql`message_id = ${messageId}`,
    ...(page.after === undefined ? [] : [sql`sequence > ${Number(page.after.key)}::integer`]),
  ];
  const { rows } = await sql<Row>`
    select ${sql.raw(readers.event.columns)} from message_events where ${and(conditions)} order by sequence limit ${page.size + 1}`.execute(
    database,
  );
  const fields = rows.map((row) => readers.event.fields(row));
  return pageOf(fields, page.size, toMessageEventView, ({ sequence, id }) => ({ key: String(sequence), id }));
}

/** All but the participant, who needs one index per side. */
export function conversationConditions(filter: ConversationFilter): readonly Condition[] {
  const { channelType, statuses, unreadOnly, activeAfter } = filter;
  return [
    ...(channelType === undefined ? [] : [sql`channel_type = ${channelType}`]),
    ...(statuses.length === 1 ? [sql`status = ${statuses[0]}`] : []),
    ...(statuses.length > 1 ? [sql`status = any(${statuses}::text[])`] : []),
    ...(unreadOnly ? [sql`unread_count > 0`] : []),
    ...(activeAfter === undefined ? [] : [sql`active_at >= ${activeAfter.toISOString()}`]),
  ];
}

export async function listConversations(
  database: Database,
  readers: RowReaders,
  filter: ConversationFilter,
  page: PageRequest,
): Promise<Page<ConversationView>> {
  const conditions = [...conversationConditions(filter), ...before('active_at', page.after)];
  const columns = sql.raw(readers.conversation.columns);
  const tail = sql`order by active_at desc, id desc limit ${page.size + 1}`;
  const { participant } = filter;
  const side = (mine: Condition) => sql`(select * from conversations where ${and([mine, ...conditions])} ${tail})`;
  const source =
    participant === undefined
      ? side(sql`true`)
      : sql`(${side(sql`from_key = ${participant}`)} union all ${side(sql`to_key = ${participant} and from_key <> ${participant}`)})`;
  const { rows } = await sql<Row>`select ${columns}, active_at as "activeAt" from ${source} conversations ${tail}`.execute(database);
  const fields = rows.map(({ activeAt, ...row }) => ({ ...readers.conversation.fields(row), activeAt: new Date(String(activeAt)) }));
  return pageOf(fields, page.size, toConversationView, ({ activeAt, id }) => ({ key: activeAt.toISOString(), id }));
}
