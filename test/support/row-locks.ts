/** Makes a handler wait for as long as a test wants: someone else holds the row it is about to change. */
import pg from 'pg';
import { expect } from 'vitest';

export interface RowLock extends AsyncDisposable {
  /** Resolves when so many others wait for it. */
  awaited(by?: number): Promise<void>;
  release(): Promise<void>;
}

const patiently = { timeout: 20_000, interval: 20 };

async function connectTo(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  // A database that is dropped first ends it.
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

export async function lockConversation(databaseUrl: string, id: string): Promise<RowLock> {
  const holder = await connectTo(databaseUrl);
  // Inside of a transaction, what is known of others does not change.
  const observer = await connectTo(databaseUrl);
  await holder.query('begin');
  const { rowCount } = await holder.query('select 1 from conversations where id = $1 for update', [id]);
  if (rowCount !== 1) throw new Error('there is no such conversation');
  const waiting = `select count(*)::int as calls from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`;
  let held = true;
  const release = async () => {
    if (!held) return;
    held = false;
    await Promise.all([holder.end(), observer.end()]);
  };
  return {
    async awaited(by = 1) {
      await expect.poll(async () => (await observer.query(waiting)).rows[0].calls, patiently).toBe(by);
    },
    release,
    [Symbol.asyncDispose]: release,
  };
}
