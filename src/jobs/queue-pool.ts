import pg from 'pg';

export interface QueuePoolOptions {
  readonly connectionString: string;
  readonly max: number;
  /** Of a query; longer than any that finds PostgreSQL well. Default 10,000 ms. */
  readonly queryTimeoutMs?: number;
}

const CONNECT_TIMEOUT_MS = 5_000;
const QUERY_TIMEOUT_MS = 10_000;

/**
 * Connections for the queue. Of a pool that it makes itself it drops the listeners for errors when it stops, while connections still
 * close: one that PostgreSQL ends at that moment would end the process. And it would wait for ever for a server that has gone silent.
 */
export function openQueuePool({ connectionString, max, queryTimeoutMs = QUERY_TIMEOUT_MS }: QueuePoolOptions): pg.Pool {
  const pool = new pg.Pool({
    connectionString,
    max,
    keepAlive: true,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: queryTimeoutMs,
    application_name: 'messaging-service queue',
  });
  // Whoever uses the connection learns of it by the next query.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => {
    client.on('error', () => undefined);
    endWhenUnanswered(client);
  });
  return pool;
}

/** The driver would use the connection again, and who gets it would wait behind the query that was given up. */
function endWhenUnanswered(client: pg.ClientBase & { end?: () => Promise<void> }): void {
  const driver: { query(...parameters: unknown[]): unknown } = Object.getPrototypeOf(client);
  Object.assign(client, {
    query(...parameters: unknown[]) {
      const result = driver.query.apply(client, parameters);
      if (result instanceof Promise) {
        result.catch((error: unknown) => {
          if (error instanceof Error && error.message === 'Query read timeout') void client.end?.().catch(() => undefined);
        });
      }
      return result;
    },
  });
}
