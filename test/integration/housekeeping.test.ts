import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createHousekeeping } from '../../src/services/housekeeping.ts';
import { type DispatchWorld, openDispatchWorld } from '../support/dispatch-world.ts';
import { draftBetween, newPair } from '../support/use-cases.ts';

let world: DispatchWorld;
beforeAll(async () => {
  world = await openDispatchWorld();
});
afterAll(() => world?.[Symbol.asyncDispose]());
beforeEach(async () => {
  await world.reset();
  await world.sql.query('delete from messages');
});

const send = async (requestId?: string) => (await world.cases.send(draftBetween(newPair()), requestId)).message;
const sweep = () => createHousekeeping({ upkeep: world.upkeep, retention: [], clock: { now: world.now } })();
/** The clock of the world stands; PostgreSQL's does not. Triggers would set updated_at, so they are off meanwhile. */
async function changedAt(id: string, interval: string): Promise<void> {
  await world.sql.query('alter table messages disable trigger messages_version');
  await world.sql.query('update messages set updated_at = now() - $2::interval where id = $1', [id, interval]);
  await world.sql.query('alter table messages enable always trigger messages_version');
}

describe('housekeeping', () => {
  it('gives a message that has lost its job a new one, and leaves the others alone', async () => {
    const [lost, recent, waiting] = [await send(), await send(), await send()];
    await world.sql.query('delete from graphile_worker._private_jobs where key <> $1', [`message:${waiting.id}`]);
    await changedAt(recent.id, '0');
    for (const { id } of [lost, waiting]) await changedAt(id, '10 minutes');
    expect(await sweep()).toMatchObject({ requeued: 1 });
    const jobs = (await world.jobs()).map(({ messageId }) => messageId);
    expect(jobs.toSorted()).toEqual([lost.id, waiting.id].toSorted());
    expect(jobs).not.toContain(recent.id);
    await world.runDue();
    expect(world.provider.submitted.map(({ messageId }) => messageId)).toEqual(expect.arrayContaining([lost.id]));
  });

  it('revives a job that the queue has given up', async () => {
    const { id } = await send();
    await world.sql.query('update graphile_worker._private_jobs set attempts = max_attempts');
    await changedAt(id, '10 minutes');
    expect(await sweep()).toMatchObject({ requeued: 1 });
    expect(await sweep()).toMatchObject({ requeued: 0 });
  });

  it('removes jobs that were replaced while they ran in a process that is gone', async () => {
    const replaced = await send();
    await world.sql.query('update graphile_worker._private_jobs set key = null, attempts = max_attempts');
    await changedAt(replaced.id, '0');
    const { id } = await send();
    expect((await sweep()).pruned).toMatchObject({ spent_jobs: 1 });
    expect((await world.jobs()).map(({ messageId }) => messageId)).toEqual([id]);
    expect((await world.sql.query('select id from graphile_worker.jobs')).rows).toHaveLength(1);
  });

  it('removes jobs that were given up and of which nothing more will come', async () => {
    const settled = await send();
    await world.sql.query(`update messages set status = 'failed' where id = $1`, [settled.id]);
    await world.sql.query(`select graphile_worker.add_job('retry_webhook', '{}'::json, job_key => 'webhook:1', max_attempts => 1)`);
    await world.sql.query('update graphile_worker._private_jobs set attempts = max_attempts');
    const waiting = await send();
    await world.sql.query('update graphile_worker._private_jobs set attempts = max_attempts where key = $1', [`message:${waiting.id}`]);
    await changedAt(waiting.id, '0');
    expect((await sweep()).pruned).toMatchObject({ spent_jobs: 2 });
    expect((await world.jobs()).map(({ messageId }) => messageId)).toEqual([waiting.id]);
  });

  it('goes on with the next step when one fails, and tells', async () => {
    await send(uuidv7());
    const broken = { name: 'broken', days: 0, prune: () => Promise.reject(new Error('no such table')) };
    const days = -1;
    const requestIds = { name: 'request_ids', days, prune: world.upkeep.pruneRequestIds };
    const sweeping = createHousekeeping({ upkeep: world.upkeep, retention: [broken, requestIds], clock: { now: world.now } })();
    await expect(sweeping).rejects.toThrow('no such table');
    expect((await world.sql.query('select from request_ids')).rows).toEqual([]);
  });

  it('counts what waits, by provider', async () => {
    expect(await world.upkeep.backlog()).toEqual([
      { provider: 'twilio', depth: 0, oldestMs: 0 },
      { provider: 'sendgrid', depth: 0, oldestMs: 0 },
    ]);
    await send();
    await world.cases.send({ ...draftBetween(newPair()), sendAt: new Date(Date.now() + 3_600_000) });
    const [twilio] = await world.upkeep.backlog();
    expect(twilio).toMatchObject({ provider: 'twilio', depth: 1 });
    expect(twilio?.oldestMs).toBeGreaterThan(0);
  });

  it('forgets request ids of long ago alone', async () => {
    await send(uuidv7());
    const days = (count: number) => new Date(world.now().getTime() + count * 86_400_000);
    expect(await world.upkeep.pruneRequestIds(days(-8), 10)).toBe(0);
    expect(await world.upkeep.pruneRequestIds(days(1), 10)).toBe(1);
  });
});
