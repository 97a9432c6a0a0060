/** A transaction's view of suppressions, and the statement that finds one. */
import { type RawBuilder, sql } from 'kysely';
import type { Channel } from '../domain/address.ts';
import type { SuppressionFields } from '../domain/suppression.ts';
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

/** The older one of those for all of ours and for this sender. */
export async function findSuppression(
  database: Database,
  reader: RowReader<SuppressionFields>,
  ...[channel, addressKey, fromKey]: Parameters<SuppressionTx['findSuppression']>
): Promise<SuppressionFields | undefined> {
  const { rows } = await sql<Row>`
    select ${sql.raw(reader.columns)} from suppressions
    where channel = ${channel} and address_key = ${addressKey} and from_key in ('', ${fromKey})
    order by created_at, id limit 1 ${prepared}`.execute(database);
  return rows[0] && reader.fields(rows[0]);
}

/** Always returns a row: an update that changes nothing waits for whoever adds or lifts the same one, and reads what that came to. */
const insertion = ({ columns, values }: RowWriter<SuppressionFields>, fields: SuppressionFields, returned: RawBuilder<unknown>) => sql<Row>`
  insert into suppressions (${sql.raw(columns.join(', '))}) values (${sql.join(values(fields))})
  on conflict (channel, address_key, from_key) do update set source = suppressions.source
  returning ${returned} ${prepared}`;

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
      const { numAffectedRows } = await sql`
        delete from suppressions where channel = ${theirs.channel} and address_key = ${theirs.key} and from_key = ${ours?.key ?? ''}
          and source = any(${sources}::text[])`.execute(database);
      return numAffectedRows === 1n;
    },
    findSuppression: (channel, addressKey, fromKey) => findSuppression(database, reader, channel, addressKey, fromKey),
  };
}
