import { Logger, runMigrations } from 'graphile-worker';
import pg from 'pg';

/**
 * The queue's tables show no rows to anybody but their owner (row level security without a policy). Which roles may use them is said by
 * grants, as of all other tables; see deploy/postgres-roles.sql.
 */
const LEAVE_ROWS_TO_GRANTS = `
  do $$
  declare
    queue_table regclass;
  begin
    for queue_table in
      select oid from pg_class
      where relnamespace = 'graphile_worker'::regnamespace and relrowsecurity
        and not exists (select from pg_policy where polrelid = pg_class.oid and polname = 'granted')
    loop
      begin
        execute format('create policy granted on %s using (true) with check (true)', queue_table);
      exception when duplicate_object then
        null; -- Another process was faster.
      end;
    end loop;
  end
  $$`;

/** Creates and updates the queue's own schema; does nothing when it is current. Processes may do so at once. */
export async function migrateQueue(connectionString: string): Promise<void> {
  // It would tell of every statement.
  await runMigrations({ connectionString, taskList: {}, logger: new Logger(() => () => undefined) });
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    await client.query(LEAVE_ROWS_TO_GRANTS);
  } finally {
    await client.end();
  }
}
