import { sql } from 'kysely';
import { providers } from '../domain/message.ts';
import { toWebhookRequestView } from '../domain/views.ts';
import type { WebhookReads } from '../domain/webhook-ports.ts';
import { webhookStates } from '../domain/webhook-request.ts';
import { guarded } from './errors.ts';
import { firstInOrder, type Order } from './first-in-order.ts';
import { before, oneOf, pageOf } from './list-queries.ts';
import type { Orm } from './orm.ts';
import { type Database, rowReaders, type Tables } from './rows.ts';

type Row = Record<string, unknown>;

const NEWEST_FIRST: Order = { table: 'webhook_requests', time: 'received_at', name: 'receivedAt' };

export function createWebhookReads(orm: Orm): WebhookReads {
  const database: Database = orm.em.fork().getKysely<Tables>();
  const { webhookRequest } = rowReaders(orm);
  return {
    findWebhookRequest: (id) =>
      guarded(async () => {
        const { rows } = await sql<Row & { readonly body: Buffer }>`
          select ${sql.raw(webhookRequest.columns)}, body from webhook_requests where id = ${id}`.execute(database);
        const [row] = rows;
        return row && toWebhookRequestView({ ...webhookRequest.fields(row), body: row.body });
      }),
    listWebhookRequests: ({ provider, state }, page) =>
      guarded(async () => {
        const query = firstInOrder(NEWEST_FIRST, {
          columns: sql.raw(webhookRequest.columns),
          choices: [
            oneOf('provider', provider === undefined ? [] : [provider], providers),
            oneOf('state', state === undefined ? [] : [state], webhookStates),
          ],
          conditions: before(NEWEST_FIRST, page.after),
          limit: page.size + 1,
        });
        const { rows } = await query.execute(database);
        const fields = rows.map((row) => webhookRequest.fields(row));
        return pageOf(fields, page.size, toWebhookRequestView, ({ receivedAt, id }) => ({ key: receivedAt.toISOString(), id }));
      }),
    deleteOlderThan: (date, limit) =>
      guarded(async () => {
        // By the index of the lists: one by time alone would be taken for lists, and be worse there.
        const { numAffectedRows } = await sql`
          delete from webhook_requests where id in (
            select old.id from unnest(${providers}::text[]) listed (provider) cross join unnest(${webhookStates}::text[]) known (state)
            cross join lateral (
              select id from webhook_requests
              where provider = listed.provider and state = known.state and received_at < ${date.toISOString()} limit ${limit}
            ) old limit ${limit}
          )`.execute(database);
        return Number(numAffectedRows ?? 0n);
      }),
  };
}
