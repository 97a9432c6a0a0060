import { type RawBuilder, sql } from 'kysely';
import type { Participants } from '../domain/conversation.ts';
import type { Read, Reads } from '../domain/ports.ts';
import { type ConversationView, type MessageView, toConversationView, toMessageView, toStatisticsView } from '../domain/views.ts';
import { guarded } from './errors.ts';
import { listConversations, listMessageEvents, listMessages } from './list-queries.ts';
import type { Orm } from './orm.ts';
import { PREPARED } from './prepared-statements.ts';
import { type Database, type RowReaders, rowReaders, type Tables } from './rows.ts';
import { searchConversations } from './search-query.ts';

type Row = Record<string, unknown>;

const bypass = <T>(value: T): Read<T> => ({ value, source: 'bypass', ageMs: 0 });

/** All rows of one keyed lookup, by id. The statement has one text for any number of ids, so that it is planned once. */
async function byIds<View extends { readonly id: string }>(
  database: Database,
  statement: (ids: readonly string[]) => RawBuilder<Row>,
  view: (row: Row) => View,
  ids: readonly string[],
): Promise<ReadonlyMap<string, View>> {
  const { rows } = await statement(ids).execute(database);
  return new Map(rows.map(view).map((found) => [found.id, found]));
}

async function findOpenConversationId(database: Database, { ours, theirs }: Participants): Promise<string | undefined> {
  const row = await database
    .selectFrom('conversations')
    .select('id')
    .where('channel_type', '=', theirs.channel)
    .where('from_key', '=', ours.key)
    .where('to_key', '=', theirs.key)
    .where('status', '<>', 'closed')
    .where('thread', '=', false)
    .executeTakeFirst();
  return row?.id;
}

async function conversationStatistics(database: Database, conversationId: string) {
  const { rows } = await sql<{
    direction: string;
    status: string;
    count: number;
    send: number;
    sends: number;
    deliver: number;
    delivers: number;
  }>`
    select direction, status, count(*)::integer as count,
      coalesce(sum(extract(epoch from sent_at - created_at)), 0)::float8 * 1000 as send, count(sent_at)::integer as sends,
      coalesce(sum(extract(epoch from delivered_at - sent_at)), 0)::float8 * 1000 as deliver,
      count(delivered_at - sent_at)::integer as delivers
    from messages where conversation_id = ${conversationId} group by direction, status`.execute(database);
  const outbound = rows.filter(({ direction }) => direction === 'outbound');
  const mean = (total: 'send' | 'deliver', count: 'sends' | 'delivers'): number => {
    const all = outbound.reduce((sum, row) => sum + row[count], 0);
    return all === 0 ? 0 : outbound.reduce((sum, row) => sum + row[total], 0) / all;
  };
  return toStatisticsView({
    conversationId,
    inbound: rows.filter(({ direction }) => direction === 'inbound').reduce((sum, { count }) => sum + count, 0),
    outboundByStatus: Object.fromEntries(outbound.map(({ status, count }) => [status, count])),
    averageSendLatencyMs: mean('send', 'sends'),
    averageDeliveryLatencyMs: mean('deliver', 'delivers'),
  });
}

function keyedReads(database: Database, readers: RowReaders) {
  const messageOf = (row: Row): MessageView => toMessageView(readers.message.fields(row));
  const conversationOf = (row: Row): ConversationView => toConversationView(readers.conversation.fields(row));
  const messages = (ids: readonly string[]) =>
    sql<Row>`select ${sql.raw(readers.message.columns)} from messages where id = any(${ids}::uuid[]) ${sql.raw(PREPARED)}`;
  const conversations = (ids: readonly string[]) =>
    sql<Row>`select ${sql.raw(readers.conversation.columns)} from conversations where id = any(${ids}::uuid[]) ${sql.raw(PREPARED)}`;
  return {
    findMessages: (ids: readonly string[]) => byIds(database, messages, messageOf, ids),
    findConversations: (ids: readonly string[]) => byIds(database, conversations, conversationOf, ids),
  };
}

/** Reads on the primary, in autocommit: each sees every transaction that was committed before it began. */
export function createReads(orm: Orm): Reads {
  const database: Database = orm.em.fork().getKysely<Tables>();
  const readers = rowReaders(orm);
  const keyed = keyedReads(database, readers);
  return {
    findMessage: (id) => guarded(async () => bypass((await keyed.findMessages([id])).get(id))),
    findMessages: (ids) => guarded(async () => bypass(await keyed.findMessages(ids))),
    findConversation: (id) => guarded(async () => bypass((await keyed.findConversations([id])).get(id))),
    findConversations: (ids) => guarded(async () => bypass(await keyed.findConversations(ids))),
    listMessages: (filter, page) => guarded(() => listMessages(database, readers, filter, page)),
    listMessageEvents: (messageId, page) => guarded(() => listMessageEvents(database, readers, messageId, page)),
    listConversations: (filter, page) => guarded(() => listConversations(database, readers, filter, page)),
    searchConversations: (query, filter, page) => guarded(() => searchConversations(database, readers, query, filter, page)),
    conversationStatistics: (id) => guarded(() => conversationStatistics(database, id)),
    findOpenConversationId: (participants) => guarded(() => findOpenConversationId(database, participants)),
  };
}
