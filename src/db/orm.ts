import { Migrator } from '@mikro-orm/migrations';
import { defineConfig, MikroORM, Utils } from '@mikro-orm/postgresql';
import release from 'mikro-orm/package.json' with { type: 'json' };
import { Conversation } from '../domain/conversation.ts';
import { DeliveryAttempt } from '../domain/delivery-attempt.ts';
import { Message } from '../domain/message.ts';
import { MessageEvent } from '../domain/message-event.ts';
import { Suppression } from '../domain/suppression.ts';
import { WebhookRequest } from '../domain/webhook-request.ts';
import { toDomainError } from './errors.ts';
import { CacheOutboxMigration } from './migrations/cache-outbox.ts';
import { ChangeLogMigration } from './migrations/change-log.ts';
import { DeadLettersMigration } from './migrations/dead-letters.ts';
import { DeliveryMigration } from './migrations/delivery.ts';
import { InitialMigration } from './migrations/initial.ts';
import { SuppressionsMigration } from './migrations/suppressions.ts';
import { WebhooksMigration } from './migrations/webhooks.ts';

export interface DatabaseOptions {
  /** postgresql://user:password@host:port/database */
  readonly url: string;
  readonly poolMax: number;
  /** PostgreSQL cancels statements, lock waits and idle transactions that take longer. */
  readonly statementTimeoutMs: number;
  /** Longest wait for a connection, be it from the pool or from the server. */
  readonly connectTimeoutMs: number;
}

export type Orm = Awaited<ReturnType<typeof openOrm>>;

/** Any number; the same in every process of every version, so that two never migrate at once. */
const MIGRATION_LOCK = 7_216_001;

/** Does not connect yet: PostgreSQL may come later than the service. */
export async function openOrm(options: DatabaseOptions) {
  // The latest tags of the packages are skewed; a mixture fails in ways that are hard to read.
  if (Utils.getORMVersion() !== release.version) {
    throw new Error(`@mikro-orm/core ${Utils.getORMVersion()} and mikro-orm ${release.version} must have one version; see package.json`);
  }
  return MikroORM.init(
    defineConfig({
      clientUrl: options.url,
      entities: [Message, MessageEvent, Conversation, DeliveryAttempt, Suppression, WebhookRequest],
      extensions: [Migrator],
      migrations: {
        migrationsList: [
          { name: '2026-11-22-initial', class: InitialMigration },
          { name: '2026-11-25-cache-outbox', class: CacheOutboxMigration },
          { name: '2026-11-28-delivery', class: DeliveryMigration },
          { name: '2026-11-28-suppressions', class: SuppressionsMigration },
          { name: '2026-11-28-webhooks', class: WebhooksMigration },
          { name: '2026-11-28-change-log', class: ChangeLogMigration },
          { name: '2026-11-28-dead-letters', class: DeadLettersMigration },
        ],
        transactional: true,
        snapshot: false,
      },
      forceUtcTimezone: true,
      allowGlobalContext: false,
      // Would connect at once, and create a database that is missing.
      ensureDatabase: false,
      debug: false,
      // MikroORM writes failed statements, values included, to its own logger.
      logger: () => undefined,
      pool: { max: options.poolMax, idleTimeoutMillis: 30_000 },
      driverOptions: {
        application_name: 'messaging-service',
        connectionTimeoutMillis: options.connectTimeoutMs,
        query_timeout: options.statementTimeoutMs + 1_000,
        statement_timeout: options.statementTimeoutMs,
        lock_timeout: options.statementTimeoutMs,
        idle_in_transaction_session_timeout: options.statementTimeoutMs + 1_000,
        keepAlive: true,
      },
    }),
  );
}

/** Brings the schema up to date; any number of processes may try at once. Returns the names of what was applied. */
export async function migrate(options: DatabaseOptions): Promise<readonly string[]> {
  const orm = await openOrm({ ...options, poolMax: Math.max(2, options.poolMax), statementTimeoutMs: 600_000 });
  try {
    return await orm.em.fork().transactional(async (em) => {
      await em.execute('select pg_advisory_xact_lock(?)', [MIGRATION_LOCK]);
      const applied = await orm.migrator.up();
      return applied.map(({ name }) => name);
    });
  } catch (error) {
    throw toDomainError(error);
  } finally {
    await orm.close();
  }
}
