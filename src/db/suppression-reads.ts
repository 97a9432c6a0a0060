import { sql } from 'kysely';
import { channels } from '../domain/conversation.ts';
import type { SuppressionReads } from '../domain/suppression-ports.ts';
import { guarded } from './errors.ts';
import { firstInOrder, type Order } from './first-in-order.ts';
import { before, oneOf, pageOf } from './list-queries.ts';
import type { Orm } from './orm.ts';
import { PREPARED } from './prepared-statements.ts';
import { type Database, rowReaders, type Tables } from './rows.ts';

type Row = Record<string, unknown>;

const prepared = sql.raw(PREPARED);

const NEWEST_FIRST: Order = { table: 'suppressions', time: 'created_at', name: 'createdAt' };

/** One for each of our addresses at most, which are few. */
const MAX_OF_ADDRESS = 1_000;

export function createSuppressionReads(orm: Orm): SuppressionReads {
  const database: Database = orm.em.fork().getKysely<Tables>();
  const { suppression: reader } = rowReaders(orm);
  const columns = sql.raw(reader.columns);
  return {
    findSuppressions: (channel, addressKey) =>
      guarded(async () => {
        const { rows } = await sql<Row>`
          select ${columns} from suppressions where channel = ${channel} and address_key = ${addressKey}
          order by created_at, id limit ${MAX_OF_ADDRESS}`.execute(database);
        return rows.map((row) => reader.fields(row));
      }),
    findSuppression: (channel, addressKey, fromKey) =>
      guarded(async () => {
        const { rows } = await sql<Row>`
          select ${columns} from suppressions
          where channel = ${channel} and address_key = ${addressKey} and from_key in ('', ${fromKey})
          order by created_at, id limit 1 ${prepared}`.execute(database);
        return rows[0] && reader.fields(rows[0]);
      }),
    listSuppressions: (channel, page) =>
      guarded(async () => {
        const choices = [oneOf('channel', channel === undefined ? [] : [channel], channels)];
        const conditions = before(NEWEST_FIRST, page.after);
        const { rows } = await firstInOrder(NEWEST_FIRST, { columns, choices, conditions, limit: page.size + 1 }).execute(database);
        return pageOf(
          rows,
          page.size,
          (row) => reader.fields(row),
          (row) => {
            const { createdAt, id } = reader.fields(row);
            return { key: createdAt.toISOString(), id };
          },
        );
      }),
  };
}
