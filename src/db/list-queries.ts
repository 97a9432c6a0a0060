/** Keyset pages: each starts after the last item of the one before, so a page costs the same however deep it is. */
import { type RawBuilder, sql } from 'kysely';
import { channels, conversationStatuses } from '../domain/conversation.ts';
import { directions, messageStatuses, messageTypes, providers } from '../domain/message.ts';
import type { ConversationFilter, Cursor, MessageFilter, Page, PageRequest } from '../domain/ports.ts';
import {
  type ConversationView,
  type MessageEventView,
  type MessageView,
  toConversationView,
  toMessageEventView,
  toMessageView,
} from '../domain/views.ts';
import { type Choice, firstInOrder, firstOfTwo, type Order } from './first-in-order.ts';
import type { Database, RowReaders } from './rows.ts';

type Row = Record<string, unknown>;
type Condition = RawBuilder<unknown>;

/** Where in the indexes a filter looks; the rest of it is checked row by row. */
interface Ranges {
  readonly choices: readonly Choice[];
  readonly conditions: readonly Condition[];
}

const NEWEST_FIRST: Order = { table: 'messages', time: 'created_at', name: 'createdAt' };
const LATEST_ACTIVE_FIRST: Order = { table: 'conversations', time: 'active_at', name: 'activeAt' };

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

/** Rows before the cursor. */
export function before({ time }: Order, after: Cursor | undefined): readonly Condition[] {
  return after === undefined ? [] : [sql`(${sql.ref(time)}, id) < (${after.key}::timestamptz, ${after.id}::uuid)`];
}

/** One of the values; any of `all` when the filter does not restrict, since an index is only ordered below a known value. */
export const oneOf = <Value extends string>(column: string, values: readonly Value[], all: readonly Value[]): Choice => {
  return { column, type: 'text', values: values.length > 0 ? values : all };
};

const FAILURE_REASON = sql`failure ->> 'reason'`;
/** Not a bound value: the index of reasons holds these rows alone, and a plan for any value would not use it. */
const IS_FAILED = sql`status = 'failed'`;

function messageConditions(filter: MessageFilter): readonly Condition[] {
  const { conversationIds, statuses, messageTypes: types, direction, parentId, providerMessageId, failureReasons } = filter;
  const { address, createdAfter, createdBefore } = filter;
  const lowered = address?.toLowerCase();
  return [
    ...(conversationIds.length > 0 ? [sql`conversation_id = any(${conversationIds}::uuid[])`] : []),
    ...(statuses.length > 0 ? [sql`status = any(${statuses}::text[])`] : []),
    ...(types.length > 0 ? [sql`message_type = any(${types}::text[])`] : []),
    ...(direction === undefined ? [] : [sql`direction = ${direction}`]),
    ...(lowered === undefined ? [] : [sql`(lower(from_address) = ${lowered} or lower(to_address) = ${lowered})`]),
    ...(parentId === undefined ? [] : [sql`parent_id = ${parentId}`]),
    ...(createdAfter === undefined ? [] : [sql`created_at >= ${createdAfter.toISOString()}`]),
    ...(createdBefore === undefined ? [] : [sql`created_at < ${createdBefore.toISOString()}`]),
    ...(providerMessageId === undefined ? [] : [sql`provider_message_id = ${providerMessageId}`]),
    ...(failureReasons.length > 0 ? [IS_FAILED, sql`${FAILURE_REASON} = any(${failureReasons}::text[])`] : []),
  ];
}

/** Uses the index of the field that leaves the fewest rows; without one, the index of status, direction and type. */
function messageRanges(filter: MessageFilter): Ranges {
  const { conversationIds, statuses, messageTypes: types, direction, failureReasons, ...rest } = filter;
  if (filter.providerMessageId !== undefined) {
    return { choices: [oneOf('provider', [], providers)], conditions: messageConditions(filter) };
  }
  if (filter.parentId !== undefined) return { choices: [], conditions: messageConditions(filter) };
  if (conversationIds.length > 0) {
    const choice: Choice = { column: 'conversation_id', type: 'uuid', values: conversationIds };
    return { choices: [choice], conditions: messageConditions({ ...filter, conversationIds: [] }) };
  }
  if (failureReasons.length > 0) {
    const choice: Choice = { column: FAILURE_REASON, type: 'text', values: failureReasons };
    return { choices: [choice], conditions: [IS_FAILED, ...messageConditions({ ...filter, failureReasons: [] })] };
  }
  const choices = [
    oneOf('status', statuses, messageStatuses),
    oneOf('direction', direction === undefined ? [] : [direction], directions),
    oneOf('message_type', types, messageTypes),
  ];
  return { choices, conditions: messageConditions({ ...rest, conversationIds: [], statuses: [], messageTypes: [], failureReasons: [] }) };
}

/** A filter by address alone reads one index per side; nothing else narrows it enough. */
function isByAddress({ address, conversationIds, parentId, providerMessageId }: MessageFilter): boolean {
  return address !== undefined && conversationIds.length === 0 && parentId === undefined && providerMessageId === undefined;
}

function messagesQuery(readers: RowReaders, filter: MessageFilter, page: PageRequest): RawBuilder<Row> {
  const limit = page.size + 1;
  const columns = sql.raw(readers.message.columns);
  const select = ({ choices, conditions }: Ranges, ...more: readonly Condition[]) =>
    firstInOrder(NEWEST_FIRST, { columns, choices, conditions: [...more, ...conditions, ...before(NEWEST_FIRST, page.after)], limit });
  if (!isByAddress(filter)) return select(messageRanges(filter));
  const { address = '', ...others } = filter;
  const ranges = { choices: [], conditions: messageConditions(others) };
  const lowered = address.toLowerCase();
  const sent = select(ranges, sql`lower(from_address) = ${lowered}`);
  const received = select(ranges, sql`lower(to_address) = ${lowered}`, sql`lower(from_address) <> ${lowered}`);
  return firstOfTwo(NEWEST_FIRST, sent, received, limit);
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
  const { rows } = await sql<Row>`
    select ${sql.raw(readers.event.columns)} from message_events
    where message_id = ${messageId} and sequence > ${Number(page.after?.key ?? 0)}::integer
    order by sequence limit ${page.size + 1}`.execute(database);
  const fields = rows.map((row) => readers.event.fields(row));
  return pageOf(fields, page.size, toMessageEventView, ({ sequence, id }) => ({ key: String(sequence), id }));
}

/** All but the participant, who needs one index per side. */
export function conversationConditions({ channelType, statuses, unreadOnly, activeAfter }: ConversationFilter): readonly Condition[] {
  return [
    ...(channelType === undefined ? [] : [sql`channel_type = ${channelType}`]),
    ...(statuses.length > 0 ? [sql`status = any(${statuses}::text[])`] : []),
    ...(unreadOnly ? [sql`unread_count > 0`] : []),
    ...(activeAfter === undefined ? [] : [sql`active_at >= ${activeAfter.toISOString()}`]),
  ];
}

function conversationsQuery(readers: RowReaders, filter: ConversationFilter, page: PageRequest): RawBuilder<Row> {
  const limit = page.size + 1;
  const columns = sql`${sql.raw(readers.conversation.columns)}, active_at as "activeAt"`;
  const { participant, channelType, statuses, ...rest } = filter;
  const status = oneOf('status', statuses, conversationStatuses);
  const select = ({ choices, conditions }: Ranges) =>
    firstInOrder(LATEST_ACTIVE_FIRST, {
      columns,
      choices,
      conditions: [...conditions, ...before(LATEST_ACTIVE_FIRST, page.after)],
      limit,
    });
  if (participant === undefined) {
    const channel = oneOf('channel_type', channelType === undefined ? [] : [channelType], channels);
    return select({ choices: [status, channel], conditions: conversationConditions({ ...rest, statuses: [] }) });
  }
  const others = conversationConditions({ ...filter, statuses: [] });
  const side = (...mine: readonly Condition[]) => select({ choices: [status], conditions: [...mine, ...others] });
  const ours = side(sql`from_key = ${participant}`);
  const theirs = side(sql`to_key = ${participant}`, sql`from_key <> ${participant}`);
  return firstOfTwo(LATEST_ACTIVE_FIRST, ours, theirs, limit);
}

export async function listConversations(
  database: Database,
  readers: RowReaders,
  filter: ConversationFilter,
  page: PageRequest,
): Promise<Page<ConversationView>> {
  const { rows } = await conversationsQuery(readers, filter, page).execute(database);
  const fields = rows.map(({ activeAt: _order, ...row }) => readers.conversation.fields(row));
  return pageOf(fields, page.size, toConversationView, ({ lastMessageAt, createdAt, id }) => {
    return { key: (lastMessageAt ?? createdAt).toISOString(), id };
  });
}
