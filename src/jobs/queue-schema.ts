import { Logger, runMigrations } from 'graphile-worker';

/** Creates and updates the queue's own schema; does nothing when it is current. Processes may do so at once. */
export async function migrateQueue(connectionString: string): Promise<void> {
  // It would tell of every statement.
  await runMigrations({ connectionString, taskList: {}, logger: new Logger(() => () => undefined) });
}
