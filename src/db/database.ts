import type { Upkeep } from '../domain/delivery-ports.ts';
import type { Outbox, Reads, Store } from '../domain/ports.ts';
import type { SuppressionReads } from '../domain/suppression-ports.ts';
import type { ChangeLog } from '../domain/watch-ports.ts';
import type { WebhookReads } from '../domain/webhook-ports.ts';
import { createChangeLog } from './change-log.ts';
import { toDomainError } from './errors.ts';
import { returnLostConnections } from './lost-connections.ts';
import { type DatabaseOptions, openOrm } from './orm.ts';
import { type Connection, createOutbox } from './outbox.ts';
import { prepareStatements } from './prepared-statements.ts';
import { createReads } from './reads.ts';
import { createStore } from './store.ts';
import { createSuppressionReads } from './suppression-reads.ts';
import { createUpkeep } from './upkeep.ts';
import { createWebhookReads } from './webhook-reads.ts';

export interface PoolState {
  readonly idle: number;
  readonly used: number;
  /** Callers waiting for a connection. */
  readonly pending: number;
}

export interface Database extends AsyncDisposable {
  readonly reads: Reads;
  readonly store: Store;
  readonly suppressions: SuppressionReads;
  readonly outbox: Outbox;
  readonly upkeep: Upkeep;
  readonly webhooks: WebhookReads;
  readonly changeLog: ChangeLog;
  /** Throws storage_unavailable when PostgreSQL cannot answer, and another error when the schema is missing. */
  check(): Promise<void>;
  pool(): PoolState;
}

/** What still runs then belongs to calls that were cut off, and may wait for a lock for long. */
const CLOSE_TIMEOUT_MS = 1_000;

/** Connects on first use, and again whenever PostgreSQL comes back. */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const orm = await openOrm(options);
  const pool = await orm.driver.getConnection().getNativeClient();
  returnLostConnections(pool);
  prepareStatements(pool);
  const connections = new Set<{ end(): Promise<void> }>();
  // A class that the driver's types do not know; it is what the pool makes its connections of.
  const { Client, options: settings } = pool as unknown as {
    readonly Client: new (settings: object) => Connection;
    readonly options: object;
  };
  const outbox = createOutbox(orm, () => new Client(settings));
  pool.on('connect', (connection) => connections.add(connection));
  pool.on('remove', (connection) => connections.delete(connection));
  return {
    reads: createReads(orm),
    store: createStore(orm),
    suppressions: createSuppressionReads(orm),
    outbox,
    upkeep: createUpkeep(orm),
    webhooks: createWebhookReads(orm),
    changeLog: createChangeLog(orm),
    async check() {
      try {
        await orm.em
          .fork()
          .execute(
            'select 1 from messages, conversations, message_events, request_ids, cache_outbox, delivery_attempts, suppressions, webhook_requests, conversation_log limit 0',
          );
      } catch (error) {
        throw toDomainError(error);
      }
    },
    pool: () => ({ idle: pool.idleCount, used: pool.totalCount - pool.idleCount, pending: pool.waitingCount }),
    async [Symbol.asyncDispose]() {
      const cutOff = Promise.withResolvers<void>();
      const timer = setTimeout(() => {
        for (const connection of connections) connection.end().catch(() => undefined);
        cutOff.resolve();
      }, CLOSE_TIMEOUT_MS);
      await Promise.race([Promise.all([outbox[Symbol.asyncDispose](), orm.close(true)]), cutOff.promise]);
      clearTimeout(timer);
    },
  };
}
