import { sql } from 'kysely';
import type { ConversationFilter, ConversationMatch, Page, PageRequest } from '../domain/ports.ts';
import { toConversationView } from '../domain/views.ts';
import { conversationConditions, pageOf } from './list-queries.ts';
import type { Database, RowReaders } from './rows.ts';

interface MatchRow extends Record<string, unknown> {
  readonly id: string;
  readonly rank: number;
  readonly messageId: string | null;
  readonly snippet: string;
}

/** Messages and conversations that are ranked at most; a query that matches more is answered from this many of each. */
const MAX_CANDIDATES = 5_000;
/** A hit in title or participants counts for more than one in a message. */
const CONVERSATION_WEIGHT = 2;
const HEADLINE = 'StartSel="", StopSel="", MaxWords=24, MinWords=8, MaxFragments=1';

/**
 * Best match first, each conversation once with its best message. Ranks are rounded so that the last one of a page can be sent to
 * the caller and compared again.
 */
export async function searchConversations(
  database: Database,
  readers: RowReaders,
  query: string,
  filter: ConversationFilter,
  page: PageRequest,
): Promise<Page<ConversationMatch>> {
  const { participant } = filter;
  const conditions = [
    sql`true`,
    ...conversationConditions(filter),
    ...(participant === undefined ? [] : [sql`(from_key = ${participant} or to_key = ${participant})`]),
    ...(page.after === undefined ? [] : [sql`(rank, id) < (${page.after.key}::numeric, ${page.after.id}::uuid)`]),
  ];
  const { rows } = await sql<MatchRow>`
    with query as materialized (select websearch_to_tsquery('simple', ${query}) as terms),
    hits as (
      (select conversation_id, id as message_id, ts_rank(search, terms) as score
        from messages, query where search @@ terms limit ${MAX_CANDIDATES})
      union all
      (select id, null, ts_rank(search, terms) * ${CONVERSATION_WEIGHT}::float4
        from conversations, query where search @@ terms limit ${MAX_CANDIDATES})
    ),
    best as (
      select distinct on (conversation_id) conversation_id, message_id, round(score::numeric, 6) as rank
      from hits order by conversation_id, score desc, message_id desc
    ),
    matched as (
      select best.rank, best.message_id, conversations.* from best join conversations on conversations.id = best.conversation_id
      where ${sql.join(conditions, sql` and `)}
      order by rank desc, id desc limit ${page.size + 1}
    )
    select ${sql.raw(readers.conversation.columns)}, conversations.rank::float8 as rank, conversations.message_id as "messageId",
      ts_headline('simple', left(coalesce(messages.body,
        conversations.title || ' ' || conversations.participant_from || ' ' || conversations.participant_to), 100000), terms, ${HEADLINE}) as snippet
    from matched conversations cross join query left join messages on messages.id = conversations.message_id
    order by conversations.rank desc, conversations.id desc`.execute(database);
  return pageOf(
    rows,
    page.size,
    ({ messageId, snippet, rank: _rank, ...row }) => ({
      conversation: toConversationView(readers.conversation.fields(row)),
      messageId: messageId ?? undefined,
      snippet,
    }),
    ({ rank, id }) => ({ key: rank.toFixed(6), id }),
  );
}
