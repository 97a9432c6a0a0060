/** The invalidation outbox that triggers fill, see migrations/cache-outbox.ts. */
import { sql } from 'kysely';
import type { CachedEntity, Outbox, OutboxChange, OutboxLease, RowChange } from '../domain/ports.ts';
import { toDomainError } from './errors.ts';
import type { Orm } from './orm.ts';
import { PREPARED } from './prepared-statements.ts';
import type { Database, Tables } from './rows.ts';

/** The nil id stands for all rows of the entity. */
const ALL_ROWS = '00000000-0000-0000-0000-000000000000';
/** Any number; the same in every process of every version. */
const RELAY_LOCK = 7_216_002;
/** A leader that stops, with its connection open, must not keep the others from leading. */
const IDLE_TIMEOUT_MS = 5_000;

/** What the running transaction has changed so far, as its triggers noted it. */
export async function changesOfTransaction(database: Database): Promise<readonly RowChange[]> {
  const { rows } = await sql<RowChange>`
    select entity, row_id as id, version, deleted from cache_outbox where txid = pg_current_xact_id() ${sql.raw(PREPARED)}`.execute(
    database,
  );
  return rows.filter(({ id }) => id !== ALL_ROWS);
}

/** What of a driver's connection is used here. */
export interface Connection {
  connect(): Promise<unknown>;
  query<Row>(text: string, values?: readonly unknown[]): Promise<{ readonly rows: readonly Row[] }>;
  end(): Promise<void>;
  on(event: 'error', listener: () => void): void;
}

interface OutboxRow {
  readonly txid: string;
  readonly entity: CachedEntity;
  readonly row_id: string;
  readonly version: number;
  readonly age_ms: number;
}

function leaseOf(connection: Connection, databaseIdentity: string, close: () => Promise<void>): OutboxLease {
  return {
    databaseIdentity,
    async read(limit) {
      // By the index, which forgets removed rows at once; a scan of the table meets them until the next vacuum.
      const { rows } = await connection.query<OutboxRow>(
        `select txid::text, entity, row_id, version, extract(epoch from clock_timestamp() - created_at)::float8 * 1000 as age_ms
        from cache_outbox order by txid limit $1`,
        [limit],
      );
      return rows.map(({ txid, entity, row_id, version, age_ms }): OutboxChange => {
        return { transactionId: txid, entity, id: row_id === ALL_ROWS ? undefined : row_id, version, ageMs: Math.max(0, age_ms) };
      });
    },
    async remove(changes) {
      await connection.query(
        `delete from cache_outbox using unnest($1::text[]::xid8[], $2::text[], $3::uuid[]) as done (txid, entity, row_id)
        where cache_outbox.txid = done.txid and cache_outbox.entity = done.entity and cache_outbox.row_id = done.row_id`,
        [changes.map((change) => change.transactionId), changes.map(({ entity }) => entity), changes.map(({ id }) => id ?? ALL_ROWS)],
      );
    },
    async appliedTo() {
      const { rows } = await connection.query<{ applied_to: string }>('select applied_to from cache_relay');
      return rows[0]?.applied_to ?? '';
    },
    async setAppliedTo(cache) {
      await connection.query('update cache_relay set applied_to = $1', [cache]);
    },
    [Symbol.asyncDispose]: close,
  };
}

const IDENTITY = `
  select (select system_identifier from pg_control_system()) || '.' || left(pg_walfile_name(pg_current_wal_lsn()), 8) as identity`;

/**
 * `newConnection`: one beside the pool, which must not shrink by it, and which all processes keep open, to be the next that leads.
 * Disposing closes it.
 */
export function createOutbox(orm: Orm, newConnection: () => Connection): Outbox & AsyncDisposable {
  const database: Database = orm.em.fork().getKysely<Tables>();
  let candidate: Promise<Connection> | undefined;
  /** PostgreSQL grants a lock again to the session that has it. */
  let isLeased = false;

  async function open(): Promise<Connection> {
    const connection = newConnection();
    // It may be lost while nobody waits for an answer; the next call fails.
    connection.on('error', () => undefined);
    await connection.connect();
    return connection;
  }

  async function close(): Promise<void> {
    const closing = candidate;
    candidate = undefined;
    isLeased = false;
    // With the session goes the lock. Not waited for: a server that is gone never says goodbye.
    void closing?.then((connection) => connection.end()).catch(() => undefined);
  }

  return {
    async tryLease() {
      if (isLeased) return undefined;
      try {
        candidate ??= open();
        const connection = await candidate;
        const { rows } = await connection.query<{ locked: boolean }>('select pg_try_advisory_lock($1) as locked', [RELAY_LOCK]);
        if (rows[0]?.locked !== true) return undefined;
        isLeased = true;
        await connection.query(`set idle_session_timeout = ${IDLE_TIMEOUT_MS}`);
        const identity = await connection.query<{ identity: string }>(IDENTITY);
        return leaseOf(connection, identity.rows[0]?.identity ?? '', close);
      } catch (error) {
        await close();
        throw error;
      }
    },
    async backlog() {
      try {
        const { rows } = await sql<{ rows: number; oldest_ms: number }>`
          select count(*)::integer as rows, coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8 * 1000 as oldest_ms
          from cache_outbox`.execute(database);
        return { rows: rows[0]?.rows ?? 0, oldestMs: Math.max(0, rows[0]?.oldest_ms ?? 0) };
      } catch (error) {
        throw toDomainError(error);
      }
    },
    [Symbol.asyncDispose]: close,
  };
}
