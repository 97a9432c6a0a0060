/** Connections that are lost inside a transaction go back to the pool: it must not shrink until nothing is left. */
import pg from 'pg';
import { v7 as uuidv7 } from 'uuid';
import { describe, expect, it } from 'vitest';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { createDatabase } from '../support/database.ts';
import { conversationFields } from '../support/message-fields.ts';
import { startOwnPostgres } from '../support/servers.ts';

const POOL = 2;
const LOSSES = 3 * POOL;

const add = ({ store }: Database, between: () => Promise<unknown> = async () => undefined) =>
  store.transaction(async (tx) => {
    const { id } = tx.addConversation(conversationFields({ id: uuidv7(), thread: true }));
    await tx.conversationView(id);
    await between();
  });

describe('a pool of connections', () => {
  it('is whole again after each was lost in a transaction', async () => {
    await using opened = new AsyncDisposableStack();
    const { url } = opened.use(await createDatabase());
    const database = opened.use(await openDatabase({ url, poolMax: POOL, statementTimeoutMs: 60_000, connectTimeoutMs: 10_000 }));
    const admin = opened.adopt(new pg.Client({ connectionString: url }), (client) => client.end());
    await admin.connect();
    const lose = () =>
      admin.query(`select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and state = 'idle in transaction'`);
    for (let losses = 0; losses < LOSSES; losses += 1) {
      await expect(add(database, lose)).rejects.toMatchObject({ code: 'storage_unavailable' });
    }
    await Promise.all(Array.from({ length: POOL }, () => add(database)));
    await expect.poll(() => database.pool().used, { timeout: 10_000 }).toBe(0);
  });

  it('is whole again after PostgreSQL was silent in the middle of transactions', async () => {
    await using opened = new AsyncDisposableStack();
    const postgres = opened.use(await startOwnPostgres());
    const { url } = postgres;
    const database = opened.use(await openDatabase({ url, poolMax: POOL, statementTimeoutMs: 300, connectTimeoutMs: 10_000 }));
    for (let rounds = 0; rounds < 2; rounds += 1) {
      const silent = Array.from({ length: POOL }, () => add(database, async () => postgres.pause()));
      for (const outcome of await Promise.allSettled(silent)) expect(outcome.status).toBe('rejected');
      postgres.resume();
      // Each of these needs a connection of its own, and holds it until the other has one.
      const both = Promise.withResolvers<void>();
      let inside = 0;
      const meet = async () => {
        inside += 1;
        if (inside === POOL) both.resolve();
        await both.promise;
      };
      await Promise.all(Array.from({ length: POOL }, () => add(database, meet)));
    }
    await expect.poll(() => database.pool().used, { timeout: 10_000 }).toBe(0);
  });

  it('does not keep one whose query was given up', async () => {
    await using opened = new AsyncDisposableStack();
    const postgres = opened.use(await startOwnPostgres());
    const { url } = postgres;
    const database = opened.use(await openDatabase({ url, poolMax: 1, statementTimeoutMs: 300, connectTimeoutMs: 10_000 }));
    const admin = opened.adopt(new pg.Client({ connectionString: url }), (client) => client.end());
    await admin.connect();
    const backends = async () =>
      (await admin.query<{ pid: number }>(`select pid from pg_stat_activity where application_name = 'messaging-service'`)).rows.map(
        ({ pid }) => pid,
      );
    await database.check();
    const [silent] = await backends();
    expect(silent).toBeDefined();
    postgres.pause();
    await expect(database.check()).rejects.toMatchObject({ code: 'storage_unavailable' });
    postgres.resume();
    await database.check();
    await expect.poll(backends, { timeout: 10_000 }).not.toContain(silent);
  });
});
