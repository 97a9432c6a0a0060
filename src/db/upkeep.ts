import { sql } from 'kysely';
import type { DispatchJob, QueueBacklog, Upkeep } from '../domain/delivery-ports.ts';
import { providers } from '../domain/message.ts';
import { KEY_PREFIX, schedule } from './delivery-tx.ts';
import { guarded } from './errors.ts';
import type { Orm } from './orm.ts';
import type { Database, Tables } from './rows.ts';

/** A message that was changed a moment ago may be between the end of one job and the commit that adds the next. */
const SETTLED_FOR = '1 minute';

async function backlog(database: Database): Promise<readonly QueueBacklog[]> {
  const { rows } = await sql<QueueBacklog>`
    select provider, count(*)::integer as depth,
      extract(epoch from clock_timestamp() - min(coalesce(send_at, created_at)))::float8 * 1000 as "oldestMs"
    from messages
    where status = 'pending' and direction = 'outbound' and (send_at is null or send_at <= clock_timestamp()) group by provider`.execute(
    database,
  );
  return providers.map((provider) => rows.find((row) => row.provider === provider) ?? { provider, depth: 0, oldestMs: 0 });
}

interface LostMessage extends Pick<DispatchJob, 'messageId' | 'conversationId' | 'provider'> {
  readonly runAtMs: number;
}

async function requeueLost(database: Database, limit: number): Promise<number> {
  const { rows } = await sql<LostMessage>`
    select id as "messageId", conversation_id as "conversationId", provider,
      extract(epoch from coalesce(next_attempt_at, now()))::float8 * 1000 as "runAtMs"
    from messages
    where status = 'pending' and direction = 'outbound' and updated_at < clock_timestamp() - ${sql.lit(SETTLED_FOR)}::interval
      and not exists (
        select from graphile_worker.jobs where key = ${KEY_PREFIX} || messages.id and attempts < max_attempts
      )
    limit ${limit}`.execute(database);
  // One that was settled meanwhile has a job that does nothing.
  for (const { runAtMs, ...message } of rows) await schedule(database, { ...message, runAt: new Date(runAtMs), traceParent: '' });
  return rows.length;
}

/** Of a message that is still PENDING it is replaced by requeueLost, so that it is not there for a moment without one. */
async function removeSpentJobs(database: Database, limit: number): Promise<number> {
  const { rows } = await sql`
    select graphile_worker.complete_jobs(array(
      select id from graphile_worker.jobs where attempts >= max_attempts and locked_at is null and not exists (
        select from messages where status = 'pending' and direction = 'outbound' and key = ${KEY_PREFIX} || messages.id
      ) limit ${limit}
    ))`.execute(database);
  return rows.length;
}

async function pruneRequestIds(database: Database, before: Date, limit: number): Promise<number> {
  const { rows } = await sql`
    delete from request_ids where (caller, request_id) in (
      select caller, request_id from request_ids where created_at < ${before.toISOString()} limit ${limit}
    ) returning 1`.execute(database);
  return rows.length;
}

export function createUpkeep(orm: Orm): Upkeep {
  const database: Database = orm.em.fork().getKysely<Tables>();
  return {
    backlog: () => guarded(() => backlog(database)),
    requeueLost: (limit) => guarded(() => requeueLost(database, limit)),
    removeSpentJobs: (limit) => guarded(() => removeSpentJobs(database, limit)),
    pruneRequestIds: (before, limit) => guarded(() => pruneRequestIds(database, before, limit)),
  };
}
