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

/** Messages and conversations that are ranked at most; a query that matches more within its filter is answered from this many of each. */
const MAX_CANDIDATES = 5_000;
/** A hit in title or participants counts for more than one in a message. */
const CONVERSATION_WEIGHT = 2;
/** PostgreSQL stacks one operator per dash until a word follows, and fails at 32; a row of dashes is no negation anyway. */
const MAX_DASHES = 25;
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
    ...conversationConditions(filter),
    ...(participant === undefined ? [] : [sql`(from_key = ${participant} or to_key = ${participant})`]),
  ];
  // Written out each time, not computed once in the query: PostgreSQL then knows how common the words are before it chooses an index.
  const parse = query.split('-').length > MAX_DASHES ? 'plainto_tsquery' : 'websearch_to_tsquery';
  const terms = sql`${sql.raw(parse)}('simple', ${query})`;
  const within = sql.join([sql`search @@ ${terms}`, ...conditions], sql` and `);
  const ofThose =
    conditions.length === 0 ? sql`` : sql`and conversation_id in (select id from conversations where ${sql.join(conditions, sql` and `)})`;
  const after =
    page.after === undefined ? sql`` : sql`where (rank, conversation_id) < (${page.after.key}::numeric, ${page.after.id}::uuid)`;
  const { rows } = await sql<MatchRow>`
    with hits as (
      (select conversation_id, id as message_id, ts_rank(search, ${terms}) as score
        from messages where search @@ ${terms} ${ofThose} limit ${MAX_CANDIDATES})
      union all
      (select id, null, ts_rank(search, ${terms}) * ${CONVERSATION_WEIGHT}::float4
        from conversations where ${within} limit ${MAX_CANDIDATES})
    ),
    best as (
      select distinct on (conversation_id) conversation_id, message_id, round(score::numeric, 6) as rank
      from hits order by conversation_id, score desc, message_id desc
    ),
    page as (select * from best ${after} order by rank desc, conversation_id desc limit ${page.size + 1})
    select ${sql.raw(readers.conversation.columns)}, page.rank::float8 as rank, page.message_id as "messageId",
      ts_headline('simple', left(case when messages.id is null
        then concat_ws(' ', conversations.title, conversations.participant_from, conversations.participant_to)
        else concat_ws(' ', messages.email ->> 'subject', messages.body) end, 100000), ${terms}, ${HEADLINE}) as snippet
    from page join conversations on conversations.id = page.conversation_id left join messages on messages.id = page.message_id
    order by page.rank desc, page.conversation_id desc`.execute(database);
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
