import pg from 'pg';

/**
 * Connections for the queue. Of a pool that it makes itself it drops the listeners for errors when it stops, while connections still
 * close: one that PostgreSQL ends at that moment would end the process.
 */
export function openQueuePool(connectionString: string, max: number): pg.Pool {
  const pool = new pg.Pool({ connectionString, max });
  // Whoever uses the connection learns of it by the next query.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => void client.on('error', () => undefined));
  return pool;
}
