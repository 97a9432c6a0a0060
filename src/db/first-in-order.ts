import { type RawBuilder, sql } from 'kysely';

/** The order of a list: latest first, equal times by id. The time column is selected under `name`. */
export interface Order {
  readonly table: 'messages' | 'conversations' | 'suppressions' | 'webhook_requests';
  readonly time: string;
  readonly name: string;
}

/** A column at the start of an index, or an expression, and the values it may have. */
export interface Choice {
  readonly column: string | RawBuilder<unknown>;
  readonly type: 'uuid' | 'text';
  readonly values: readonly string[];
}

export interface Selection {
  readonly columns: RawBuilder<unknown>;
  readonly choices: readonly Choice[];
  /** What is checked row by row, or narrows every range alike. */
  readonly conditions: readonly RawBuilder<unknown>[];
  readonly limit: number;
}

type Query = RawBuilder<Record<string, unknown>>;

/**
 * The first rows in order. Each combination of chosen values is one range of an index that has this order, and of every range at most
 * `limit` entries are read; a plain `column = any(...)` would read all rows of all ranges and sort them. Only ids are merged, which
 * the index holds itself: PostgreSQL does not know which values are busy and would rather sort what it takes for a few rows.
 */
export function firstInOrder({ table, time }: Order, { columns, choices, conditions, limit }: Selection): Query {
  const several = choices.filter(({ values }) => values.length > 1);
  const single = choices.filter(({ values }) => values.length === 1);
  const key = ({ column }: Choice) => (typeof column === 'string' ? sql.ref(column) : column);
  const alias = (index: number) => sql.ref(`choice${index}`);
  const where = [
    ...several.map((choice, index) => sql`${key(choice)} = ${alias(index)}`),
    ...single.map((choice) => sql`${key(choice)} = ${choice.values[0]}`),
    ...conditions,
  ];
  const range = (selected: RawBuilder<unknown>): Query => sql`
    select ${selected} from ${sql.ref(table)} where ${sql.join(where, sql` and `)}
    order by ${sql.ref(time)} desc, id desc limit ${limit}`;
  if (several.length === 0) return range(columns);
  const lists = several.map(({ values, type }, index) => sql`unnest(${values}::${sql.raw(type)}[]) as ${alias(index)}`);
  return sql`
    select ${columns} from (
      select entry.* from ${sql.join(lists, sql` cross join `)} cross join lateral (${range(sql`id as entry_id, ${sql.ref(time)} as entry_time`)}) entry
      order by entry_time desc, entry_id desc limit ${limit}
    ) entries join ${sql.ref(table)} on id = entry_id order by entry_time desc, entry_id desc`;
}

/** The first rows of both, in order; no row may be in both. */
export function firstOfTwo({ name }: Order, one: Query, other: Query, limit: number): Query {
  return sql`select * from ((${one}) union all (${other})) found order by ${sql.ref(name)} desc, id desc limit ${limit}`;
}
