/** A transaction's view of webhook requests, and savepoints for their events. */
import { LockMode } from '@mikro-orm/core';
import type { SqlEntityManager } from '@mikro-orm/postgresql';
import { CompiledQuery, sql } from 'kysely';
import type { Tx } from '../domain/ports.ts';
import type { ReportPlace, WebhookTx } from '../domain/webhook-ports.ts';
import { WebhookRequest, type WebhookRequestFields } from '../domain/webhook-request.ts';
import { endsTransaction } from './errors.ts';
import { PREPARED } from './prepared-statements.ts';
import type { Database, RowWriter } from './rows.ts';

const prepared = sql.raw(PREPARED);

/** Of the queue; a job that failed this often is given up, and the request stays UNMATCHED. */
const MAX_JOB_ATTEMPTS = 10;

interface PlaceRow {
  readonly conversationId: string | null;
  readonly traceParent: string | null;
}

/** With values bound: a body would double in size as text. */
export function webhookInsertion({ columns, values }: RowWriter<WebhookRequestFields>): (fields: WebhookRequestFields) => CompiledQuery {
  const places = columns.map((_, index) => `$${index + 1}`).join(', ');
  const text = `insert into webhook_requests (${columns.join(', ')}) values (${places}) ${PREPARED}`;
  return (fields) => CompiledQuery.raw(text, [...values(fields)]);
}

export interface WebhookTxParts {
  readonly insertWebhook: ReturnType<typeof webhookInsertion>;
  /** A Tx over an entity manager of the same transaction. */
  readonly txOf: (em: SqlEntityManager) => Tx;
}

export function webhookTx(em: SqlEntityManager, database: Database, { insertWebhook, txOf }: WebhookTxParts): WebhookTx<Tx> {
  return {
    async savepoint(work) {
      await em.flush();
      // Entities of its own: none of them is left to be written when the work is undone.
      const inner = em.fork({ keepTransactionContext: true });
      await sql`savepoint part`.execute(database);
      try {
        const value = await work(txOf(inner));
        await inner.flush();
        await sql`release savepoint part`.execute(database);
        return { kind: 'kept', value };
      } catch (error) {
        if (endsTransaction(error)) throw error;
        await sql`rollback to savepoint part`.execute(database);
        return { kind: 'undone', error };
      }
    },
    async placeReports(provider, reports) {
      const messageIds = reports.map(({ messageId }) => messageId ?? null);
      const attempts = reports.map(({ attempt }) => attempt ?? null);
      const providerIds = reports.map(({ providerMessageId }) => (providerMessageId === '' ? null : providerMessageId));
      // Each report finds its rows by an index, however many there are: none of these can become a join of whole tables.
      const { rows } = await sql<PlaceRow>`
        select placed.conversation_id as "conversationId", tried.trace_parent as "traceParent"
        from unnest(${messageIds}::uuid[], ${attempts}::integer[], ${providerIds}::text[]) with ordinality
          as reported (message_id, attempt, provider_id, place)
        left join lateral (
          select id from messages where provider = ${provider} and provider_message_id = reported.provider_id limit 1
        ) carried on true
        left join lateral (
          select message_id from delivery_attempts
          where provider = ${provider} and provider_message_id = reported.provider_id order by started_at desc limit 1
        ) attempted on true
        left join lateral (
          select id, conversation_id from messages
          where id = coalesce(reported.message_id, carried.id, attempted.message_id) limit 1
        ) placed on true
        left join lateral (
          select trace_parent from delivery_attempts
          where message_id = placed.id and (reported.attempt is null or attempt = reported.attempt)
          order by coalesce(provider_message_id = reported.provider_id, false) desc, attempt desc limit 1
        ) tried on true
        order by reported.place ${prepared}`.execute(database);
      return rows.map(({ conversationId, traceParent }): ReportPlace => {
        return { conversationId: conversationId ?? undefined, traceParent: traceParent ?? '' };
      });
    },
    async storeWebhookRequest(fields) {
      await database.executeQuery(insertWebhook(fields));
    },
    lockWebhookRequest: async (id) =>
      (await em.findOne(WebhookRequest, id, { lockMode: LockMode.PESSIMISTIC_WRITE, refresh: true })) ?? undefined,
    async scheduleWebhookRetry(id, runAt) {
      await sql`
        select 1 from graphile_worker.add_job('retry_webhook', ${JSON.stringify({ webhookRequestId: id })}::json,
          run_at => ${runAt.toISOString()}::timestamptz, max_attempts => ${sql.raw(String(MAX_JOB_ATTEMPTS))},
          job_key => ${`webhook:${id}`}) ${prepared}`.execute(database);
    },
  };
}
