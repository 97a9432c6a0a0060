/** A transaction's view of suppressions, and the expression by which statements look for one. */
import { type RawBuilder, sql } from 'kysely';
import type { Channel } from '../domain/address.ts';
import { type SuppressionFields, yieldingTo } from '../domain/suppression.ts';
import type { SuppressionTx } from '../domain/suppression-ports.ts';
import { PREPARED } from './prepared-statements.ts';
import type { Database, RowReader, RowWriter } from './rows.ts';

type Row = Record<string, unknown>;

const prepared = sql.raw(PREPARED);

/** Places for the values of suppressedSinceValues(), from $`start`: since when, in ms of Unix time; null when a message may go out. */
export const suppressedSince = (start: number): string => `
  (select (extract(epoch from min(created_at)) * 1000)::float8 from suppressions
    where channel = $${start} and address_key = $${start + 1} and from_key in ('', $${start + 2}))`;

export const suppressedSinceValues = (channel: Channel, addressKey: string, fromKey: string): readonly unknown[] => [
  channel,
  addressKey,
  fromKey,
];

/** Always returns a row: an update that changes nothing waits for whoever adds or lifts the same one, and reads what that came to. */
function insertion({ columns, values }: RowWriter<SuppressionFields>, fields: SuppressionFields, returned: RawBuilder<unknown>) {
  const yields = sql`suppressions.source = any(${yieldingTo(fields)}::text[])`;
  return sql<Row>`
    insert into suppressions (${sql.raw(columns.join(', '))}) values (${sql.join(values(fields))})
    on conflict (channel, address_key, from_key) do update set
      source = case when ${yields} then excluded.source else suppressions.source end,
      message_id = case when ${yields} then excluded.message_id else suppressions.message_id end
    returning ${returned} ${prepared}`;
}

export function suppressionTx(
  database: Database,
  reader: RowReader<SuppressionFields>,
  writer: RowWriter<SuppressionFields>,
): SuppressionTx {
  return {
    async suppress(fresh) {
      const { rows } = await insertion(writer, fresh, sql.raw(reader.columns)).execute(database);
      const [row] = rows;
      if (row === undefined) throw new Error('the upsert of a suppression returned no row');
      return reader.fields(row);
    },
    async lift({ theirs, ours }, sources) {
      await sql`
        delete from suppressions where channel = ${theirs.channel} and address_key = ${theirs.key} and from_key = ${ours?.key ?? ''}
          and source = any(${sources}::text[])`.execute(database);
    },
  };
}
