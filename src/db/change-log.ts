/** The logs that watchers read, see migrations/change-log.ts and ARCHITECTURE.md, watching. */
import { type RawBuilder, sql } from 'kysely';
import type { Channel } from '../domain/address.ts';
import { LOG_START, type LogPlace, latestOf } from '../domain/log-place.ts';
import { toMessageEventView } from '../domain/views.ts';
import type { ChangeLog, ConversationLogEntry, LogMoment, LogReader, MessageLogEntry } from '../domain/watch-ports.ts';
import { guarded } from './errors.ts';
import type { Orm } from './orm.ts';
import { PREPARED } from './prepared-statements.ts';
import { type Database, type RowReaders, rowReaders, type Tables } from './rows.ts';

type Row = Record<string, unknown>;

const prepared = sql.raw(PREPARED);

/** All transactions below it have ended: their rows are visible to the same statement, or will never be. */
const horizon = sql`pg_snapshot_xmin(pg_current_snapshot())::text::bigint`;

const moment = sql`
  select ${horizon} as horizon, left(pg_walfile_name(pg_current_wal_lsn()), 8) as timeline,
    (select system_identifier from pg_control_system()) || '.' || (select oid from pg_database where datname = current_database())
      as database`;

interface MomentRow extends Row {
  readonly horizon: string;
  readonly timeline: string;
  readonly database: string;
  readonly begin_frontier?: string;
  readonly begin_position?: string;
}

const placeOf = (frontier: unknown, position: unknown): LogPlace => ({
  frontier: BigInt(String(frontier)),
  position: BigInt(String(position)),
});

function momentOf({ horizon: below, timeline, database, begin_frontier, begin_position }: MomentRow): LogMoment {
  const begin = begin_frontier === undefined ? LOG_START : placeOf(begin_frontier, begin_position);
  return { origin: { database, timeline }, horizon: BigInt(below), begin };
}

interface Log<Entry> {
  readonly table: 'message_events' | 'conversation_log';
  readonly columns: RawBuilder<unknown>;
  /** One row: the moment, with where the log begins when something has been removed. */
  readonly now: RawBuilder<unknown>;
  entry(row: Row, place: LogPlace): Entry;
}

function logReader<Entry>(database: Database, log: Log<Entry>): LogReader<Entry> {
  const table = sql.table(log.table);
  async function rowsOf(statement: RawBuilder<MomentRow>): Promise<readonly [MomentRow, ...MomentRow[]]> {
    const [first, ...others] = (await guarded(() => statement.execute(database))).rows;
    if (first === undefined) throw new Error('a moment is one row');
    return [first, ...others];
  }
  return {
    async tail() {
      const [row] = await rowsOf(sql<MomentRow>`
        select * from (${log.now}) now left join lateral (
          select frontier as log_frontier, position as log_position from ${table} where frontier < now.horizon
          order by frontier desc, position desc limit 1
        ) latest on true ${prepared}`);
      const { log_frontier, log_position } = row;
      const known = momentOf(row);
      return { ...known, end: log_frontier === null ? known.begin : latestOf(known.begin, placeOf(log_frontier, log_position)) };
    },
    async read(after, limit) {
      const { frontier, position } = after;
      // The limit is part of the text: with one that it does not know, the planner may prefer to sort the table.
      const rows = await rowsOf(sql<MomentRow>`
        select * from (${log.now}) now left join lateral (
          select frontier as log_frontier, position as log_position, ${log.columns} from ${table}
          where (frontier, position) > (${String(frontier)}::bigint, ${String(position)}::bigint) and frontier < now.horizon
          order by frontier, position limit ${sql.raw(String(limit))}
        ) entries on true order by log_frontier, log_position ${prepared}`);
      const found = rows
        .filter(({ log_frontier }) => log_frontier !== null)
        .map((row) => ({ row, place: placeOf(row['log_frontier'], row['log_position']) }));
      const entries = found.map(({ row, place }) => log.entry(row, place));
      return { ...momentOf(rows[0]), entries, next: found.at(-1)?.place ?? after, isFull: found.length === limit };
    },
    async has({ frontier, position }) {
      if (frontier === LOG_START.frontier) return true;
      const isThere = sql`(frontier, position) = (${String(frontier)}::bigint, ${String(position)}::bigint)`;
      const [row] = await rowsOf(sql<MomentRow>`
        select now.*, exists (select from ${table} where ${isThere}) as is_there from (${log.now}) now`);
      const { begin } = momentOf(row);
      return row['is_there'] === true || (begin.frontier === frontier && begin.position === position);
    },
  };
}

function messageLog(database: Database, readers: RowReaders): LogReader<MessageLogEntry> {
  return logReader(database, {
    table: 'message_events',
    columns: sql.raw(readers.event.columns),
    now: moment,
    entry: (row, place) => {
      const fields = readers.event.fields(row);
      return { place, conversationId: fields.conversationId, event: toMessageEventView(fields) };
    },
  });
}

function conversationLog(database: Database): LogReader<ConversationLogEntry> {
  return logReader(database, {
    table: 'conversation_log',
    columns: sql`conversation_id, deleted, from_key, to_key, channel_type`,
    now: sql`
      select moment.*, pruned.frontier as begin_frontier, pruned.position as begin_position
      from (${moment}) moment cross join conversation_log_pruned pruned`,
    entry: (row, place) => {
      const id = String(row['conversation_id']);
      const { from_key: fromKey, to_key: toKey, channel_type: channelType } = row as Readonly<Record<string, string>>;
      const deleted = { id, fromKey: fromKey ?? '', toKey: toKey ?? '', channelType: channelType as Channel };
      return { place, conversationId: id, deleted: row['deleted'] === true ? deleted : undefined };
    },
  });
}

/** Removes the entries before the first one that is to be kept, and notes which was the last of them; both or neither. */
async function prune(database: Database, before: Date, limit: number): Promise<number> {
  const { rows } = await sql<{ count: number }>`
    with oldest as (
      select frontier, position, bool_and(logged_at < ${before.toISOString()}) over (order by frontier, position) as is_old
      from (
        select frontier, position, logged_at from conversation_log where frontier < ${horizon}
        order by frontier, position limit ${limit}
      ) first_rows
    ), doomed as materialized (
      select frontier, position from oldest where is_old
    ), removed as (
      delete from conversation_log using doomed
      where conversation_log.frontier = doomed.frontier and conversation_log.position = doomed.position
    ), noted as (
      update conversation_log_pruned pruned set frontier = latest.frontier, position = latest.position
      from (select frontier, position from doomed order by frontier desc, position desc limit 1) latest
      where (pruned.frontier, pruned.position) < (latest.frontier, latest.position)
    )
    select count(*)::integer as count from doomed`.execute(database);
  return rows[0]?.count ?? 0;
}

export function createChangeLog(orm: Orm): ChangeLog {
  const database: Database = orm.em.fork().getKysely<Tables>();
  return {
    messages: messageLog(database, rowReaders(orm)),
    conversations: conversationLog(database),
    pruneConversationLog: (before, limit) => guarded(() => prune(database, before, limit)),
  };
}
