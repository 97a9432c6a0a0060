/** A transaction's view of attempts and of the queue. */
import type { SqlEntityManager } from '@mikro-orm/postgresql';
import { CompiledQuery, sql } from 'kysely';
import { DeliveryAttempt } from '../domain/delivery-attempt.ts';
import type { DeliveryTx, DispatchJob, DispatchTx } from '../domain/delivery-ports.ts';
import { dueIn } from './dispatch-statements.ts';
import { PREPARED } from './prepared-statements.ts';
import type { Database } from './rows.ts';

const prepared = sql.raw(PREPARED);

/** The queue gives up a job that failed this often; housekeeping finds its message and schedules it anew. */
export const MAX_JOB_ATTEMPTS = 25;

/**
 * Places for the values of scheduleValues(), from $`start`. A job of the same key that has not begun is replaced; one that is running
 * stays, and another follows it.
 */
export const scheduleCall = (start: number): string =>
  `graphile_worker.add_job($${start}, $${start + 1}::json, run_at => $${start + 2}::timestamptz, max_attempts => ${MAX_JOB_ATTEMPTS},
    job_key => $${start + 3})`;

/** Of a message's key in the queue; its id follows. */
export const KEY_PREFIX = 'message:';

const keyOf = (messageId: string): string => `${KEY_PREFIX}${messageId}`;

export function scheduleValues({ messageId, conversationId, provider, runAt, traceParent }: DispatchJob): readonly unknown[] {
  return [`dispatch_${provider}`, JSON.stringify({ messageId, conversationId, traceParent }), runAt.toISOString(), keyOf(messageId)];
}

const isDue = dueIn('m', { conversation: '$1', at: '$3' });
const NEXT_DUE = `select m.id from messages m where ${isDue} and m.sequence > $2 order by m.sequence limit 1 ${PREPARED}`;

const SCHEDULE = `select 1 from ${scheduleCall(1)} ${PREPARED}`;

/** Adds a job to the queue, or puts off the one there is. */
export async function schedule(database: Database, job: DispatchJob): Promise<void> {
  await database.executeQuery(CompiledQuery.raw(SCHEDULE, [...scheduleValues(job)]));
}

/** What was read before a lock was had may have changed since. */
const afresh = { refresh: true } as const;

/** All of it but what dispatch-statements.ts has. */
export function deliveryTx(em: SqlEntityManager, database: Database): Omit<DeliveryTx, keyof DispatchTx> {
  return {
    scheduleDispatch: (job) => schedule(database, job),
    async wakeDispatch(messageId, at) {
      await sql`
        select 1 from graphile_worker.reschedule_jobs(
          array(select id from graphile_worker.jobs where key = ${keyOf(messageId)}), run_at => ${at.toISOString()}::timestamptz
        ) ${prepared}`.execute(database);
    },
    findAttempt: async (messageId, attempt) => (await em.findOne(DeliveryAttempt, { messageId, attempt }, afresh)) ?? undefined,
    findLatestAttempt: async (messageId) =>
      (await em.findOne(DeliveryAttempt, { messageId }, { ...afresh, orderBy: { attempt: 'desc' } })) ?? undefined,
    findAttemptByProviderId: async (provider, providerMessageId) =>
      (await em.findOne(DeliveryAttempt, { provider, providerMessageId }, { ...afresh, orderBy: { startedAt: 'desc' } })) ?? undefined,
    async findUnclaimed(provider, providerMessageIds) {
      const { rows } = await sql<{ id: string }>`
        select id from unnest(${providerMessageIds}::text[]) with ordinality as found (id, place)
        where not exists (select from delivery_attempts where provider = ${provider} and provider_message_id = found.id)
          and not exists (select from messages where provider = ${provider} and provider_message_id = found.id)
        order by place limit 1`.execute(database);
      return rows[0]?.id;
    },
    async hasOpenTwin(messageId) {
      const { rows } = await sql<{ found: boolean }>`
        select exists (
          select from messages m join messages twin on twin.status = 'pending' and twin.direction = 'outbound' and twin.provider = m.provider
            and twin.from_address = m.from_address and twin.to_address = m.to_address and twin.body = m.body and twin.id <> m.id
          join delivery_attempts a on a.message_id = twin.id and a.outcome in ('running', 'unknown') and not a.superseded
          where m.id = ${messageId}
        ) as found`.execute(database);
      return rows[0]?.found === true;
    },
    async supersedeAttempts(messageId) {
      await sql`update delivery_attempts set superseded = true where message_id = ${messageId} and not superseded`.execute(database);
    },
    async findNextPending(conversationId, sequence, at) {
      const { rows } = await database.executeQuery<{ id: string }>(
        CompiledQuery.raw(NEXT_DUE, [conversationId, sequence, at.toISOString()]),
      );
      return rows[0]?.id;
    },
  };
}
