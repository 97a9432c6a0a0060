import pg from 'pg';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { openQueuePool } from '../../src/jobs/queue-pool.ts';
import { startQueue } from '../../src/jobs/queue-worker.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { patiently } from '../support/cached-service.ts';
import { createDatabase } from '../support/database.ts';
import { startOwnPostgres } from '../support/servers.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';

const log = createLog({ level: 'silent' });
const [workerLostMs, closePatienceMs] = [10_000, 10_000];
const opened = new AsyncDisposableStack();
afterAll(() => opened.disposeAsync());

async function queueOf(url: string) {
  const sql = new pg.Pool({ connectionString: url, max: 2 });
  sql.on('error', () => undefined);
  opened.defer(() => sql.end());
  return {
    sql,
    add: (task: string, payload: object = {}) => sql.query('select graphile_worker.add_job($1, $2)', [task, JSON.stringify(payload)]),
    waiting: async () => (await sql.query<{ id: string }>('select id from graphile_worker.jobs')).rows.length,
  };
}

async function freshQueue() {
  const { url } = opened.use(await createDatabase());
  return { url, ...(await queueOf(url)) };
}

describe('the queue', () => {
  it('runs jobs, those of one lane past those of another', async () => {
    const queue = await freshQueue();
    const stuck = Promise.withResolvers<void>();
    const done: unknown[] = [];
    await using _queue = startQueue({
      connectionString: queue.url,
      log,
      workerLostMs,
      closePatienceMs,
      lanes: [
        { concurrency: 1, tasks: { slow: () => stuck.promise } },
        { concurrency: 2, tasks: { quick: async (payload) => void done.push(payload) } },
      ],
    });
    await queue.add('slow');
    await queue.add('quick', { number: 1 });
    await queue.add('quick', { number: 2 });
    await vi.waitFor(() => expect(done).toHaveLength(2), patiently);
    await vi.waitFor(async () => expect(await queue.waiting()).toBe(1), patiently);
    stuck.resolve();
    await vi.waitFor(async () => expect(await queue.waiting()).toBe(0), patiently);
  });

  it('keeps a job that fails, for later', async () => {
    const queue = await freshQueue();
    let runs = 0;
    const fails = async () => {
      runs += 1;
      throw new Error('not now');
    };
    await using _queue = startQueue({
      connectionString: queue.url,
      log,
      workerLostMs,
      closePatienceMs,
      lanes: [{ concurrency: 1, tasks: { fails } }],
    });
    await queue.add('fails');
    await vi.waitFor(() => expect(runs).toBeGreaterThan(0), patiently);
    await vi.waitFor(async () => {
      const { rows } = await queue.sql.query('select attempts > 0 as tried, run_at > created_at as later from graphile_worker.jobs');
      expect(rows).toEqual([{ tried: true, later: true }]);
    }, patiently);
  });

  it('gives the jobs of a process that is gone to another one, and leaves those of one that lives', async () => {
    const queue = await freshQueue();
    const done: unknown[] = [];
    const tasks = { quick: async (payload: unknown) => void done.push(payload) };
    await queue.add('quick', { of: 'the dead' });
    await queue.sql.query(`update graphile_worker._private_jobs set locked_by = 'dead', locked_at = now() - interval '1 minute'`);
    await queue.add('quick', { of: 'the living' });
    await queue.sql.query(
      `update graphile_worker._private_jobs set locked_by = 'alive', locked_at = now() - interval '1 minute' where locked_by is null`,
    );
    const beat = `insert into queue_workers values ('alive', now() + interval '1 hour')`;
    await queue.sql.query(beat);
    await using _queue = startQueue({
      connectionString: queue.url,
      log,
      lanes: [{ concurrency: 1, tasks }],
      workerLostMs: 500,
      closePatienceMs,
    });
    await vi.waitFor(() => expect(done).toEqual([{ of: 'the dead' }]), patiently);
    await vi.waitFor(async () => expect(await queue.waiting()).toBe(1), patiently);
  });

  it('keeps what was scheduled after the job of a slow process was given to others, when that process is done with it', async () => {
    const queue = await freshQueue();
    const release = Promise.withResolvers<void>();
    let runs = 0;
    const slow = async () => {
      runs += 1;
      await release.promise;
    };
    const schedule = (runAt: string) => queue.sql.query(`select graphile_worker.add_job('slow', job_key => 'one', run_at => ${runAt})`);
    const common = { connectionString: queue.url, log, closePatienceMs };
    await schedule('now()');
    await using _slow = startQueue({ ...common, workerLostMs: 60_000, lanes: [{ concurrency: 1, tasks: { slow } }] });
    await vi.waitFor(() => expect(runs).toBe(1), patiently);
    await using _hasty = startQueue({ ...common, workerLostMs: 200, lanes: [] });
    const locked = async () => (await queue.sql.query('select 1 from graphile_worker.jobs where locked_by is not null')).rows.length;
    await vi.waitFor(async () => expect(await locked()).toBe(0), patiently);
    await schedule(`now() + interval '2 seconds'`);
    release.resolve();
    await vi.waitFor(() => expect(runs).toBe(2), patiently);
    await vi.waitFor(async () => expect(await queue.waiting()).toBe(0), patiently);
  });

  it('does not take over the jobs of its own long-running tasks', async () => {
    const queue = await freshQueue();
    const release = Promise.withResolvers<void>();
    let runs = 0;
    const slow = async () => {
      runs += 1;
      await release.promise;
    };
    await using _queue = startQueue({
      connectionString: queue.url,
      log,
      lanes: [{ concurrency: 2, tasks: { slow } }],
      workerLostMs: 300,
      closePatienceMs,
    });
    await queue.add('slow');
    await vi.waitFor(() => expect(runs).toBe(1), patiently);
    const seen = async () => (await queue.sql.query('select seen_at from queue_workers')).rows.map(({ seen_at }) => Number(seen_at)).join();
    for (let beats = 0; beats < 10; beats += 1) {
      const before = await seen();
      await vi.waitFor(async () => expect(await seen()).not.toBe(before), patiently);
    }
    expect(runs).toBe(1);
    release.resolve();
    await vi.waitFor(async () => expect(await queue.waiting()).toBe(0), patiently);
  });

  it('keeps the jobs that are running while it stops', async () => {
    const queue = await freshQueue();
    const release = Promise.withResolvers<void>();
    let runs = 0;
    const slow = async () => {
      runs += 1;
      await release.promise;
    };
    const options = { connectionString: queue.url, log, workerLostMs: 300, closePatienceMs, lanes: [{ concurrency: 1, tasks: { slow } }] };
    const stopping = startQueue(options);
    await queue.add('slow');
    await vi.waitFor(() => expect(runs).toBe(1), patiently);
    const stopped = stopping[Symbol.asyncDispose]();
    await using _other = startQueue(options);
    await queue.add('slow');
    await vi.waitFor(() => expect(runs).toBe(2), patiently);
    const beats = async () => Number((await queue.sql.query('select sum(extract(epoch from seen_at)) from queue_workers')).rows[0]?.sum);
    for (let rounds = 0; rounds < 10; rounds += 1) {
      const before = await beats();
      await vi.waitFor(async () => expect(await beats()).not.toBe(before), patiently);
    }
    expect(runs).toBe(2);
    release.resolve();
    await stopped;
    await vi.waitFor(async () => expect(await queue.waiting()).toBe(0), patiently);
  });

  it('goes on when PostgreSQL has been away', async () => {
    const postgres = opened.use(await startOwnPostgres());
    const queue = await queueOf(postgres.url);
    const done: unknown[] = [];
    const tasks = { quick: async (payload: unknown) => void done.push(payload) };
    await using _queue = startQueue({
      connectionString: postgres.url,
      log,
      workerLostMs,
      closePatienceMs,
      lanes: [{ concurrency: 1, tasks }],
    });
    await queue.add('quick', { number: 1 });
    await vi.waitFor(() => expect(done).toHaveLength(1), patiently);
    await postgres.stop();
    await postgres.start();
    await vi.waitFor(() => queue.add('quick', { number: 2 }), patiently);
    await vi.waitFor(() => expect(done).toHaveLength(2), patiently);
  });

  it('runs a job again that was taken while the connection was lost: nobody knows of having it', async () => {
    const queue = await freshQueue();
    const direct = new URL(queue.url);
    const proxy = opened.use(await startTcpProxy({ host: direct.hostname, port: Number(direct.port) }));
    const proxied = new URL(queue.url);
    proxied.port = String(proxy.port);
    await queue.add('quick');
    const lost = proxy.loseAnswerTo('get_job');
    let runs = 0;
    const quick = async () => {
      runs += 1;
    };
    await using _queue = startQueue({
      connectionString: proxied.href,
      log,
      workerLostMs: 500,
      closePatienceMs,
      lanes: [{ concurrency: 1, tasks: { quick } }],
    });
    await lost;
    expect((await queue.sql.query('select 1 from graphile_worker.jobs where locked_by is not null')).rows).toHaveLength(1);
    await vi.waitFor(async () => expect(await queue.waiting()).toBe(0), patiently);
    expect(runs).toBe(1);
  });

  it('goes on when PostgreSQL was away while jobs ended, well or not', async () => {
    const postgres = opened.use(await startOwnPostgres());
    const queue = await queueOf(postgres.url);
    const held = [0, 1, 2, 3].map(() => Promise.withResolvers<void>());
    const [begun, done]: [number[], number[]] = [[], []];
    const tasks = {
      async held(payload: unknown) {
        const { number } = payload as { readonly number: number };
        begun.push(number);
        await held[number]?.promise;
        done.push(number);
      },
    };
    await using _queue = startQueue({
      connectionString: postgres.url,
      log,
      workerLostMs: 500,
      closePatienceMs,
      lanes: [{ concurrency: held.length, tasks }],
    });
    for (const number of held.keys()) await queue.add('held', { number });
    await vi.waitFor(() => expect(begun).toHaveLength(held.length), patiently);
    await postgres.stop();
    const [first, second, third, fourth] = held;
    first?.resolve();
    second?.reject(new Error('not now'));
    await vi.waitFor(() => expect(done).toEqual([0]), patiently);
    third?.resolve();
    fourth?.resolve();
    await vi.waitFor(() => expect(done).toHaveLength(3), patiently);
    await postgres.start();
    // Those that ended while nobody could write it down are run again.
    await vi.waitFor(() => expect(done.toSorted()).toEqual([0, 0, 2, 2, 3, 3]), patiently);
    await vi.waitFor(
      async () => expect((await queue.sql.query('select attempts from graphile_worker.jobs')).rows).toHaveLength(1),
      patiently,
    );
  });
});

describe("the queue's pool", () => {
  it('does not use a connection again on which PostgreSQL has gone silent', async () => {
    const postgres = opened.use(await startOwnPostgres());
    const pool = openQueuePool({ connectionString: postgres.url, max: 1, queryTimeoutMs: 200 });
    const pidOf = async () => {
      const client = await pool.connect();
      try {
        return (await client.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]?.pid;
      } finally {
        client.release();
      }
    };
    const before = await pidOf();
    postgres.pause();
    await expect(pidOf()).rejects.toThrow('timeout');
    postgres.resume();
    expect(await pidOf()).not.toBe(before);
    await pool.end();
  });
});
