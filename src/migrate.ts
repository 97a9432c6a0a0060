import type { DatabaseOptions } from './db/orm.ts';
import { migrate as migrateTables } from './db/orm.ts';
import { migrateQueue } from './jobs/queue-schema.ts';

/** Brings the tables and the queue up to date; any number of processes may try at once. Returns the names of what was applied. */
export async function migrate(options: DatabaseOptions): Promise<readonly string[]> {
  const applied = await migrateTables(options);
  await migrateQueue(options.url);
  return applied;
}
